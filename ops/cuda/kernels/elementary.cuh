// Functions of double precision with relative errors below 1e-9, far below those of the results, which are in single
// precision. They have no branches, so that the device computes several of them at the same time.
#pragma once

#include "device.cuh"

// 1/x of a positive number between 2⁻¹⁰⁰⁰ and 2¹⁰⁰⁰.
TOPK_DEVICE double reciprocal(double x) {
    // Each step squares the relative error, which is up to 2⁻¹⁹ at first.
    double y = reciprocal_approx(x);
    y = fma(fma(-x, y, 1.0), y, y);
    return fma(fma(-x, y, 1.0), y, y);
}

constexpr double LN_2 = 0.6931471805599453;

// exp x for x up to 700; below −700, exp −700.
TOPK_DEVICE double exponential(double x) {
    x = fmax(x, -700.0);
    // The nearest integer to x/ln 2 in the lowest bits.
    constexpr double SHIFT = 6755399441055744.0;
    double shifted = fma(x, 1.4426950408889634, SHIFT);
    double r = fma(shifted - SHIFT, -LN_2, x);
    // Taylor's series for |r| ≤ ln 2/2, in pairs.
    double r2 = r * r;
    double r4 = r2 * r2;
    double p01 = 1.0 + r;
    double p23 = fma(r, 1.0 / 6, 1.0 / 2);
    double p45 = fma(r, 1.0 / 120, 1.0 / 24);
    double p67 = fma(r, 1.0 / 5040, 1.0 / 720);
    double low = fma(r2, p23, p01);
    double high = fma(r2, p67, p45);
    double sum = fma(r4, fma(r4, 1.0 / 40320, high), low);
    return times_power_of_2(sum, low_bits(shifted));
}

// ln(1 + x) for 0 ≤ x ≤ 2¹⁰⁰⁰.
TOPK_DEVICE double log_1_plus(double x) {
    double y = 1 + x;
    // y = m 2ⁿ for m from √½ on, where ln is smooth.
    int n = (int(high_bits(y)) - 0x3fe6a09e) >> 20;
    // For n = 0, the digits that 1 + x loses are kept.
    double f = n == 0 ? x : times_power_of_2(y, -n) - 1;
    // ln(1 + f) = 2 artanh(f/(2 + f))
    double s = f * reciprocal(2 + f);
    double s2 = s * s;
    double s4 = s2 * s2;
    double p01 = fma(s2, 2.0 / 3, 2.0);
    double p23 = fma(s2, 2.0 / 7, 2.0 / 5);
    double p45 = fma(s2, 2.0 / 11, 2.0 / 9);
    double series = fma(s4, fma(s4, p45, p23), p01);
    return fma(double(n), LN_2, s * series);
}
