// The smooth top-k SVM where a block computes a row.
#pragma once

#include "block_row.cuh"
#include "head.cuh"

// For k = 1; also cross-entropy.
template <bool IN_SHARED_MEMORY>
TOPK_DEVICE void top1_of_block(const Arguments &arguments) {
    TOPK_SHARED(float, maxima, WARPS);
    TOPK_SHARED(double, sums, WARPS);
    for_row_of_block<IN_SHARED_MEMORY>(arguments, [&](const Sample &sample, auto &scores) {
        float highest = -LARGEST;
        scores.for_each([&](int, float score) { highest = fmaxf(highest, score); });
        highest = block_max(highest, maxima);
        float exponent = binary_exponent(arguments.per_score);
        float thread_sum = 0;
        scores.for_each([&](int, float score) { thread_sum += weight_of(score - highest, exponent); });
        double sum = block_sum(thread_sum, sums);
        double hinge = arguments.alpha + (double(highest) - scores.label_score());
        LossAndProbability result = smooth_hinge(hinge, sum, arguments.tau);
        if (arguments.values && thread() == 0) {
            arguments.values[sample.row] = float(sample.weight * result.loss);
        }
        if (arguments.gradient) {
            double scaled = sample.factor * result.probability;
            float per_weight = sum > 0 ? float(scaled / sum) : 0;
            scores.write_gradient([&](int i, float score) {
                return i == sample.label ? float(-scaled) : weight_of(score - highest, exponent) * per_weight;
            });
        }
    });
}

// Shared memory for the search of the head.
struct Search {
    Shared<float> maxima;
    Shared<int> indices;
    Shared<float> threshold;
    Shared<int> count;
};

#define TOPK_SHARED_SEARCH(name)                   \
    TOPK_SHARED(float, name##_maxima, BLOCK);      \
    TOPK_SHARED(int, name##_indices, WARPS);       \
    TOPK_SHARED(float, name##_threshold, 1);       \
    TOPK_SHARED(int, name##_count, 1);             \
    Search name = {name##_maxima, name##_indices, name##_threshold, name##_count}

// As `find_head_of_warp`. The first warp sorts the candidates of all; their order in memory, which changes from
// run to run, does not matter for that.
template <int K, class Row>
TOPK_DEVICE void find_head_of_block(Row &scores, const Head<K> &head, int size, const Search &search) {
    float maximum = -infinity();
    scores.for_each([&](int, float score) { maximum = fmaxf(maximum, score); });
    search.maxima[thread()] = maximum;
    sync_block();
    if (warp() == 0) {
        for (int other = 1; other < WARPS; ++other) {
            maximum = fmaxf(maximum, search.maxima[other * WARP + lane()]);
        }
        float threshold = head_threshold(maximum, size);
        if (lane() == 0) {
            search.threshold[0] = threshold;
            search.count[0] = 0;
        }
    }
    sync_block();
    float threshold = search.threshold[0];
    scores.for_each([&](int i, float score) {
        if (score >= threshold) {
            int position = atomic_add(search.count, 0, 1);
            if (position < CANDIDATES) {
                head.candidates[position] = i;
            }
        }
    });
    sync_block();
    int count = search.count[0];
    if (count <= CANDIDATES) {
        if (warp() == 0) {
            sort_candidates(head, count, size, [&](int i) { return scores.score(i); });
        }
        sync_block();
        return;
    }

    Best previous = {infinity(), 0};
    for (int rank = 0; rank < size; ++rank) {
        Best best = {-infinity(), 0x7fffffff};
        scores.for_each([&](int i, float score) {
            if (score > best.score && comes_before(previous.score, previous.index, score, i)) {
                best = {score, i};
            }
        });
        best = warp_best(best);
        if (lane() == 0) {
            search.maxima[warp()] = best.score;
            search.indices[warp()] = best.index;
        }
        sync_block();
        best = {-infinity(), 0x7fffffff};
        if (lane() < WARPS) {
            best = {search.maxima[lane()], search.indices[lane()]};
        }
        previous = warp_best(best);
        if (thread() == 0) {
            head.scores[rank] = previous.score;
            head.classes[rank] = previous.index;
            head.is_tied[0] = true;
        }
        sync_block();
    }
}

template <int K, bool IN_SHARED_MEMORY>
TOPK_DEVICE void topk_of_block(const Arguments &arguments) {
    TOPK_SHARED_HEAD(K, head, 1, 0);
    TOPK_SHARED_SEARCH(search);
    TOPK_SHARED(double, polynomials, WARPS * K);
    for_row_of_block<IN_SHARED_MEMORY>(arguments, [&](const Sample &sample, auto &scores) {
        const int size = head_size(arguments);
        find_head_of_block(scores, head, size, search);
        HeadResult found = head_result(arguments, head, size);
        float exponent = binary_exponent(arguments.per_score);
        auto weight = [&](int i, float score) { return tail_weight(found, score, i, exponent); };

        float polynomial[K] = {};
        scores.for_each([&](int i, float score) {
            float x = weight(i, score);
#pragma unroll
            for (int j = K - 1; j > 0; --j) {
                polynomial[j] = fmaf(x, polynomial[j - 1], polynomial[j]);
            }
            polynomial[0] += x;
        });
        double tail[K];
        multiply_warp(polynomial, tail);
        if (lane() == 0) {
#pragma unroll
            for (int j = 0; j < K; ++j) {
                polynomials[warp() * K + j] = tail[j];
            }
        }
        sync_block();

        float head_gradient = 0;
        float label_gradient = 0;
        if (warp() == 0) {
#pragma unroll
            for (int j = 0; j < K; ++j) {
                tail[j] = polynomials[lane() % WARPS * K + j];
            }
            multiply_lanes(tail, 1, WARPS);
            finish_head(
                arguments, sample, head, size, scores.label_score(), tail, head_gradient, label_gradient
            );
        }
        if (!arguments.gradient) {
            return;
        }
        sync_block();
        float coefficients[K];
#pragma unroll
        for (int l = 0; l < K; ++l) {
            coefficients[l] = head.coefficients[l];
        }
        scores.write_gradient([&](int i, float score) { return derivative(coefficients, weight(i, score)); });
        sync_block();
        if (warp() == 0) {
            write_head(arguments, sample, head, size, head_gradient, label_gradient);
        }
    });
}
