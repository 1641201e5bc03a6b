// cuBLAS's batched product on a CPU, by its rules: matrices lie column by column.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

enum cublasStatus_t {
    CUBLAS_STATUS_SUCCESS = 0, CUBLAS_STATUS_ALLOC_FAILED = 3, CUBLAS_STATUS_INVALID_VALUE = 7
};
enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T };
enum cudaDataType_t { CUDA_R_32F };
enum cublasGemmAlgo_t { CUBLAS_GEMM_DEFAULT = -1 };
enum cublasComputeType_t {
    CUBLAS_COMPUTE_32F_PEDANTIC = 69, CUBLAS_COMPUTE_32F_FAST_16BF = 75,
    CUBLAS_COMPUTE_32F_FAST_TF32 = 77
};
typedef const char* cublasHandle_t;

namespace jittor {
__attribute__((weak)) cublasHandle_t cublas_handle = "cuBLAS";
}

inline const char* cublasGetStatusString(cublasStatus_t status) {
    return status == CUBLAS_STATUS_INVALID_VALUE ? "invalid value" : "no memory";
}

inline cublasStatus_t cublasGemmStridedBatchedEx(
    cublasHandle_t handle, cublasOperation_t of_a, cublasOperation_t of_b, int m, int n, int k,
    const void* alpha, const void* a, cudaDataType_t, int lda, long long stride_a, const void* b,
    cudaDataType_t, int ldb, long long stride_b, const void* beta, void* c, cudaDataType_t, int ldc,
    long long stride_c, int batch, cublasComputeType_t multiply, cublasGemmAlgo_t) {
    if (handle != jittor::cublas_handle || lda < (of_a == CUBLAS_OP_N ? m : k) ||
        ldb < (of_b == CUBLAS_OP_N ? k : n) || ldc < m || *static_cast<const float*>(beta) != 0)
        return CUBLAS_STATUS_INVALID_VALUE;
    const auto rounded = [=](float value) {
        return multiply == CUBLAS_COMPUTE_32F_PEDANTIC    ? value
               : multiply == CUBLAS_COMPUTE_32F_FAST_TF32 ? cuda_on_cpu::rounded_to_tf32(value)
                                                          : cuda_on_cpu::rounded_to_bfloat16(value);
    };
    for (int64_t z = 0; z < batch; z++) {
        const float* as = static_cast<const float*>(a) + z * stride_a;
        const float* bs = static_cast<const float*>(b) + z * stride_b;
        float* cs = static_cast<float*>(c) + z * stride_c;
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < m; i++) {
                double sum = 0;
                for (int64_t l = 0; l < k; l++)
                    sum += double(rounded(as[of_a == CUBLAS_OP_N ? l * lda + i : i * lda + l])) *
                           rounded(bs[of_b == CUBLAS_OP_N ? j * ldb + l : l * ldb + j]);
                cs[j * ldc + i] = *static_cast<const float*>(alpha) * sum;
            }
    }
    return CUBLAS_STATUS_SUCCESS;
}
