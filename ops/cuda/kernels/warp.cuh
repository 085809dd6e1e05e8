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

TOPK_DEVICE float warp_min(float value) { return -warp_max(-value); }

// The polynomial 1 + t[0] X + t[1] X² + …, up to degree K, of each lane becomes the product of those of `lanes`
// neighbours, a power of two.
template <int K>
TOPK_DEVICE void multiply_lanes(double (&t)[K], int lanes) {
    for (int mask = 1; mask < lanes; mask *= 2) {
        double other[K];
#pragma unroll
        for (int j = 0; j < K; ++j) {
            other[j] = shuffle_xor(t[j], mask);
        }
        // From the highest degree down, since a product needs the lower ones only.
#pragma unroll
        for (int j = K - 1; j >= 0; --j) {
            double sum = t[j] + other[j];
#pragma unroll
            for (int i = 0; i < j; ++i) {
                sum = fma(t[i], other[j - 1 - i], sum);
            }
            t[j] = sum;
        }
    }
}
