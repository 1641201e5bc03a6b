// Single-head attention through oneDNN's batched products, and its gradient, on tensors with
// channels in blocks. For the products they become rows, one for each pixel.

#include <algorithm>
#include <cmath>

namespace ddim {

// Batched products of matrices anywhere in memory.
class Product {
  public:
    struct Matrix {
        int64_t rows, columns;
        int64_t row_stride, column_stride, batch_stride;
        Matrix transposed() const {
            return {columns, rows, column_stride, row_stride, batch_stride};
        }
        memory::desc describe(int64_t batch) const {
            return {{batch, rows, columns}, f32, memory::dims{batch_stride, row_stride, column_stride}};
        }
    };

    Product(int64_t batch, const Matrix& a, const Matrix& b, const Matrix& c, float scale = 1) {
        primitive_attr attributes;
        attributes.set_output_scales(0, {scale});
        const auto da = a.describe(batch), db = b.describe(batch), dc = c.describe(batch);
        primitive_ = matmul(matmul::primitive_desc({da, db, dc}, attributes, cpu()));
        a_ = memory(da, cpu(), nullptr);
        b_ = memory(db, cpu(), nullptr);
        c_ = memory(dc, cpu(), nullptr);
    }

    void run(const float* a, const float* b, float* c) {
        a_.set_data_handle(const_cast<float*>(a));
        b_.set_data_handle(const_cast<float*>(b));
        c_.set_data_handle(c);
        primitive_.execute(queue(),
                           {{DNNL_ARG_SRC, a_}, {DNNL_ARG_WEIGHTS, b_}, {DNNL_ARG_DST, c_}});
    }

  private:
    matmul primitive_;
    memory a_, b_, c_;
};

class Attention {
  public:
    Attention(int64_t batch, int64_t height, int64_t width, int64_t channels, int64_t block)
        : count_(batch * height * width), pixels_(height * width), channels_(channels),
          scale_(1 / std::sqrt(static_cast<float>(channels))),
          scores_(batch, rows(), rows().transposed(), square(), scale_),
          mixed_(batch, square(), rows(), rows()),
          dv_(batch, square().transposed(), rows(), rows()),
          dp_(batch, rows(), rows().transposed(), square()),
          dq_(batch, square(), rows(), rows(), scale_),
          dk_(batch, square().transposed(), rows(), rows(), scale_) {
        const memory::dims shape{batch, channels, height, width};
        const auto ours = layout(shape, block, f32), theirs = layout(shape, channels, f32);
        int number = 0;
        for (Port* port : {&q_port_, &k_port_, &v_port_, &y_port_})
            *port = Port(number++, ours, theirs);
    }

    // softmax(q k^T / sqrt(C)) v; the softmax (B, P, P) is kept for the gradient.
    void forward(const float* q, const float* k, const float* v, float* probabilities, float* y) {
        scores_.run(at(q_port_.source(q)), at(k_port_.source(k)), probabilities);
#pragma omp parallel for
        for (int64_t i = 0; i < count_; i++) softmax(probabilities + i * pixels_);
        mixed_.run(probabilities, at(v_port_.source(v)), at(y_port_.target(y)));
        y_port_.deliver();
    }

    void backward(const float* q, const float* k, const float* v, const float* probabilities,
                  const float* dy, float* dq, float* dk, float* dv) {
        scratch_.resize(count_ * pixels_);
        float* ds = scratch_.data();
        const float* dy_rows = at(y_port_.source(dy));
        dp_.run(dy_rows, at(v_port_.source(v)), ds);
        dv_.run(probabilities, dy_rows, at(v_port_.target(dv)));
        v_port_.deliver();
#pragma omp parallel for
        for (int64_t i = 0; i < count_; i++)
            softmax_gradient(probabilities + i * pixels_, ds + i * pixels_);
        const float* q_rows = at(q_port_.source(q));
        const float* k_rows = at(k_port_.source(k));
        dq_.run(ds, k_rows, at(y_port_.target(dq)));
        y_port_.deliver();
        dk_.run(ds, q_rows, at(k_port_.target(dk)));
        k_port_.deliver();
    }

  private:
    static float* at(const memory& rows) { return static_cast<float*>(rows.get_data_handle()); }

    Product::Matrix rows() const {
        return {pixels_, channels_, channels_, 1, channels_ * pixels_};
    }
    Product::Matrix square() const { return {pixels_, pixels_, pixels_, 1, pixels_ * pixels_}; }

    void softmax(float* row) const {
        const float largest = *std::max_element(row, row + pixels_);
        float sum = 0;
        for (int64_t j = 0; j < pixels_; j++) sum += row[j] = std::exp(row[j] - largest);
        const float share = 1 / sum;
        for (int64_t j = 0; j < pixels_; j++) row[j] *= share;
    }

    // dp becomes p (dp - sum(p dp)).
    void softmax_gradient(const float* p, float* dp) const {
        float sum = 0;
        for (int64_t j = 0; j < pixels_; j++) sum += p[j] * dp[j];
        for (int64_t j = 0; j < pixels_; j++) dp[j] = p[j] * (dp[j] - sum);
    }

    int64_t count_, pixels_, channels_;
    float scale_;
    Product scores_, mixed_, dv_, dp_, dq_, dk_;
    Port q_port_, k_port_, v_port_, y_port_;
    std::vector<float> scratch_;
};

template <class Numbers>
Attention& attention(Numbers& numbers) {
    static std::map<std::vector<int64_t>, Attention> all;
    std::vector<int64_t> key;
    for (const char* name : {"batch", "height", "width", "channels", "block"})
        key.push_back(static_cast<int64_t>(numbers[name]));
    auto found = all.find(key);
    if (found == all.end())
        found = all.emplace(key, Attention(key[0], key[1], key[2], key[3], key[4])).first;
    return found->second;
}

}  // namespace ddim
