// Group normalisation with a shift before it and swish after it, and its gradient: a block of
// threads for each group of each image. Functions and results are those of cpu/group_norm.h.

namespace ddim {

struct Groups {
    int64_t images, channels, pixels, block, size;  // size: channels a group
    float epsilon;

    Channels of_group() const { return {channels, pixels, block == channels, size}; }
    dim3 blocks() const {
        return dim3(static_cast<unsigned>(channels / size), static_cast<unsigned>(images));
    }
};

__device__ inline float sigmoid(float v) { return 1 / (1 + expf(-v)); }

// A group, as its block sees it.
struct Place {
    int64_t image, first;  // where the image begins, in numbers; the group's first channel
    int64_t of_image;      // where the image's row of a (B, C) begins
    __device__ Place(const Channels& c, int size)
        : image(blockIdx.y * c.channels * c.pixels), first(int64_t(blockIdx.x) * size),
          of_image(blockIdx.y * c.channels) {}
};

struct Normalise {
    Channels c;
    int size;
    float epsilon;
    bool activate;
    const float *x, *weight, *bias, *shift;
    float *y, *moments;
};

static __global__ void normalise_group(Normalise n) {
    __shared__ double shared[SHARING];
    const Lane lane(n.c);
    const Place place(n.c, n.size);
    const float* __restrict__ x = n.x + place.image;
    float* __restrict__ y = n.y + place.image;
    const double count = double(n.size) * n.c.pixels;
    double sum[1] = {};
    for (int tile = lane.channel; tile < n.size; tile += n.c.beside) {
        if (!lane.active) continue;
        const int64_t channel = place.first + tile;
        visit(n.c, lane, channel, sum, [&](int64_t i, float* part) { part[0] += x[i]; });
        if (n.shift && lane.row == 0)
            sum[0] += double(n.shift[place.of_image + channel]) * n.c.pixels;
    }
    const double mean = add_block(shared, sum[0]) / count;
    double spread[1] = {};
    for (int tile = lane.channel; tile < n.size; tile += n.c.beside) {
        if (!lane.active) continue;
        const int64_t channel = place.first + tile;
        const float middle = mean - (n.shift ? n.shift[place.of_image + channel] : 0.f);
        visit(n.c, lane, channel, spread, [&](int64_t i, float* part) {
            const float d = x[i] - middle;
            part[0] += d * d;
        });
    }
    const float scale = 1 / sqrt(add_block(shared, spread[0]) / count + n.epsilon);
    for (int tile = lane.channel; tile < n.size; tile += n.c.beside) {
        if (!lane.active) continue;
        const int64_t channel = place.first + tile;
        const float middle = mean - (n.shift ? n.shift[place.of_image + channel] : 0.f);
        const float weight = n.weight[channel], bias = n.bias[channel];
        if (lane.row == 0) {
            n.moments[2 * (place.of_image + channel)] = middle;
            n.moments[2 * (place.of_image + channel) + 1] = scale;
        }
        for (int64_t pixel = lane.row; pixel < n.c.pixels; pixel += lane.rows) {
            const int64_t i = n.c.at(channel, pixel);
            const float v = (x[i] - middle) * scale * weight + bias;
            y[i] = n.activate ? v * sigmoid(v) : v;
        }
    }
}

inline void normalise(const Groups& g, const float* x, const float* weight, const float* bias,
                      const float* shift, bool activate, float* y, float* moments) {
    launch(normalise_group, g.blocks(), SHARING,
           Normalise{g.of_group(), static_cast<int>(g.size), g.epsilon, activate, x, weight, bias,
                     shift, y, moments});
}

struct Differentiate {
    Channels c;
    int size;
    bool activate;
    const float *x, *weight, *bias, *moments, *dy;
    float *dx, *dweight, *dbias, *dshift;

    // What a channel is normalised by.
    struct Constants {
        float middle, scale, weight, bias;
    };
    __device__ Constants constants(const Place& place, int64_t channel) const {
        const float* m = moments + 2 * (place.of_image + channel);
        return {m[0], m[1], weight[channel], bias[channel]};
    }

    // The gradient before the weight and the bias, of a number normalised to h.
    __device__ float before(const Constants& k, float h, float slope) const {
        if (!activate) return slope;
        const float v = h * k.weight + k.bias, q = sigmoid(v);
        return slope * q * (1 + v * (1 - q));
    }
};

static __global__ void differentiate_group(Differentiate d) {
    __shared__ double shared[SHARING];
    const Lane lane(d.c);
    const Place place(d.c, d.size);
    const float *__restrict__ x = d.x + place.image, *__restrict__ dy = d.dy + place.image;
    float* __restrict__ dx = d.dx + place.image;
    const double count = double(d.size) * d.c.pixels;
    double constant = 0, linear = 0;
    for (int tile = 0; tile < d.size; tile += d.c.beside) {
        const bool mine = lane.active && tile + lane.channel < d.size;
        const int64_t channel = place.first + tile + lane.channel;
        double sums[2] = {};
        if (mine) {
            const auto k = d.constants(place, channel);
            visit(d.c, lane, channel, sums, [&](int64_t i, float* parts) {
                const float h = (x[i] - k.middle) * k.scale, dv = d.before(k, h, dy[i]);
                parts[0] += dv;
                parts[1] += dv * h;
            });
        }
        const double dbias = add_channel(shared, lane, sums[0]);
        const double dweight = add_channel(shared, lane, sums[1]);
        if (!mine || lane.row) continue;
        d.dbias[place.of_image + channel] = dbias;
        d.dweight[place.of_image + channel] = dweight;
        constant += dbias * d.weight[channel];
        linear += dweight * d.weight[channel];
    }
    const float level = add_block(shared, constant) / count;
    const float slant = add_block(shared, linear) / count;
    for (int tile = 0; tile < d.size; tile += d.c.beside) {
        const bool mine = lane.active && tile + lane.channel < d.size;
        const int64_t channel = place.first + tile + lane.channel;
        double sum[1] = {};
        if (mine) {
            const auto k = d.constants(place, channel);
            visit(d.c, lane, channel, sum, [&](int64_t i, float* part) {
                const float h = (x[i] - k.middle) * k.scale, dv = d.before(k, h, dy[i]);
                const float of_x = k.scale * (dv * k.weight - h * slant - level);
                dx[i] = of_x;
                part[0] += of_x;
            });
        }
        const double dshift = add_channel(shared, lane, sum[0]);
        if (mine && !lane.row) d.dshift[place.of_image + channel] = dshift;
    }
}

inline void differentiate(const Groups& g, const float* x, const float* weight, const float* bias,
                          const float* moments, const float* dy, bool activate, float* dx,
                          float* dweight, float* dbias, float* dshift) {
    launch(differentiate_group, g.blocks(), SHARING,
           Differentiate{g.of_group(), static_cast<int>(g.size), activate, x, weight, bias, moments,
                         dy, dx, dweight, dbias, dshift});
}

}  // namespace ddim
