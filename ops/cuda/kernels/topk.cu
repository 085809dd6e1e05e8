// All kernels. `plan.rs` decides which one is launched, and how.
#include "svm_of_blocks.cuh"
#include "svm_of_any_k.cuh"
#include "svm_of_warps.cuh"
#include "totals.cuh"

// One warp per row.
TOPK_KERNEL(128, 8) topk_svm_1_small(Arguments arguments) { top1_of_warps<4>(arguments); }
TOPK_KERNEL(128, 6) topk_svm_1_warp(Arguments arguments) { top1_of_warps<32>(arguments); }
TOPK_KERNEL(128, 8) topk_svm_5_small(Arguments arguments) { topk_of_warps<5, 4>(arguments); }
TOPK_KERNEL(128, 5) topk_svm_5_warp(Arguments arguments) { topk_of_warps<5, 32>(arguments); }
TOPK_KERNEL(128, 6) topk_svm_10_small(Arguments arguments) { topk_of_warps<10, 4>(arguments); }
TOPK_KERNEL(128, 4) topk_svm_10_warp(Arguments arguments) { topk_of_warps<10, 32>(arguments); }

// One block per row, which is held in shared memory or read again from global memory.
TOPK_KERNEL(512, 2) topk_svm_1_shared(Arguments arguments) { top1_of_block<true>(arguments); }
TOPK_KERNEL(512, 2) topk_svm_1_global(Arguments arguments) { top1_of_block<false>(arguments); }
TOPK_KERNEL(512, 2) topk_svm_5_shared(Arguments arguments) { topk_of_block<5, true>(arguments); }
TOPK_KERNEL(512, 2) topk_svm_5_global(Arguments arguments) { topk_of_block<5, false>(arguments); }
TOPK_KERNEL(512, 1) topk_svm_10_shared(Arguments arguments) { topk_of_block<10, true>(arguments); }
TOPK_KERNEL(512, 1) topk_svm_10_global(Arguments arguments) { topk_of_block<10, false>(arguments); }
TOPK_KERNEL(512, 2) topk_svm_any_shared(Arguments arguments) { any_k_of_block<true>(arguments); }
TOPK_KERNEL(512, 2) topk_svm_any_global(Arguments arguments) { any_k_of_block<false>(arguments); }

TOPK_KERNEL(128, 1) topk_weights(Arguments arguments) { write_weight_sums(arguments); }
TOPK_KERNEL(512, 1) topk_reduce(Arguments arguments) { write_reduced_loss(arguments); }
