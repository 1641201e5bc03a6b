// winograd.h for PyTorch: images and filters have their channels last.

#ifdef __clang__
#error "GCC is needed: clang's threads are not those of PyTorch's OpenMP library"
#endif

#include "panels.h"
#include "winograd.h"

namespace {

#ifdef __AVX512F__
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif

// sizes: batch, height, width, in, out
ddim::Winograd<LANES> winograd(const int64_t* sizes) {
    const int64_t in = sizes[3], out = sizes[4];
    return ddim::Winograd<LANES>({sizes[0], sizes[1], sizes[2], in, in, out, out, true});
}

}  // namespace

extern "C" {

void ddim_packed_size(const int64_t* sizes, int* floats) { winograd(sizes).packed_size(floats); }

void ddim_pack(const int64_t* sizes, const float* w, float* packed) {
    winograd(sizes).pack(w, packed);
}

void ddim_forward(const int64_t* sizes, const float* x, const float* w, int64_t is_packed,
                  const float* bias, float* y) {
    winograd(sizes).forward(x, w, is_packed != 0, bias, y);
}

void ddim_backward_input(const int64_t* sizes, const float* dy, const float* w, float* dx) {
    winograd(sizes).backward_input(dy, w, dx);
}

void ddim_backward_weights(const int64_t* sizes, const float* x, const float* dy, float* dw,
                           float* dbias) {
    winograd(sizes).backward_weights(x, dy, dw, dbias);
}

}  // extern "C"
