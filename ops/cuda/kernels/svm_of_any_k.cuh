// The smooth top-k SVM for k up to MAX_K, where a block computes a row. Polynomials are in double precision and
// distributed over the lanes.
//
// Each wrong class i is in a random subset with probability p_i = x_i/(1 + x_i), x_i = exp(z_i)/tilt, where the tilt is
// such that about k − ½ classes are in the subset. The head are the classes with p > ½, of which there are
// fewer than 2k; the others are the tail. The sizes of the head's subsets, all of them, and the polynomials of the
// tail's x up to degree k give those of all classes up to degree k by one product. Without a class of the
// tail they follow from the lowest degree up (its x is at most 1, so errors do not grow); without a class
// of the head, the head's sizes follow from the highest degree down (its 1/x is below 1).
#pragma once

#include "block_row.cuh"
#include "weight.cuh"

constexpr int MAX_K = 128;
constexpr int MAX_HEAD = 2 * MAX_K;
constexpr int HEAD_PER_WARP = MAX_HEAD / WARPS;

// Numbers whose order as integers is that of the scores.
TOPK_DEVICE unsigned order_of(float score) {
    unsigned bits = bits_of(score);
    return bits & 0x80000000 ? ~bits : bits | 0x80000000;
}

TOPK_DEVICE float score_of(unsigned order) { return float_of(order & 0x80000000 ? order & 0x7fffffff : ~order); }

// The k-th highest score, digit by digit.
template <class Row>
TOPK_DEVICE float kth_highest(Row &scores, int k, Shared<int> histogram, Shared<int> chosen) {
    constexpr int DIGITS = 256;
    unsigned prefix = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        if (thread() < DIGITS) {
            histogram[thread()] = 0;
        }
        sync_block();
        unsigned mask = shift == 24 ? 0 : 0xffffffffu << (shift + 8);
        scores.for_each([&](int, float score) {
            unsigned order = order_of(score);
            if ((order & mask) == prefix) {
                atomic_add(histogram, order >> shift & (DIGITS - 1), 1);
            }
        });
        sync_block();
        if (warp() == 0) {
            // Lane 0 has the highest digits.
            constexpr int PER_LANE = DIGITS / WARP;
            int counts[PER_LANE];
            int sum = 0;
#pragma unroll
            for (int i = 0; i < PER_LANE; ++i) {
                counts[i] = histogram[DIGITS - 1 - lane() * PER_LANE - i];
                sum += counts[i];
            }
            int above = 0;
            for (int other = 0; other < WARP; ++other) {
                int of_other = shuffle(sum, other);
                above += other < lane() ? of_other : 0;
            }
#pragma unroll
            for (int i = 0; i < PER_LANE; ++i) {
                if (above < k && above + counts[i] >= k) {
                    chosen[0] = DIGITS - 1 - lane() * PER_LANE - i;
                    chosen[1] = above;
                }
                above += counts[i];
            }
        }
        sync_block();
        prefix |= unsigned(int(chosen[0])) << shift;
        k -= chosen[1];
    }
    return score_of(prefix);
}

// 1/x of a score, for the tilt 1; ∞ for very low ones, 0 for very high ones.
TOPK_DEVICE float reciprocal_weight(float difference, float exponent) {
    float weight = weight_of(-fabsf(difference), exponent);
    return difference < 0 ? 1 / weight : weight;
}

// ln of the tilt, for which the expected size is within 0.2 of k − ½. As `balanced_shift` in topk-ops.
template <class Row>
TOPK_DEVICE float balanced_shift(
    const Arguments &arguments,
    Row &scores,
    float kth,
    float exponent,
    Shared<double> sums
) {
    double k = arguments.k;
    double tail = arguments.classes - 1 - k;
    double low = -log(2 * k - 1);
    double high = log(2 * tail + 1);
    double shift = 0;
    for (int step = 0;; ++step) {
        float tilt = float(exp(shift));
        float thread_mean = 0;
        float thread_variance = 0;
        scores.for_each([&](int, float score) {
            float p = 1 / (1 + reciprocal_weight(score - kth, exponent) * tilt);
            thread_mean += p;
            thread_variance = fmaf(p, 1 - p, thread_variance);
        });
        double error = block_sum(thread_mean, sums) - (k - 0.5);
        double variance = block_sum(thread_variance, sums);
        if (fabs(error) <= 0.2 || high - low < 1e-6 || step == 100) {
            return float(shift);
        }
        if (error > 0) {
            low = shift;
        } else {
            high = shift;
        }
        double newton = shift + error / variance;
        shift = low < newton && newton < high ? newton : 0.5 * (low + high);
    }
}

// Multiplies polynomials of this degree in pairs, neighbour by neighbour, up to degree `limit`; each has its
// coefficients from degree 0 on, one polynomial after the other. Returns the degree of the products.
TOPK_DEVICE int multiply_pairs(Shared<double> polynomials, int pairs, int degree, int limit) {
    // The products are written when all factors have been read.
    constexpr int PER_THREAD = (WARPS / 2 * (MAX_K + 1) + BLOCK - 1) / BLOCK;
    int result = 2 * degree < limit ? 2 * degree : limit;
    double products[PER_THREAD];
#pragma unroll
    for (int n = 0; n < PER_THREAD; ++n) {
        int item = thread() + n * BLOCK;
        int pair = item / (result + 1);
        int j = item % (result + 1);
        double sum = 0;
        if (pair < pairs) {
            int left = 2 * pair * (degree + 1);
            int right = left + degree + 1;
            int first = j > degree ? j - degree : 0;
            int last = j < degree ? j : degree;
            for (int i = first; i <= last; ++i) {
                sum = fma(polynomials[left + i], polynomials[right + j - i], sum);
            }
        }
        products[n] = sum;
    }
    sync_block();
#pragma unroll
    for (int n = 0; n < PER_THREAD; ++n) {
        int item = thread() + n * BLOCK;
        if (item < pairs * (result + 1)) {
            polynomials[item] = products[n];
        }
    }
    sync_block();
    return result;
}

TOPK_DEVICE int multiply_all(Shared<double> polynomials, int degree, int limit) {
    for (int pairs = WARPS / 2; pairs > 0; pairs /= 2) {
        degree = multiply_pairs(polynomials, pairs, degree, limit);
    }
    return degree;
}

// e_0, …, e_k of the tail's x, for the classes of each warp. Lane l has the degrees l · D + 1, …, l · D + D.
template <int D, class Row>
TOPK_DEVICE void tail_of_warps(
    const Arguments &arguments,
    Row &scores,
    float kth,
    float exponent,
    float tilt,
    Shared<double> polynomials
) {
    double e[D] = {};
    scores.for_each_of_warp([&](int, float score) {
        float reciprocal = reciprocal_weight(score - kth, exponent) * tilt;
        // Classes of the head are left out.
        float x = reciprocal < 1 ? 0 : 1 / reciprocal;
        if (ballot(x > 0) == 0) {
            return;
        }
        for (int other = 0; other < WARP; ++other) {
            double of_other = shuffle(x, other);
            double below = shuffle(e[D - 1], (lane() + WARP - 1) % WARP);
            below = lane() == 0 ? 1.0 : below;
#pragma unroll
            for (int d = D - 1; d > 0; --d) {
                e[d] = fma(of_other, e[d - 1], e[d]);
            }
            e[0] = fma(of_other, below, e[0]);
        }
    });
    Shared<double> mine = polynomials.slice(warp() * (arguments.k + 1), arguments.k + 1);
    if (lane() == 0) {
        mine[0] = 1;
    }
#pragma unroll
    for (int d = 0; d < D; ++d) {
        int degree = lane() * D + d + 1;
        if (degree <= arguments.k) {
            mine[degree] = e[d];
        }
    }
}

template <bool IN_SHARED_MEMORY>
TOPK_DEVICE void any_k_of_block(const Arguments &arguments) {
    TOPK_SHARED(int, histogram, 256);
    TOPK_SHARED(int, chosen, 2);
    TOPK_SHARED(double, sums, WARPS);
    TOPK_SHARED(int, count, 1);
    TOPK_SHARED(float, found_scores, MAX_HEAD);
    TOPK_SHARED(int, found_classes, MAX_HEAD);
    // In ascending order of the class.
    TOPK_SHARED(int, classes, MAX_HEAD);
    TOPK_SHARED(double, p, MAX_HEAD);
    TOPK_SHARED(double, q, MAX_HEAD);
    TOPK_SHARED(double, head, WARPS * (HEAD_PER_WARP + 1));
    TOPK_SHARED(double, tail, WARPS * (MAX_K + 1));
    // P_0, …, P_k of all wrong classes, up to a common factor.
    TOPK_SHARED(double, sizes, MAX_K + 1);
    TOPK_SHARED(float, coefficients, MAX_K);
    for_row_of_block<IN_SHARED_MEMORY>(arguments, [&](const Sample &sample, auto &scores) {
        const int k = arguments.k;
        float kth = kth_highest(scores, k, histogram, chosen);
        float exponent = binary_exponent(arguments.per_score);
        float shift = balanced_shift(arguments, scores, kth, exponent, sums);
        float tilt = float(exp(double(shift)));

        if (thread() == 0) {
            count[0] = 0;
        }
        sync_block();
        scores.for_each([&](int i, float score) {
            if (reciprocal_weight(score - kth, exponent) * tilt < 1) {
                int position = atomic_add(count, 0, 1);
                if (position < MAX_HEAD) {
                    found_scores[position] = score;
                    found_classes[position] = i;
                }
            }
        });
        sync_block();
        int size = count[0];
        size = size < MAX_HEAD ? size : MAX_HEAD;
        if (thread() < size) {
            int mine = found_classes[thread()];
            int rank = 0;
            for (int other = 0; other < size; ++other) {
                rank += found_classes[other] < mine;
            }
            double z = (double(found_scores[thread()]) - kth) * arguments.per_score;
            double reciprocal = exp(-z) * tilt;
            classes[rank] = mine;
            p[rank] = 1 / (1 + reciprocal);
            q[rank] = 1 / (1 + 1 / reciprocal);
        }
        sync_block();

        // Sizes of the subsets of each warp's share of the head; lane l has size l.
        double own = lane() == 0 ? 1 : 0;
        for (int i = warp(); i < size; i += WARPS) {
            double below = shuffle(own, (lane() + WARP - 1) % WARP);
            own = fma(q[i], own, lane() == 0 ? 0.0 : p[i] * below);
        }
        if (lane() <= HEAD_PER_WARP) {
            head[warp() * (HEAD_PER_WARP + 1) + lane()] = own;
        }
        if (k <= WARP) {
            tail_of_warps<1>(arguments, scores, kth, exponent, tilt, tail);
        } else if (k <= 2 * WARP) {
            tail_of_warps<2>(arguments, scores, kth, exponent, tilt, tail);
        } else {
            tail_of_warps<4>(arguments, scores, kth, exponent, tilt, tail);
        }
        sync_block();
        multiply_all(head, HEAD_PER_WARP, MAX_HEAD);
        multiply_all(tail, k, k);

        if (thread() <= k) {
            double sum = 0;
            for (int i = 0; i <= thread(); ++i) {
                sum = fma(head[i], tail[thread() - i], sum);
            }
            sizes[thread()] = sum;
        }
        sync_block();

        double over_k = 1 / sizes[k];
        double over_km1 = 1 / sizes[k - 1];
        double ratio = tilt * (sizes[k] * over_km1);
        double hinge = arguments.alpha + (double(kth) - scores.label_score()) / k;
        LossAndProbability result = smooth_hinge(hinge, hinge * arguments.per_score * k, ratio, arguments.tau);
        if (arguments.values && thread() == 0) {
            arguments.values[sample.row] = float(sample.weight * result.loss);
        }
        if (!arguments.gradient) {
            return;
        }
        double factor = gradient_factor(arguments, sample.row, sample.weight) * result.probability / k;
        if (thread() < k) {
            coefficients[thread()] = clamped(tail_coefficient(sizes, k, thread(), factor, over_k, over_km1));
        }
        sync_block();
        scores.write_gradient([&](int, float score) {
            float reciprocal = reciprocal_weight(score - kth, exponent) * tilt;
            float x = reciprocal < 1 ? 0 : 1 / reciprocal;
            float sum = 0;
            for (int l = k - 1; l >= 0; --l) {
                sum = fmaf(sum, x, coefficients[l]);
            }
            return sum * x;
        });
        // The head's classes and the label got 0.
        sync_block();
        if (thread() < size) {
            double over_p = 1 / p[thread()];
            double without = 0;
            double without_km1 = 0;
            double without_km2 = 0;
            for (int j = size - 1; j >= 0; --j) {
                without = (head[j + 1] - q[thread()] * without) * over_p;
                without_km1 = fma(without, j <= k - 1 ? double(tail[k - 1 - j]) : 0.0, without_km1);
                without_km2 = fma(without, j <= k - 2 ? double(tail[k - 2 - j]) : 0.0, without_km2);
            }
            double difference = without_km1 * over_k - without_km2 * over_km1;
            store_gradient(arguments, sample.row, classes[thread()], float(factor * p[thread()] * difference));
        }
        if (thread() == BLOCK - 1) {
            store_gradient(arguments, sample.row, sample.label, float(-factor));
        }
    });
}
