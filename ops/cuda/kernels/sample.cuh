// What a sample's loss is multiplied by, and the last steps, which all kernels share.
#pragma once

#include "elementary.cuh"
#include "scores.cuh"
#include "warp.cuh"

// More samples' weights are summed by `topk_weights` first.
constexpr int FEW_SAMPLES = 512;

// Largest number of sums that `topk_weights` writes.
constexpr int MAX_WEIGHT_SUMS = 64;

// Samples per sum, unless that gives too many sums.
constexpr int SAMPLES_PER_SUM = 1024;

TOPK_DEVICE bool is_ignored(const Arguments &arguments, long long label) {
    return arguments.has_ignore_index && label == arguments.ignore_index;
}

// Weight of a sample with this label in the mean. Invalid labels, whose loss is NaN, have none.
TOPK_DEVICE float class_weight(const Arguments &arguments, long long label) {
    if (is_ignored(arguments, label) || label < 0 || label >= arguments.classes) {
        return 0;
    }
    return arguments.class_weights ? arguments.class_weights[label] : 1;
}

// Sum of the weights of the samples first, first + step, …, by one warp; in each lane.
TOPK_DEVICE double sum_of_weights(const Arguments &arguments, long long first, long long step) {
    double sum = 0;
    for (long long i = first + lane(); i < arguments.samples; i += step) {
        sum += class_weight(arguments, arguments.labels[i]);
    }
    return warp_sum(sum);
}

TOPK_DEVICE long long weight_sums(const Arguments &arguments) {
    long long sums = (arguments.samples + SAMPLES_PER_SUM - 1) / SAMPLES_PER_SUM;
    return sums < MAX_WEIGHT_SUMS ? sums : MAX_WEIGHT_SUMS;
}

// What the sum of the losses is divided by; in each lane of the warp.
TOPK_DEVICE double divisor(const Arguments &arguments) {
    if (arguments.reduction != REDUCTION_MEAN) {
        return 1;
    }
    if (!arguments.class_weights && !arguments.has_ignore_index) {
        return double(arguments.samples);
    }
    if (arguments.samples <= FEW_SAMPLES) {
        return sum_of_weights(arguments, 0, WARP);
    }
    double sum = 0;
    for (int i = lane(); i < weight_sums(arguments); i += WARP) {
        sum += arguments.weights[i];
    }
    return warp_sum(sum);
}

struct Sample {
    long long row;
    int label;
    // Whether the label is a class. If not, loss and gradient are NaN.
    bool is_valid;
    float weight;
};

// Whether the gradient of a sample is there already.
TOPK_DEVICE bool is_done(const Arguments &arguments, long long row) {
    return arguments.skip_if_one && arguments.upstream[row * arguments.upstream_stride] == 1;
}

// Whether a sample is ignored. Waits for its label only if samples may be ignored, so that else the scores are
// requested at the same time.
TOPK_DEVICE bool is_row_ignored(const Arguments &arguments, long long row) {
    return arguments.has_ignore_index && arguments.labels[row] == arguments.ignore_index;
}

// Of the row with this label, which is not ignored.
TOPK_DEVICE Sample open_sample(const Arguments &arguments, long long row, long long label) {
    Sample sample;
    sample.row = row;
    sample.label = int(label);
    sample.is_valid = label >= 0 && label < arguments.classes;
    sample.weight = sample.is_valid && arguments.class_weights ? arguments.class_weights[label] : 1;
    return sample;
}

// What the gradient of a sample's loss is multiplied by. Of a whole warp.
TOPK_DEVICE double gradient_factor(const Arguments &arguments, long long row, float weight) {
    double factor = weight * reciprocal(divisor(arguments));
    return arguments.upstream ? factor * arguments.upstream[row * arguments.upstream_stride] : factor;
}

// Writes loss and gradient of a sample for which both are this, by the threads first, first + step, ….
TOPK_DEVICE void write_constant(const Arguments &arguments, long long row, float value, int first, int step) {
    if (arguments.values && first == 0) {
        arguments.values[row] = value;
    }
    if (arguments.gradient) {
        for (int i = first; i < arguments.classes; i += step) {
            store_gradient(arguments, row, i, value);
        }
    }
}

struct LossAndProbability {
    double loss;
    double probability;
};

// τ ln(1 + exp u) and 1/(1 + exp −u), where u = hinge/τ + ln ratio. `exponent` is hinge/τ.
TOPK_DEVICE LossAndProbability smooth_hinge(double hinge, double exponent, double ratio, double tau) {
    // The ratio is far from overflowing this.
    constexpr double LARGE = 600;
    if (exponent < LARGE) {
        double odds = exponential(exponent) * ratio;
        return {tau * log_1_plus(odds), odds * reciprocal(1 + odds)};
    }
    return {hinge + tau * log(ratio), 1};
}

// `scale` times the derivative of a class of the tail is a polynomial in its weight: the coefficient of degree l + 1, given
// e_0, …, e_k of all wrong classes and the reciprocals of e_k and e_{k−1}. See `tail_coefficients` in topk-ops.
TOPK_DEVICE double tail_coefficient(Shared<double> sizes, int k, int l, double scale, double over_k, double over_km1) {
    double below = l + 2 > k ? 0.0 : double(sizes[k - 2 - l]);
    double coefficient = scale * (over_k * sizes[k - 1 - l] - over_km1 * below);
    return l % 2 ? -coefficient : coefficient;
}

TOPK_DEVICE float clamped(double value) { return float(fmin(fmax(value, -double(LARGEST)), double(LARGEST))); }
