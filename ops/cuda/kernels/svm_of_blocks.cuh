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
        LossAndProbability result = smooth_hinge(hinge, hinge * arguments.per_score, sum, arguments.tau);
        if (arguments.values && thread() == 0) {
            arguments.values[sample.row] = float(sample.weight * result.loss);
        }
        if (arguments.gradient) {
            double scaled = gradient_factor(arguments, sample.row, sample.weight) * result.probability;
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
    float own_maximum = -infinity();
    scores.for_each([&](int, float score) { own_maximum = fmaxf(own_maximum, score); });
    search.maxima[thread()] = own_maximum;
    sync_block();
    if (warp() == 0) {
        float maximum = own_maximum;
#pragma unroll
        for (int other = 1; other < WARPS; ++other) {
            maximum = fmaxf(maximum, search.maxima[other * WARP + lane()]);
        }
        float threshold = head_threshold(head, maximum, size);
        if (lane() == 0) {
            search.threshold[0] = threshold;
            search.count[0] = 0;
        }
    }
    sync_block();
    float threshold = search.threshold[0];
    if (own_maximum >= threshold) {
        scores.for_each_from(threshold, [&](int i) {
            int position = atomic_add(search.count, 0, 1);
            if (position < CANDIDATES) {
                head.candidates[position] = i;
            }
        });
    }
    sync_block();
    int count = search.count[0];
    if (count <= CANDIDATES) {
        if (warp() == 0) {
            Candidate candidate = {-infinity(), 0};
            if (lane() < count) {
                candidate.index = head.candidates[lane()];
                candidate.score = scores.score(candidate.index);
            }
            sort_candidates(head, candidate, count, size);
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

// The weights of a row's tail, which take the place of scores in shared memory.
template <bool IN_SHARED_MEMORY>
class BlockWeights {
public:
    TOPK_DEVICE BlockWeights(BlockRow<IN_SHARED_MEMORY> &row, const HeadResult &head, double per_score, int shift)
        : row(row), head(head), weights(tail_weights(head, per_score, shift)) {}

    // Calls body(weight) for each weight of this thread.
    template <class Body>
    TOPK_DEVICE void for_each(Body body) {
        if constexpr (IN_SHARED_MEMORY) {
            if (head.is_tied) {
                row.replace([&](int i, float score) { return is_tied_in_head(head, score, i) ? infinity() : score; });
            }
            row.replace([&](int, float score) {
                float weight = weights(score);
                body(weight);
                return weight;
            });
        } else {
            row.for_each([&](int i, float score) { body(weight(i, score)); });
        }
    }

    // Writes value(weight) to the gradient, after `for_each` and a barrier.
    template <class Value>
    TOPK_DEVICE void write_gradient(Value value) const {
        row.write_gradient([&](int i, float score) { return value(IN_SHARED_MEMORY ? score : weight(i, score)); });
    }

private:
    TOPK_DEVICE float weight(int i, float score) const {
        return head.is_tied && is_tied_in_head(head, score, i) ? 0 : weights(score);
    }

    BlockRow<IN_SHARED_MEMORY> &row;
    const HeadResult head;
    const TailWeights weights;
};

template <int K, bool IN_SHARED_MEMORY>
TOPK_DEVICE void topk_of_block(const Arguments &arguments) {
    TOPK_SHARED_HEADS(K, heads, 1);
    TOPK_SHARED_SEARCH(search);
    // The product of these polynomials of the tail is that of all.
    constexpr int IN_SINGLE_PRECISION = 8;
    constexpr int PARTS = WARPS * WARP / IN_SINGLE_PRECISION;
    static_assert(PARTS == 2 * WARP, "two for each lane");
    // Keeps polynomials of degree 10 of the weights of 65,536 classes in the range of single precision.
    constexpr int SHIFT = K > 5 ? 2 : 0;
    TOPK_SHARED(float, polynomials, PARTS * K);
    TOPK_SHARED(double, factor, 1);
    for_row_of_block<IN_SHARED_MEMORY>(arguments, [&](const Sample &sample, BlockRow<IN_SHARED_MEMORY> &scores) {
        const Head<K> head = heads(0);
        const int size = head_size(arguments);
        if (arguments.gradient && warp() == WARPS - 1) {
            // Before the first warp, which does the rest alone, needs it.
            double own = gradient_factor(arguments, sample.row, sample.weight);
            if (lane() == 0) {
                factor[0] = own;
            }
        }
        find_head_of_block(scores, head, size, search);
        const HeadResult found = head_result(arguments, head, size);
        BlockWeights<IN_SHARED_MEMORY> weights(scores, found, arguments.per_score, SHIFT);

        float polynomial[K] = {};
        weights.for_each([&](float weight) { append(polynomial, weight); });
        multiply_lanes(polynomial, 1, IN_SINGLE_PRECISION);
        if (lane() % IN_SINGLE_PRECISION == 0) {
#pragma unroll
            for (int j = 0; j < K; ++j) {
                polynomials[thread() / IN_SINGLE_PRECISION * K + j] = polynomial[j];
            }
        }
        sync_block();

        if (warp() == 0) {
            double tail[K];
            double other[K];
#pragma unroll
            for (int j = 0; j < K; ++j) {
                tail[j] = polynomials[lane() * K + j];
                other[j] = polynomials[(WARP + lane()) * K + j];
            }
            multiply(tail, other);
            multiply_lanes(tail, 1, WARP);
            const bool is_first = lane() < Head<K>::LANES;
            const double of_gradient = arguments.gradient ? double(factor[0]) : 0.0;
            const float of_label = scores.label_score();
            finish_head<SHIFT>(arguments, head, is_first, sample.row, of_label, sample.weight, of_gradient, tail);
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
        weights.write_gradient([&](float weight) { return derivative(coefficients, weight); });
        sync_block();
        if (warp() == 0) {
            write_head(arguments, head, sample);
        }
    });
}
