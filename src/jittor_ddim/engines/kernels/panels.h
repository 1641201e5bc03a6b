// Products of matrices in panels: (columns / 16, rows, 16). What a kernel of ours reads and writes
// in its inner loop then lies in one piece.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>

#include <stdlib.h>

namespace ddim {

constexpr int PANEL = 16;

template <int LANES> struct Register;
template <> struct Register<8> {  // of AVX2
    using Vector = float __attribute__((vector_size(32)));
    using Unaligned = float __attribute__((vector_size(32), aligned(4)));
    static constexpr int ROWS = 6;  // of a product, whose sums then fill the 16 registers
};
template <> struct Register<16> {  // of AVX-512
    using Vector = float __attribute__((vector_size(64)));
    using Unaligned = float __attribute__((vector_size(64), aligned(4)));
    static constexpr int ROWS = 16;
};

template <int LANES>
inline typename Register<LANES>::Vector load(const float* p) {
    return *reinterpret_cast<const typename Register<LANES>::Unaligned*>(p);
}

template <int LANES>
inline void store(float* p, typename Register<LANES>::Vector v) {
    *reinterpret_cast<typename Register<LANES>::Unaligned*>(p) = v;
}

// How to walk through a left factor (rows, inner): rows lie row_step apart; along one of them
// are runs of numbers that lie step apart, and the runs lie jump apart.
struct Walk { int64_t row_step, runs, run, step, jump; };

// c (R, 16) = a (R, inner) b (inner, 16), or += of them.
template <int LANES, int R>
void multiply_rows(const float* a, const Walk& walk, const float* b, float* c, bool add) {
    constexpr int PARTS = PANEL / LANES;
    typename Register<LANES>::Vector sums[R][PARTS]{};
    for (int64_t i = 0; i < walk.runs; i++, a += walk.jump) {
        const float* p = a;
        for (int64_t j = 0; j < walk.run; j++, p += walk.step, b += PANEL) {
            typename Register<LANES>::Vector right[PARTS];
            for (int part = 0; part < PARTS; part++) right[part] = load<LANES>(b + part * LANES);
            for (int r = 0; r < R; r++)
                for (int part = 0; part < PARTS; part++)
                    sums[r][part] += p[r * walk.row_step] * right[part];
        }
    }
    for (int r = 0; r < R; r++)
        for (int part = 0; part < PARTS; part++) {
            float* place = c + r * PANEL + part * LANES;
            store<LANES>(place, add ? load<LANES>(place) + sums[r][part] : sums[r][part]);
        }
}

// The same for as many rows as there are, up to R.
template <int LANES, int R>
struct Rows {
    static void multiply(int64_t rows, const float* a, const Walk& walk, const float* b, float* c,
                         bool add) {
        if (rows >= R) return multiply_rows<LANES, R>(a, walk, b, c, add);
        Rows<LANES, R - 1>::multiply(rows, a, walk, b, c, add);
    }
};
template <int LANES>
struct Rows<LANES, 0> {
    static void multiply(int64_t, const float*, const Walk&, const float*, float*, bool) {}
};

// The same for any number of rows.
template <int LANES>
void multiply(int64_t rows, const float* a, const Walk& walk, const float* b, float* c, bool add) {
    constexpr int ROWS = Register<LANES>::ROWS;
    for (int64_t r = 0; r < rows; r += ROWS)
        Rows<LANES, ROWS>::multiply(rows - r, a + r * walk.row_step, walk, b, c + r * PANEL, add);
}

// So many matrices of one shape, in panels. They lie a little apart: at a distance of a power of
// two they would share the same few lines of the cache.
struct Matrices {
    int64_t rows, columns;
    float* data;

    int64_t size() const { return rows * columns + PANEL; }

    float* at(int matrix, int64_t panel, int64_t row = 0) const {
        return data + matrix * size() + (panel * rows + row) * PANEL;
    }
};

// Memory that is kept, and begins at a line of the cache.
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
            const size_t bytes = (count * sizeof(float) + 63) / 64 * 64;
            data_.reset(static_cast<float*>(aligned_alloc(64, bytes)));
            if (!data_) throw std::bad_alloc();
            capacity_ = count;
        }
        return data_.get();
    }

    struct Free { void operator()(float* p) const { std::free(p); } };
    std::unique_ptr<float, Free> data_;
    size_t capacity_ = 0;
};

}  // namespace ddim
