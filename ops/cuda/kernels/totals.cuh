// Sums over the samples.
#pragma once

#include "block_row.cuh"

// Block i writes sum number i; there are `weight_sums` blocks.
TOPK_DEVICE void write_weight_sums(const Arguments &arguments) {
    TOPK_SHARED(double, of_warps, 4);
    double sum = sum_of_weights(
        arguments, block() * threads() + warp() * WARP, blocks() * threads()
    );
    if (lane() == 0) {
        of_warps[warp()] = sum;
    }
    sync_block();
    if (thread() == 0) {
        arguments.weights[block()] = (of_warps[0] + of_warps[1]) + (of_warps[2] + of_warps[3]);
    }
}

// Of one block, which sums the losses of all samples.
TOPK_DEVICE void write_reduced_loss(const Arguments &arguments) {
    TOPK_SHARED(double, sums, WARPS);
    double sum = 0;
#pragma unroll 8
    for (long long i = thread(); i < arguments.samples; i += BLOCK) {
        sum += arguments.values[i];
    }
    sum = block_sum(sum, sums);
    double total = divisor(arguments);
    if (thread() == 0) {
        arguments.result[0] = float(sum / total);
    }
}

// p = 1/(1 + exp −u) of each sample, from its loss τ ln(1 + exp u) without a class weight. `result` has one number per
// sample here, and may be `values`.
TOPK_DEVICE void write_probabilities(const Arguments &arguments) {
    long long row = block() * threads() + thread();
    if (row < arguments.samples) {
        arguments.result[row] = float(-expm1(-double(arguments.values[row]) / arguments.tau));
    }
}
