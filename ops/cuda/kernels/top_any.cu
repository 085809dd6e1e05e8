// The smooth top-k SVM for 11 ≤ k ≤ 128.
#include "svm_of_any_k.cuh"

TOPK_KERNEL(512, 2) topk_svm_any_shared(Arguments arguments) { any_k_of_block<true>(arguments); }
TOPK_KERNEL(512, 2) topk_svm_any_global(Arguments arguments) { any_k_of_block<false>(arguments); }
