// Losses of the label and the k or k + 1 highest wrong classes, which the head has in order; and the truncated top-k
// entropy, for which all others count too. See the losses of the same names in topk-ops.
#pragma once

#include "head.cuh"
#include "svm_of_blocks.cuh"
#include "svm_of_warps.cuh"

// Computes the loss, and if there is a gradient, `head_gradient`, that of the head's class number `lane()`, and the
// label's. `tail` is the sum of the weights of all other wrong classes, relative to the k-th highest. Returns what the
// weights are multiplied by to give their gradient. Of one warp.
template <int K>
TOPK_DEVICE float finish_ranked(
    const Arguments &arguments,
    const Sample &sample,
    const Head<K> &head,
    int size,
    float label_score,
    double tail,
    float &head_gradient,
    float &label_gradient
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
            own = exp(double(head.scores[lane()]) - kth);
        }
        double sum = warp_sum(own) + tail;
        LossAndProbability result = smooth_hinge(kth - label_score, sum, 1);
        loss = result.loss;
        of_label = -result.probability;
        per_weight = float(sample.factor * result.probability / sum);
        head_gradient = float(sample.factor * result.probability / sum * own);
    }
    }
    if (arguments.values && lane() == 0) {
        arguments.values[sample.row] = float(sample.weight * loss);
    }
    if (lane() >= first && lane() <= last) {
        head_gradient = float(sample.factor * each);
    }
    label_gradient = float(sample.factor * of_label);
    return per_weight;
}

TOPK_DEVICE bool has_tail(const Arguments &arguments) { return arguments.loss == TRUNCATED_TOPK_ENTROPY; }

template <int K, int V>
TOPK_DEVICE void ranked_of_warps(const Arguments &arguments) {
    TOPK_SHARED_HEAD(K, head, ROWS_PER_BLOCK, thread() / WARP);
    for_row_of_warp<V>(arguments, [&](const Sample &sample, float (&scores)[V], float label_score) {
        const int size = head_size(arguments);
        find_head_of_warp(arguments, sample, scores, head, size);
        HeadResult found = head_result(arguments, head, size);
        float exponent = binary_exponent(1);
        double tail = 0;
        if (has_tail(arguments)) {
            float lane_sum = 0;
            float bound = bound_of_tail(scores, found);
#pragma unroll
            for (int v = 0; v < V; ++v) {
                scores[v] = weight_of((scores[v] > bound ? -infinity() : scores[v]) - found.kth, exponent);
                lane_sum += scores[v];
            }
            tail = warp_sum(double(lane_sum));
        }
        float head_gradient = 0;
        float label_gradient = 0;
        float per_weight =
            finish_ranked(arguments, sample, head, size, label_score, tail, head_gradient, label_gradient);
        if (!arguments.gradient) {
            return;
        }
#pragma unroll
        for (int v = 0; v < V; ++v) {
            scores[v] = has_tail(arguments) ? scores[v] * per_weight : 0;
        }
        write_row(arguments, sample, scores);
        sync_warp();
        write_head(arguments, sample, head, size, head_gradient, label_gradient);
    });
}

template <int K, bool IN_SHARED_MEMORY>
TOPK_DEVICE void ranked_of_block(const Arguments &arguments) {
    TOPK_SHARED_HEAD(K, head, 1, 0);
    TOPK_SHARED_SEARCH(search);
    TOPK_SHARED(double, sums, WARPS);
    TOPK_SHARED(float, per_weight, 1);
    for_row_of_block<IN_SHARED_MEMORY>(arguments, [&](const Sample &sample, auto &scores) {
        const int size = head_size(arguments);
        find_head_of_block(scores, head, size, search);
        HeadResult found = head_result(arguments, head, size);
        float exponent = binary_exponent(1);
        auto weight = [&](int i, float score) { return tail_weight(found, score, i, exponent); };
        double tail = 0;
        if (has_tail(arguments)) {
            float thread_sum = 0;
            scores.for_each([&](int i, float score) { thread_sum += weight(i, score); });
            tail = block_sum(thread_sum, sums);
        }
        float head_gradient = 0;
        float label_gradient = 0;
        if (warp() == 0) {
            float of_weight = finish_ranked(
                arguments, sample, head, size, scores.label_score(), tail, head_gradient, label_gradient
            );
            if (lane() == 0) {
                per_weight[0] = of_weight;
            }
        }
        if (!arguments.gradient) {
            return;
        }
        sync_block();
        float of_weight = per_weight[0];
        scores.write_gradient([&](int i, float score) {
            return has_tail(arguments) ? weight(i, score) * of_weight : 0;
        });
        sync_block();
        if (warp() == 0) {
            write_head(arguments, sample, head, size, head_gradient, label_gradient);
        }
    });
}
