// The three directions of cudnn.h. An algorithm other than 1, or 4 for products that are rounded, is
// one that this package must not choose; results are added up in double.
#pragma once

#include <vector>

#define DIRECTION(SHORT)                                                              \
    enum cudnnConvolution##SHORT##Algo_t {};                                          \
    struct cudnnConvolution##SHORT##AlgoPerf_t {                                      \
        cudnnConvolution##SHORT##Algo_t algo;                                         \
        cudnnStatus_t status;                                                         \
        float time;                                                                   \
        size_t memory;                                                                \
        cudnnDeterminism_t determinism;                                               \
        cudnnMathType_t mathType;                                                     \
    };
DIRECTION(Fwd)
DIRECTION(BwdData)
DIRECTION(BwdFilter)
#undef DIRECTION

constexpr auto CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED =
    cudnnConvolutionFwdAlgo_t(cuda_on_cpu::WINOGRAD);
constexpr auto CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED =
    cudnnConvolutionBwdDataAlgo_t(cuda_on_cpu::WINOGRAD);
constexpr auto CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED =
    cudnnConvolutionBwdFilterAlgo_t(cuda_on_cpu::WINOGRAD);

namespace cuda_on_cpu {

// The sums of products of `a` and `b`, in one place of `to` each; which is overwritten by a search.
template <class Index>
cudnnStatus_t compute(cudnnHandle_t handle, const Tensor& x, const Tensor& w, const Tensor& y,
                      const Convolution& c, int algorithm, const void* space, size_t bytes,
                      const Tensor& ta, const void* a, const Tensor& tb, const void* b,
                      const Tensor& to, void* data, const void* alpha, const void* beta,
                      Index index) {
    const bool scaled = *static_cast<const float*>(alpha) != 1 ||
                        *static_cast<const float*>(beta) != 0;
    const int wanted = c.math == CUDNN_FMA_MATH ? 1 : 4;
    if (handle != jittor::cudnn_handle || !agree(x, w, y, c) || algorithm != wanted || !space ||
        bytes < workspace(algorithm) || scaled)
        return CUDNN_STATUS_BAD_PARAM;
    std::vector<double> sums(to.count());
    products(x, w, y, c, [&](int64_t ix, int64_t iw, int64_t iy) {
        int64_t ia, ib, target;
        index(ix, iw, iy, ia, ib, target);
        sums[target] += double(c.multiplied(ta.get(a, ia), ta)) * c.multiplied(tb.get(b, ib), tb);
    });
    for (size_t i = 0; i < sums.size(); i++) to.set(data, i, sums[i]);
    return CUDNN_STATUS_SUCCESS;
}

template <class Performance, class Algorithm>
cudnnStatus_t find(const Tensor& to, void* data, int most, int* found, Performance* all,
                   void* space, size_t bytes) {
    for (int64_t i = 0; i < to.count(); i++) to.set(data, i, -77);
    if (space) std::memset(space, 0xFF, bytes < 4096 ? bytes : 4096);
    return search<Performance, Algorithm>(most, found, all, space, bytes);
}

}  // namespace cuda_on_cpu

using Described_t = cudnnTensorDescriptor_t;

inline cudnnStatus_t cudnnFindConvolutionForwardAlgorithmEx(
    cudnnHandle_t, Described_t, const void*, Described_t, const void*,
    cudnnConvolutionDescriptor_t, Described_t y, void* data, int most, int* found,
    cudnnConvolutionFwdAlgoPerf_t* all, void* space, size_t bytes) {
    return cuda_on_cpu::find<cudnnConvolutionFwdAlgoPerf_t, cudnnConvolutionFwdAlgo_t>(
        *y, data, most, found, all, space, bytes);
}
inline cudnnStatus_t cudnnFindConvolutionBackwardDataAlgorithmEx(
    cudnnHandle_t, Described_t, const void*, Described_t, const void*,
    cudnnConvolutionDescriptor_t, Described_t x, void* data, int most, int* found,
    cudnnConvolutionBwdDataAlgoPerf_t* all, void* space, size_t bytes) {
    return cuda_on_cpu::find<cudnnConvolutionBwdDataAlgoPerf_t, cudnnConvolutionBwdDataAlgo_t>(
        *x, data, most, found, all, space, bytes);
}
inline cudnnStatus_t cudnnFindConvolutionBackwardFilterAlgorithmEx(
    cudnnHandle_t, Described_t, const void*, Described_t, const void*,
    cudnnConvolutionDescriptor_t, Described_t w, void* data, int most, int* found,
    cudnnConvolutionBwdFilterAlgoPerf_t* all, void* space, size_t bytes) {
    return cuda_on_cpu::find<cudnnConvolutionBwdFilterAlgoPerf_t, cudnnConvolutionBwdFilterAlgo_t>(
        *w, data, most, found, all, space, bytes);
}

inline cudnnStatus_t measured(int how, size_t* bytes) {
    return *bytes = cuda_on_cpu::workspace(how), CUDNN_STATUS_SUCCESS;
}
inline cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(
    cudnnHandle_t, Described_t, Described_t, cudnnConvolutionDescriptor_t, Described_t,
    cudnnConvolutionFwdAlgo_t how, size_t* bytes) {
    return measured(how, bytes);
}
inline cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(
    cudnnHandle_t, Described_t, Described_t, cudnnConvolutionDescriptor_t, Described_t,
    cudnnConvolutionBwdDataAlgo_t how, size_t* bytes) {
    return measured(how, bytes);
}
inline cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(
    cudnnHandle_t, Described_t, Described_t, cudnnConvolutionDescriptor_t, Described_t,
    cudnnConvolutionBwdFilterAlgo_t how, size_t* bytes) {
    return measured(how, bytes);
}

inline cudnnStatus_t cudnnConvolutionForward(
    cudnnHandle_t handle, const void* one, Described_t x, const void* xs, Described_t w, const void* ws,
    cudnnConvolutionDescriptor_t c, cudnnConvolutionFwdAlgo_t how, void* space, size_t bytes,
    const void* zero, Described_t y, void* ys) {
    return cuda_on_cpu::compute(
        handle, *x, *w, *y, *c, how, space, bytes, *x, xs, *w, ws, *y, ys, one, zero,
        [](int64_t ix, int64_t iw, int64_t iy, int64_t& a, int64_t& b, int64_t& to) {
            a = ix, b = iw, to = iy;
        });
}
inline cudnnStatus_t cudnnConvolutionBackwardData(
    cudnnHandle_t handle, const void* one, Described_t w, const void* ws, Described_t y, const void* ys,
    cudnnConvolutionDescriptor_t c, cudnnConvolutionBwdDataAlgo_t how, void* space, size_t bytes,
    const void* zero, Described_t x, void* xs) {
    return cuda_on_cpu::compute(
        handle, *x, *w, *y, *c, how, space, bytes, *w, ws, *y, ys, *x, xs, one, zero,
        [](int64_t ix, int64_t iw, int64_t iy, int64_t& a, int64_t& b, int64_t& to) {
            a = iw, b = iy, to = ix;
        });
}
inline cudnnStatus_t cudnnConvolutionBackwardFilter(
    cudnnHandle_t handle, const void* one, Described_t x, const void* xs, Described_t y, const void* ys,
    cudnnConvolutionDescriptor_t c, cudnnConvolutionBwdFilterAlgo_t how, void* space, size_t bytes,
    const void* zero, Described_t w, void* ws) {
    return cuda_on_cpu::compute(
        handle, *x, *w, *y, *c, how, space, bytes, *x, xs, *y, ys, *w, ws, one, zero,
        [](int64_t ix, int64_t iw, int64_t iy, int64_t& a, int64_t& b, int64_t& to) {
            a = ix, b = iy, to = iw;
        });
}
