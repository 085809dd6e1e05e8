// The smooth top-k SVM for 2 ≤ k ≤ 5.
#include "svm_of_blocks.cuh"
#include "svm_of_warps.cuh"

TOPK_KERNEL(128, 8) topk_svm_5_small(Arguments arguments) { topk_of_warps<5, 4>(arguments); }
TOPK_KERNEL(128, 8) topk_svm_5_warp(Arguments arguments) { topk_of_warps<5, 32>(arguments); }

TOPK_KERNEL(512, 2) topk_svm_5_shared(Arguments arguments) { topk_of_block<5, true>(arguments); }
TOPK_KERNEL(512, 2) topk_svm_5_global(Arguments arguments) { topk_of_block<5, false>(arguments); }
