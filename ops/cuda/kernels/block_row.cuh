// Rows of scores that a whole block computes.
#pragma once

#include "sample.cuh"

constexpr int BLOCK = 512;
constexpr int WARPS = BLOCK / WARP;

TOPK_DEVICE int warp() { return thread() / WARP; }

// A row of scores, with −∞ in place of the label's. In shared memory, some more −∞ may follow.
template <bool IN_SHARED_MEMORY>
class BlockRow {
public:
    TOPK_DEVICE BlockRow(const Arguments &arguments, long long row)
        : arguments(arguments), row(row), memory(dynamic_shared(IN_SHARED_MEMORY ? padded(arguments.classes) : 0)) {}

    // Reads the row. Returns whether all of this thread's scores are finite. `remove` must follow.
    TOPK_DEVICE bool open() {
        // Finite only if all scores are.
        float sum = 0;
        for_each_read([&](int i, float score) {
            sum = fmaf(score, 0.0f, sum);
            if (IN_SHARED_MEMORY) {
                memory[i] = score;
            }
        });
        int beyond = arguments.classes + thread();
        if (IN_SHARED_MEMORY && beyond < padded(arguments.classes)) {
            memory[beyond] = -infinity();
        }
        return is_finite(sum);
    }

    // Replaces the score of the label by −∞, after `open`. In shared memory, a barrier must follow.
    TOPK_DEVICE void remove(int label) {
        this->label = label;
        if (IN_SHARED_MEMORY && thread() == label % BLOCK) {
            memory[label] = -infinity();
        }
    }

    // Calls body(index, score) for each score of this thread.
    template <class Body>
    TOPK_DEVICE void for_each(Body body) const {
        if (IN_SHARED_MEMORY) {
            for_each_four([&](int first, const float(&scores)[4]) {
#pragma unroll
                for (int n = 0; n < 4; ++n) {
                    body(first + n, scores[n]);
                }
            });
        } else {
            for_each_read([&](int i, float score) { body(i, i == label ? -infinity() : score); });
        }
    }

    // Calls body(index) for each score of this thread that reaches a threshold; few do.
    template <class Body>
    TOPK_DEVICE void for_each_from(float threshold, Body body) const {
        if (IN_SHARED_MEMORY) {
            for_each_four([&](int first, const float(&scores)[4]) {
                if (fmaxf(fmaxf(scores[0], scores[1]), fmaxf(scores[2], scores[3])) >= threshold) {
#pragma unroll
                    for (int n = 0; n < 4; ++n) {
                        if (scores[n] >= threshold) {
                            body(first + n);
                        }
                    }
                }
            });
        } else {
            for_each([&](int i, float score) {
                if (score >= threshold) {
                    body(i);
                }
            });
        }
    }

    // As `for_each`, for scores in shared memory, each of which becomes what `value` returns.
    template <class Value>
    TOPK_DEVICE void replace(Value value) {
        static_assert(IN_SHARED_MEMORY, "scores in global memory stay");
        for_each_four([&](int first, const float(&scores)[4]) {
            float values[4];
#pragma unroll
            for (int n = 0; n < 4; ++n) {
                values[n] = value(first + n, scores[n]);
            }
#pragma unroll
            for (int n = 0; n < 4; ++n) {
                memory[first + n] = values[n];
            }
        });
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

    // Writes value(index, score) to the gradient. If scores in shared memory were replaced, a barrier must precede.
    template <class Value>
    TOPK_DEVICE void write_gradient(Value value) const {
        if (IN_SHARED_MEMORY) {
            dispatch(arguments.type, [&](auto zero) {
                using Score = decltype(zero);
                Score *gradient = gradient_of<Score>(arguments, row);
#pragma unroll 4
                for (int i = thread(); i < arguments.classes; i += BLOCK) {
                    store(gradient + i, value(i, memory[i]));
                }
            });
        } else {
            for_each([&](int i, float score) { store_gradient(arguments, row, i, value(i, score)); });
        }
    }

    TOPK_DEVICE float score(int i) const {
        if (IN_SHARED_MEMORY) {
            return memory[i];
        }
        return i == label ? -infinity() : load_score(arguments, row, i);
    }

    TOPK_DEVICE float label_score() const { return load_score(arguments, row, label); }

private:
    // Scores of a thread that are read together, so that it waits once for all of them.
    static constexpr int TOGETHER = IN_SHARED_MEMORY ? 24 : 8;

    // Scores in shared memory are read four at a time.
    static TOPK_DEVICE int padded(int classes) { return (classes + 3) / 4 * 4; }

    // Calls body(index of the first, scores) for four neighbours at a time, in shared memory.
    template <class Body>
    TOPK_DEVICE void for_each_four(Body body) const {
        constexpr int STEP = 4 * BLOCK;
        int first = 4 * thread();
        for (; first + STEP < arguments.classes; first += 2 * STEP) {
            float scores[4];
            float others[4];
            read_four(first, scores);
            read_four(first + STEP, others);
            body(first, scores);
            body(first + STEP, others);
        }
        if (first < arguments.classes) {
            float scores[4];
            read_four(first, scores);
            body(first, scores);
        }
    }

    TOPK_DEVICE void read_four(int first, float (&scores)[4]) const {
#pragma unroll
        for (int n = 0; n < 4; ++n) {
            scores[n] = memory[first + n];
        }
    }

    // Calls body(index, score) for each score of this thread, the label's included, from global memory.
    template <class Body>
    TOPK_DEVICE void for_each_read(Body body) const {
        int first = thread();
        for (; first + (TOGETHER - 1) * BLOCK < arguments.classes; first += TOGETHER * BLOCK) {
            read<true>(first, body);
        }
        read<false>(first, body);
    }

    // Of the scores first, first + BLOCK, …: TOGETHER, or if not FULL, those that there are.
    template <bool FULL, class Body>
    TOPK_DEVICE void read(int first, Body body) const {
        float scores[TOGETHER];
        dispatch(arguments.type, [&](auto zero) {
            using Score = decltype(zero);
            const Score *own = scores_of<Score>(arguments, row) + first;
#pragma unroll
            for (int n = 0; n < TOGETHER; ++n) {
                scores[n] = FULL || first + n * BLOCK < arguments.classes ? to_float(own[n * BLOCK]) : 0;
            }
        });
#pragma unroll
        for (int n = 0; n < TOGETHER; ++n) {
            if (FULL || first + n * BLOCK < arguments.classes) {
                body(first + n * BLOCK, scores[n]);
            }
        }
    }

    const Arguments &arguments;
    const long long row;
    int label = -1;
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
    if (is_row_ignored(arguments, row)) {
        write_constant(arguments, row, 0, thread(), BLOCK);
        return;
    }
    const long long label = arguments.labels[row];
    BlockRow<IN_SHARED_MEMORY> scores(arguments, row);
    const bool finite = scores.open();
    const Sample sample = open_sample(arguments, row, label);
    if (sample.is_valid) {
        scores.remove(sample.label);
    }
    if (block_any(!finite || !sample.is_valid, any)) {
        write_constant(arguments, row, not_a_number(), thread(), BLOCK);
        return;
    }
    loss(sample, scores);
}
