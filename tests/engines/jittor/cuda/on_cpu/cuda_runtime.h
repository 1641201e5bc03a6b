// CUDA on a CPU, as far as this package's kernels use it: g++ compiles them unchanged with this
// folder before CUDA's. A block's threads are contexts that run one after another, each to its next
// __syncthreads; forwards or backwards, as FORWARDS says, so that whatever a missing barrier would
// have brought too early comes too early in one of the two orders.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static

enum cudaError_t { cudaSuccess = 0, cudaErrorMemoryAllocation = 2, cudaErrorLaunchFailure = 719 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1 };
typedef void* cudaStream_t;

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace cuda_on_cpu {

struct Thread {
    ucontext_t start;
    jmp_buf place;
    bool begun = false, done = false;
    std::vector<char> stack = std::vector<char>(64 << 10);
};

struct Machine {
    std::vector<Thread> threads;
    unsigned count = 0, current = 0;
    ucontext_t unused;
    jmp_buf scheduler;
    void (*run)(void*) = nullptr;
    void* arguments = nullptr;
    uint64_t launches = 0;
    dim3 thread, block, block_size, grid;
};

inline Machine& machine() {
    static Machine the;
    return the;
}

inline void begin() {
    Machine& m = machine();
    m.run(m.arguments);
    m.threads[m.current].done = true;
    _longjmp(m.scheduler, 1);
}

// Let a thread run to its next barrier, or to its end.
inline void resume(unsigned number) {
    Machine& m = machine();
    Thread& t = m.threads[number];
    m.current = number;
    m.thread = dim3(number, 0, 0);
    if (_setjmp(m.scheduler)) return;
    if (t.begun) _longjmp(t.place, 1);
    t.begun = true;
    getcontext(&t.start);
    t.start.uc_stack.ss_sp = t.stack.data();
    t.start.uc_stack.ss_size = t.stack.size();
    t.start.uc_link = nullptr;
    makecontext(&t.start, begin, 0);
    setcontext(&t.start);
}

inline void run_block() {
    Machine& m = machine();
    for (unsigned i = 0; i < m.count; i++) m.threads[i].begun = m.threads[i].done = false;
    for (;;) {
        unsigned done = 0;
        for (unsigned i = 0; i < m.count; i++) {
            const unsigned number = FORWARDS ? i : m.count - 1 - i;
            resume(number);
            done += m.threads[number].done;
        }
        if (done == m.count) return;
        if (done) {  // a GPU would wait forever, or worse
            std::fprintf(stderr, "some threads of a block ended before a barrier of others\n");
            std::abort();
        }
    }
}

inline void barrier() {
    Machine& m = machine();
    if (!_setjmp(m.threads[m.current].place)) _longjmp(m.scheduler, 1);
}

}  // namespace cuda_on_cpu

#define threadIdx (::cuda_on_cpu::machine().thread)
#define blockIdx (::cuda_on_cpu::machine().block)
#define blockDim (::cuda_on_cpu::machine().block_size)
#define gridDim (::cuda_on_cpu::machine().grid)
#define __syncthreads() ::cuda_on_cpu::barrier()

template <class Arguments>
cudaError_t cudaLaunchKernel(void (*kernel)(Arguments), dim3 grid, dim3 block, void** arguments,
                             size_t shared, cudaStream_t) {
    static_assert(sizeof(Arguments) <= 4096, "what a kernel's argument may be");
    static void (*the)(Arguments);
    auto& m = cuda_on_cpu::machine();
    if (shared || block.x > 1024 || grid.y > 65535 || !grid.x || !grid.y)
        return cudaErrorLaunchFailure;
    if (std::getenv("CUDA_ON_CPU_FAILS")) return cudaErrorMemoryAllocation;
    the = kernel;
    m.run = [](void* one) { the(*static_cast<Arguments*>(one)); };
    m.arguments = arguments[0];
    m.grid = grid;
    m.block_size = block;
    m.count = block.x;
    if (m.threads.size() < m.count) m.threads.resize(m.count);
    for (unsigned y = 0; y < grid.y; y++)
        for (unsigned x = 0; x < grid.x; x++) {
            m.block = dim3(x, y, 0);
            cuda_on_cpu::run_block();
        }
    m.launches++;
    return cudaSuccess;
}

inline const char* cudaGetErrorString(cudaError_t status) {
    return status == cudaErrorMemoryAllocation ? "no memory" : "launch failure";
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
    std::memset(to, value, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}
