// The head of a row: some of the highest scores of wrong classes, computed one by one in double precision. All other
// wrong classes are the tail. See `SmoothTopkSvm` in topk-ops for the method.
#pragma once

#include "sample.cuh"
#include "weight.cuh"

// Candidates for the head, one per lane.
constexpr int CANDIDATES = WARP;

// Shared memory for the head, used by one warp. K is the largest k.
template <int K>
struct Head {
    static constexpr int MAX_SIZE = K + K / 2 + 1;

    Shared<int> candidates;
    // In descending order; of equal scores, the lower class comes first.
    Shared<float> scores;
    Shared<int> classes;
    // Whether the tail has a score equal to the last one.
    Shared<int> is_tied;
    Shared<double> p;
    Shared<double> q;
    // e_0, …, e_K of all wrong classes, up to a common factor.
    Shared<double> sizes;
    // Of the derivatives in the tail.
    Shared<float> coefficients;
};

#define TOPK_SHARED_HEAD(K, name, warps, warp)                                              \
    TOPK_SHARED(int, name##_candidates, CANDIDATES * warps);                                \
    TOPK_SHARED(float, name##_scores, Head<K>::MAX_SIZE * warps);                           \
    TOPK_SHARED(int, name##_classes, Head<K>::MAX_SIZE * warps);                            \
    TOPK_SHARED(int, name##_is_tied, warps);                                                \
    TOPK_SHARED(double, name##_p, Head<K>::MAX_SIZE * warps);                               \
    TOPK_SHARED(double, name##_q, Head<K>::MAX_SIZE * warps);                               \
    TOPK_SHARED(double, name##_sizes, (K + 1) * warps);                                     \
    TOPK_SHARED(float, name##_coefficients, K * warps);                                     \
    Head<K> name = {name##_candidates.slice(CANDIDATES * (warp), CANDIDATES),               \
                    name##_scores.slice(Head<K>::MAX_SIZE * (warp), Head<K>::MAX_SIZE),     \
                    name##_classes.slice(Head<K>::MAX_SIZE * (warp), Head<K>::MAX_SIZE),    \
                    name##_is_tied.slice((warp), 1),                                        \
                    name##_p.slice(Head<K>::MAX_SIZE * (warp), Head<K>::MAX_SIZE),          \
                    name##_q.slice(Head<K>::MAX_SIZE * (warp), Head<K>::MAX_SIZE),          \
                    name##_sizes.slice((K + 1) * (warp), K + 1),                            \
                    name##_coefficients.slice(K * (warp), K)}

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

// The `size`-th highest of the lanes' maxima: at least `size` scores reach it, and few others do.
TOPK_DEVICE float head_threshold(float maximum, int size) {
    int larger = 0;
#pragma unroll 8
    for (int other = 0; other < WARP; ++other) {
        larger += shuffle(maximum, other) > maximum;
    }
    float threshold = warp_min(larger < size ? maximum : infinity());
    // −∞ is not a score.
    return fmaxf(threshold, -LARGEST);
}

// Puts the `size` first of `count` candidates in order into the head; `score_of` gives the score of a class. Of one
// warp.
template <int K, class Scores>
TOPK_DEVICE void sort_candidates(const Head<K> &head, int count, int size, Scores score_of) {
    bool is_candidate = lane() < count;
    int index = is_candidate ? int(head.candidates[lane()]) : 0;
    float score = is_candidate ? score_of(index) : -infinity();
    int rank = 0;
    for (int other = 0; other < count; ++other) {
        rank += comes_before(shuffle(score, other), shuffle(index, other), score, index);
    }
    if (is_candidate && rank < size) {
        head.scores[rank] = score;
        head.classes[rank] = index;
    }
    sync_warp();
    bool is_tied = ballot(is_candidate && rank >= size && score == head.scores[size - 1]) != 0;
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

// The weight of a class in the tail; 0 in the head.
TOPK_DEVICE float tail_weight(const HeadResult &head, float score, int index, float exponent) {
    bool is_in_head = score > head.last || (score == head.last && index <= head.last_class);
    return weight_of((is_in_head ? -infinity() : score) - head.kth, exponent);
}

// Given e_1, …, e_K of the tail's weights in `tail`, computes the loss, and if there is a gradient, the coefficients
// of the tail's, `head_gradient`, that of the head's class number `lane()`, and the label's. Of one warp, with the
// same `tail` in all lanes.
template <int K>
TOPK_DEVICE void finish_head(
    const Arguments &arguments,
    const Sample &sample,
    const Head<K> &head,
    int size,
    float label_score,
    double (&tail)[K],
    float &head_gradient,
    float &label_gradient
) {
    const int k = arguments.k;
    // Keeps the sum of the tail's weights, divided by it, at most k.
    double tilt = tail[0] > k ? tail[0] / k : 1.0;
    double factor = 1 / tilt;
    double kth = head.scores[k - 1];
    if (lane() < size) {
        double z = (double(head.scores[lane()]) - kth) * arguments.per_score;
        // Finite, for the product.
        double reciprocal = fmin(exp(-z) * tilt, 1e300);
        double p = 1 / (1 + reciprocal);
        head.p[lane()] = p;
        head.q[lane()] = reciprocal * p;
    }
    sync_warp();

    // Sizes of random subsets without this lane's class: those of the tail, to which the others of the head are
    // added one by one. The last lane, which has no class, gets those of all.
    double sizes[K + 1];
    sizes[0] = 1;
    double power = factor;
#pragma unroll
    for (int j = 1; j <= K; ++j) {
        sizes[j] = tail[j - 1] * power;
        power *= factor;
    }
    for (int i = 0; i < size; ++i) {
        double p = i == lane() ? 0.0 : head.p[i];
        double q = i == lane() ? 1.0 : head.q[i];
#pragma unroll
        for (int j = K; j > 0; --j) {
            sizes[j] = fma(q, sizes[j], p * sizes[j - 1]);
        }
        sizes[0] *= q;
    }
    if (lane() == WARP - 1) {
#pragma unroll
        for (int j = 0; j <= K; ++j) {
            head.sizes[j] = sizes[j];
        }
    }
    sync_warp();

    double over_k = 1 / head.sizes[k];
    double over_km1 = 1 / head.sizes[k - 1];
    double ratio = tilt * (head.sizes[k] * over_km1);
    double hinge = arguments.alpha + (kth - label_score) / k;
    LossAndProbability result = smooth_hinge(hinge, ratio, arguments.tau);
    if (arguments.values && lane() == 0) {
        arguments.values[sample.row] = float(sample.weight * result.loss);
    }
    if (!arguments.gradient) {
        return;
    }

    double scale = sample.factor * result.probability / k;
    label_gradient = float(-scale);
    if (lane() < K) {
        int l = lane();
        double coefficient = 0;
        if (l < k) {
            coefficient = tail_coefficient(head.sizes, k, l, scale, over_k, over_km1);
            for (int power = 0; power <= l; ++power) {
                coefficient *= factor;
            }
        }
        head.coefficients[l] = clamped(coefficient);
    }
    double without_km1 = 0;
    double without_km2 = 0;
#pragma unroll
    for (int j = 0; j < K; ++j) {
        without_km1 = j == k - 1 ? sizes[j] : without_km1;
        without_km2 = j == k - 2 ? sizes[j] : without_km2;
    }
    if (lane() < size) {
        head_gradient = float(scale * head.p[lane()] * (without_km1 * over_k - without_km2 * over_km1));
    }
    sync_warp();
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

// Writes the gradient of the head's classes and the label, after a barrier of the threads that wrote the row. Of the
// warp that finished the head.
template <int K>
TOPK_DEVICE void write_head(
    const Arguments &arguments,
    const Sample &sample,
    const Head<K> &head,
    int size,
    float head_gradient,
    float label_gradient
) {
    if (lane() < size) {
        store_gradient(arguments, sample.row, head.classes[lane()], head_gradient);
    }
    if (lane() == WARP - 1) {
        store_gradient(arguments, sample.row, sample.label, label_gradient);
    }
}
