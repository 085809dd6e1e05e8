// Rows of scores that a whole block computes.
#pragma once

#include "sample.cuh"

constexpr int BLOCK = 512;
constexpr int WARPS = BLOCK / WARP;

TOPK_DEVICE int warp() { return thread() / WARP; }

// A row of scores, with −∞ in place of the label's. Each thread reads only the scores thread(), thread() + BLOCK,
// …, so that no barrier is needed between writing and reading them.
template <bool IN_SHARED_MEMORY>
class BlockRow {
public:
    TOPK_DEVICE BlockRow(const Arguments &arguments, const Sample &sample)
        : arguments(arguments), sample(sample), memory(dynamic_shared(IN_SHARED_MEMORY ? arguments.classes : 0)) {}

    // Reads the row. Returns whether all of this thread's scores are finite.
    TOPK_DEVICE bool open() {
        bool finite = true;
        for_each_read([&](int i, float score) {
            finite &= is_finite(score);
            if (IN_SHARED_MEMORY) {
                memory[i] = i == sample.label ? -infinity() : score;
            }
        });
        return finite;
    }

    // Calls body(index, score) for each score of this thread.
    template <class Body>
    TOPK_DEVICE void for_each(Body body) const {
        if (IN_SHARED_MEMORY) {
#pragma unroll 4
            for (int i = thread(); i < arguments.classes; i += BLOCK) {
                body(i, memory[i]);
            }
        } else {
            for_each_read([&](int i, float score) { body(i, i == sample.label ? -infinity() : score); });
        }
    }

    // The same in step over the lanes of each warp, so that `body` may use the warp's collectives. Beyond the last
    // score, it gets −∞.
    template <class Body>
    TOPK_DEVICE void for_each_of_warp(Body body) const {
        for (int first = warp() * WARP; first < arguments.classes; first += BLOCK) {
            int i = first + lane();
            body(i, i < arguments.classes ? score(i) : -infinity());
        }
    }

    // Writes value(index, score) to the gradient.
    template <class Value>
    TOPK_DEVICE void write_gradient(Value value) const {
        for_each([&](int i, float score) { store_gradient(arguments, sample.row, i, value(i, score)); });
    }

    // Of another thread only after a barrier.
    TOPK_DEVICE float score(int i) const {
        if (IN_SHARED_MEMORY) {
            return memory[i];
        }
        return i == sample.label ? -infinity() : load_score(arguments, sample.row, i);
    }

    TOPK_DEVICE float label_score() const { return load_score(arguments, sample.row, sample.label); }

private:
    // Scores of a thread that are read together, so that it waits once for all of them.
    static constexpr int TOGETHER = 8;

    // Calls body(index, score) for each score of this thread, the label's included, from global memory.
    template <class Body>
    TOPK_DEVICE void for_each_read(Body body) const {
        for (int first = thread(); first < arguments.classes; first += TOGETHER * BLOCK) {
            float scores[TOGETHER];
            dispatch(arguments.type, [&](auto zero) {
                using Score = decltype(zero);
                const Score *row = scores_of<Score>(arguments, sample.row) + first;
#pragma unroll
                for (int n = 0; n < TOGETHER; ++n) {
                    scores[n] = first + n * BLOCK < arguments.classes ? to_float(row[n * BLOCK]) : 0;
                }
            });
#pragma unroll
            for (int n = 0; n < TOGETHER; ++n) {
                if (first + n * BLOCK < arguments.classes) {
                    body(first + n * BLOCK, scores[n]);
                }
            }
        }
    }

    const Arguments &arguments;
    const Sample &sample;
    Shared<float> memory;
};

// Whether `predicate` holds in a thread of the block; in each thread. `scratch` has one number per warp.
TOPK_DEVICE bool block_any(bool predicate, Shared<int> scratch) {
    unsigned hits = ballot(predicate);
    sync_block();
    if (lane() == 0) {
        scratch[warp()] = hits != 0;
    }
    sync_block();
    int found = lane() < WARPS ? int(scratch[lane()]) : 0;
    return ballot(found != 0) != 0;
}

// Sum over the block, always in the same order; in each thread.
TOPK_DEVICE double block_sum(double value, Shared<double> scratch) {
    double sum = warp_sum(value);
    sync_block();
    if (lane() == 0) {
        scratch[warp()] = sum;
    }
    sync_block();
    return warp_sum(lane() < WARPS ? double(scratch[lane()]) : 0.0);
}

TOPK_DEVICE float block_max(float value, Shared<float> scratch) {
    float highest = warp_max(value);
    sync_block();
    if (lane() == 0) {
        scratch[warp()] = highest;
    }
    sync_block();
    return warp_max(lane() < WARPS ? float(scratch[lane()]) : -infinity());
}

// The row of a block.
template <bool IN_SHARED_MEMORY, class Loss>
TOPK_DEVICE void for_row_of_block(const Arguments &arguments, Loss loss) {
    TOPK_SHARED(int, any, WARPS);
    long long row = block();
    if (is_done(arguments, row)) {
        return;
    }
    Sample sample = open_sample(arguments, row);
    if (sample.is_constant) {
        write_constant(arguments, sample, sample.constant, thread(), BLOCK);
        return;
    }
    BlockRow<IN_SHARED_MEMORY> scores(arguments, sample);
    if (block_any(!scores.open(), any)) {
        write_constant(arguments, sample, not_a_number(), thread(), BLOCK);
        return;
    }
    loss(sample, scores);
}
