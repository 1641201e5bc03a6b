// cuDNN's convolutions: one function for each direction, with the algorithm that was fastest when
// the problem was first seen.

#include <cudnn.h>

#include <map>
#include <vector>

namespace jittor {
extern cudnnHandle_t cudnn_handle;  // of Jittor's own module
}

namespace ddim {

inline void check(cudnnStatus_t status) {
    if (status == CUDNN_STATUS_SUCCESS) return;
    fail("cuDNN", cudnnGetErrorString(status), status == CUDNN_STATUS_ALLOC_FAILED);
}

// What an algorithm may have for the time of a call.
constexpr size_t MOST_WORKSPACE = size_t(512) << 20, LEAST_WORKSPACE = size_t(1) << 20;

// A convolution as cuDNN sees it. Its descriptors are kept as long as the process lives.
struct Described {
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t convolution;
    bool exact;  // float32 multiplied as such

    // w_view: (O, I, K, K). Padding is the same on both sides: cuDNN knows no other.
    Described(const View& x_view, const View& w_view, const View& y_view, bool bf16, bool exact,
              int stride, int pad_rows, int pad_columns)
        : exact(exact) {
        const auto type = bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
        const auto format = exact ? CUDNN_TENSOR_NCHW : CUDNN_TENSOR_NHWC;
        check(cudnnCreateTensorDescriptor(&x));
        check(cudnnCreateTensorDescriptor(&y));
        check(cudnnCreateFilterDescriptor(&w));
        check(cudnnCreateConvolutionDescriptor(&convolution));
        check(cudnnSetTensor4dDescriptor(x, format, type, x_view.images, x_view.channels,
                                         x_view.height, x_view.width));
        check(cudnnSetTensor4dDescriptor(y, format, type, y_view.images, y_view.channels,
                                         y_view.height, y_view.width));
        check(cudnnSetFilter4dDescriptor(w, type, format, w_view.images, w_view.channels,
                                         w_view.height, w_view.width));
        check(cudnnSetConvolution2dDescriptor(convolution, pad_rows, pad_columns, stride, stride, 1,
                                              1, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
        // cuDNN's default would let float32 be rounded to TF32.
        set_math(exact ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH);
    }
    void set_math(cudnnMathType_t math) const {
        check(cudnnSetConvolutionMathType(convolution, math));
    }
};

// The three directions: their functions have the same arguments in other orders.
struct ForwardCalls {
    using Performance = cudnnConvolutionFwdAlgoPerf_t;
    static constexpr auto LARGE_TILES = CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED;
    const void *x, *w;
    void* y;

    cudnnStatus_t find(const Described& d, int most, int* found, Performance* all, void* space,
                       size_t bytes) {
        return cudnnFindConvolutionForwardAlgorithmEx(jittor::cudnn_handle, d.x, x, d.w, w,
                                                      d.convolution, d.y, y, most, found, all,
                                                      space, bytes);
    }
    cudnnStatus_t measure(const Described& d, decltype(Performance::algo) how, size_t* bytes) {
        return cudnnGetConvolutionForwardWorkspaceSize(jittor::cudnn_handle, d.x, d.w,
                                                       d.convolution, d.y, how, bytes);
    }
    cudnnStatus_t run(const Described& d, decltype(Performance::algo) how, void* space,
                      size_t bytes, const float* one, const float* zero) {
        return cudnnConvolutionForward(jittor::cudnn_handle, one, d.x, x, d.w, w, d.convolution,
                                       how, space, bytes, zero, d.y, y);
    }
};

struct BackwardInputCalls {
    using Performance = cudnnConvolutionBwdDataAlgoPerf_t;
    static constexpr auto LARGE_TILES = CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED;
    const void *dy, *w;
    void* dx;

    cudnnStatus_t find(const Described& d, int most, int* found, Performance* all, void* space,
                       size_t bytes) {
        return cudnnFindConvolutionBackwardDataAlgorithmEx(jittor::cudnn_handle, d.w, w, d.y, dy,
                                                           d.convolution, d.x, dx, most, found,
                                                           all, space, bytes);
    }
    cudnnStatus_t measure(const Described& d, decltype(Performance::algo) how, size_t* bytes) {
        return cudnnGetConvolutionBackwardDataWorkspaceSize(jittor::cudnn_handle, d.w, d.y,
                                                            d.convolution, d.x, how, bytes);
    }
    cudnnStatus_t run(const Described& d, decltype(Performance::algo) how, void* space,
                      size_t bytes, const float* one, const float* zero) {
        return cudnnConvolutionBackwardData(jittor::cudnn_handle, one, d.w, w, d.y, dy,
                                            d.convolution, how, space, bytes, zero, d.x, dx);
    }
};

struct BackwardWeightsCalls {
    using Performance = cudnnConvolutionBwdFilterAlgoPerf_t;
    static constexpr auto LARGE_TILES = CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED;
    const void *x, *dy;
    void* dw;

    cudnnStatus_t find(const Described& d, int most, int* found, Performance* all, void* space,
                       size_t bytes) {
        return cudnnFindConvolutionBackwardFilterAlgorithmEx(jittor::cudnn_handle, d.x, x, d.y, dy,
                                                             d.convolution, d.w, dw, most, found,
                                                             all, space, bytes);
    }
    cudnnStatus_t measure(const Described& d, decltype(Performance::algo) how, size_t* bytes) {
        return cudnnGetConvolutionBackwardFilterWorkspaceSize(jittor::cudnn_handle, d.x, d.y,
                                                              d.convolution, d.w, how, bytes);
    }
    cudnnStatus_t run(const Described& d, decltype(Performance::algo) how, void* space,
                      size_t bytes, const float* one, const float* zero) {
        return cudnnConvolutionBackwardFilter(jittor::cudnn_handle, one, d.x, x, d.y, dy,
                                              d.convolution, how, space, bytes, zero, d.w, dw);
    }
};

// How a problem is computed in one direction.
template <class Calls>
struct Plan {
    Described described;
    decltype(Calls::Performance::algo) how;
    size_t workspace;

    Plan(const Described& d, Calls calls) : described(d) {
        const auto all = search(calls);
        const typename Calls::Performance* best = nullptr;
        for (const auto& one : all) {  // the fastest are first
            if (!usable(one)) continue;
            // Of two that are usable the same sums in every run are worth more than speed.
            const bool repeats = one.determinism == CUDNN_DETERMINISTIC;
            if (!best || (repeats && best->determinism != CUDNN_DETERMINISTIC)) best = &one;
        }
        if (!best) throw std::runtime_error("cuDNN: no algorithm for this convolution");
        how = best->algo;
        // In float32 the descriptor stays at FMA, whatever math the search reports.
        if (!d.exact) d.set_math(best->mathType);
        check(calls.measure(d, how, &workspace));
    }

    // Time all algorithms, with less workspace where there is not so much memory.
    std::vector<typename Calls::Performance> search(Calls& calls) const {
        std::vector<typename Calls::Performance> all(32);
        for (size_t bytes = MOST_WORKSPACE;; bytes /= 8) {
            int found = 0;
            try {
                Scratch space(bytes);
                check(calls.find(described, 32, &found, all.data(), space.take(bytes), bytes));
                all.resize(found);
                return all;
            } catch (const std::runtime_error&) {
                if (bytes < LEAST_WORKSPACE) throw;
            }
        }
    }

    bool usable(const typename Calls::Performance& one) const {
        const bool rounds = one.mathType == CUDNN_TENSOR_OP_MATH ||
                            one.mathType == CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION;
        // cuDNN's Winograd with more than one pass has tiles larger than F(2x2, 3x3).
        return one.status == CUDNN_STATUS_SUCCESS && one.algo != Calls::LARGE_TILES &&
               one.memory <= MOST_WORKSPACE && !(described.exact && rounds);
    }

    void run(Calls calls) const {
        const float one = 1, zero = 0;
        Scratch space(workspace);
        check(calls.run(described, how, space.take(workspace), workspace, &one, &zero));
    }
};

}  // namespace ddim
