// What direct.h and attention.h need: oneDNN, and how tensors lie in memory.

#include <dnnl.hpp>

#include <cstdint>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

namespace ddim {

using namespace dnnl;

constexpr auto f32 = memory::data_type::f32;

inline engine& cpu() {
    static engine the(engine::kind::cpu, 0);
    return the;
}

inline stream& queue() {
    static stream the(cpu());
    return the;
}

// Tensors (B, C, H, W) lie in memory in blocks of channels, (B, C / block, H, W, block): with
// block = C the channels are last. Block 0 is the plain order of images.
inline memory::desc layout(const memory::dims& shape, int64_t block, memory::data_type type) {
    using tag = memory::format_tag;
    if (block == 0) return {shape, type, tag::nchw};
    if (block == shape[1]) return {shape, type, tag::nhwc};
    return {shape, type, block == 8 ? tag::nChw8c : tag::nChw16c};
}

// The buffers of the ports that one operation has. Operations run one after the other, so all
// share them: each has the size of the largest tensor that ever went through its port.
constexpr int PORTS = 4;

inline void* buffer(int port, size_t bytes) {
    static size_t sizes[PORTS];
    static memory all[PORTS];
    if (bytes > sizes[port]) {
        all[port] = memory();
        sizes[port] = 0;
        const memory::dims size{static_cast<memory::dim>(bytes)};
        all[port] = memory({size, memory::data_type::u8, memory::format_tag::a}, cpu());
        sizes[port] = bytes;
    }
    return all[port].get_data_handle();
}

// A tensor of ours, and what a primitive wants in its place: the same memory where the layouts
// agree, otherwise a buffer that is filled before the primitive runs or emptied after it.
class Port {
  public:
    Port() = default;

    // number: among those of the same operation, below PORTS
    Port(int number, const memory::desc& ours, const memory::desc& theirs)
        : number_(number), ours_(ours, cpu(), nullptr), theirs_(ours_), differs_(ours != theirs) {
        if (!differs_) return;
        theirs_ = memory(theirs, cpu(), nullptr);
        bring_ = reorder(ours_, theirs_);
        deliver_ = reorder(theirs_, ours_);
    }

    const memory& source(const float* data) {
        const memory& theirs = target(const_cast<float*>(data));
        if (differs_) bring_.execute(queue(), ours_, theirs_);
        return theirs;
    }

    const memory& target(float* data) {
        ours_.set_data_handle(data);
        theirs_.set_data_handle(differs_ ? buffer(number_, theirs_.get_desc().get_size()) : data);
        return theirs_;
    }

    void deliver() {
        if (differs_) deliver_.execute(queue(), theirs_, ours_);
    }

  private:
    int number_ = 0;
    memory ours_, theirs_;
    reorder bring_, deliver_;
    bool differs_ = false;
};

}  // namespace ddim
