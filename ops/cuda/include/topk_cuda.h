/* The losses of topk as CUDA kernels, on scores in device memory: libtopk_ops_cuda.so.
 *
 * Every function puts its work on a stream of the caller's and returns without waiting for it. The library allocates
 * no device memory. It opens NVIDIA's driver (version 520 or later) when it is first needed, and can be linked and
 * loaded on machines without one.
 *
 * The kernels run in the context of the stream. For a default stream, that is the current context if it belongs to
 * the device of the scores, and otherwise the primary context of that device (the one of the CUDA runtime). The driver
 * compiles a kernel when it is first used, which takes up to a second; see topk_cuda_prepare. Launches may be captured
 * into CUDA graphs.
 *
 * All functions may be called on several threads at once.
 */
#ifndef TOPK_CUDA_H
#define TOPK_CUDA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Results of the functions. After one other than TOPK_CUDA_OK, topk_cuda_error gives the reason in words. */
enum {
    TOPK_CUDA_OK = 0,
    /* A parameter is out of range. */
    TOPK_CUDA_INVALID = 1,
    /* There are no kernels for this k or number of classes. */
    TOPK_CUDA_UNSUPPORTED = 2,
    /* NVIDIA's driver is missing or too old. */
    TOPK_CUDA_NO_DRIVER = 3,
    /* A call of the driver failed. */
    TOPK_CUDA_FAILED = 4
};

/* Losses, with the parameters that they use */
enum {
    /* The smooth top-k SVM of Berrada, Zisserman and Kumar; k <= 128, tau, alpha */
    TOPK_CUDA_SMOOTH_TOPK_SVM = 0,
    /* Cross-entropy */
    TOPK_CUDA_CROSS_ENTROPY = 1,
    /* The hard top-k SVM; k <= 10 here and below; alpha */
    TOPK_CUDA_MAX_TOPK_SVM = 2,
    /* The top-k hinge losses alpha and beta of Lapin, Hein and Schiele; alpha */
    TOPK_CUDA_TOPK_HINGE_ALPHA = 3,
    TOPK_CUDA_TOPK_HINGE_BETA = 4,
    /* The top-k calibrated hinge psi_5 of Yang and Koyejo; alpha */
    TOPK_CUDA_PSI5 = 5,
    /* The truncated top-k entropy of Lapin, Hein and Schiele */
    TOPK_CUDA_TRUNCATED_TOPK_ENTROPY = 6
};

/* Types of scores and gradients */
enum {
    TOPK_CUDA_FLOAT32 = 0,
    TOPK_CUDA_FLOAT16 = 1,
    TOPK_CUDA_BFLOAT16 = 2
};

/* Reductions */
enum {
    /* One loss per sample */
    TOPK_CUDA_NONE = 0,
    TOPK_CUDA_SUM = 1,
    /* The sum divided by the sum of the class weights of all samples; NaN if that is 0 */
    TOPK_CUDA_MEAN = 2
};

/* The inputs of a loss: N samples and C classes. Pointers are to memory of one device and aligned for their elements;
 * strides are in elements. Set all of it to 0 first, so that members of later versions are 0. */
typedef struct topk_cuda_batch {
    /* [N, C], of type `score_type`. The scores of a sample are contiguous. */
    const void *scores;
    /* From one sample to the next; C if the scores are contiguous. */
    int64_t scores_stride;
    /* [N]: indices of classes */
    const int64_t *labels;
    /* [C], at least 0 and finite (not checked); or NULL for 1 */
    const float *class_weights;
    /* N < 2^31 */
    int64_t samples;
    /* C: at least k + 1 (cross-entropy: 1), at most 4,194,304 */
    int64_t classes;
    /* Samples with this label have loss 0 and gradient 0, and do not count in the mean; used if has_ignore_index. */
    int64_t ignore_index;
    int32_t has_ignore_index;
    /* TOPK_CUDA_SMOOTH_TOPK_SVM, ... */
    int32_t loss;
    /* TOPK_CUDA_FLOAT32, ... */
    int32_t score_type;
    /* TOPK_CUDA_NONE, ... */
    int32_t reduction;
    /* Temperature and margin in units of the scores: finite, tau > 0, alpha >= 0 */
    double tau;
    double alpha;
    int32_t k;
} topk_cuda_batch;

/* A stream: a CUstream or cudaStream_t; NULL is the default stream. */
typedef void *topk_cuda_stream;

/* The reason for the last result other than TOPK_CUDA_OK on this thread; "" if there was none. Valid until the next
 * call of this library on this thread. */
const char *topk_cuda_error(void);

/* Bytes of device memory, aligned to 8, that the functions below take as `workspace`; may be 0. Its contents may be
 * overwritten when their work is done. */
int topk_cuda_workspace_bytes(const topk_cuda_batch *batch, size_t *bytes);

/* Loads the kernels that a batch needs, so that the first step does not take longer. */
int topk_cuda_prepare(const topk_cuda_batch *batch, topk_cuda_stream stream);

/* Computes the loss: `loss` is [N] for TOPK_CUDA_NONE, otherwise one number. A sample with a score that is not finite,
 * or with a label that is not a class, has a loss of NaN. */
int topk_cuda_loss(const topk_cuda_batch *batch, float *loss, void *workspace, topk_cuda_stream stream);

/* Computes the loss, and the derivatives of its sum with respect to the scores: `gradient` is [N, C] of the type of the
 * scores, with rows `gradient_stride` elements apart. It must not overlap with the scores. */
int topk_cuda_loss_and_gradient(const topk_cuda_batch *batch, float *loss, void *gradient, int64_t gradient_stride,
                                void *workspace, topk_cuda_stream stream);

/* Computes the derivatives of an objective with respect to the scores, given those with respect to the loss:
 * `upstream` is [N] if upstream_per_sample is not 0 (for TOPK_CUDA_NONE only), otherwise one number. They are multiplied
 * before the result is rounded to the type of the scores. If skip_if_one is not 0, the gradient of samples whose upstream
 * gradient is 1 is left as it is, which saves the work where topk_cuda_loss_and_gradient has written it. */
int topk_cuda_gradient(const topk_cuda_batch *batch, const float *upstream, int32_t upstream_per_sample,
                       int32_t skip_if_one, void *gradient, int64_t gradient_stride, void *workspace,
                       topk_cuda_stream stream);

#ifdef __cplusplus
}
#endif

#endif
