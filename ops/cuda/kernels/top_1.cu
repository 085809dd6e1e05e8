// The smooth top-1 SVM, and cross-entropy. Each .cu file becomes a module that is loaded when it is first needed.
#include "svm_of_blocks.cuh"
#include "svm_of_warps.cuh"

// One warp per row.
TOPK_KERNEL(128, 8) topk_svm_1_small(Arguments arguments) { top1_of_warps<4>(arguments); }
TOPK_KERNEL(128, 6) topk_svm_1_warp(Arguments arguments) { top1_of_warps<32>(arguments); }

// One block per row, which is held in shared memory or read again from global memory.
TOPK_KERNEL(512, 2) topk_svm_1_shared(Arguments arguments) { top1_of_block<true>(arguments); }
TOPK_KERNEL(512, 2) topk_svm_1_global(Arguments arguments) { top1_of_block<false>(arguments); }
