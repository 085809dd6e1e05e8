// Types of scores and gradients.
#pragma once

#include "arguments.h"
#include "device.cuh"

constexpr float LARGEST = 3.40282347e38f;
TOPK_DEVICE float infinity() { return float_of(0x7f800000); }
TOPK_DEVICE float not_a_number() { return float_of(0x7fc00000); }

struct Half {
    unsigned short bits;
};

struct BFloat16 {
    unsigned short bits;
};

TOPK_DEVICE float to_float(float score) { return score; }
TOPK_DEVICE float to_float(Half score) { return half_to_float(score.bits); }
TOPK_DEVICE float to_float(BFloat16 score) { return float_of(unsigned(score.bits) << 16); }

TOPK_DEVICE void store(float *to, float value) { *to = value; }
TOPK_DEVICE void store(Half *to, float value) { to->bits = float_to_half(value); }
TOPK_DEVICE void store(BFloat16 *to, float value) {
    // To nearest, ties to even. A NaN must not become infinite by the addition.
    unsigned bits = bits_of(value);
    unsigned rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    to->bits = value == value ? rounded : 0x7fff;
}

TOPK_DEVICE bool is_finite(float value) { return fabsf(value) <= LARGEST; }

// The next lower number.
TOPK_DEVICE float next_below(float value) {
    if (value == 0) {
        return float_of(0x80000001);
    }
    return float_of(value > 0 ? bits_of(value) - 1 : bits_of(value) + 1);
}

// Neighbouring scores, which one instruction reads or writes where they are aligned.
template <class Score, int N>
struct alignas(N * sizeof(Score)) Neighbours {
    Score of[N];
};

// Whether four scores from `row` on can be read at once.
template <class Score>
TOPK_DEVICE bool is_aligned(const Score *row) {
    return (unsigned long long)row % sizeof(Neighbours<Score, 4>) == 0;
}

// A number that the compiler knows.
template <int N>
struct Constant {
    static constexpr int value = N;
};

// Calls `body` with a value of the type of the scores.
template <class Body>
TOPK_DEVICE void dispatch(int type, Body body) {
    switch (type) {
    case FLOAT32:
        body(float());
        break;
    case FLOAT16:
        body(Half());
        break;
    default:
        body(BFloat16());
    }
}

template <class Score>
TOPK_DEVICE const Score *scores_of(const Arguments &arguments, long long sample) {
    return (const Score *)arguments.scores + sample * arguments.scores_stride;
}

template <class Score>
TOPK_DEVICE Score *gradient_of(const Arguments &arguments, long long sample) {
    return (Score *)arguments.gradient + sample * arguments.gradient_stride;
}

TOPK_DEVICE float load_score(const Arguments &arguments, long long sample, int index) {
    float score = 0;
    dispatch(arguments.type, [&](auto zero) {
        score = to_float(scores_of<decltype(zero)>(arguments, sample)[index]);
    });
    return score;
}

TOPK_DEVICE void store_gradient(const Arguments &arguments, long long sample, int index, float value) {
    dispatch(arguments.type, [&](auto zero) {
        store(gradient_of<decltype(zero)>(arguments, sample) + index, value);
    });
}
