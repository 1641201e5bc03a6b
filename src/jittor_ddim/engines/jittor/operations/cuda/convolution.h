// 2-D convolutions through cuDNN, and their gradients, with the functions of cpu/direct.h. In
// float32 tensors are (B, C, H, W). TF32 and bfloat16 are for matrix units, which want channels
// last, and whole eights of them: elsewhere, and for bfloat16 always, tensors are brought there
// and back.

namespace ddim {

class Cudnn {
  public:
    template <class Numbers>
    explicit Cudnn(Numbers& numbers) : p_(numbers), views_(p_) {}

    void packed_size(int* floats) {
        const int count = (views_.theirs_w.count() * p_.bytes() + 3) / 4;
        check(cudaMemcpy(floats, &count, sizeof count, cudaMemcpyHostToDevice));
    }

    void pack(const float* w, float* packed) { fill(w, views_.our_w, packed, views_.theirs_w); }

    void forward(const float* x, const float* w, bool is_packed, const float* bias, float* y) {
        const Side x_side = x_of(), y_side = y_of();
        const Side w_side{views_.our_w, views_.theirs_w, 0, 0, p_.bf16, is_packed};
        Scratch scratch(x_side.bytes() + w_side.bytes() + y_side.bytes());
        const ForwardCalls calls{source(x_side, x, scratch), source(w_side, w, scratch),
                                 y_side.target(y, scratch)};
        plan<ForwardCalls>(calls).run(calls);
        deliver(y_side, calls.y, y, bias);
    }

    void backward_input(const float* dy, const float* w, float* dx) {
        const Side x_side = x_of(), w_side = w_of(), y_side = y_of();
        Scratch scratch(x_side.bytes() + w_side.bytes() + y_side.bytes());
        const BackwardInputCalls calls{source(y_side, dy, scratch), source(w_side, w, scratch),
                                       x_side.target(dx, scratch)};
        plan<BackwardInputCalls>(calls).run(calls);
        deliver(x_side, calls.dx, dx);
    }

    void backward_weights(const float* x, const float* dy, float* dw, float* dbias) {
        const Side x_side = x_of(), w_side = w_of(), y_side = y_of();
        const size_t of_sums = Scratch::part(p_.batch * p_.out * sizeof(double));
        Scratch scratch(x_side.bytes() + w_side.bytes() + y_side.bytes() + of_sums);
        const BackwardWeightsCalls calls{source(x_side, x, scratch), source(y_side, dy, scratch),
                                         w_side.target(dw, scratch)};
        plan<BackwardWeightsCalls>(calls).run(calls);
        deliver(w_side, calls.dw, dw);
        add_up(dy, views_.our_y, static_cast<double*>(scratch.take(of_sums)), dbias);
    }

  private:
    struct Problem {
        int64_t batch, in, out, kernel, height, width, stride, top, left, bottom, right;
        int64_t in_block, out_block;
        bool bf16, exact;  // else TF32
        std::vector<int64_t> key;

        template <class Numbers>
        explicit Problem(Numbers& numbers) {
            auto get = [&](const char* name) {
                key.push_back(static_cast<int64_t>(numbers[name]));
                return key.back();
            };
            batch = get("batch"), in = get("in"), out = get("out"), kernel = get("kernel");
            height = get("height"), width = get("width"), stride = get("stride");
            top = get("top"), left = get("left"), bottom = get("bottom"), right = get("right");
            in_block = get("in_block"), out_block = get("out_block");
            bf16 = get("bfloat16");
            exact = !get("tf32") && !bf16;
        }
        bool symmetric() const { return top == bottom && left == right; }
        int64_t size(int64_t length, int64_t padding) const {
            return (length + padding - kernel) / stride + 1;
        }
        int64_t theirs(int64_t channels) const {
            return exact ? channels : (channels + 7) / 8 * 8;
        }
        size_t bytes() const { return bf16 ? sizeof(bfloat16) : sizeof(float); }
    };

    // The tensors as they are, and as cuDNN gets them; cuDNN itself pads all sides alike.
    struct Views {
        View our_x, our_w, our_y, theirs_x, theirs_w, theirs_y;

        explicit Views(const Problem& p)
            : our_x(p.batch, p.in, p.height, p.width, p.in_block > 1),
              our_w(p.out, p.in, p.kernel, p.kernel, false),
              our_y(p.batch, p.out, p.size(p.height, p.top + p.bottom),
                    p.size(p.width, p.left + p.right), p.out_block > 1),
              theirs_x(p.batch, p.theirs(p.in), p.height + (p.symmetric() ? 0 : p.top + p.bottom),
                       p.width + (p.symmetric() ? 0 : p.left + p.right), !p.exact),
              theirs_w(p.theirs(p.out), p.theirs(p.in), p.kernel, p.kernel, !p.exact),
              theirs_y(p.batch, p.theirs(p.out), our_y.height, our_y.width, !p.exact) {}
    };

    // One of them; cuDNN works on ours where it is the same.
    struct Side {
        View ours, theirs;
        int down, right;  // where ours begins in theirs
        bool bf16, ready;

        bool same() const { return ready || (ours == theirs && !bf16); }
        size_t bytes() const {
            const size_t one = bf16 ? sizeof(bfloat16) : sizeof(float);
            return same() ? 0 : Scratch::part(theirs.count() * one);
        }
        void* target(float* data, Scratch& scratch) const {
            return same() ? data : scratch.take(bytes());
        }
    };

    Side x_of() const {
        const bool moved = !p_.symmetric();
        return {views_.our_x, views_.theirs_x, moved ? int(p_.top) : 0, moved ? int(p_.left) : 0,
                p_.bf16, false};
    }
    Side w_of() const { return {views_.our_w, views_.theirs_w, 0, 0, p_.bf16, false}; }
    Side y_of() const { return {views_.our_y, views_.theirs_y, 0, 0, p_.bf16, false}; }

    void fill(const float* data, const View& ours, void* to, const View& theirs, int down = 0,
              int right = 0) const {
        if (p_.bf16)
            bring(data, ours, static_cast<bfloat16*>(to), theirs, -down, -right);
        else
            bring(data, ours, static_cast<float*>(to), theirs, -down, -right);
    }

    const void* source(const Side& side, const float* data, Scratch& scratch) const {
        if (side.same()) return data;
        void* to = scratch.take(side.bytes());
        fill(data, side.ours, to, side.theirs, side.down, side.right);
        return to;
    }

    // Bring a result home, with a bias added to it where there is one.
    void deliver(const Side& side, const void* from, float* to, const float* bias = nullptr) const {
        if (side.same() && !bias) return;
        if (p_.bf16)
            bring(static_cast<const bfloat16*>(from), side.theirs, to, side.ours, side.down,
                  side.right, bias);
        else
            bring(static_cast<const float*>(from), side.theirs, to, side.ours, side.down,
                  side.right, bias);
    }

    template <class Calls>
    const Plan<Calls>& plan(const Calls& calls) const {
        static std::map<std::vector<int64_t>, Plan<Calls>> all;
        const auto found = all.find(p_.key);
        if (found != all.end()) return found->second;
        const int pad_rows = p_.symmetric() ? p_.top : 0;
        const int pad_columns = p_.symmetric() ? p_.left : 0;
        const Described described(views_.theirs_x, views_.theirs_w, views_.theirs_y, p_.bf16,
                                  p_.exact, p_.stride, pad_rows, pad_columns);
        return all.emplace(p_.key, Plan<Calls>(described, calls)).first->second;
    }

    Problem p_;
    Views views_;
};

}  // namespace ddim
