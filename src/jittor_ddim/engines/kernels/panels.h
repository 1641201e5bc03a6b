// Products of matrices in panels of 16 columns: (columns / 16, rows, 16). What the inner loop reads
// and writes then lies in one piece. (No guards and no #include of each other: Jittor's code.py
// joins the texts.)

#include <algorithm>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>

#include <stdlib.h>

namespace ddim {

constexpr int PANEL = 16;

template <int LANES> struct Register;
template <> struct Register<8> {  // of AVX2
    using Vector = float __attribute__((vector_size(32)));
    using Unaligned = float __attribute__((vector_size(32), aligned(4), may_alias));
    static constexpr int ROWS = 6;  // of a product: 12 sums, 2 of b, 1 of a, of 16 registers
};
template <> struct Register<16> {  // of AVX-512
    using Vector = float __attribute__((vector_size(64)));
    using Unaligned = float __attribute__((vector_size(64), aligned(4), may_alias));
    static constexpr int ROWS = 16;  // 16 sums, of 32 registers: more than two multipliers need
};

template <int LANES>
inline typename Register<LANES>::Vector load(const float* p) {
    return *reinterpret_cast<const typename Register<LANES>::Unaligned*>(p);
}

template <int LANES>
inline void store(float* p, typename Register<LANES>::Vector v) {
    *reinterpret_cast<typename Register<LANES>::Unaligned*>(p) = v;
}

// So many matrices of one shape, in panels. They lie a little apart: at a distance of a power of
// two they would share the same few lines of the cache.
struct Matrices {
    int64_t rows, columns;
    float* data;

    int64_t panels() const { return columns / PANEL; }
    int64_t size() const { return rows * columns + PANEL; }

    float* at(int matrix, int64_t panel, int64_t row = 0) const {
        return data + matrix * size() + (panel * rows + row) * PANEL;
    }
};

// Where a left factor's numbers lie: a(r, i * run + j) at r * row_step + i * jump + j * step.
struct LeftFactor {
    int64_t row_step, runs, run, step, jump;

    // The rows of a matrix in panels.
    static LeftFactor rows_of(const Matrices& m) {
        return {PANEL, m.panels(), PANEL, 1, m.rows * PANEL};
    }

    // The columns of one panel, each with so many rows.
    static LeftFactor columns_of_panel(int64_t rows) { return {1, 1, rows, PANEL, 0}; }
};

// c (R, 16) = a (R, inner) b (inner, 16), or += of them.
template <int LANES, int R>
void multiply_rows(const float* a, const LeftFactor& left, const float* b, float* c, bool add) {
    constexpr int PARTS = PANEL / LANES;
    typename Register<LANES>::Vector sums[R][PARTS]{};
    for (int64_t i = 0; i < left.runs; i++, a += left.jump) {
        const float* p = a;
        for (int64_t j = 0; j < left.run; j++, p += left.step, b += PANEL) {
            typename Register<LANES>::Vector right[PARTS];
            for (int part = 0; part < PARTS; part++) right[part] = load<LANES>(b + part * LANES);
            for (int r = 0; r < R; r++)
                for (int part = 0; part < PARTS; part++)
                    sums[r][part] += p[r * left.row_step] * right[part];
        }
    }
    for (int r = 0; r < R; r++)
        for (int part = 0; part < PARTS; part++) {
            float* result = c + r * PANEL + part * LANES;
            store<LANES>(result, add ? load<LANES>(result) + sums[r][part] : sums[r][part]);
        }
}

// The same for as many rows as there are, up to R.
template <int LANES, int R>
struct AtMost {
    static void multiply(int64_t rows, const float* a, const LeftFactor& left, const float* b,
                         float* c, bool add) {
        if (rows >= R) return multiply_rows<LANES, R>(a, left, b, c, add);
        AtMost<LANES, R - 1>::multiply(rows, a, left, b, c, add);
    }
};
template <int LANES>
struct AtMost<LANES, 0> {
    static void multiply(int64_t, const float*, const LeftFactor&, const float*, float*, bool) {}
};

// The same for any number of rows.
template <int LANES>
void multiply(int64_t rows, const float* a, const LeftFactor& left, const float* b, float* c,
              bool add) {
    constexpr int ROWS = Register<LANES>::ROWS;
    for (int64_t r = 0; r < rows; r += ROWS)
        AtMost<LANES, ROWS>::multiply(rows - r, a + r * left.row_step, left, b, c + r * PANEL, add);
}

// What a team of threads throws: an exception that left a parallel region would end the process.
class Failure {
  public:
    template <class Act>
    void keep(Act act) {
        try {
            act();
        } catch (...) {
#pragma omp critical(ddim_failure)
            first_ = std::current_exception();
        }
    }

    void rethrow() const {
        if (first_) std::rethrow_exception(first_);
    }

  private:
    std::exception_ptr first_;
};

// Memory for matrices that begins at a line of the cache. It grows and is kept; what is asked for
// next takes the place of what was asked for before.
class Scratch {
  public:
    Matrices matrices(int count, int64_t rows, int64_t columns) {
        Matrices all{rows, columns, nullptr};
        all.data = get(count * all.size());
        return all;
    }

  private:
    float* get(size_t count) {
        if (count > capacity_) {
            capacity_ = 0;  // of what is given back, should there be no more to have
            const size_t bytes = (count * sizeof(float) + 63) / 64 * 64;
            data_.reset(static_cast<float*>(aligned_alloc(64, bytes)));
            if (!data_) throw std::bad_alloc();
            capacity_ = count;
        }
        return data_.get();
    }

    struct Free { void operator()(float* p) const { free(p); } };
    std::unique_ptr<float, Free> data_;
    size_t capacity_ = 0;
};

}  // namespace ddim
