// winograd.h for PyTorch: images and filters have their channels last.

#ifdef __clang__
#error "GCC is needed: clang's threads are not those of PyTorch's OpenMP library"
#endif

#include <exception>
#include <string>

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

// What an action throws, in words, or null: an exception that reached Python's caller would end
// the process.
template <class Act>
const char* failure_of(Act act) {
    static thread_local std::string text;
    try {
        act();
        return nullptr;
    } catch (const std::exception& error) {
        text = error.what();
        return text.c_str();
    }
}

}  // namespace

// All return null, or why they failed.
extern "C" {

const char* ddim_packed_size(const int64_t* sizes, int* floats) {
    return failure_of([&] { winograd(sizes).packed_size(floats); });
}

const char* ddim_pack(const int64_t* sizes, const float* w, float* packed) {
    return failure_of([&] { winograd(sizes).pack(w, packed); });
}

const char* ddim_forward(const int64_t* sizes, const float* x, const float* w, int64_t is_packed,
                         const float* bias, float* y) {
    return failure_of([&] { winograd(sizes).forward(x, w, is_packed != 0, bias, y); });
}

const char* ddim_backward_input(const int64_t* sizes, const float* dy, const float* w, float* dx) {
    return failure_of([&] { winograd(sizes).backward_input(dy, w, dx); });
}

const char* ddim_backward_weights(const int64_t* sizes, const float* x, const float* dy, float* dw,
                                  float* dbias) {
    return failure_of([&] { winograd(sizes).backward_weights(x, dy, dw, dbias); });
}

}  // extern "C"
