// The head of a row: some of the highest scores of wrong classes, computed one by one in double precision. All other
// wrong classes are the tail. See `SmoothTopkSvm` in topk-ops for the method.
#pragma once

#include "sample.cuh"
#include "weight.cuh"

// Candidates for the head, one per lane.
constexpr int CANDIDATES = WARP;

// Shared memory for the head of a row. K is the largest k.
template <int K>
struct Head {
    static constexpr int MAX_SIZE = K + K / 2 + 1;

    // Groups of lanes whose maxima give a threshold: at least twice the head, so that few other scores reach it.
    static constexpr int GROUPS = MAX_SIZE <= WARP / 4 ? WARP / 2 : WARP;

    // Lanes that finish a row, one per class of the head.
    static constexpr int LANES = MAX_SIZE <= WARP / 4 ? WARP / 4 : WARP / 2;
    static_assert(MAX_SIZE <= LANES, "one lane per class");

    Shared<float> maxima;
    Shared<int> candidates;
    Shared<unsigned long long> keys;
    // In descending order; of equal scores, the lower class comes first.
    Shared<float> scores;
    Shared<int> classes;
    // Whether the tail has a score equal to the last one.
    Shared<int> is_tied;
    // exp(−|z|) of the scores, relative to the k-th one.
    Shared<double> weights;
    // e_0, …, e_K of all wrong classes, up to a common factor.
    Shared<double> sizes;
    // Of the derivatives in the tail.
    Shared<float> coefficients;
    // Of the head's classes, and the label's after them.
    Shared<float> gradients;
};

// Heads of some rows: `name(row)` is a `Head<K>`.
#define TOPK_SHARED_HEADS(K, name, rows)                                                    \
    TOPK_SHARED(float, name##_maxima, Head<K>::GROUPS * rows);                              \
    TOPK_SHARED(int, name##_candidates, CANDIDATES * rows);                                 \
    TOPK_SHARED(unsigned long long, name##_keys, CANDIDATES * rows);                        \
    TOPK_SHARED(float, name##_scores, Head<K>::LANES * rows);                               \
    TOPK_SHARED(int, name##_classes, Head<K>::LANES * rows);                                \
    TOPK_SHARED(int, name##_is_tied, rows);                                                 \
    TOPK_SHARED(double, name##_weights, Head<K>::LANES * rows);                             \
    TOPK_SHARED(double, name##_sizes, (K + 1) * rows);                                      \
    TOPK_SHARED(float, name##_coefficients, K * rows);                                      \
    TOPK_SHARED(float, name##_gradients, (Head<K>::LANES + 1) * rows);                      \
    auto name = [&](int row) {                                                              \
        return Head<K>{name##_maxima.slice(Head<K>::GROUPS * row, Head<K>::GROUPS),         \
                       name##_candidates.slice(CANDIDATES * row, CANDIDATES),               \
                       name##_keys.slice(CANDIDATES * row, CANDIDATES),                     \
                       name##_scores.slice(Head<K>::LANES * row, Head<K>::LANES),           \
                       name##_classes.slice(Head<K>::LANES * row, Head<K>::LANES),          \
                       name##_is_tied.slice(row, 1),                                        \
                       name##_weights.slice(Head<K>::LANES * row, Head<K>::LANES),          \
                       name##_sizes.slice((K + 1) * row, K + 1),                            \
                       name##_coefficients.slice(K * row, K),                               \
                       name##_gradients.slice((Head<K>::LANES + 1) * row, Head<K>::LANES + 1)}; \
    }

// Number of classes in the head.
TOPK_DEVICE int head_size(const Arguments &arguments) {
    int wrong = arguments.classes - 1;
    int wanted = arguments.k + arguments.k / 2 + 1;
    return wanted < wrong ? wanted : wrong;
}

// Whether a score comes before another one in descending order; classes decide between equal scores.
TOPK_DEVICE bool comes_before(float score, int index, float other, int other_index) {
    return score > other || (score == other && index < other_index);
}

// The `size`-th highest of the groups' maxima: at least `size` scores reach it, and few others do.
template <int K>
TOPK_DEVICE float head_threshold(const Head<K> &head, float maximum, int size) {
    constexpr int GROUPS = Head<K>::GROUPS;
    // −∞ is not a score.
    maximum = fmaxf(maximum, -LARGEST);
#pragma unroll
    for (int mask = GROUPS; mask < WARP; mask *= 2) {
        maximum = fmaxf(maximum, shuffle_xor(maximum, mask));
    }
    if (lane() < GROUPS) {
        head.maxima[lane()] = maximum;
    }
    sync_warp();
    // Signs of the differences; two sums side by side.
    int larger[2] = {};
#pragma unroll
    for (int other = 0; other < GROUPS; ++other) {
        larger[other % 2] += bits_of(maximum - head.maxima[other]) >> 31;
    }
    float threshold = larger[0] + larger[1] < size ? maximum : infinity();
#pragma unroll
    for (int mask = GROUPS / 2; mask > 0; mask /= 2) {
        threshold = fminf(threshold, shuffle_xor(threshold, mask));
    }
    return threshold;
}

struct Candidate {
    float score;
    int index;
};

// A number above 0 that is higher for candidates that come first.
TOPK_DEVICE unsigned long long sort_key(Candidate candidate) {
    unsigned bits = bits_of(candidate.score);
    // From bits of signs and magnitudes.
    unsigned ordered = bits >> 31 ? ~bits : bits | 0x80000000;
    return (unsigned long long)ordered << 32 | ~unsigned(candidate.index);
}

// Puts the `size` first of `count` candidates, one per lane, in order into the head. Of one warp.
template <int K>
TOPK_DEVICE void sort_candidates(const Head<K> &head, Candidate candidate, int count, int size) {
    const bool is_candidate = lane() < count;
    // Makes +0 of −0, to which it is equal.
    candidate.score += 0.0f;
    const unsigned long long key = is_candidate ? sort_key(candidate) : 0;
    head.keys[lane()] = key;
    sync_warp();
    constexpr int TOGETHER = 4;
    int rank = 0;
    for (int first = 0; first < count; first += TOGETHER) {
#pragma unroll
        for (int n = 0; n < TOGETHER; ++n) {
            rank += head.keys[first + n] > key;
        }
    }
    const bool is_first = is_candidate && rank < size;
    if (is_first) {
        head.scores[rank] = candidate.score;
        head.classes[rank] = candidate.index;
    }
    sync_warp();
    bool is_tied = ballot(is_candidate && !is_first && candidate.score == head.scores[size - 1]) != 0;
    if (lane() == 0) {
        head.is_tied[0] = is_tied;
    }
    sync_warp();
}

// The first of the lanes' scores in descending order; in each lane.
struct Best {
    float score;
    int index;
};

TOPK_DEVICE Best warp_best(Best best) {
    for (int mask = WARP / 2; mask > 0; mask /= 2) {
        Best other = {shuffle_xor(best.score, mask), shuffle_xor(best.index, mask)};
        if (comes_before(other.score, other.index, best.score, best.index)) {
            best = other;
        }
    }
    return best;
}

// What the tail needs to know of the head.
struct HeadResult {
    // The k-th highest score.
    float kth;
    // The last class of the head.
    float last;
    int last_class;
    bool is_tied;
};

template <int K>
TOPK_DEVICE HeadResult head_result(const Arguments &arguments, const Head<K> &head, int size) {
    return {head.scores[arguments.k - 1], head.scores[size - 1], head.classes[size - 1], head.is_tied[0] != 0};
}

// Weights of the tail, relative to the k-th highest score.
struct TailWeights {
    // The highest score of the tail may be this, and those of the head are higher.
    float bound;
    float exponent;
    // What the k-th highest score adds to the binary exponent.
    float offset;

    // 0 for scores in the head and −∞.
    TOPK_DEVICE float operator()(float score) const {
        constexpr unsigned INFINITE = 0x7f800000;
        // The bits of negative numbers, those of the head, are greater.
        unsigned below = bits_of(bound - score);
        below = below < INFINITE ? below : INFINITE;
        return exp2_approx(-fmaf(float_of(below), exponent, offset));
    }
};

// Weights are divided by 2^shift. Where the last score of the head is in the tail too, the caller replaces it in the
// head by ∞.
TOPK_DEVICE TailWeights tail_weights(const HeadResult &head, double per_score, int shift) {
    float bound = head.is_tied ? head.last : next_below(head.last);
    float exponent = binary_exponent(per_score);
    return {bound, exponent, fmaf(head.kth - bound, exponent, float(shift))};
}

// Whether a score equal to `TailWeights::bound` is in the head.
TOPK_DEVICE bool is_tied_in_head(const HeadResult &head, float score, int index) {
    return score == head.last && index <= head.last_class;
}

// Given e_1, …, e_K of the tail's weights divided by 2^SHIFT in `tail`, computes the loss, and if there is a gradient,
// the coefficients of the tail's, those of the head's classes, and the label's. Of one warp, for several rows:
// `Head::LANES` lanes for each, with the same arguments. Rows that are not `computed` are left out. `factor` is that of
// the gradient.
template <int SHIFT, int K>
TOPK_DEVICE void finish_head(
    const Arguments &arguments,
    const Head<K> &head,
    bool computed,
    long long row,
    float label_score,
    float weight,
    double factor,
    const double (&tail)[K]
) {
    const int k = arguments.k;
    const int size = head_size(arguments);
    const int member = lane() % Head<K>::LANES;
    const bool is_member = computed && member < size;
    double kth = computed ? double(head.scores[k - 1]) : 0.0;
    double own = 0;
    if (is_member) {
        // Finite, for the product.
        double z = (double(head.scores[member]) - kth) * arguments.per_score;
        own = exponential(-fabs(z));
        head.weights[member] = own;
    }
    sync_warp();

    // Sizes of random subsets without this lane's class: those of the tail, to which the others of the head are
    // added one by one. Classes with a weight x above 1 are added as 1/x + X, so that no size is too large.
    double without[K + 1];
    without[0] = 1;
#pragma unroll
    for (int j = 1; j <= K; ++j) {
        without[j] = tail[j - 1] * double(1ll << SHIFT * j);
    }
    if (computed) {
#pragma unroll
        for (int i = 0; i < Head<K>::MAX_SIZE; ++i) {
            const bool added = i < size && i != member;
            double x = i < size ? double(head.weights[i]) : 0.0;
            if (i < k) {
#pragma unroll
                for (int j = K; j > 0; --j) {
                    without[j] = added ? fma(x, without[j], without[j - 1]) : without[j];
                }
                without[0] = added ? x * without[0] : without[0];
            } else {
#pragma unroll
                for (int j = K; j > 0; --j) {
                    without[j] = added ? fma(x, without[j - 1], without[j]) : without[j];
                }
            }
        }
        if (member == 0) {
            head.sizes[0] = own * without[0];
#pragma unroll
            for (int j = 1; j <= K; ++j) {
                head.sizes[j] = fma(own, without[j], without[j - 1]);
            }
        }
    }
    sync_warp();
    if (!computed) {
        return;
    }

    double over_k = reciprocal(head.sizes[k]);
    double over_km1 = reciprocal(head.sizes[k - 1]);
    double ratio = head.sizes[k] * over_km1;
    double per_k = reciprocal(k);
    double hinge = fma(kth - label_score, per_k, arguments.alpha);
    LossAndProbability result = smooth_hinge(hinge, hinge * arguments.per_score * k, ratio, arguments.tau);
    if (arguments.values && member == 0) {
        arguments.values[row] = float(weight * result.loss);
    }
    if (!arguments.gradient) {
        return;
    }

    double scale = factor * result.probability * per_k;
    if (member == 0) {
        head.gradients[size] = float(-scale);
    }
    if (member < K) {
        double coefficient = 0;
        if (member < k) {
            coefficient = tail_coefficient(head.sizes, k, member, scale, over_k, over_km1);
            coefficient *= double(1ll << SHIFT * (member + 1));
        }
        head.coefficients[member] = clamped(coefficient);
    }
    double without_km1 = 0;
    double without_km2 = 0;
#pragma unroll
    for (int j = 0; j < K; ++j) {
        without_km1 = j == k - 1 ? without[j] : without_km1;
        without_km2 = j == k - 2 ? without[j] : without_km2;
    }
    if (is_member) {
        double x = member < k ? 1.0 : own;
        head.gradients[member] = float(scale * x * (without_km1 * over_k - without_km2 * over_km1));
    }
}

// x Σ_l coefficients[l] xˡ
template <int K>
TOPK_DEVICE float derivative(const float (&coefficients)[K], float x) {
    float sum = coefficients[K - 1];
#pragma unroll
    for (int l = K - 2; l >= 0; --l) {
        sum = fmaf(sum, x, coefficients[l]);
    }
    return sum * x;
}

// Writes the gradient of the head's classes and the label, after a barrier of the threads that wrote the row. Of one
// warp.
template <int K>
TOPK_DEVICE void write_head(const Arguments &arguments, const Head<K> &head, const Sample &sample) {
    const int size = head_size(arguments);
    if (lane() <= size) {
        const int index = lane() < size ? int(head.classes[lane()]) : sample.label;
        store_gradient(arguments, sample.row, index, head.gradients[lane()]);
    }
}
