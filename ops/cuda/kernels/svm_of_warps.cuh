// The smooth top-k SVM where a warp holds a row of scores in registers: V of them per lane.
#pragma once

#include "head.cuh"

constexpr int ROWS_PER_BLOCK = 4;

// Reads the scores lane(), lane() + 32, …, with −∞ in place of the label's and beyond the last one. Returns
// whether all are finite.
template <int V>
TOPK_DEVICE bool read_row(const Arguments &arguments, const Sample &sample, float (&scores)[V], float &label_score) {
    bool finite = true;
    dispatch(arguments.type, [&](auto zero) {
        using Score = decltype(zero);
        const Score *row = scores_of<Score>(arguments, sample.row);
        label_score = to_float(row[sample.label]);
        row += lane();
        const int classes = arguments.classes - lane();
        const int label = sample.label - lane();
#pragma unroll
        for (int v = 0; v < V; ++v) {
            bool inside = v * WARP < classes;
            float score = inside ? to_float(row[v * WARP]) : -infinity();
            finite &= !inside || is_finite(score);
            scores[v] = v * WARP == label ? -infinity() : score;
        }
    });
    return ballot(!finite) == 0;
}

template <int V>
TOPK_DEVICE void write_row(const Arguments &arguments, const Sample &sample, const float (&gradient)[V]) {
    dispatch(arguments.type, [&](auto zero) {
        using Score = decltype(zero);
        Score *row = gradient_of<Score>(arguments, sample.row) + lane();
        const int classes = arguments.classes - lane();
#pragma unroll
        for (int v = 0; v < V; ++v) {
            if (v * WARP < classes) {
                store(row + v * WARP, gradient[v]);
            }
        }
    });
}

// For k = 1, where the subsets have at most one element; also cross-entropy, with τ = 1 and α = 0.
template <int V>
TOPK_DEVICE void top1_of_warp(const Arguments &arguments, const Sample &sample, float (&scores)[V], float label_score) {
    float highest = -LARGEST;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        highest = fmaxf(highest, scores[v]);
    }
    highest = warp_max(highest);
    float exponent = binary_exponent(arguments.per_score);
    float lane_sum = 0;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        scores[v] = weight_of(scores[v] - highest, exponent);
        lane_sum += scores[v];
    }
    double sum = warp_sum(double(lane_sum));
    double hinge = arguments.alpha + (double(highest) - label_score);
    LossAndProbability result = smooth_hinge(hinge, sum, arguments.tau);
    if (arguments.values && lane() == 0) {
        arguments.values[sample.row] = float(sample.weight * result.loss);
    }
    if (arguments.gradient) {
        double scaled = sample.factor * result.probability;
        float per_weight = sum > 0 ? float(scaled / sum) : 0;
        const int label = sample.label - lane();
#pragma unroll
        for (int v = 0; v < V; ++v) {
            scores[v] = v * WARP == label ? float(-scaled) : scores[v] * per_weight;
        }
        write_row(arguments, sample, scores);
    }
}

// Finds the head. Of all scores, the candidates are those that reach a threshold; where many are equal, there
// are too many candidates, and the head is found one by one.
template <int K, int V>
TOPK_DEVICE void find_head_of_warp(
    const Arguments &arguments,
    const Sample &sample,
    const float (&scores)[V],
    const Head<K> &head,
    int size
) {
    static_assert(V <= 32, "one bit per score");
    float maximum = scores[0];
#pragma unroll
    for (int v = 1; v < V; ++v) {
        maximum = fmaxf(maximum, scores[v]);
    }
    float threshold = head_threshold(maximum, size);
    unsigned hits = 0;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        hits |= scores[v] >= threshold ? 1u << v : 0;
    }
    int position = sum_of_lower_lanes(count_ones(hits));
    int count = shuffle(position + count_ones(hits), WARP - 1);
    if (count <= CANDIDATES) {
        while (hits) {
            int v = count_ones((hits & -hits) - 1);
            head.candidates[position] = v * WARP + lane();
            hits &= hits - 1;
            ++position;
        }
        sync_warp();
        // A register cannot be chosen by a number: the scores are read once more.
        sort_candidates(head, count, size, [&](int i) { return load_score(arguments, sample.row, i); });
        return;
    }

    Best previous = {infinity(), 0};
    for (int rank = 0; rank < size; ++rank) {
        Best best = {-infinity(), 0x7fffffff};
#pragma unroll
        for (int v = 0; v < V; ++v) {
            int i = v * WARP + lane();
            if (scores[v] > best.score && comes_before(previous.score, previous.index, scores[v], i)) {
                best = {scores[v], i};
            }
        }
        previous = warp_best(best);
        if (lane() == 0) {
            head.scores[rank] = previous.score;
            head.classes[rank] = previous.index;
            head.is_tied[0] = true;
        }
    }
    sync_warp();
}

// Returns a bound that the scores of the head exceed, and those of the tail do not. Where the last score of the head
// is in the tail too, those in the head become ∞.
template <int V>
TOPK_DEVICE float bound_of_tail(float (&scores)[V], const HeadResult &head) {
    if (!head.is_tied) {
        return next_below(head.last);
    }
    for (int v = 0; v < V; ++v) {
        if (scores[v] == head.last && v * WARP + lane() <= head.last_class) {
            scores[v] = infinity();
        }
    }
    return head.last;
}

template <int K, int V>
TOPK_DEVICE void topk_of_warp(
    const Arguments &arguments,
    const Sample &sample,
    float (&scores)[V],
    float label_score,
    const Head<K> &head
) {
    const int size = head_size(arguments);
    find_head_of_warp(arguments, sample, scores, head, size);
    HeadResult found = head_result(arguments, head, size);

    float exponent = binary_exponent(arguments.per_score);
    float bound = bound_of_tail(scores, found);
    float polynomial[K] = {};
#pragma unroll
    for (int v = 0; v < V; ++v) {
        float score = scores[v] > bound ? -infinity() : scores[v];
        float weight = weight_of(score - found.kth, exponent);
#pragma unroll
        for (int j = K - 1; j > 0; --j) {
            polynomial[j] = fmaf(weight, polynomial[j - 1], polynomial[j]);
        }
        polynomial[0] += weight;
        scores[v] = weight;
    }
    double tail[K];
    multiply_warp(polynomial, tail);

    float head_gradient = 0;
    float label_gradient = 0;
    finish_head(arguments, sample, head, size, label_score, tail, head_gradient, label_gradient);
    if (!arguments.gradient) {
        return;
    }
    float coefficients[K];
#pragma unroll
    for (int l = 0; l < K; ++l) {
        coefficients[l] = head.coefficients[l];
    }
#pragma unroll
    for (int v = 0; v < V; ++v) {
        scores[v] = derivative(coefficients, scores[v]);
    }
    write_row(arguments, sample, scores);
    sync_warp();
    write_head(arguments, sample, head, size, head_gradient, label_gradient);
}

// The rows of a block, one per warp.
template <int V, class Loss>
TOPK_DEVICE void for_row_of_warp(const Arguments &arguments, Loss loss) {
    long long row = block() * ROWS_PER_BLOCK + thread() / WARP;
    if (row >= arguments.samples || is_done(arguments, row)) {
        return;
    }
    Sample sample = open_sample(arguments, row);
    if (sample.is_constant) {
        write_constant(arguments, sample, sample.constant, lane(), WARP);
        return;
    }
    float scores[V];
    float label_score;
    if (read_row(arguments, sample, scores, label_score)) {
        loss(sample, scores, label_score);
    } else {
        write_constant(arguments, sample, not_a_number(), lane(), WARP);
    }
}

template <int V>
TOPK_DEVICE void top1_of_warps(const Arguments &arguments) {
    for_row_of_warp<V>(arguments, [&](const Sample &sample, float (&scores)[V], float label_score) {
        top1_of_warp(arguments, sample, scores, label_score);
    });
}

template <int K, int V>
TOPK_DEVICE void topk_of_warps(const Arguments &arguments) {
    TOPK_SHARED_HEAD(K, head, ROWS_PER_BLOCK, thread() / WARP);
    for_row_of_warp<V>(arguments, [&](const Sample &sample, float (&scores)[V], float label_score) {
        topk_of_warp(arguments, sample, scores, label_score, head);
    });
}
