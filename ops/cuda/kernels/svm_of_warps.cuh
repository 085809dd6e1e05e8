// The smooth top-k SVM where a warp holds a row of scores in registers.
#pragma once

#include "head.cuh"
#include "warp_row.cuh"

constexpr int ROWS_PER_BLOCK = 4;

// For k = 1, where the subsets have at most one element; also cross-entropy, with τ = 1 and α = 0.
template <int V>
TOPK_DEVICE void top1_of_warp(const Arguments &arguments, const Sample &sample, WarpRow<V> &row, float label_score) {
    float(&scores)[V] = row.scores;
    float highest = warp_max(fmaxf(row.maximum(), -LARGEST));
    float exponent = binary_exponent(arguments.per_score);
    float lane_sum = 0;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        scores[v] = weight_of(scores[v] - highest, exponent);
        lane_sum += scores[v];
    }
    double sum = warp_sum(double(lane_sum));
    double hinge = arguments.alpha + (double(highest) - label_score);
    LossAndProbability result = smooth_hinge(hinge, hinge * arguments.per_score, sum, arguments.tau);
    if (arguments.values && lane() == 0) {
        arguments.values[sample.row] = float(sample.weight * result.loss);
    }
    if (arguments.gradient) {
        double scaled = gradient_factor(arguments, sample.row, sample.weight) * result.probability;
        float per_weight = sum > 0 ? float(scaled / sum) : 0;
#pragma unroll
        for (int v = 0; v < V; ++v) {
            scores[v] *= per_weight;
        }
        row.write_gradient(arguments, sample);
        sync_warp();
        if (lane() == 0) {
            store_gradient(arguments, sample.row, sample.label, float(-scaled));
        }
    }
}

// Finds the head. Of all scores, the candidates are those that reach a threshold; where many are equal, there
// are too many candidates, and the head is found one by one.
template <int K, int V>
TOPK_DEVICE void find_head_of_warp(
    const Arguments &arguments,
    const Sample &sample,
    const WarpRow<V> &row,
    const Head<K> &head,
    int size
) {
    static_assert(V <= 32, "one bit per score");
    float threshold = head_threshold(head, row.maximum(), size);
    // One bit per score, the first one in the highest bit: signs of the differences, in bytes side by side.
    constexpr int BITS = V < 8 ? V : 8;
    unsigned below[V / BITS] = {};
#pragma unroll
    for (int v = 0; v < V; ++v) {
        below[v / BITS] = below[v / BITS] << 1 | bits_of(row.scores[v] - threshold) >> 31;
    }
    unsigned hits = 0;
#pragma unroll
    for (int byte = 0; byte < V / BITS; ++byte) {
        hits |= (below[byte] ^ ((1u << BITS) - 1)) << (32 - BITS * (byte + 1));
    }
    int count = 0;
    while (unsigned lanes = ballot(hits != 0)) {
        int position = count + count_ones(lanes & lower_lanes());
        if (hits && position < CANDIDATES) {
            int v = leading_zeros(hits);
            head.candidates[position] = v * WARP + lane();
            hits ^= 0x80000000 >> v;
        }
        count += count_ones(lanes);
        if (count > CANDIDATES) {
            break;
        }
    }
    sync_warp();
    if (count <= CANDIDATES) {
        Candidate candidate = {-infinity(), 0};
        if (lane() < count) {
            int place = head.candidates[lane()];
            candidate.index = row.index(place / WARP, place % WARP);
            // Read once more, since a register cannot be chosen by a number.
            candidate.score = load_score(arguments, sample.row, candidate.index);
        }
        sort_candidates(head, candidate, count, size);
        return;
    }

    Best previous = {infinity(), 0};
    for (int rank = 0; rank < size; ++rank) {
        Best best = {-infinity(), 0x7fffffff};
#pragma unroll
        for (int v = 0; v < V; ++v) {
            int i = row.index(v, lane());
            if (row.scores[v] > best.score && comes_before(previous.score, previous.index, row.scores[v], i)) {
                best = {row.scores[v], i};
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

// Replaces scores of the head by ∞ where the tail has equal ones.
template <int V>
TOPK_DEVICE void mark_ties(WarpRow<V> &row, const HeadResult &head) {
    if (head.is_tied) {
#pragma unroll
        for (int v = 0; v < V; ++v) {
            if (is_tied_in_head(head, row.scores[v], row.index(v, lane()))) {
                row.scores[v] = infinity();
            }
        }
    }
}

// Reads a row. Returns whether its loss is to be computed: rows whose scores do not matter are written, and those that
// are done are left.
template <int V>
TOPK_DEVICE bool open_row(const Arguments &arguments, long long index, Sample &sample, WarpRow<V> &row) {
    if (index >= arguments.samples || is_done(arguments, index)) {
        return false;
    }
    if (is_row_ignored(arguments, index)) {
        write_constant(arguments, index, 0, lane(), WARP);
        return false;
    }
    const long long label = arguments.labels[index];
    row.read(arguments, index);
    sample = open_sample(arguments, index, label);
    if (!sample.is_valid || !row.is_finite(arguments, index)) {
        write_constant(arguments, index, not_a_number(), lane(), WARP);
        return false;
    }
    row.remove(sample.label);
    return true;
}

TOPK_DEVICE long long row_of_warp() { return block() * ROWS_PER_BLOCK + thread() / WARP; }

template <int V>
TOPK_DEVICE void top1_of_warps(const Arguments &arguments) {
    Sample sample;
    WarpRow<V> row;
    if (open_row(arguments, row_of_warp(), sample, row)) {
        top1_of_warp(arguments, sample, row, load_score(arguments, sample.row, sample.label));
    }
}

// Each lane moves its scores to shared memory and back.
template <int V>
TOPK_DEVICE void move_to(Shared<float> memory, const float (&scores)[V]) {
#pragma unroll
    for (int v = 0; v < V; ++v) {
        memory[(v / 4 * WARP + lane()) * 4 + v % 4] = scores[v];
    }
}

template <int V>
TOPK_DEVICE void move_from(Shared<float> memory, float (&scores)[V]) {
#pragma unroll
    for (int v = 0; v < V; ++v) {
        scores[v] = memory[(v / 4 * WARP + lane()) * 4 + v % 4];
    }
}

template <int K, int V>
TOPK_DEVICE void topk_of_warps(const Arguments &arguments) {
    // Lanes whose product of polynomials is computed in single precision: where many such products are left, rounding
    // errors average out.
    constexpr int IN_SINGLE_PRECISION = 4;
    // Polynomials of the tail of each row, whose product is that of all.
    constexpr int PARTS = WARP / IN_SINGLE_PRECISION;
    TOPK_SHARED_HEADS(K, heads, ROWS_PER_BLOCK);
    TOPK_SHARED(float, polynomials, ROWS_PER_BLOCK * PARTS * K);
    TOPK_SHARED(int, is_open, ROWS_PER_BLOCK);
    TOPK_SHARED(float, label_scores, ROWS_PER_BLOCK);
    TOPK_SHARED(float, weights, ROWS_PER_BLOCK);
    constexpr int ROWS = WARP / Head<K>::LANES;
    TOPK_SHARED(float, stash, ROWS_PER_BLOCK / ROWS * V * WARP);
    const int warp = thread() / WARP;
    const Head<K> head = heads(warp);
    Sample sample;
    WarpRow<V> row;
    const bool open = open_row(arguments, row_of_warp(), sample, row);
    if (open) {
        const int size = head_size(arguments);
        find_head_of_warp(arguments, sample, row, head, size);
        HeadResult found = head_result(arguments, head, size);
        mark_ties(row, found);
        const TailWeights weight = tail_weights(found, arguments.per_score, 0);
        float polynomial[K] = {};
#pragma unroll
        for (int v = 0; v < V; ++v) {
            row.scores[v] = weight(row.scores[v]);
            append(polynomial, row.scores[v]);
        }
        multiply_lanes(polynomial, 1, IN_SINGLE_PRECISION);
        if (lane() % IN_SINGLE_PRECISION == 0) {
#pragma unroll
            for (int j = 0; j < K; ++j) {
                polynomials[(warp * PARTS + lane() / IN_SINGLE_PRECISION) * K + j] = polynomial[j];
            }
        }
        if (lane() == 0) {
            label_scores[warp] = load_score(arguments, sample.row, sample.label);
            weights[warp] = sample.weight;
        }
    }
    if (lane() == 0) {
        is_open[warp] = open;
    }
    sync_block();

    // One warp finishes several rows; which one changes from block to block, so that all schedulers of a
    // multiprocessor have the same work.
    const int turn = int((block() + warp) % ROWS_PER_BLOCK);
    if (turn < ROWS_PER_BLOCK / ROWS) {
        // Without its weights, fewer registers are enough.
        const Shared<float> stashed = stash.slice(turn * V * WARP, V * WARP);
        move_to(stashed, row.scores);
        const int mine = turn * ROWS + lane() / Head<K>::LANES;
        const bool computed = is_open[mine] != 0;
        double tail[K];
#pragma unroll
        for (int j = 0; j < K; ++j) {
            tail[j] = computed ? float(polynomials[(mine * PARTS + lane() % PARTS) * K + j]) : 0.0f;
        }
        multiply_lanes(tail, 1, PARTS);
        const float of_label = computed ? float(label_scores[mine]) : 0.0f;
        const float class_weight = computed ? float(weights[mine]) : 0.0f;
        const long long index = block() * ROWS_PER_BLOCK + mine;
        const double factor = arguments.gradient ? gradient_factor(arguments, computed ? index : 0, class_weight) : 0.0;
        finish_head<0>(arguments, heads(mine), computed, index, of_label, class_weight, factor, tail);
        move_from(stashed, row.scores);
    }
    if (!arguments.gradient) {
        return;
    }
    sync_block();
    if (!open) {
        return;
    }
    float coefficients[K];
#pragma unroll
    for (int l = 0; l < K; ++l) {
        coefficients[l] = head.coefficients[l];
    }
#pragma unroll
    for (int v = 0; v < V; ++v) {
        row.scores[v] = derivative(coefficients, row.scores[v]);
    }
    row.write_gradient(arguments, sample);
    sync_warp();
    write_head(arguments, head, sample);
}
