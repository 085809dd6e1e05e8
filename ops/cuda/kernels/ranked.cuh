// Losses of the label and the k or k + 1 highest wrong classes, which the head has in order; and the truncated top-k
// entropy, for which all others count too. See the losses of the same names in topk-ops.
#pragma once

#include "head.cuh"
#include "svm_of_blocks.cuh"
#include "svm_of_warps.cuh"

// Computes the loss, and if there is a gradient, those of the head's classes and the label. `tail` is the sum of the
// weights of all other wrong classes, relative to the k-th highest. Returns what the weights are multiplied by to give
// their gradient. Of one warp.
template <int K>
TOPK_DEVICE float finish_ranked(
    const Arguments &arguments,
    const Sample &sample,
    const Head<K> &head,
    int size,
    float label_score,
    double tail
) {
    const int k = arguments.k;
    const double alpha = arguments.alpha;
    const double kth = head.scores[k - 1];
    auto violation = [&](int rank) { return alpha + (double(head.scores[rank]) - label_score); };
    double loss = 0;
    // Of the classes with these ranks, and of the label; in units of the sample's factor.
    int first = 0;
    int last = -1;
    double each = 0;
    double of_label = 0;
    float per_weight = 0;
    float gradient = 0;
    const double factor = arguments.gradient ? gradient_factor(arguments, sample.row, sample.weight) : 0;
    switch (arguments.loss) {
    case MAX_TOPK_SVM: {
        double hinge = alpha + (kth - label_score) / k;
        loss = fmax(hinge, 0.0);
        if (hinge > 0) {
            first = last = k - 1;
            each = 1.0 / k;
            of_label = -each;
        }
        break;
    }
    case TOPK_HINGE_ALPHA: {
        // The k-th wrong class counts only if it ranks before the label, whose violation is 0.
        double kth_violation = violation(k - 1);
        bool kth_counts = kth_violation > 0 || (kth_violation == 0 && head.classes[k - 1] < sample.label);
        int count = k - 1 + kth_counts;
        double sum = 0;
        for (int rank = 0; rank < count; ++rank) {
            sum += violation(rank);
        }
        loss = fmax(sum / k, 0.0);
        if (sum > 0) {
            last = count - 1;
            each = 1.0 / k;
            of_label = -double(count) / k;
        }
        break;
    }
    case TOPK_HINGE_BETA: {
        int count = 0;
        double sum = 0;
        while (count < k && violation(count) > 0) {
            sum += violation(count);
            ++count;
        }
        loss = sum / k;
        last = count - 1;
        each = 1.0 / k;
        of_label = -double(count) / k;
        break;
    }
    case PSI5: {
        // Ranks of wrong classes before the label.
        int before = 0;
        while (before < size && before <= k &&
               comes_before(head.scores[before], head.classes[before], label_score, sample.label)) {
            ++before;
        }
        if (before == k) {
            loss = alpha;
        } else {
            int rank = before > k ? k : k - 1;
            double hinge = violation(rank);
            loss = fmax(hinge, 0.0);
            if (hinge > 0) {
                first = last = rank;
                each = 1;
                of_label = -1;
            }
        }
        break;
    }
    default: {
        double own = 0;
        if (lane() >= k - 1 && lane() < size) {
            own = exponential(double(head.scores[lane()]) - kth);
        }
        double sum = warp_sum(own) + tail;
        LossAndProbability result = smooth_hinge(kth - label_score, kth - label_score, sum, 1);
        loss = result.loss;
        of_label = -result.probability;
        per_weight = float(factor * result.probability / sum);
        gradient = float(factor * result.probability / sum * own);
    }
    }
    if (arguments.values && lane() == 0) {
        arguments.values[sample.row] = float(sample.weight * loss);
    }
    if (lane() >= first && lane() <= last) {
        gradient = float(factor * each);
    }
    if (lane() < size) {
        head.gradients[lane()] = gradient;
    }
    if (lane() == 0) {
        head.gradients[size] = float(factor * of_label);
    }
    return per_weight;
}

TOPK_DEVICE bool has_tail(const Arguments &arguments) { return arguments.loss == TRUNCATED_TOPK_ENTROPY; }

template <int K, int V>
TOPK_DEVICE void ranked_of_warps(const Arguments &arguments) {
    TOPK_SHARED_HEADS(K, heads, ROWS_PER_BLOCK);
    Sample sample;
    WarpRow<V> row;
    if (!open_row(arguments, row_of_warp(), sample, row)) {
        return;
    }
    const Head<K> head = heads(thread() / WARP);
    const int size = head_size(arguments);
    find_head_of_warp(arguments, sample, row, head, size);
    double tail = 0;
    if (has_tail(arguments)) {
        HeadResult found = head_result(arguments, head, size);
        mark_ties(row, found);
        const TailWeights weight = tail_weights(found, 1, 0);
        float lane_sum = 0;
#pragma unroll
        for (int v = 0; v < V; ++v) {
            row.scores[v] = weight(row.scores[v]);
            lane_sum += row.scores[v];
        }
        tail = warp_sum(double(lane_sum));
    }
    float label_score = load_score(arguments, sample.row, sample.label);
    float per_weight = finish_ranked(arguments, sample, head, size, label_score, tail);
    if (!arguments.gradient) {
        return;
    }
#pragma unroll
    for (int v = 0; v < V; ++v) {
        row.scores[v] = has_tail(arguments) ? row.scores[v] * per_weight : 0;
    }
    row.write_gradient(arguments, sample);
    sync_warp();
    write_head(arguments, head, sample);
}

template <int K, bool IN_SHARED_MEMORY>
TOPK_DEVICE void ranked_of_block(const Arguments &arguments) {
    TOPK_SHARED_HEADS(K, heads, 1);
    TOPK_SHARED_SEARCH(search);
    TOPK_SHARED(double, sums, WARPS);
    TOPK_SHARED(float, per_weight, 1);
    for_row_of_block<IN_SHARED_MEMORY>(arguments, [&](const Sample &sample, BlockRow<IN_SHARED_MEMORY> &scores) {
        const Head<K> head = heads(0);
        const int size = head_size(arguments);
        find_head_of_block(scores, head, size, search);
        BlockWeights<IN_SHARED_MEMORY> weights(scores, head_result(arguments, head, size), 1, 0);
        double tail = 0;
        if (has_tail(arguments)) {
            float thread_sum = 0;
            weights.for_each([&](float weight) { thread_sum += weight; });
            tail = block_sum(thread_sum, sums);
        }
        if (warp() == 0) {
            float of_weight = finish_ranked(arguments, sample, head, size, scores.label_score(), tail);
            if (lane() == 0) {
                per_weight[0] = of_weight;
            }
        }
        if (!arguments.gradient) {
            return;
        }
        sync_block();
        float of_weight = per_weight[0];
        weights.write_gradient([&](float weight) { return has_tail(arguments) ? weight * of_weight : 0; });
        sync_block();
        if (warp() == 0) {
            write_head(arguments, head, sample);
        }
    });
}
