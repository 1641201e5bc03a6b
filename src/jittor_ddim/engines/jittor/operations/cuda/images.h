// Images and filters as they lie in memory, and kernels that bring them from one layout, size and
// type to another. What is outside of the source is zero.

#include <cuda_bf16.h>

namespace ddim {

using bfloat16 = __nv_bfloat16;

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(bfloat16 value) { return __bfloat162float(value); }
__device__ inline void assign(float& to, float value) { to = value; }
__device__ inline void assign(bfloat16& to, float value) { to = __float2bfloat16_rn(value); }

// (B, C, H, W), or (B, H, W, C) with channels last. Indices are 32 bits wide: dividing them is a
// large part of the work.
struct View {
    unsigned images, channels, height, width;
    bool last;

    View(int64_t images, int64_t channels, int64_t height, int64_t width, bool last)
        : images(images), channels(channels), height(height), width(width),
          last(last && channels > 1) {
        if (count() >> 32) throw std::runtime_error("more than 4 billion numbers in a tensor");
    }
    int64_t count() const { return int64_t(images) * channels * height * width; }
    bool operator==(const View& o) const {
        return images == o.images && channels == o.channels && height == o.height &&
               width == o.width && last == o.last;
    }
    __host__ __device__ unsigned at(unsigned n, unsigned c, unsigned h, unsigned w) const {
        return last ? ((n * height + h) * width + w) * channels + c
                    : ((n * channels + c) * height + h) * width + w;
    }
};

template <class From, class To>
struct Bring {
    const From* from;
    To* to;
    const float* bias;  // of each channel, or null
    View source, target;
    int down, right;  // where the target begins in the source
    bool alike;       // the same numbers in the same order
    unsigned count;

    __device__ void one(unsigned i) const {
        const unsigned pixels = target.height * target.width;
        const unsigned c = target.last ? i % target.channels : i / pixels % target.channels;
        float value;
        if (alike) {
            value = to_float(from[i]);
        } else {
            const unsigned pixel = target.last ? i / target.channels % pixels : i % pixels;
            const unsigned n = i / (pixels * target.channels);
            const unsigned h = pixel / target.width + down, w = pixel % target.width + right;
            if (n >= source.images || c >= source.channels || h >= source.height ||
                w >= source.width) {  // what lies before the source is large without a sign
                assign(to[i], 0.f);
                return;
            }
            value = to_float(from[source.at(n, c, h, w)]);
        }
        assign(to[i], bias ? value + bias[c] : value);
    }
};

template <class From, class To>
static __global__ void bring_all(Bring<From, To> b) {
    const unsigned step = gridDim.x * blockDim.x;
    for (uint64_t i = blockIdx.x * blockDim.x + threadIdx.x; i < b.count; i += step) b.one(i);
}

template <class From, class To>
void bring(const From* from, const View& source, To* to, const View& target, int down = 0,
           int right = 0, const float* bias = nullptr) {
    const int64_t count = target.count();
    const bool alike = source == target && !down && !right;
    launch(bring_all<From, To>, dim3(blocks_for(count)), THREADS,
           Bring<From, To>{from, to, bias, source, target, down, right, alike,
                           static_cast<unsigned>(count)});
}

struct AddPixels {
    Channels c;
    const float* of_images;
    double* sums;  // (B, C)
};

static __global__ void add_pixels(AddPixels a) {
    __shared__ double shared[SHARING];
    const Lane lane(a.c);
    const int64_t channel = int64_t(blockIdx.x) * a.c.beside + lane.channel;
    const bool mine = lane.active && channel < a.c.channels;
    const float* image = a.of_images + blockIdx.y * a.c.channels * a.c.pixels;
    double sum[1] = {};
    if (mine) visit(a.c, lane, channel, sum, [&](int64_t i, float* part) { part[0] += image[i]; });
    const double all = add_channel(shared, lane, sum[0]);
    if (mine && !lane.row) a.sums[blockIdx.y * a.c.channels + channel] = all;
}

struct AddImages {
    const double* sums;
    float* totals;
    int64_t images, channels;
};

static __global__ void add_images(AddImages a) {
    const int64_t channel = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (channel >= a.channels) return;
    double total = 0;
    for (int64_t n = 0; n < a.images; n++) total += a.sums[n * a.channels + channel];
    a.totals[channel] = total;
}

// The sum of each channel over all pixels of all images; sums: (B, C), for the time of the call.
inline void add_up(const float* images, const View& view, double* sums, float* totals) {
    const int64_t pixels = int64_t(view.height) * view.width;
    const Channels c(view.channels, pixels, view.last, std::min(view.channels, 32u));
    const unsigned tiles = (view.channels + c.beside - 1) / c.beside;
    launch(add_pixels, dim3(tiles, view.images), SHARING, AddPixels{c, images, sums});
    launch(add_images, dim3(blocks_for(view.channels)), THREADS,
           AddImages{sums, totals, view.images, view.channels});
}

}  // namespace ddim
