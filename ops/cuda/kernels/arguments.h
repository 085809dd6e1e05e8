// What the kernels are told: the only parameter of each.
#pragma once

enum ScoreType : int { FLOAT32 = 0, FLOAT16 = 1, BFLOAT16 = 2 };

enum Reduction : int { REDUCTION_NONE = 0, REDUCTION_SUM = 1, REDUCTION_MEAN = 2 };

// The losses of `topk_ranked`.
enum RankedLoss : int {
    MAX_TOPK_SVM = 0,
    TOPK_HINGE_ALPHA = 1,
    TOPK_HINGE_BETA = 2,
    PSI5 = 3,
    TRUNCATED_TOPK_ENTROPY = 4,
};

// `Arguments` in src/arguments.rs has the same layout.
struct Arguments {
    // [samples, classes] of `type`; rows are `scores_stride` elements apart.
    const void *scores;
    // [samples]
    const long long *labels;
    // [classes], or null for 1.
    const float *class_weights;
    // Gradient of the loss, or null for 1: one number, or one per sample if `upstream_stride` is 1.
    const float *upstream;
    // [samples, classes] of `type`, or null; rows are `gradient_stride` elements apart.
    void *gradient;
    // [samples]: the loss of each sample times its class weight, 0 where ignored; or null.
    float *values;
    // Sums of the samples' class weights, as `topk_weights` writes them; or null.
    double *weights;
    // The reduced loss, which `topk_reduce` writes.
    float *result;
    long long samples;
    long long scores_stride;
    long long gradient_stride;
    // 0 or 1
    long long upstream_stride;
    long long ignore_index;
    double tau;
    double alpha;
    // 1/(kτ), at most the largest finite number.
    double per_score;
    int classes;
    int k;
    // ScoreType
    int type;
    // Reduction
    int reduction;
    // Whether samples with label `ignore_index` are ignored.
    int has_ignore_index;
    // Whether to leave the gradient as it is where the upstream gradient is 1.
    int skip_if_one;
    // RankedLoss, for the kernels of `topk_ranked`.
    int loss;
};
