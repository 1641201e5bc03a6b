// Three function objects that Jittor's kernels name, and CUDA 13's CUB no longer has.
#pragma once
#ifdef __CUDACC__
namespace cub {

struct Max {
    template <class T>
    __host__ __device__ T operator()(const T& a, const T& b) const { return a < b ? b : a; }
};

struct Min {
    template <class T>
    __host__ __device__ T operator()(const T& a, const T& b) const { return b < a ? b : a; }
};

struct Sum {
    template <class T>
    __host__ __device__ T operator()(const T& a, const T& b) const { return a + b; }
};

}  // namespace cub
#endif
