// 3x3 convolutions with 2.25 times fewer multiplications, and their gradients: Winograd's minimal
// filtering F(2x2, 3x3) (Lavin and Gray 2015, arXiv 1509.09308). With d the window of 4x4 pixels
// around a tile of 2x2 results y, and w a filter,
//     y = A^T [ sum over channels of U * V ] A,   U = G w G^T,   V = B^T d B,
// where * multiplies number by number. For all tiles and filters at once that is M = V U, a product
// (tiles, in) (in, out) for each of the 16 points of the 4x4. The gradients: that of the input is
// the convolution of dy by the filters turned by 180 degrees;
//     dw = G^T [ sum over tiles of V * (A dy A^T) ] G,   16 products (in, tiles) (tiles, out).
// F(4x4, 3x3) would save more, and round worse than the project's tolerances allow.

#include <vector>

#include <omp.h>

namespace ddim {

// The transforms along one axis, and the transposed ones.
struct InputTransform {  // B^T
    template <class T> static void apply(const T (&d)[4], T (&v)[4]) {
        v[0] = d[0] - d[2], v[1] = d[1] + d[2], v[2] = d[2] - d[1], v[3] = d[1] - d[3];
    }
};
struct FilterTransform {  // G
    template <class T> static void apply(const T (&w)[3], T (&u)[4]) {
        const T ends = (w[0] + w[2]) * 0.5f, middle = w[1] * 0.5f;
        u[0] = w[0], u[1] = ends + middle, u[2] = ends - middle, u[3] = w[2];
    }
};
struct FilterTransposed {  // G^T
    template <class T> static void apply(const T (&u)[4], T (&w)[3]) {
        const T sum = (u[1] + u[2]) * 0.5f;
        w[0] = u[0] + sum, w[1] = (u[1] - u[2]) * 0.5f, w[2] = sum + u[3];
    }
};
struct OutputTransform {  // A^T
    template <class T> static void apply(const T (&m)[4], T (&y)[2]) {
        y[0] = m[0] + m[1] + m[2], y[1] = m[1] - m[2] - m[3];
    }
};
struct OutputTransposed {  // A
    template <class T> static void apply(const T (&y)[2], T (&m)[4]) {
        m[0] = y[0], m[1] = y[0] + y[1], m[2] = y[0] - y[1], m[3] = -y[1];
    }
};

// T x T^T: along the columns, then along the rows.
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
// Tiles that reach beyond an odd height or width do as if zeros were there.
struct Tiling {
    int64_t batch, channels, height, width, block;

    int64_t tiles_across() const { return (width + 1) / 2; }
    int64_t tiles_of_image() const { return (height + 1) / 2 * tiles_across(); }
    int64_t tiles() const { return batch * tiles_of_image(); }

    // Call act(i, j, pixel) for the N x N pixels of a tile (N = 2), or of the window around it
    // (N = 4); outside the image pixel is null. T is float or const float.
    template <int N, class T, class Act>
    void for_each_pixel(T* images, int64_t tile, int64_t channel, Act act) const {
        const int64_t padding = (N - 2) / 2;
        const int64_t image = tile / tiles_of_image(), of_image = tile % tiles_of_image();
        const int64_t top = of_image / tiles_across() * 2 - padding;
        const int64_t left = of_image % tiles_across() * 2 - padding;
        T* plane = images + (image * channels + channel / block * block) * height * width;
        const bool inside = top >= 0 && left >= 0 && top + N <= height && left + N <= width;
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                const int64_t y = top + i, x = left + j;
                const bool here = inside || (0 <= y && y < height && 0 <= x && x < width);
                act(i, j, here ? plane + (y * width + x) * block + channel % block : nullptr);
            }
    }
};

// What is convolved by what: sizes, blocks of channels, and whether the filters are
// (out, 3, 3, in) rather than (out, in, 3, 3).
struct Convolution3x3 {
    int64_t batch, height, width, in, in_block, out, out_block;
    bool filters_channels_last;
};

// One convolution. Registers hold LANES channels beside each other.
template <int LANES>
class Winograd {
  public:
    explicit Winograd(const Convolution3x3& c)
        : x_{c.batch, c.in, c.height, c.width, c.in_block},
          y_{c.batch, c.out, c.height, c.width, c.out_block},
          in_step_(c.filters_channels_last ? 1 : 9),
          out_step_(9 * c.in),
          tap_step_(c.filters_channels_last ? c.in : 1) {}

    // How many floats pack() writes.
    void packed_size(int* floats) const {
        *floats = POINTS * Matrices{x_.channels, y_.channels, nullptr}.size();
    }

    // Write U.
    void pack(const float* w, float* packed) const {
        transform_filters(w, false, {x_.channels, y_.channels, packed});
    }

    // w: the filters, or what pack() wrote.
    void forward(const float* x, const float* w, bool is_packed, const float* bias,
                 float* y) const {
        Matrices u{x_.channels, y_.channels, const_cast<float*>(w)};
        if (!is_packed) {
            u = scratch_for_filters().matrices(POINTS, x_.channels, y_.channels);
            transform_filters(w, false, u);
        }
        convolve(x_, x, u, bias, y_, y);
    }

    void backward_input(const float* dy, const float* w, float* dx) const {
        const Matrices u = scratch_for_filters().matrices(POINTS, y_.channels, x_.channels);
        transform_filters(w, true, u);
        convolve(y_, dy, u, nullptr, x_, dx);
    }

    void backward_weights(const float* x, const float* dy, float* dw, float* dbias) const {
        // The threads add up apart, and their sums are added in their order: the result is the
        // same in every run with as many threads.
        const int64_t enough = std::max<int64_t>(1, x_.tiles() / 16);
        const int threads = std::min<int64_t>(omp_get_max_threads(), enough);
        static thread_local std::vector<Scratch> kept;
        if (kept.size() < static_cast<size_t>(threads)) kept.resize(threads);
        std::vector<Matrices> du;
        for (int thread = 0; thread < threads; thread++)
            du.push_back(kept[thread].matrices(POINTS, x_.channels, y_.channels));
#pragma omp parallel for num_threads(threads)
        for (int thread = 0; thread < threads; thread++)
            std::fill(du[thread].data, du[thread].data + POINTS * du[thread].size(), 0.f);
        std::vector<std::vector<float>> of_bias(threads, std::vector<float>(y_.channels));
        Failure failure;
#pragma omp parallel num_threads(threads)
        failure.keep([&] {
            const int thread = omp_get_thread_num();
            accumulate_gradients(x, dy, du[thread], of_bias[thread].data());
        });
        failure.rethrow();
        reduce_filter_gradient(du, dw);
        for (int64_t o = 0; o < y_.channels; o++) {
            dbias[o] = 0;
            for (const auto& part : of_bias) dbias[o] += part[o];
        }
    }

  private:
    using Vector = typename Register<LANES>::Vector;
    static constexpr int POINTS = 16;
    // Transformed at a time: few enough for the caches, whole products of either ROWS.
    static constexpr int64_t TILES = 96;

    Tiling x_, y_;
    int64_t in_step_, out_step_, tap_step_;  // how far apart the filters' numbers lie

    static Scratch& scratch_for_filters() {
        static thread_local Scratch the;
        return the;
    }

    // Call act(panel, row, lane) for some panels of matrices, LANES numbers at a time.
    template <class Act>
    static void for_each_vector(int64_t panels, int64_t rows, Act act) {
        for (int64_t panel = 0; panel < panels; panel++)
            for (int64_t row = 0; row < rows; row++)
                for (int lane = 0; lane < PANEL; lane += LANES) act(panel, row, lane);
    }

    static void scatter(const Vector (&points)[4][4], const Matrices& into, int64_t panel,
                        int64_t row, int lane) {
        for (int point = 0; point < POINTS; point++)
            store<LANES>(into.at(point, panel, row) + lane, points[point / 4][point % 4]);
    }

    static void gather(const Matrices& from, int64_t panel, int64_t row, int lane,
                       Vector (&points)[4][4]) {
        for (int point = 0; point < POINTS; point++)
            points[point / 4][point % 4] = load<LANES>(from.at(point, panel, row) + lane);
    }

    // U (in, out), or of the turned filters (out, in).
    void transform_filters(const float* w, bool turned, const Matrices& u) const {
        const int64_t row_step = turned ? out_step_ : in_step_;
        const int64_t column_step = turned ? in_step_ : out_step_;
#pragma omp parallel for
        for (int64_t panel = 0; panel < u.panels(); panel++)
            for_each_vector(1, u.rows, [&](int64_t, int64_t row, int lane) {
                Vector filter[3][3], points[4][4];
                const float* first = w + row * row_step + (panel * PANEL + lane) * column_step;
                for (int tap = 0; tap < 9; tap++)
                    for (int l = 0; l < LANES; l++)
                        filter[tap / 3][tap % 3][l] =
                            first[l * column_step + (turned ? 8 - tap : tap) * tap_step_];
                transform<FilterTransform>(filter, points);
                scatter(points, u, panel, row, lane);
            });
    }

    // dw from the threads' parts of dU (in, out).
    void reduce_filter_gradient(const std::vector<Matrices>& du, float* dw) const {
#pragma omp parallel for
        for (int64_t panel = 0; panel < y_.channels / PANEL; panel++)
            for_each_vector(1, x_.channels, [&](int64_t, int64_t row, int lane) {
                Vector total[4][4]{}, filter[3][3];
                for (const Matrices& part : du)
                    for (int point = 0; point < POINTS; point++)
                        total[point / 4][point % 4] +=
                            load<LANES>(part.at(point, panel, row) + lane);
                transform<FilterTransposed>(total, filter);
                float* first = dw + (panel * PANEL + lane) * out_step_ + row * in_step_;
                for (int tap = 0; tap < 9; tap++)
                    for (int l = 0; l < LANES; l++)
                        first[l * out_step_ + tap * tap_step_] = filter[tap / 3][tap % 3][l];
            });
    }

    // Some tiles (N = 2), or the windows around them (N = 4), into matrices (tiles, channels).
    template <class Transform, int N>
    static void transform_tiles(const Tiling& tiling, const float* images, int64_t first,
                                int64_t count, const Matrices& into) {
        for_each_vector(into.panels(), count, [&](int64_t panel, int64_t t, int lane) {
            Vector pixels[N][N], points[4][4];
            tiling.for_each_pixel<N>(images, first + t, panel * PANEL + lane,
                                     [&](int i, int j, const float* pixel) {
                                         pixels[i][j] = pixel ? load<LANES>(pixel) : Vector{};
                                     });
            transform<Transform>(pixels, points);
            scatter(points, into, panel, t, lane);
        });
    }

    // Tiles of y from M (tiles, channels), and a bias if there is one.
    static void write_tiles(const Matrices& m, int64_t first, int64_t count, const float* bias,
                            const Tiling& tiling, float* images) {
        for_each_vector(m.panels(), count, [&](int64_t panel, int64_t t, int lane) {
            Vector points[4][4], pixels[2][2];
            gather(m, panel, t, lane, points);
            transform<OutputTransform>(points, pixels);
            const int64_t channel = panel * PANEL + lane;
            const Vector shift = bias ? load<LANES>(bias + channel) : Vector{};
            tiling.for_each_pixel<2>(images, first + t, channel, [&](int i, int j, float* pixel) {
                if (pixel) store<LANES>(pixel, pixels[i][j] + shift);
            });
        });
    }

    // Call act(first, count) for the tiles that this thread of a team has to do.
    template <class Act>
    static void for_own_tiles(int64_t tiles, Act act) {
        const int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
        const int64_t end = tiles * (thread + 1) / threads;
        for (int64_t t = tiles * thread / threads; t < end; t += TILES)
            act(t, std::min<int64_t>(+TILES, end - t));
    }

    static void convolve(const Tiling& of_x, const float* x, const Matrices& u, const float* bias,
                         const Tiling& of_y, float* y) {
        Failure failure;
#pragma omp parallel
        failure.keep([&] {
            static thread_local Scratch for_v, for_m;
            const Matrices v = for_v.matrices(POINTS, TILES, of_x.channels);
            const Matrices m = for_m.matrices(POINTS, TILES, of_y.channels);
            for_own_tiles(of_x.tiles(), [&](int64_t first, int64_t count) {
                transform_tiles<InputTransform, 4>(of_x, x, first, count, v);
                for (int point = 0; point < POINTS; point++)
                    for (int64_t panel = 0; panel < m.panels(); panel++)
                        multiply<LANES>(count, v.at(point, 0), LeftFactor::rows_of(v),
                                        u.at(point, panel), m.at(point, panel), false);
                write_tiles(m, first, count, bias, of_y, y);
            });
        });
        failure.rethrow();
    }

    // This thread's part of dU (in, out) and of the bias's gradient.
    void accumulate_gradients(const float* x, const float* dy, const Matrices& du,
                              float* dbias) const {
        static thread_local Scratch for_v, for_dm;
        const Matrices v = for_v.matrices(POINTS, TILES, x_.channels);
        const Matrices dm = for_dm.matrices(POINTS, TILES, y_.channels);
        for_own_tiles(x_.tiles(), [&](int64_t first, int64_t count) {
            transform_tiles<InputTransform, 4>(x_, x, first, count, v);
            transform_tiles<OutputTransposed, 2>(y_, dy, first, count, dm);
            const LeftFactor left = LeftFactor::columns_of_panel(count);
            for (int point = 0; point < POINTS; point++)
                for (int64_t panel = 0; panel < dm.panels(); panel++)
                    for (int64_t in = 0; in < v.panels(); in++)
                        multiply<LANES>(PANEL, v.at(point, in), left, dm.at(point, panel),
                                        du.at(point, panel, in * PANEL), true);
            constexpr int SUM = 1 * 4 + 1;  // (A dy A^T)(1, 1) is the sum over the tile
            for (int64_t o = 0; o < y_.channels; o++)
                for (int64_t t = 0; t < count; t++)
                    dbias[o] += dm.at(SUM, o / PANEL, t)[o % PANEL];
        });
    }
};

}  // namespace ddim
