// Warps: reductions, and products of polynomials that are distributed over the lanes.
#pragma once

#include "device.cuh"

constexpr int WARP = 32;

TOPK_DEVICE int lane() { return thread() % WARP; }

template <class T>
TOPK_DEVICE T warp_sum(T value) {
#pragma unroll
    for (int mask = WARP / 2; mask > 0; mask /= 2) {
        value += shuffle_xor(value, mask);
    }
    return value;
}

TOPK_DEVICE float warp_max(float value) {
#pragma unroll
    for (int mask = WARP / 2; mask > 0; mask /= 2) {
        value = fmaxf(value, shuffle_xor(value, mask));
    }
    return value;
}

// Lanes below this one.
TOPK_DEVICE unsigned lower_lanes() { return (1u << lane()) - 1; }

// Multiplies the polynomial 1 + t[0] X + t[1] X² + …, up to degree K, by 1 + x X.
template <int K>
TOPK_DEVICE void append(float (&t)[K], float x) {
#pragma unroll
    for (int j = K - 1; j > 0; --j) {
        t[j] = fmaf(x, t[j - 1], t[j]);
    }
    t[0] += x;
}

// The product of two such polynomials.
template <class T, int K>
TOPK_DEVICE void multiply(T (&t)[K], const T (&other)[K]) {
    // From the highest degree down, since a product needs the lower ones only.
#pragma unroll
    for (int j = K - 1; j >= 0; --j) {
        T sum = t[j] + other[j];
#pragma unroll
        for (int i = 0; i < j; ++i) {
            sum = fma(t[i], other[j - 1 - i], sum);
        }
        t[j] = sum;
    }
}

// The polynomial of each lane becomes the product of those of `lanes` lanes that are `step` apart; powers of two.
template <class T, int K>
TOPK_DEVICE void multiply_lanes(T (&t)[K], int step, int lanes) {
#pragma unroll
    for (int mask = step; mask < step * lanes; mask *= 2) {
        T other[K];
#pragma unroll
        for (int j = 0; j < K; ++j) {
            other[j] = shuffle_xor(t[j], mask);
        }
        multiply(t, other);
    }
}
