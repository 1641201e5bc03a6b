// How the threads of a block divide the channels of an image among themselves, and add up what
// they have seen. Images are (C, P), or (P, C) with channels last. Nothing depends on the order in
// which threads run, so that the same numbers give the same sums.

namespace ddim {

constexpr int SHARING = 512;  // threads of a block that shares channels

struct Channels {
    int64_t channels, pixels;
    bool last;
    int beside;  // channels that a block visits at the same time

    // count: of the channels that one block visits.
    Channels(int64_t channels, int64_t pixels, bool last, int64_t count)
        : channels(channels), pixels(pixels), last(last) {
        const int64_t most = last ? SHARING : SHARING / std::min<int64_t>(pixels, SHARING);
        beside = static_cast<int>(std::min(most, count));
    }

    __host__ __device__ int64_t at(int64_t channel, int64_t pixel) const {
        return last ? pixel * channels + channel : channel * pixels + pixel;
    }
};

// A thread's channel, of those beside each other, and its first pixel; the next ones are `rows`
// further. Neighbours in a warp are neighbours in memory.
struct Lane {
    int channel, row, rows;
    bool active;  // there may be more threads than whole rows

    __device__ explicit Lane(const Channels& c) {
        const int thread = threadIdx.x;
        rows = SHARING / c.beside;
        channel = c.last ? thread % c.beside : thread / rows;
        row = c.last ? thread / c.beside : thread % rows;
        active = channel < c.beside && row < rows;
    }
};

struct Sum {
    template <class T> static __device__ T of(T a, T b) { return a + b; }
};
struct Largest {
    template <class T> static __device__ T of(T a, T b) { return a > b ? a : b; }
};

// Combine what `count` threads have, whose results begin at shared[first]; this thread is the
// index-th of them. All threads of the block come here, and each gets its own group's result.
template <class How, class T>
__device__ T combine(T* shared, int first, int index, int count, bool active, T value) {
    if (active) shared[first + index] = value;
    for (int left = count; left > 1;) {
        const int half = (left + 1) / 2;
        __syncthreads();
        if (active && index + half < left)
            shared[first + index] =
                How::of(shared[first + index], shared[first + index + half]);
        left = half;
    }
    __syncthreads();
    const T result = active ? shared[first] : T(0);
    __syncthreads();  // before anyone writes there again
    return result;
}

__device__ inline double add_channel(double* shared, const Lane& lane, double value) {
    return combine<Sum>(shared, lane.channel * lane.rows, lane.row, lane.rows, lane.active, value);
}

__device__ inline double add_block(double* shared, double value) {
    return combine<Sum>(shared, 0, static_cast<int>(threadIdx.x), SHARING, true, value);
}

// Call act(offset, parts) for each of a thread's pixels of a channel, and add the parts to totals.
// Float over 8 pixels, whose loads need not wait for each other; double over all: an image may have
// a quarter of a million.
template <int SUMS, class Act>
__device__ void visit(const Channels& c, const Lane& lane, int64_t channel,
                      double (&totals)[SUMS], Act act) {
    for (int64_t pixel = lane.row; pixel < c.pixels;) {
        float parts[SUMS] = {};
        if (pixel + 7 * lane.rows < c.pixels) {
#pragma unroll
            for (int k = 0; k < 8; k++) act(c.at(channel, pixel + k * lane.rows), parts);
            pixel += 8 * lane.rows;
        } else {
            act(c.at(channel, pixel), parts);
            pixel += lane.rows;
        }
        for (int s = 0; s < SUMS; s++) totals[s] += parts[s];
    }
}

}  // namespace ddim
