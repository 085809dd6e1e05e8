// What a sample's loss is multiplied by, and the last steps, which all kernels share.
#pragma once

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
    // Whether neither loss nor gradient depends on the scores; then both are `constant`.
    bool is_constant;
    float constant;
    float weight;
    // What the gradient of the loss is multiplied by; in units of the weight.
    double factor;
};

// Whether the gradient of a sample is there already.
TOPK_DEVICE bool is_done(const Arguments &arguments, long long row) {
    return arguments.skip_if_one && arguments.upstream[row * arguments.upstream_stride] == 1;
}

// Of a whole warp, for the same row.
TOPK_DEVICE Sample open_sample(const Arguments &arguments, long long row) {
    long long label = arguments.labels[row];
    Sample sample;
    sample.row = row;
    sample.label = int(label);
    bool ignored = is_ignored(arguments, label);
    sample.is_constant = ignored || label < 0 || label >= arguments.classes;
    sample.constant = ignored ? 0 : not_a_number();
    sample.weight = class_weight(arguments, label);
    sample.factor = sample.weight;
    if (arguments.gradient) {
        sample.factor /= divisor(arguments);
        if (arguments.upstream) {
            sample.factor *= arguments.upstream[row * arguments.upstream_stride];
        }
    }
    return sample;
}

// Writes loss and gradient of a sample whose scores do not matter, by the threads first, first + step, ….
TOPK_DEVICE void write_constant(const Arguments &arguments, const Sample &sample, float value, int first, int step) {
    if (arguments.values && first == 0) {
        arguments.values[sample.row] = value;
    }
    if (arguments.gradient) {
        for (int i = first; i < arguments.classes; i += step) {
            store_gradient(arguments, sample.row, i, value);
        }
    }
}

struct LossAndProbability {
    double loss;
    double probability;
};

// τ ln(1 + exp u) and 1/(1 + exp −u), where u = hinge/τ + ln ratio.
TOPK_DEVICE LossAndProbability smooth_hinge(double hinge, double ratio, double tau) {
    // The ratio is far from overflowing this.
    constexpr double LARGE = 600;
    double exponent = hinge / tau;
    LossAndProbability result;
    if (exponent < LARGE) {
        double odds = exp(exponent) * ratio;
        result.loss = tau * log1p(odds);
        result.probability = odds / (1 + odds);
    } else {
        result.loss = hinge + tau * log(ratio);
        result.probability = 1;
    }
    return result;
}

// `scale` times the derivative of a class of the tail is a polynomial in its weight: the coefficient of degree l + 1, given
// e_0, …, e_k of all wrong classes and the reciprocals of e_k and e_{k−1}. See `tail_coefficients` in topk-ops.
TOPK_DEVICE double tail_coefficient(Shared<double> sizes, int k, int l, double scale, double over_k, double over_km1) {
    double below = l + 2 > k ? 0.0 : double(sizes[k - 2 - l]);
    double coefficient = scale * (over_k * sizes[k - 1 - l] - over_km1 * below);
    return l % 2 ? -coefficient : coefficient;
}

TOPK_DEVICE float clamped(double value) { return float(fmin(fmax(value, -double(LARGEST)), double(LARGEST))); }
