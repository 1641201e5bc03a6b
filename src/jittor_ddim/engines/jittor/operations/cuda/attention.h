// Single-head attention through cuBLAS's batched products, and its gradient, on (B, C, P) or
// (B, P, C): no layout is copied. Functions are those of cpu/attention.h.

#include <cublas_v2.h>

#include <cmath>

namespace jittor {
extern cublasHandle_t cublas_handle;  // of Jittor's own module
}

namespace ddim {

inline void check(cublasStatus_t status) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    fail("cuBLAS", cublasGetStatusString(status), status == CUBLAS_STATUS_ALLOC_FAILED);
}

// A matrix of each image, one of whose strides is 1.
struct Matrix {
    int64_t rows, columns, row_stride, column_stride;

    Matrix transposed() const { return {columns, rows, column_stride, row_stride}; }
    // cuBLAS's matrices have their columns one after another; others are transposed ones.
    bool by_columns() const { return row_stride == 1; }
    cublasOperation_t operation() const { return by_columns() ? CUBLAS_OP_N : CUBLAS_OP_T; }
    int leading() const {  // of a single column, or row, the stride is arbitrary
        return static_cast<int>(by_columns() ? std::max(column_stride, rows)
                                             : std::max(row_stride, columns));
    }
    int64_t count() const { return rows * columns; }
};

struct Softmax {
    float *rows, *slopes;  // (count, columns); the gradient's alone: dp, which becomes ds
    int64_t columns;
};

constexpr int OF_A_ROW = 128;  // threads

static __global__ void softmax_row(Softmax s) {
    __shared__ double shared[OF_A_ROW];
    const int thread = threadIdx.x;
    float* row = s.rows + blockIdx.x * s.columns;
    float largest = -INFINITY;
    for (int64_t j = thread; j < s.columns; j += OF_A_ROW) largest = Largest::of(largest, row[j]);
    largest = combine<Largest, double>(shared, 0, thread, OF_A_ROW, true, largest);
    double sum = 0;
    for (int64_t j = thread; j < s.columns; j += OF_A_ROW) sum += row[j] = expf(row[j] - largest);
    const float share = 1 / combine<Sum>(shared, 0, thread, OF_A_ROW, true, sum);
    for (int64_t j = thread; j < s.columns; j += OF_A_ROW) row[j] *= share;
}

// dp becomes p (dp - sum(p dp)).
static __global__ void softmax_gradient_row(Softmax s) {
    __shared__ double shared[OF_A_ROW];
    const int thread = threadIdx.x;
    const float* p = s.rows + blockIdx.x * s.columns;
    float* dp = s.slopes + blockIdx.x * s.columns;
    double sum = 0;
    for (int64_t j = thread; j < s.columns; j += OF_A_ROW) sum += p[j] * dp[j];
    const float all = combine<Sum>(shared, 0, thread, OF_A_ROW, true, sum);
    for (int64_t j = thread; j < s.columns; j += OF_A_ROW) dp[j] = p[j] * (dp[j] - all);
}

class Attention {
  public:
    Attention(int64_t batch, int64_t pixels, int64_t channels, bool last,
              cublasComputeType_t multiply)
        : batch_(batch), pixels_(pixels), scale_(1 / std::sqrt(static_cast<float>(channels))),
          rows_{pixels, channels, last ? channels : 1, last ? 1 : pixels},
          square_{pixels, pixels, pixels, 1}, multiply_(multiply) {}

    // softmax(q k^T / sqrt(C)) v; the softmax (B, P, P) is kept for the gradient.
    void forward(const float* q, const float* k, const float* v, float* probabilities, float* y) {
        product(rows_, q, rows_.transposed(), k, square_, probabilities, scale_);
        launch(softmax_row, rows(), OF_A_ROW, Softmax{probabilities, nullptr, pixels_});
        product(square_, probabilities, rows_, v, rows_, y);
    }

    void backward(const float* q, const float* k, const float* v, const float* probabilities,
                  const float* dy, float* dq, float* dk, float* dv) {
        Scratch scratch(batch_ * square_.count() * sizeof(float));
        float* ds = static_cast<float*>(scratch.take(scratch.size()));
        product(rows_, dy, rows_.transposed(), v, square_, ds);
        product(square_.transposed(), probabilities, rows_, dy, rows_, dv);
        launch(softmax_gradient_row, rows(), OF_A_ROW,
               Softmax{const_cast<float*>(probabilities), ds, pixels_});
        product(square_, ds, rows_, k, rows_, dq, scale_);
        product(square_.transposed(), ds, rows_, q, rows_, dk, scale_);
    }

  private:
    dim3 rows() const { return dim3(static_cast<unsigned>(batch_ * pixels_)); }

    // c = scale a b, for every image.
    void product(const Matrix& a, const float* a_data, const Matrix& b, const float* b_data,
                 const Matrix& c, float* c_data, float scale = 1) const {
        if (!c.by_columns())  // c^T = b^T a^T
            return product(b.transposed(), b_data, a.transposed(), a_data, c.transposed(), c_data,
                           scale);
        const float zero = 0;
        check(cublasGemmStridedBatchedEx(
            jittor::cublas_handle, a.operation(), b.operation(), static_cast<int>(c.rows),
            static_cast<int>(c.columns), static_cast<int>(a.columns), &scale, a_data, CUDA_R_32F,
            a.leading(), a.count(), b_data, CUDA_R_32F, b.leading(), b.count(), &zero, c_data,
            CUDA_R_32F, c.leading(), c.count(), static_cast<int>(batch_), multiply_,
            CUBLAS_GEMM_DEFAULT));
    }

    int64_t batch_, pixels_;
    float scale_;
    Matrix rows_, square_;
    cublasComputeType_t multiply_;
};

template <class Numbers>
Attention attention(Numbers& numbers) {
    const int64_t channels = numbers["channels"], block = numbers["block"];
    const auto multiply = numbers["bfloat16"] != 0 ? CUBLAS_COMPUTE_32F_FAST_16BF
                          : numbers["tf32"] != 0   ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                   : CUBLAS_COMPUTE_32F_PEDANTIC;
    const int64_t pixels = int64_t(numbers["height"]) * int64_t(numbers["width"]);
    return {int64_t(numbers["batch"]), pixels, channels, block == channels, multiply};
}

}  // namespace ddim
