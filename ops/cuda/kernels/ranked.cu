// Losses of the label and the highest wrong classes for k ≤ 10.
#include "ranked.cuh"

TOPK_KERNEL(128, 6) topk_ranked_small(Arguments arguments) { ranked_of_warps<10, 4>(arguments); }
TOPK_KERNEL(128, 4) topk_ranked_warp(Arguments arguments) { ranked_of_warps<10, 32>(arguments); }

TOPK_KERNEL(512, 2) topk_ranked_shared(Arguments arguments) { ranked_of_block<10, true>(arguments); }
TOPK_KERNEL(512, 2) topk_ranked_global(Arguments arguments) { ranked_of_block<10, false>(arguments); }
