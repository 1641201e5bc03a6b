// What every kernel for NVIDIA GPUs here needs. Their C++ is CUDA's as far as a kernel goes; a
// launch is a call of the runtime, not <<<>>>, so that tests compile the same files for a CPU.

#include "executor.h"  // Jittor's

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace ddim {

[[noreturn]] inline void fail(const std::string& library, const char* text, bool is_memory) {
    throw std::runtime_error(library + ": " + (is_memory ? "out of memory: " : "") + text);
}

inline void check(cudaError_t status) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // which would otherwise be what the next caller is told
    fail("CUDA", cudaGetErrorString(status), status == cudaErrorMemoryAllocation);
}

// Every bit is set: NaN, or -1. Its status is ignored: after a failed launch it repeats that error.
template <class T>
void spoil(T* results, int64_t count) {
    cudaMemsetAsync(results, 0xFF, count * sizeof(T), nullptr);
}

// Run a kernel, which takes one argument, in Jittor's stream.
template <class Arguments>
void launch(void (*kernel)(Arguments), dim3 blocks, int threads, Arguments arguments) {
    if (!blocks.x || !blocks.y) return;
    void* all[] = {&arguments};
    check(cudaLaunchKernel(kernel, blocks, dim3(threads), all, 0, nullptr));
}

// Of kernels that walk through any number of elements.
constexpr int THREADS = 256;

inline unsigned blocks_for(int64_t count) {
    return static_cast<unsigned>(std::min<int64_t>((count + THREADS - 1) / THREADS, 1 << 16));
}

// Memory for the time of one call. What runs next in the stream may have it again at once.
class Scratch {
  public:
    explicit Scratch(size_t bytes) : bytes_(bytes) {
        if (!bytes) return;
        try {
            try {
                reserve();
            } catch (const std::exception&) {
                jittor::gc_all();  // Jittor keeps freed memory, of which this allocator knows nothing
                reserve();
            }
        } catch (const std::exception& error) {
            throw std::runtime_error("out of memory: " + std::to_string(bytes >> 20) +
                                     " MB for the time of a call: " + error.what());
        }
    }
    ~Scratch() {
        if (memory_) jittor::exe.temp_allocator->free(memory_, bytes_, allocation_);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    // What a part needs of it: parts begin where cuDNN's vectors may.
    static size_t part(size_t bytes) { return (bytes + 255) / 256 * 256; }

    // The next part.
    void* take(size_t bytes) {
        char* start = memory_ + taken_;
        taken_ += part(bytes);
        return start;
    }
    size_t size() const { return bytes_; }

  private:
    void reserve() {
        memory_ = static_cast<char*>(jittor::exe.temp_allocator->alloc(bytes_, allocation_));
    }

    size_t bytes_, taken_ = 0, allocation_ = 0;
    char* memory_ = nullptr;
};

}  // namespace ddim
