// winograd.h for PyTorch: images and filters have their channels last.

#include "panels.h"
#include "winograd.h"

#include <map>
#include <string>

namespace {

#ifdef __AVX512F__
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif

// sizes: batch, height, width, in, out
ddim::Winograd<LANES> problem(const int64_t* sizes) {
    std::map<std::string, int64_t> numbers{
        {"batch", sizes[0]}, {"height", sizes[1]}, {"width", sizes[2]},
        {"in", sizes[3]}, {"in_block", sizes[3]}, {"out", sizes[4]}, {"out_block", sizes[4]},
        {"channels_last", 1}};
    return ddim::Winograd<LANES>(numbers);
}

}  // namespace

extern "C" {

void ddim_pack(const int64_t* sizes, const float* w, float* packed, int64_t capacity) {
    problem(sizes).pack(w, packed, capacity);
}

void ddim_forward(const int64_t* sizes, const float* x, const float* w, int64_t is_packed,
                  const float* bias, float* y) {
    problem(sizes).forward(x, w, is_packed != 0, bias, y);
}

void ddim_backward_input(const int64_t* sizes, const float* dy, const float* w, float* dx) {
    problem(sizes).backward_input(dy, w, dx);
}

void ddim_backward_weights(const int64_t* sizes, const float* x, const float* dy, float* dw,
                           float* dbias) {
    problem(sizes).backward_weights(x, dy, dw, dbias);
}
}
