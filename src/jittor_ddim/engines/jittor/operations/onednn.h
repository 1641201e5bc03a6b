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

// A tensor of ours, and what a primitive wants in its place: the same memory where the layouts
// agree, otherwise a buffer that is filled before the primitive runs or emptied after it.
class Port {
  public:
    Port() = default;

    Port(const memory::desc& ours, const memory::desc& theirs)
        : ours_(ours, cpu(), nullptr), theirs_(ours_), differs_(ours != theirs) {
        if (!differs_) return;
        theirs_ = memory(theirs, cpu());
        bring_ = reorder(ours_, theirs_);
        deliver_ = reorder(theirs_, ours_);
    }

    const memory& source(const float* data) {
        ours_.set_data_handle(const_cast<float*>(data));
        if (differs_) bring_.execute(queue(), ours_, theirs_);
        return theirs_;
    }

    const memory& target(float* data) {
        ours_.set_data_handle(data);
        return theirs_;
    }

    void deliver() {
        if (differs_) deliver_.execute(queue(), theirs_, ours_);
    }

  private:
    memory ours_, theirs_;
    reorder bring_, deliver_;
    bool differs_ = false;
};

}  // namespace ddim
