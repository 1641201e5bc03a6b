// cuDNN's convolutions on a CPU, naively, as far as this package calls them: descriptors with both
// layouts and types, the search for an algorithm, and sums over all that an algorithm multiplies.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <cstring>

enum cudnnStatus_t {
    CUDNN_STATUS_SUCCESS = 0, CUDNN_STATUS_ALLOC_FAILED = 1003, CUDNN_STATUS_BAD_PARAM = 2000,
    CUDNN_STATUS_NOT_SUPPORTED = 3000
};
enum cudnnDataType_t { CUDNN_DATA_FLOAT = 0, CUDNN_DATA_BFLOAT16 = 9 };
enum cudnnTensorFormat_t { CUDNN_TENSOR_NCHW, CUDNN_TENSOR_NHWC };
enum cudnnMathType_t {
    CUDNN_DEFAULT_MATH, CUDNN_TENSOR_OP_MATH, CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION, CUDNN_FMA_MATH
};
enum cudnnConvolutionMode_t { CUDNN_CONVOLUTION, CUDNN_CROSS_CORRELATION };
enum cudnnDeterminism_t { CUDNN_NON_DETERMINISTIC, CUDNN_DETERMINISTIC };

namespace cuda_on_cpu {

struct Tensor {
    cudnnTensorFormat_t format;
    cudnnDataType_t type;
    int n, c, h, w;

    int64_t at(int64_t in, int64_t ic, int64_t ih, int64_t iw) const {
        return format == CUDNN_TENSOR_NCHW ? ((in * c + ic) * h + ih) * w + iw
                                           : ((in * h + ih) * w + iw) * c + ic;
    }
    int64_t count() const { return int64_t(n) * c * h * w; }
    float get(const void* data, int64_t i) const {
        return type == CUDNN_DATA_FLOAT ? static_cast<const float*>(data)[i]
                                        : __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i]);
    }
    void set(void* data, int64_t i, float value) const {
        if (type == CUDNN_DATA_FLOAT) static_cast<float*>(data)[i] = value;
        else static_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16_rn(value);
    }
};

struct Convolution {
    int pad_h, pad_w, stride_h, stride_w;
    cudnnMathType_t math;

    // On a new GPU the default rounds too.
    float multiplied(float value, const Tensor& t) const {
        return t.type == CUDNN_DATA_BFLOAT16 || math == CUDNN_FMA_MATH ? value
                                                                        : rounded_to_tf32(value);
    }
};

// Algorithms by number, for all directions alike: 0 adds in any order, 1 is the one to choose for
// exact products and 4, by matrix units, for others, 7 is Winograd's, the rest cannot be used.
// Workspaces are as large as the number, in kilobytes.
constexpr int WINOGRAD = 7;
inline size_t workspace(int algorithm) { return 1000 * algorithm; }

template <class Performance, class Algorithm>
cudnnStatus_t search(int most, int* found, Performance* all, const void* space, size_t bytes) {
    const Performance results[] = {
        {Algorithm(2), CUDNN_STATUS_NOT_SUPPORTED, -1, 0, CUDNN_DETERMINISTIC, CUDNN_FMA_MATH},
        {Algorithm(3), CUDNN_STATUS_SUCCESS, 1, bytes + 1, CUDNN_DETERMINISTIC, CUDNN_FMA_MATH},
        {Algorithm(WINOGRAD), CUDNN_STATUS_SUCCESS, 2, workspace(WINOGRAD), CUDNN_DETERMINISTIC,
         CUDNN_FMA_MATH},
        {Algorithm(4), CUDNN_STATUS_SUCCESS, 2, workspace(4), CUDNN_DETERMINISTIC,
         CUDNN_TENSOR_OP_MATH},
        {Algorithm(0), CUDNN_STATUS_SUCCESS, 3, 0, CUDNN_NON_DETERMINISTIC, CUDNN_FMA_MATH},
        {Algorithm(1), CUDNN_STATUS_SUCCESS, 4, workspace(1), CUDNN_DETERMINISTIC,
         CUDNN_DEFAULT_MATH},
    };
    if (!space || most < 6) return CUDNN_STATUS_BAD_PARAM;
    for (*found = 0; *found < 6; ++*found) all[*found] = results[*found];
    return CUDNN_STATUS_SUCCESS;
}

// Call act(indices of x, w and y) for every product of a convolution.
template <class Act>
void products(const Tensor& x, const Tensor& w, const Tensor& y, const Convolution& c, Act act) {
    for (int n = 0; n < y.n; n++)
        for (int o = 0; o < y.c; o++)
            for (int h = 0; h < y.h; h++)
                for (int v = 0; v < y.w; v++)
                    for (int i = 0; i < x.c; i++)
                        for (int r = 0; r < w.h; r++)
                            for (int s = 0; s < w.w; s++) {
                                const int row = h * c.stride_h - c.pad_h + r;
                                const int column = v * c.stride_w - c.pad_w + s;
                                if (row >= 0 && row < x.h && column >= 0 && column < x.w)
                                    act(x.at(n, i, row, column), w.at(o, i, r, s), y.at(n, o, h, v));
                            }
}

inline bool agree(const Tensor& x, const Tensor& w, const Tensor& y, const Convolution& c) {
    const auto out = [](int length, int pad, int kernel, int stride) {
        return (length + 2 * pad - kernel) / stride + 1;
    };
    const bool eights = x.format == CUDNN_TENSOR_NCHW || (x.c % 8 == 0 && y.c % 8 == 0);
    return x.format == w.format && x.format == y.format && x.type == w.type && x.type == y.type &&
           x.c == w.c && y.c == w.n && x.n == y.n && eights &&
           y.h == out(x.h, c.pad_h, w.h, c.stride_h) && y.w == out(x.w, c.pad_w, w.w, c.stride_w);
}

}  // namespace cuda_on_cpu

typedef cuda_on_cpu::Tensor* cudnnTensorDescriptor_t;
typedef cuda_on_cpu::Tensor* cudnnFilterDescriptor_t;
typedef cuda_on_cpu::Convolution* cudnnConvolutionDescriptor_t;
typedef const char* cudnnHandle_t;

namespace jittor {
__attribute__((weak)) cudnnHandle_t cudnn_handle = "cuDNN";
}

inline const char* cudnnGetErrorString(cudnnStatus_t status) {
    return status == CUDNN_STATUS_ALLOC_FAILED ? "no memory" : "bad parameter";
}
inline cudnnStatus_t cudnnCreateTensorDescriptor(cuda_on_cpu::Tensor** t) {
    return *t = new cuda_on_cpu::Tensor(), CUDNN_STATUS_SUCCESS;
}
inline cudnnStatus_t cudnnCreateFilterDescriptor(cuda_on_cpu::Tensor** t) {
    return cudnnCreateTensorDescriptor(t);
}
inline cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t* c) {
    return *c = new cuda_on_cpu::Convolution(), CUDNN_STATUS_SUCCESS;
}
inline cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t t, cudnnTensorFormat_t f,
                                                cudnnDataType_t type, int n, int c, int h, int w) {
    return *t = {f, type, n, c, h, w}, CUDNN_STATUS_SUCCESS;
}
inline cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t t, cudnnDataType_t type,
                                                cudnnTensorFormat_t f, int n, int c, int h, int w) {
    return *t = {f, type, n, c, h, w}, CUDNN_STATUS_SUCCESS;
}
inline cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t c, int pad_h,
                                                     int pad_w, int stride_h, int stride_w,
                                                     int dilation_h, int dilation_w,
                                                     cudnnConvolutionMode_t mode,
                                                     cudnnDataType_t sums) {
    if (dilation_h != 1 || dilation_w != 1 || mode != CUDNN_CROSS_CORRELATION ||
        sums != CUDNN_DATA_FLOAT)
        return CUDNN_STATUS_BAD_PARAM;
    return *c = {pad_h, pad_w, stride_h, stride_w, CUDNN_DEFAULT_MATH}, CUDNN_STATUS_SUCCESS;
}
inline cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t c,
                                                 cudnnMathType_t math) {
    return c->math = math, CUDNN_STATUS_SUCCESS;
}

#include "cudnn_directions.h"
