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

TOPK_DEVICE int sum_of_lower_lanes(int value) {
    int sum = value;
#pragma unroll
    for (int step = 1; step < WARP; step *= 2) {
        int lower = shuffle(sum, lane() - step & WARP - 1);
        sum += lane() >= step ? lower : 0;
    }
    return sum - value;
}

// The polynomial 1 + t[0] X + t[1] X² + …, up to degree K, of each lane becomes the product of those of `lanes`
// lanes that are `step` apart; powers of two.
template <class T, int K>
TOPK_DEVICE void multiply_lanes(T (&t)[K], int step, int lanes) {
#pragma unroll
    for (int mask = step; mask < step * lanes; mask *= 2) {
        T other[K];
#pragma unroll
        for (int j = 0; j < K; ++j) {
            other[j] = shuffle_xor(t[j], mask);
        }
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
}

// The product of the polynomials of all lanes. Where many products of neighbours are left, rounding errors average
// out, and single precision will do.
template <int K>
TOPK_DEVICE void multiply_warp(float (&polynomial)[K], double (&product)[K]) {
    constexpr int IN_SINGLE_PRECISION = 8;
    multiply_lanes(polynomial, 1, IN_SINGLE_PRECISION);
#pragma unroll
    for (int j = 0; j < K; ++j) {
        product[j] = polynomial[j];
    }
    multiply_lanes(product, IN_SINGLE_PRECISION, WARP / IN_SINGLE_PRECISION);
}
