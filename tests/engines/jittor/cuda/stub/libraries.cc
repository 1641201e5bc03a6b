// cuBLAS, cuRAND and cuSPARSE without a GPU: handles that are none, and products that are empty.

#include <cublas_v2.h>
#include <curand.h>
#include <cusparse.h>

namespace {
int handle = 0;
}

extern "C" {

#ifdef STUB_CUBLAS
cublasStatus_t cublasCreate_v2(cublasHandle_t* made) {
    *made = reinterpret_cast<cublasHandle_t>(&handle);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetStream_v2(cublasHandle_t, cudaStream_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSgemm_v2(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int,
                              const float*, const float*, int, const float*, int, const float*,
                              float*, int) {
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGemmEx(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int,
                            const void*, const void*, cudaDataType, int, const void*, cudaDataType,
                            int, const void*, void*, cudaDataType, int, cublasComputeType_t,
                            cublasGemmAlgo_t) {
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t, cublasOperation_t, cublasOperation_t, int,
                                          int, int, const void*, const void*, cudaDataType, int,
                                          long long, const void*, cudaDataType, int, long long,
                                          const void*, void*, cudaDataType, int, long long, int,
                                          cublasComputeType_t, cublasGemmAlgo_t) {
    return CUBLAS_STATUS_SUCCESS;
}
#endif

#ifdef STUB_CURAND
curandStatus_t curandCreateGenerator(curandGenerator_t* made, curandRngType_t) {
    *made = reinterpret_cast<curandGenerator_t>(&handle);
    return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandDestroyGenerator(curandGenerator_t) { return CURAND_STATUS_SUCCESS; }
curandStatus_t curandSetPseudoRandomGeneratorSeed(curandGenerator_t, unsigned long long) {
    return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandGenerateUniform(curandGenerator_t, float*, size_t) {
    return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandGenerateNormal(curandGenerator_t, float*, size_t, float, float) {
    return CURAND_STATUS_SUCCESS;
}
#endif

#ifdef STUB_CUSPARSE
cusparseStatus_t cusparseCreate(cusparseHandle_t* made) {
    *made = reinterpret_cast<cusparseHandle_t>(&handle);
    return CUSPARSE_STATUS_SUCCESS;
}
cusparseStatus_t cusparseDestroy(cusparseHandle_t) { return CUSPARSE_STATUS_SUCCESS; }
#endif

}  // extern "C"
