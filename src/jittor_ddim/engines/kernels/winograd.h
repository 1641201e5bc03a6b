// 3x3 convolutions with 2.25 times fewer multiplications, and their gradients: Winograd's minimal
// filtering F(2x2, 3x3) (Lavin and Gray 2015, arXiv 1509.09308). A tile y of 2x2 results is
//     y = A^T [ sum over channels of (G w G^T) * (B^T d B) ] A
// for the 4x4 pixels d around it. The elementwise product *, for all tiles and filters, is 16
// products of matrices, one for each place in the 4x4: nine tenths of the work.

#include <stdexcept>
#include <vector>

#include <omp.h>

namespace ddim {

// The transforms along one axis, and the transposed ones, which the gradients need.
struct ToTile {  // B^T d
    template <class T> static void apply(const T (&d)[4], T (&r)[4]) {
        r[0] = d[0] - d[2], r[1] = d[1] + d[2], r[2] = d[2] - d[1], r[3] = d[1] - d[3];
    }
};
struct FromFilter {  // G w
    template <class T> static void apply(const T (&w)[3], T (&r)[4]) {
        const T ends = (w[0] + w[2]) * 0.5f, middle = w[1] * 0.5f;
        r[0] = w[0], r[1] = ends + middle, r[2] = ends - middle, r[3] = w[2];
    }
};
struct ToFilter {  // G^T u
    template <class T> static void apply(const T (&u)[4], T (&r)[3]) {
        const T sum = (u[1] + u[2]) * 0.5f;
        r[0] = u[0] + sum, r[1] = (u[1] - u[2]) * 0.5f, r[2] = sum + u[3];
    }
};
struct ToResult {  // A^T m
    template <class T> static void apply(const T (&m)[4], T (&r)[2]) {
        r[0] = m[0] + m[1] + m[2], r[1] = m[1] - m[2] - m[3];
    }
};
struct FromResult {  // A y
    template <class T> static void apply(const T (&y)[2], T (&r)[4]) {
        r[0] = y[0], r[1] = y[0] + y[1], r[2] = y[0] - y[1], r[3] = -y[1];
    }
};

template <class Transform, class T, int N, int M>
inline void transform(const T (&from)[N][N], T (&to)[M][M]) {
    T half[M][N];
    for (int j = 0; j < N; j++) {
        T column[N], result[M];
        for (int i = 0; i < N; i++) column[i] = from[i][j];
        Transform::apply(column, result);
        for (int i = 0; i < M; i++) half[i][j] = result[i];
    }
    for (int i = 0; i < M; i++) Transform::apply(half[i], to[i]);
}

// Images (B, C, H, W) in blocks of channels, (B, C / block, H, W, block), as tiles of 2x2 pixels.
// Those that reach beyond an odd height or width do as if zeros were there.
struct Images {
    float* data;
    int64_t batch, channels, height, width, block;

    int64_t across() const { return (width + 1) / 2; }
    int64_t of_image() const { return (height + 1) / 2 * across(); }
    int64_t tiles() const { return batch * of_image(); }

    // Call act(i, j, place) for the N x N pixels around a tile; place is null outside the image.
    template <int N, class Act>
    void visit(int64_t tile, int64_t channel, Act act) const {
        const int64_t image = tile / of_image(), number = tile % of_image();
        const int64_t top = number / across() * 2 - (N - 2) / 2;
        const int64_t left = number % across() * 2 - (N - 2) / 2;
        float* plane = data + (image * channels + channel / block * block) * height * width;
        float* corner = plane + channel % block + (top * width + left) * block;
        const bool inside = top >= 0 && left >= 0 && top + N <= height && left + N <= width;
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                const int64_t y = top + i, x = left + j;
                const bool here = inside || (0 <= y && y < height && 0 <= x && x < width);
                act(i, j, here ? corner + (i * width + j) * block : nullptr);
            }
    }
};

// Registers hold LANES channels beside each other. The filters are (out, in, 3, 3), or with
// channels last (out, 3, 3, in).
template <int LANES>
class Winograd {
  public:
    // Of batch, in, out, height, width, in_block, out_block, channels_last.
    template <class Numbers>
    explicit Winograd(Numbers& numbers) {
        auto get = [&](const char* name) { return static_cast<int64_t>(numbers[name]); };
        const int64_t B = get("batch"), H = get("height"), W = get("width");
        in_ = {nullptr, B, get("in"), H, W, get("in_block")};
        out_ = {nullptr, B, get("out"), H, W, get("out_block")};
        const bool last = get("channels_last");
        of_in_ = last ? 1 : 9, of_out_ = 9 * get("in"), of_place_ = last ? get("in") : 1;
    }

    // Write the filters as forward() wants them, if they fit.
    void pack(const float* w, float* packed, size_t capacity) const {
        const Matrices filters{in_.channels, out_.channels, packed};
        if (PLACES * static_cast<size_t>(filters.size()) > capacity)
            throw std::length_error("packed weights are larger than expected");
        bring_filters(w, false, filters);
    }

    void forward(const float* x, const float* w, bool is_packed, const float* bias, float* y) {
        Matrices filters{in_.channels, out_.channels, const_cast<float*>(w)};
        if (!is_packed) {
            filters = kept_filters().matrices(PLACES, in_.channels, out_.channels);
            bring_filters(w, false, filters);
        }
        convolve(at(in_, x), filters, bias, at(out_, y));
    }

    // A convolution too: of dy by the filters turned, from out to in.
    void backward_input(const float* dy, const float* w, float* dx) {
        const Matrices filters = kept_filters().matrices(PLACES, out_.channels, in_.channels);
        bring_filters(w, true, filters);
        convolve(at(out_, dy), filters, nullptr, at(in_, dx));
    }

    void backward_weights(const float* x, const float* dy, float* dw, float* dbias) {
        static std::vector<Scratch> kept(omp_get_max_threads());
        kept.resize(std::max<size_t>(kept.size(), omp_get_max_threads()));
        std::vector<Matrices> sums;
        std::vector<std::vector<float>> dbiases;
        for (Scratch& scratch : kept) {
            sums.push_back(scratch.matrices(PLACES, in_.channels, out_.channels));
            dbiases.emplace_back(out_.channels);
        }
        int threads = 1;
#pragma omp parallel
        {
            const int thread = omp_get_thread_num();
#pragma omp single
            threads = omp_get_num_threads();
            add_up(at(in_, x), at(out_, dy), sums[thread], dbiases[thread].data());
        }
        sums.resize(threads);
        deliver_filters(sums, dw);
        for (int64_t o = 0; o < out_.channels; o++) {
            dbias[o] = 0;
            for (int thread = 0; thread < threads; thread++) dbias[o] += dbiases[thread][o];
        }
    }

  private:
    using Vector = typename Register<LANES>::Vector;
    static constexpr int PLACES = 16;
    static constexpr int64_t TILES = 96;  // transformed at a time: few enough for the caches
    static constexpr int SUM = 5;  // the place where FromResult leaves the sum of a tile

    Images in_, out_;
    int64_t of_in_, of_out_, of_place_;  // how far apart the filters' numbers lie

    static Images at(Images images, const float* data) {
        images.data = const_cast<float*>(data);
        return images;
    }

    static Scratch& kept_filters() {
        static Scratch the;
        return the;
    }

    // Call act(panel, row, lane) for all of some matrices, LANES numbers at a time.
    template <class Act>
    static void walk(int64_t panels, int64_t rows, Act act) {
        for (int64_t panel = 0; panel < panels; panel++)
            for (int64_t row = 0; row < rows; row++)
                for (int lane = 0; lane < PANEL; lane += LANES) act(panel, row, lane);
    }

    static void put(const Vector (&tile)[4][4], const Matrices& into, int64_t panel, int64_t row,
                    int lane) {
        for (int place = 0; place < PLACES; place++)
            store<LANES>(into.at(place, panel, row) + lane, tile[place / 4][place % 4]);
    }

    static void get(const Matrices& from, int64_t panel, int64_t row, int lane,
                    Vector (&tile)[4][4]) {
        for (int place = 0; place < PLACES; place++)
            tile[place / 4][place % 4] = load<LANES>(from.at(place, panel, row) + lane);
    }

    // Transform tiles of N x N pixels, from first on, into matrices (tiles, channels).
    template <class Transform, int N>
    static void bring(const Images& images, int64_t first, int64_t count, const Matrices& into) {
        walk(into.columns / PANEL, count, [&](int64_t panel, int64_t t, int lane) {
            Vector pixels[N][N], tile[4][4];
            images.visit<N>(first + t, panel * PANEL + lane, [&](int i, int j, const float* p) {
                pixels[i][j] = p ? load<LANES>(p) : Vector{};
            });
            transform<Transform>(pixels, tile);
            put(tile, into, panel, t, lane);
        });
    }

    // Transform results (tiles, channels) into tiles of 2 x 2 pixels, and add a bias if given.
    static void deliver(const Matrices& from, int64_t first, int64_t count, const float* bias,
                        const Images& images) {
        walk(from.columns / PANEL, count, [&](int64_t panel, int64_t t, int lane) {
            Vector tile[4][4], pixels[2][2];
            get(from, panel, t, lane, tile);
            transform<ToResult>(tile, pixels);
            const int64_t channel = panel * PANEL + lane;
            const Vector shift = bias ? load<LANES>(bias + channel) : Vector{};
            images.visit<2>(first + t, channel, [&](int i, int j, float* p) {
                if (p) store<LANES>(p, pixels[i][j] + shift);
            });
        });
    }

    // The filters as matrices (in, out), or turned by 180 degrees (out, in).
    void bring_filters(const float* w, bool turned, const Matrices& into) const {
        const int64_t row_step = turned ? of_out_ : of_in_;
        const int64_t column_step = turned ? of_in_ : of_out_;
#pragma omp parallel for
        for (int64_t panel = 0; panel < into.columns / PANEL; panel++)
            walk(1, into.rows, [&](int64_t, int64_t row, int lane) {
                Vector filter[3][3], tile[4][4];
                const float* first = w + row * row_step + (panel * PANEL + lane) * column_step;
                for (int i = 0; i < 9; i++) {
                    const float* place = first + (turned ? 8 - i : i) * of_place_;
                    for (int l = 0; l < LANES; l++)
                        filter[i / 3][i % 3][l] = place[l * column_step];
                }
                transform<FromFilter>(filter, tile);
                put(tile, into, panel, row, lane);
            });
    }

    // The gradient of the filters from the threads' sums (in, out).
    void deliver_filters(const std::vector<Matrices>& sums, float* dw) const {
#pragma omp parallel for
        for (int64_t panel = 0; panel < out_.channels / PANEL; panel++)
            walk(1, in_.channels, [&](int64_t, int64_t row, int lane) {
                Vector total[4][4]{}, filter[3][3];
                for (const Matrices& sum : sums)
                    for (int place = 0; place < PLACES; place++)
                        total[place / 4][place % 4] +=
                            load<LANES>(sum.at(place, panel, row) + lane);
                transform<ToFilter>(total, filter);
                float* first = dw + (panel * PANEL + lane) * of_out_ + row * of_in_;
                for (int i = 0; i < 9; i++)
                    for (int l = 0; l < LANES; l++)
                        first[i * of_place_ + l * of_out_] = filter[i / 3][i % 3][l];
            });
    }

    // Call act(first, count) for this thread's share of the tiles. Which these are depends on the
    // number of threads alone: sums are the same in every run.
    template <class Act>
    static void share(int64_t tiles, Act act) {
        const int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
        const int64_t end = tiles * (thread + 1) / threads;
        for (int64_t t = tiles * thread / threads; t < end; t += TILES)
            act(t, std::min(TILES, end - t));
    }

    static void convolve(const Images& x, const Matrices& filters, const float* bias,
                         const Images& y) {
#pragma omp parallel
        {
            static thread_local Scratch of_x, of_y;
            const Matrices given = of_x.matrices(PLACES, TILES, x.channels);
            const Matrices found = of_y.matrices(PLACES, TILES, y.channels);
            const Walk channels{PANEL, x.channels / PANEL, PANEL, 1, TILES * PANEL};
            share(x.tiles(), [&](int64_t first, int64_t count) {
                bring<ToTile, 4>(x, first, count, given);
                for (int place = 0; place < PLACES; place++)
                    for (int64_t panel = 0; panel < y.channels / PANEL; panel++)
                        multiply<LANES>(count, given.at(place, 0), channels,
                                        filters.at(place, panel), found.at(place, panel), false);
                deliver(found, first, count, bias, y);
            });
        }
    }

    // This thread's part of the filters' gradients, transformed, and of the bias's.
    static void add_up(const Images& x, const Images& dy, const Matrices& sums, float* dbias) {
        static thread_local Scratch of_x, of_dy;
        const Matrices given = of_x.matrices(PLACES, TILES, x.channels);
        const Matrices slopes = of_dy.matrices(PLACES, TILES, dy.channels);
        std::fill(sums.data, sums.data + PLACES * sums.size(), 0.f);
        share(x.tiles(), [&](int64_t first, int64_t count) {
            bring<ToTile, 4>(x, first, count, given);
            bring<FromResult, 2>(dy, first, count, slopes);
            const Walk tiles{1, 1, count, PANEL, 0};
            for (int place = 0; place < PLACES; place++)
                for (int64_t panel = 0; panel < dy.channels / PANEL; panel++)
                    for (int64_t row = 0; row < x.channels; row += PANEL)
                        multiply<LANES>(PANEL, given.at(place, row / PANEL), tiles,
                                        slopes.at(place, panel), sums.at(place, panel, row), true);
            for (int64_t o = 0; o < dy.channels; o++)
                for (int64_t t = 0; t < count; t++)
                    dbias[o] += slopes.at(SUM, o / PANEL, t)[o % PANEL];
        });
    }
};

}  // namespace ddim
