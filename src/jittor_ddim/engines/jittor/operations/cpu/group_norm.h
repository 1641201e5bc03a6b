// Group normalisation with a shift before it and swish after it, and its gradient, on channels in
// blocks: (B, C / block, P, block). Threads own units of one image: the fewest channels that are
// both whole groups and whole blocks.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace ddim {

struct Groups {
    int64_t images, channels, pixels, block, size;  // size: channels a group
    float epsilon;

    int64_t unit() const {
        int64_t a = block, b = size;
        while (b) { const int64_t rest = a % b; a = b; b = rest; }
        return block / a * size;
    }

    // Blocks are walked in strips of a few pixels, long enough to be worth a vectorised loop.
    int64_t strip() const { return block * std::max<int64_t>(1, 64 / block); }
};

// One number for each channel of a block, repeated along a strip.
inline std::vector<float> along_strip(const Groups& g, const float* of_channels, int64_t step = 1) {
    std::vector<float> numbers(g.strip());
    for (int64_t l = 0; l < g.strip(); l++) numbers[l] = of_channels[l % g.block * step];
    return numbers;
}

// What a block's numbers are normalised by: (x - middle) scale weight + bias, along a strip.
struct Constants {
    std::vector<float> middle, scale, weight, bias;

    // moments: as normalise returns them, from the block's first channel on; so are the others.
    Constants(const Groups& g, const float* moments, const float* weights, const float* biases)
        : middle(along_strip(g, moments, 2)), scale(along_strip(g, moments + 1, 2)),
          weight(along_strip(g, weights)), bias(along_strip(g, biases)) {}
};

// Call act(offset, count) for each strip of a block.
template <class Act>
void walk(const Groups& g, Act act) {
    const int64_t end = g.pixels * g.block, strip = g.strip();
    for (int64_t i = 0; i < end; i += strip) act(i, std::min(strip, end - i));
}

// The same, where act(offset, count, sums) also adds to SUMS strips; totals gets them by channel.
// Float over 64 strips, double over all: an image may have a quarter of a million pixels.
template <int SUMS, class Act>
void add_up(const Groups& g, double* totals, Act act) {
    const int64_t end = g.pixels * g.block, strip = g.strip();
    std::vector<float> sums(SUMS * strip);
    std::fill(totals, totals + SUMS * g.block, 0.0);
    for (int64_t start = 0; start < end; start += 64 * strip) {
        std::fill(sums.begin(), sums.end(), 0.f);
        const int64_t stop = std::min(start + 64 * strip, end);
        for (int64_t i = start; i < stop; i += strip)
            act(i, std::min(strip, stop - i), sums.data());
        for (int s = 0; s < SUMS; s++)
            for (int64_t l = 0; l < strip; l++)
                totals[s * g.block + l % g.block] += sums[s * strip + l];
    }
}

// What the channels of a block have: sum over pixels / P, and sum of squared distances to that.
inline void measure(const Groups& g, const float* block, double* mean, double* spread) {
    add_up<1>(g, mean, [=](int64_t i, int64_t count, float* __restrict__ sum) {
        for (int64_t l = 0; l < count; l++) sum[l] += block[i + l];
    });
    std::vector<float> centre(g.block);
    for (int64_t l = 0; l < g.block; l++) centre[l] = mean[l] /= g.pixels;
    const auto tiled = along_strip(g, centre.data());
    const float* middle = tiled.data();
    add_up<1>(g, spread, [=](int64_t i, int64_t count, float* __restrict__ sum) {
        for (int64_t l = 0; l < count; l++) {
            const float d = block[i + l] - middle[l];
            sum[l] += d * d;
        }
    });
}

inline float sigmoid(float v) { return 1 / (1 + std::exp(-v)); }

// moments: (B, C, 2), what is subtracted from each channel, and 1 / deviation.
inline void normalise(const Groups& g, const float* x, const float* weight, const float* bias,
                      const float* shift, bool activate, float* y, float* moments) {
    const int64_t unit = g.unit(), units = g.channels / unit;
#pragma omp parallel for
    for (int64_t task = 0; task < g.images * units; task++) {
        const int64_t first = task * unit, channel = task % units * unit;
        std::vector<double> mean(unit), spread(unit);
        for (int64_t c = 0; c < unit; c += g.block)
            measure(g, x + (first + c) * g.pixels, &mean[c], &spread[c]);
        // A channel's mean moves by its shift; what is spread within it does not.
        for (int64_t c = 0; c < unit; c += g.size) {
            double centre = 0, squares = 0;
            for (int64_t k = c; k < c + g.size; k++) {
                if (shift) mean[k] += shift[first + k];
                centre += mean[k] / g.size;
            }
            for (int64_t k = c; k < c + g.size; k++)
                squares += spread[k] + g.pixels * (mean[k] - centre) * (mean[k] - centre);
            const float scale = 1 / std::sqrt(squares / (g.size * g.pixels) + g.epsilon);
            for (int64_t k = c; k < c + g.size; k++) {
                moments[2 * (first + k)] = centre - (shift ? shift[first + k] : 0);
                moments[2 * (first + k) + 1] = scale;
            }
        }
        for (int64_t c = 0; c < unit; c += g.block) {
            const Constants along(g, &moments[2 * (first + c)], &weight[channel + c],
                                  &bias[channel + c]);
            const float *m = along.middle.data(), *s = along.scale.data();
            const float *w = along.weight.data(), *b = along.bias.data();
            const float* xs = x + (first + c) * g.pixels;
            float* ys = y + (first + c) * g.pixels;
            walk(g, [=](int64_t i, int64_t count) {
                const float* __restrict__ from = xs + i;
                float* __restrict__ to = ys + i;
                for (int64_t l = 0; l < count; l++) to[l] = (from[l] - m[l]) * s[l] * w[l] + b[l];
                if (!activate) return;
                for (int64_t l = 0; l < count; l++) to[l] *= sigmoid(to[l]);
            });
        }
    }
}

// dweight, dbias and dshift are (B, C): what each image adds.
inline void differentiate(const Groups& g, const float* x, const float* weight, const float* bias,
                          const float* moments, const float* dy, bool activate, float* dx,
                          float* dweight, float* dbias, float* dshift) {
    const int64_t unit = g.unit(), units = g.channels / unit;
#pragma omp parallel for
    for (int64_t task = 0; task < g.images * units; task++) {
        const int64_t first = task * unit, channel = task % units * unit;
        std::vector<double> totals(2 * g.block);
        for (int64_t c = 0; c < unit; c += g.block) {
            const Constants along(g, &moments[2 * (first + c)], &weight[channel + c],
                                  &bias[channel + c]);
            const float *m = along.middle.data(), *s = along.scale.data();
            const float *w = along.weight.data(), *b = along.bias.data();
            const float *xs = x + (first + c) * g.pixels, *dys = dy + (first + c) * g.pixels;
            float* dxs = dx + (first + c) * g.pixels;
            const int64_t strip = g.strip();
            add_up<2>(g, totals.data(), [=](int64_t i, int64_t count, float* __restrict__ sum) {
                const float *__restrict__ from = xs + i, *__restrict__ slope = dys + i;
                float* __restrict__ to = dxs + i;
                for (int64_t l = 0; l < count; l++) {
                    const float h = (from[l] - m[l]) * s[l], v = h * w[l] + b[l];
                    const float q = activate ? sigmoid(v) : 1;
                    const float dv = slope[l] * q * (activate ? 1 + v * (1 - q) : 1);
                    sum[l] += dv;
                    sum[strip + l] += dv * h;
                    to[l] = dv * w[l];
                }
            });
            for (int64_t l = 0; l < g.block; l++) {
                dbias[first + c + l] = totals[l];
                dweight[first + c + l] = totals[g.block + l];
            }
        }
        std::vector<float> level(unit), slant(unit);
        for (int64_t c = 0; c < unit; c += g.size) {
            double constant = 0, linear = 0;
            for (int64_t k = c; k < c + g.size; k++) {
                constant += (double)dbias[first + k] * weight[channel + k];
                linear += (double)dweight[first + k] * weight[channel + k];
            }
            for (int64_t k = c; k < c + g.size; k++) {
                level[k] = constant / (g.size * g.pixels);
                slant[k] = linear / (g.size * g.pixels);
            }
        }
        for (int64_t c = 0; c < unit; c += g.block) {
            const Constants along(g, &moments[2 * (first + c)], &slant[c], &level[c]);
            const float *m = along.middle.data(), *s = along.scale.data();
            const float *w = along.weight.data(), *b = along.bias.data();
            const float* xs = x + (first + c) * g.pixels;
            float* dxs = dx + (first + c) * g.pixels;
            add_up<1>(g, totals.data(), [=](int64_t i, int64_t count, float* __restrict__ sum) {
                const float* __restrict__ from = xs + i;
                float* __restrict__ to = dxs + i;
                for (int64_t l = 0; l < count; l++) {
                    to[l] = s[l] * (to[l] - (from[l] - m[l]) * s[l] * w[l] - b[l]);
                    sum[l] += to[l];
                }
            });
            for (int64_t l = 0; l < g.block; l++) dshift[first + c + l] = totals[l];
        }
    }
}

}  // namespace ddim
