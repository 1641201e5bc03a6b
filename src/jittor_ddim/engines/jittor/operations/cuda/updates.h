// The rules of optimizer.py for N tensors in one launch: a row of blocks for each. All are new
// tensors, so that whoever still reads the old ones may.

namespace ddim {

constexpr int64_t MOST_OF_A_TENSOR = 256;  // blocks; the largest tensors walk further

template <int N>
dim3 rows_of_blocks(const int64_t* counts) {
    const int64_t blocks = blocks_for(*std::max_element(counts, counts + N));
    return dim3(static_cast<unsigned>(std::min(blocks, MOST_OF_A_TENSOR)), N);
}

// Call act(i) for the elements of this block's tensor.
template <class Act>
__device__ void walk(int64_t count, Act act) {
    const int64_t step = int64_t(gridDim.x) * blockDim.x;
    for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) act(i);
}

// Inputs: parameters, gradients, means, squares and, with amsgrad, largest squares; results:
// parameters, means, squares and largest squares.
template <int N, bool AMSGRAD>
struct Adam {
    static constexpr int KINDS = AMSGRAD ? 5 : 4, RESULTS = KINDS - 1;
    const float* given[KINDS][N];
    float* results[RESULTS][N];
    int64_t counts[N];
    float beta1, rest1, beta2, rest2, rate, root, epsilon, decay;

    __device__ void one(int t, int64_t i) const {
        const float parameter = given[0][t][i], gradient = given[1][t][i] + decay * parameter;
        const float mean = beta1 * given[2][t][i] + rest1 * gradient;
        float square = beta2 * given[3][t][i] + rest2 * gradient * gradient;
        results[1][t][i] = mean;
        results[2][t][i] = square;
        if (AMSGRAD) {
            square = Largest::of(given[KINDS - 1][t][i], square);
            results[RESULTS - 1][t][i] = square;
        }
        results[0][t][i] = parameter - rate * (mean / (sqrtf(square) / root + epsilon));
    }
};

template <int N, bool AMSGRAD>
static __global__ void adam_all(Adam<N, AMSGRAD> a) {
    walk(a.counts[blockIdx.y], [&](int64_t i) { a.one(blockIdx.y, i); });
}

template <int N, bool AMSGRAD, class Numbers>
void adam(const float* const* given, float* const* results, const int64_t* counts,
          Numbers& numbers) {
    auto get = [&](const char* name) { return static_cast<float>(numbers[name]); };
    Adam<N, AMSGRAD> a{{}, {}, {}, get("beta1"), get("rest1"), get("beta2"), get("rest2"),
                       get("rate"), get("root"), get("epsilon"), get("decay")};
    static_assert(sizeof a <= 4096, "what a kernel's argument may be");
    std::copy(given, given + a.KINDS * N, &a.given[0][0]);
    std::copy(results, results + a.RESULTS * N, &a.results[0][0]);
    std::copy(counts, counts + N, a.counts);
    launch(adam_all<N, AMSGRAD>, rows_of_blocks<N>(counts), THREADS, a);
}

// Inputs: averages and parameters; results: averages.
template <int N>
struct Mix {
    const float *averages[N], *parameters[N];
    float* results[N];
    int64_t counts[N];
    float mu, rest;
};

template <int N>
static __global__ void mix_all(Mix<N> m) {
    const int t = blockIdx.y;
    walk(m.counts[t], [&](int64_t i) {
        m.results[t][i] = m.mu * m.averages[t][i] + m.rest * m.parameters[t][i];
    });
}

template <int N, class Numbers>
void mix(const float* const* given, float* const* results, const int64_t* counts,
         Numbers& numbers) {
    Mix<N> m{{}, {}, {}, {}, static_cast<float>(numbers["mu"]),
             static_cast<float>(numbers["rest"])};
    static_assert(sizeof m <= 4096, "what a kernel's argument may be");
    std::copy(given, given + N, m.averages);
    std::copy(given + N, given + 2 * N, m.parameters);
    std::copy(results, results + N, m.results);
    std::copy(counts, counts + N, m.counts);
    launch(mix_all<N>, rows_of_blocks<N>(counts), THREADS, m);
}

}  // namespace ddim
