// 2-D convolutions through oneDNN, and their gradients. A primitive is made once for each problem
// and kept.

namespace ddim {

struct Problem {
    memory::dims x, w, y, strides, before, after;
    int64_t x_block, y_block;
    memory::data_type type;  // of what is multiplied; sums and results are float32
    std::vector<int64_t> key;

    template <class Numbers>
    explicit Problem(Numbers& numbers) {
        auto get = [&](const char* name) {
            key.push_back(static_cast<int64_t>(numbers[name]));
            return key.back();
        };
        const int64_t B = get("batch"), I = get("in"), O = get("out"), K = get("kernel");
        const int64_t H = get("height"), W = get("width"), stride = get("stride");
        const int64_t top = get("top"), left = get("left");
        const int64_t bottom = get("bottom"), right = get("right");
        x_block = get("in_block");
        y_block = get("out_block");
        type = get("bfloat16") ? memory::data_type::bf16 : f32;
        x = {B, I, H, W};
        w = {O, I, K, K};
        y = {B, O, (H + top + bottom - K) / stride + 1, (W + left + right - K) / stride + 1};
        strides = {stride, stride};
        before = {top, left};
        after = {bottom, right};
    }

    memory::desc our_x() const { return layout(x, x_block, f32); }
    memory::desc our_w() const { return {w, f32, memory::format_tag::oihw}; }
    memory::desc our_y() const { return layout(y, y_block, f32); }
    memory::desc bias() const { return {{w[0]}, f32, memory::format_tag::x}; }

    // What to ask oneDNN for: our layout between layers, its own choice at the network's edges.
    memory::desc wanted(const memory::dims& shape, int64_t block, memory::data_type t,
                        bool fixed) const {
        if (fixed && block) return layout(shape, block, t);
        return {shape, t, memory::format_tag::any};
    }
    memory::desc any_w(memory::data_type t) const { return {w, t, memory::format_tag::any}; }
};

// oneDNN has fast kernels for the layout between layers in all usual problems. Where it only has
// its reference code (hundreds of times slower), it chooses the layout and tensors are reordered.
template <class Make>
auto fastest(Make make) -> decltype(make(true)) {
    try {
        auto description = make(true);
        if (std::strncmp(description.impl_info_str(), "ref", 3) != 0) return description;
    } catch (const dnnl::error&) {
    }
    return make(false);
}

inline convolution_forward::primitive_desc describe_forward(const Problem& p) {
    return fastest([&](bool fixed) {
        return convolution_forward::primitive_desc(
            {prop_kind::forward_training, algorithm::convolution_direct,
             p.wanted(p.x, p.x_block, p.type, fixed), p.any_w(p.type), p.bias(),
             p.wanted(p.y, p.y_block, f32, fixed), p.strides, p.before, p.after},
            cpu());
    });
}

class Forward {
  public:
    explicit Forward(const Problem& p) {
        const auto description = describe_forward(p);
        primitive_ = convolution_forward(description);
        x_ = Port(0, p.our_x(), description.src_desc());
        w_ = Port(1, p.our_w(), description.weights_desc());
        packed_ = memory(description.weights_desc(), cpu(), nullptr);
        bias_ = Port(2, p.bias(), description.bias_desc());
        y_ = Port(3, p.our_y(), description.dst_desc());
    }

    // How many floats pack() writes: oneDNN pads channels as its kernels want them.
    int64_t packed_size() const { return (packed_.get_desc().get_size() + 3) / 4; }

    // Write the weights as run() wants them.
    void pack(const float* w, float* packed) {
        std::memcpy(packed, w_.source(w).get_data_handle(), packed_.get_desc().get_size());
    }

    void run(const float* x, const float* w, bool is_packed, const float* bias, float* y) {
        if (is_packed) packed_.set_data_handle(const_cast<float*>(w));
        primitive_.execute(queue(), {{DNNL_ARG_SRC, x_.source(x)},
                                     {DNNL_ARG_WEIGHTS, is_packed ? packed_ : w_.source(w)},
                                     {DNNL_ARG_BIAS, bias_.source(bias)},
                                     {DNNL_ARG_DST, y_.target(y)}});
        y_.deliver();
    }

  private:
    convolution_forward primitive_;
    Port x_, w_, bias_, y_;
    memory packed_;
};

class BackwardInput {
  public:
    explicit BackwardInput(const Problem& p) {
        const auto hint = describe_forward(p);
        const auto description = fastest([&](bool fixed) {
            return convolution_backward_data::primitive_desc(
                {algorithm::convolution_direct, p.wanted(p.x, p.x_block, f32, fixed),
                 p.any_w(p.type), p.wanted(p.y, p.y_block, p.type, fixed), p.strides, p.before,
                 p.after},
                cpu(), hint);
        });
        primitive_ = convolution_backward_data(description);
        dx_ = Port(0, p.our_x(), description.diff_src_desc());
        w_ = Port(1, p.our_w(), description.weights_desc());
        dy_ = Port(2, p.our_y(), description.diff_dst_desc());
    }

    void run(const float* dy, const float* w, float* dx) {
        primitive_.execute(queue(), {{DNNL_ARG_DIFF_DST, dy_.source(dy)},
                                     {DNNL_ARG_WEIGHTS, w_.source(w)},
                                     {DNNL_ARG_DIFF_SRC, dx_.target(dx)}});
        dx_.deliver();
    }

  private:
    convolution_backward_data primitive_;
    Port dx_, w_, dy_;
};

class BackwardWeights {
  public:
    explicit BackwardWeights(const Problem& p) {
        const auto hint = describe_forward(p);
        const auto description = fastest([&](bool fixed) {
            return convolution_backward_weights::primitive_desc(
                {algorithm::convolution_direct, p.wanted(p.x, p.x_block, p.type, fixed),
                 p.any_w(f32), p.bias(), p.wanted(p.y, p.y_block, p.type, fixed), p.strides,
                 p.before, p.after},
                cpu(), hint);
        });
        primitive_ = convolution_backward_weights(description);
        x_ = Port(0, p.our_x(), description.src_desc());
        dy_ = Port(1, p.our_y(), description.diff_dst_desc());
        dw_ = Port(2, p.our_w(), description.diff_weights_desc());
        dbias_ = Port(3, p.bias(), description.diff_bias_desc());
    }

    void run(const float* x, const float* dy, float* dw, float* dbias) {
        primitive_.execute(queue(), {{DNNL_ARG_SRC, x_.source(x)},
                                     {DNNL_ARG_DIFF_DST, dy_.source(dy)},
                                     {DNNL_ARG_DIFF_WEIGHTS, dw_.target(dw)},
                                     {DNNL_ARG_DIFF_BIAS, dbias_.target(dbias)}});
        dw_.deliver();
        dbias_.deliver();
    }

  private:
    convolution_backward_weights primitive_;
    Port x_, dy_, dw_, dbias_;
};

template <class Primitive>
Primitive& kept(const Problem& problem) {
    static std::map<std::vector<int64_t>, Primitive> all;
    auto found = all.find(problem.key);
    if (found == all.end()) found = all.emplace(problem.key, Primitive(problem)).first;
    return found->second;
}

// The functions that convolution.py calls; Winograd in winograd.h has the same.
class Direct {
  public:
    template <class Numbers>
    explicit Direct(Numbers& numbers) : problem_(numbers) {}

    void packed_size(int* floats) { *floats = kept<Forward>(problem_).packed_size(); }

    void pack(const float* w, float* packed) { kept<Forward>(problem_).pack(w, packed); }

    void forward(const float* x, const float* w, bool is_packed, const float* bias, float* y) {
        kept<Forward>(problem_).run(x, w, is_packed, bias, y);
    }

    void backward_input(const float* dy, const float* w, float* dx) {
        kept<BackwardInput>(problem_).run(dy, w, dx);
    }

    void backward_weights(const float* x, const float* dy, float* dw, float* dbias) {
        kept<BackwardWeights>(problem_).run(x, dy, dw, dbias);
    }

  private:
    Problem problem_;
};

}  // namespace ddim
