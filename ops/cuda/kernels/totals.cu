// Sums over the samples.
#include "totals.cuh"

TOPK_KERNEL(128, 1) topk_weights(Arguments arguments) { write_weight_sums(arguments); }
TOPK_KERNEL(512, 1) topk_reduce(Arguments arguments) { write_reduced_loss(arguments); }
TOPK_KERNEL(128, 1) topk_probability(Arguments arguments) { write_probabilities(arguments); }
