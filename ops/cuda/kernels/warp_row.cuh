// A row of scores in the registers of a warp: V of them per lane.
#pragma once

#include "sample.cuh"

// Calls `body` with the number of neighbouring scores that a lane holds as a constant: 4 where rows are aligned, so
// that one instruction reads them, else 1.
template <class Body>
TOPK_DEVICE void with_neighbours(bool in_fours, Body body) {
    if (in_fours) {
        body(Constant<4>());
    } else {
        body(Constant<1>());
    }
}

// Sets `scores[v]`: a register cannot be chosen by a number.
template <int FIRST, int COUNT, int V>
TOPK_DEVICE void set_score(float (&scores)[V], int v, float value) {
    if constexpr (COUNT == 1) {
        scores[FIRST] = value;
    } else if (v < FIRST + COUNT / 2) {
        set_score<FIRST, COUNT / 2>(scores, v, value);
    } else {
        set_score<FIRST + COUNT / 2, COUNT / 2>(scores, v, value);
    }
}

template <int V>
class WarpRow {
public:
    // −∞ beyond the row's last score.
    float scores[V];

    // Reads a row, the label's score included.
    TOPK_DEVICE void read(const Arguments &arguments, long long row) {
        dispatch(arguments.type, [&](auto zero) {
            using Score = decltype(zero);
            const Score *first = scores_of<Score>(arguments, row);
            in_fours = arguments.classes % 4 == 0 && is_aligned(first) &&
                       (!arguments.gradient || is_aligned(gradient_of<Score>(arguments, row)));
            with_neighbours(in_fours, [&](auto neighbours) {
                if (V > 4 && arguments.classes > V * WARP - neighbours.value * WARP) {
                    poison = load<true, neighbours.value>(first, arguments.classes);
                } else {
                    poison = load<false, neighbours.value>(first, arguments.classes);
                }
            });
        });
    }

    // Whether all scores of the row are finite; for the whole warp.
    TOPK_DEVICE bool is_finite(const Arguments &arguments, long long row) const {
        if (ballot(!::is_finite(poison)) == 0) {
            return true;
        }
        // The products of large scores are infinite too.
        bool finite = true;
        for (int i = lane(); i < arguments.classes; i += WARP) {
            finite &= ::is_finite(load_score(arguments, row, i));
        }
        return ballot(!finite) == 0;
    }

    // Replaces the score of the label by −∞.
    TOPK_DEVICE void remove(int label) {
        int owner = in_fours ? label % (4 * WARP) / 4 : label % WARP;
        if (lane() == owner) {
            int v = in_fours ? label / (4 * WARP) * 4 + label % 4 : label / WARP;
            set_score<0, V>(scores, v, -infinity());
        }
    }

    TOPK_DEVICE float maximum() const {
        // Side by side, since each comparison waits for the one before it.
        constexpr int CHAINS = 4;
        float highest[CHAINS];
#pragma unroll
        for (int v = 0; v < V; ++v) {
            highest[v % CHAINS] = v < CHAINS ? scores[v] : fmaxf(highest[v % CHAINS], scores[v]);
        }
        return fmaxf(fmaxf(highest[0], highest[1]), fmaxf(highest[2], highest[3]));
    }

    // The class of `scores[v]` of a lane.
    TOPK_DEVICE int index(int v, int lane) const {
        return in_fours ? v / 4 * (4 * WARP) + v % 4 + 4 * lane : v * WARP + lane;
    }

    // Writes `scores` to the row of the gradient.
    TOPK_DEVICE void write_gradient(const Arguments &arguments, const Sample &sample) const {
        dispatch(arguments.type, [&](auto zero) {
            using Score = decltype(zero);
            Score *row = gradient_of<Score>(arguments, sample.row);
            with_neighbours(in_fours, [&](auto neighbours) {
                if (V > 4 && arguments.classes > V * WARP - neighbours.value * WARP) {
                    store_all<true, neighbours.value>(row, arguments.classes);
                } else {
                    store_all<false, neighbours.value>(row, arguments.classes);
                }
            });
        });
    }

private:
    bool in_fours;
    // Finite only if all scores of this lane are.
    float poison;

    // Whether group g of this lane's scores, N neighbours, is in the row. ALMOST_FULL: only the last group may not be.
    template <bool ALMOST_FULL, int N>
    static TOPK_DEVICE bool is_inside(int g, int classes) {
        return (ALMOST_FULL && g < V / N - 1) || (g * WARP + lane()) * N < classes;
    }

    // Returns a number that is finite only if all scores are.
    template <bool ALMOST_FULL, int N, class Score>
    TOPK_DEVICE float load(const Score *row, int classes) {
        // All are requested before the first one is used.
        Neighbours<Score, N> groups[V / N];
#pragma unroll
        for (int g = 0; g < V / N; ++g) {
            groups[g] = {};
            if (is_inside<ALMOST_FULL, N>(g, classes)) {
                groups[g] = ((const Neighbours<Score, N> *)row)[g * WARP + lane()];
            }
        }
#pragma unroll
        for (int v = 0; v < V; ++v) {
            scores[v] = to_float(groups[v / N].of[v % N]);
        }
        float products[2] = {};
#pragma unroll
        for (int v = 0; v < V; v += 2) {
            products[v / 2 % 2] = fmaf(scores[v], scores[v + 1], products[v / 2 % 2]);
        }
#pragma unroll
        for (int v = 0; v < V; ++v) {
            if (!is_inside<ALMOST_FULL, N>(v / N, classes)) {
                scores[v] = -infinity();
            }
        }
        return products[0] + products[1];
    }

    template <bool ALMOST_FULL, int N, class Score>
    TOPK_DEVICE void store_all(Score *row, int classes) const {
#pragma unroll
        for (int g = 0; g < V / N; ++g) {
            if (is_inside<ALMOST_FULL, N>(g, classes)) {
                Neighbours<Score, N> group;
#pragma unroll
                for (int n = 0; n < N; ++n) {
                    store(&group.of[n], scores[g * N + n]);
                }
                ((Neighbours<Score, N> *)row)[g * WARP + lane()] = group;
            }
        }
    }
};
