// cuDNN without a GPU: a handle that is none, a search that finds one algorithm, and convolutions
// that compute nothing. Descriptors are the real library's.

#include <cudnn.h>

namespace {

int handle = 0;

template <class Found, class Algorithm>
cudnnStatus_t find(Found* results, int* count, Algorithm algorithm) {
    results[0] = {};
    results[0].algo = algorithm;
    results[0].status = CUDNN_STATUS_SUCCESS;
    *count = 1;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t none(size_t* size) {
    *size = 0;
    return CUDNN_STATUS_SUCCESS;
}

}  // namespace

using Tensor = cudnnTensorDescriptor_t;
using Filter = cudnnFilterDescriptor_t;
using Convolution = cudnnConvolutionDescriptor_t;

extern "C" {

cudnnStatus_t cudnnCreate(cudnnHandle_t* made) {
    *made = reinterpret_cast<cudnnHandle_t>(&handle);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnSetStream(cudnnHandle_t, cudaStream_t) { return CUDNN_STATUS_SUCCESS; }

cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t, Tensor, Filter, Convolution,
                                                      Tensor, cudnnConvolutionFwdAlgo_t,
                                                      size_t* size) {
    return none(size);
}
cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(cudnnHandle_t, Filter, Tensor,
                                                           Convolution, Tensor,
                                                           cudnnConvolutionBwdDataAlgo_t,
                                                           size_t* size) {
    return none(size);
}
cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(cudnnHandle_t, Tensor, Tensor,
                                                             Convolution, Filter,
                                                             cudnnConvolutionBwdFilterAlgo_t,
                                                             size_t* size) {
    return none(size);
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t, Tensor, Filter, Convolution,
                                                     Tensor, int, int* count,
                                                     cudnnConvolutionFwdAlgoPerf_t* results) {
    return find(results, count, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM);
}
cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(
    cudnnHandle_t, Filter, Tensor, Convolution, Tensor, int, int* count,
    cudnnConvolutionBwdDataAlgoPerf_t* results) {
    return find(results, count, CUDNN_CONVOLUTION_BWD_DATA_ALGO_0);
}
cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(
    cudnnHandle_t, Tensor, Tensor, Convolution, Filter, int, int* count,
    cudnnConvolutionBwdFilterAlgoPerf_t* results) {
    return find(results, count, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0);
}
cudnnStatus_t cudnnFindConvolutionForwardAlgorithmEx(cudnnHandle_t, Tensor, const void*, Filter,
                                                     const void*, Convolution, Tensor, void*, int,
                                                     int* count,
                                                     cudnnConvolutionFwdAlgoPerf_t* results, void*,
                                                     size_t) {
    return find(results, count, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM);
}
cudnnStatus_t cudnnFindConvolutionBackwardDataAlgorithmEx(
    cudnnHandle_t, Filter, const void*, Tensor, const void*, Convolution, Tensor, void*, int,
    int* count, cudnnConvolutionBwdDataAlgoPerf_t* results, void*, size_t) {
    return find(results, count, CUDNN_CONVOLUTION_BWD_DATA_ALGO_0);
}
cudnnStatus_t cudnnFindConvolutionBackwardFilterAlgorithmEx(
    cudnnHandle_t, Tensor, const void*, Tensor, const void*, Convolution, Filter, void*, int,
    int* count, cudnnConvolutionBwdFilterAlgoPerf_t* results, void*, size_t) {
    return find(results, count, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0);
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t, const void*, Tensor, const void*, Filter,
                                      const void*, Convolution, cudnnConvolutionFwdAlgo_t, void*,
                                      size_t, const void*, Tensor, void*) {
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t, const void*, Filter, const void*, Tensor,
                                           const void*, Convolution, cudnnConvolutionBwdDataAlgo_t,
                                           void*, size_t, const void*, Tensor, void*) {
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t, const void*, Tensor, const void*,
                                             Tensor, const void*, Convolution,
                                             cudnnConvolutionBwdFilterAlgo_t, void*, size_t,
                                             const void*, Filter, void*) {
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnConvolutionBackwardBias(cudnnHandle_t, const void*, Tensor, const void*,
                                           const void*, Tensor, void*) {
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnAddTensor(cudnnHandle_t, const void*, Tensor, const void*, const void*, Tensor,
                             void*) {
    return CUDNN_STATUS_SUCCESS;
}

}  // extern "C"
