// Weights exp(z) of scores.
#pragma once

#include "device.cuh"

// log₂e times what a score is multiplied by, in two parts.
struct Exponent {
    float high;
    float low;
};

// 1/(kτ)
TOPK_DEVICE double per_score(const Arguments &arguments) {
    // Finite, so that 0 times it is 0.
    return fmin(1.0 / arguments.k / arguments.tau, 1.7976931348623157e308);
}

TOPK_DEVICE Exponent exponent(double per_score) {
    double exact = per_score * 1.4426950408889634;
    Exponent exponent;
    exponent.high = float(fmin(exact, double(LARGEST)));
    exponent.low = exact < LARGEST ? float(exact - exponent.high) : 0;
    return exponent;
}

// exp(difference · per_score) for a difference that is not positive; 0 below 2⁻¹²⁶.
TOPK_DEVICE float weight_of(float difference, Exponent exponent) {
    float y = difference * exponent.high;
    float rounding = fmaf(difference, exponent.low, fmaf(difference, exponent.high, -y));
    float weight = exp2_approx(y);
    weight = fmaf(weight * 0.693147182f, rounding, weight);
    return y < -126 ? 0 : weight;
}
