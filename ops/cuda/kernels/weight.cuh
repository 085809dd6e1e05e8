// Weights exp(z) of scores.
#pragma once

#include "scores.cuh"

// log₂e · `per_score`; finite, so that 0 times it is 0.
TOPK_DEVICE float binary_exponent(double per_score) {
    return float(fmin(per_score * 1.4426950408889634, double(LARGEST)));
}

// exp(difference · per_score), given the exponent for it; 0 below 2⁻¹²⁶.
TOPK_DEVICE float weight_of(float difference, float exponent) { return exp2_approx(difference * exponent); }
