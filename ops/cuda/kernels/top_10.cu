// The smooth top-k SVM for 6 ≤ k ≤ 10.
#include "svm_of_blocks.cuh"
#include "svm_of_warps.cuh"

TOPK_KERNEL(128, 5) topk_svm_10_small(Arguments arguments) { topk_of_warps<10, 4>(arguments); }
TOPK_KERNEL(128, 5) topk_svm_10_warp(Arguments arguments) { topk_of_warps<10, 32>(arguments); }

TOPK_KERNEL(512, 1) topk_svm_10_shared(Arguments arguments) { topk_of_block<10, true>(arguments); }
TOPK_KERNEL(512, 1) topk_svm_10_global(Arguments arguments) { topk_of_block<10, false>(arguments); }
