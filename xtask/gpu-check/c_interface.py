"""The C interface of libtopk_ops_cuda.so."""

import ctypes

TYPES = {"torch.float32": 0, "torch.float16": 1, "torch.bfloat16": 2}
REDUCTIONS = {"none": 0, "sum": 1, "mean": 2}


class Batch(ctypes.Structure):
    """`topk_cuda_batch` in topk_cuda.h."""

    _fields_ = [
        ("scores", ctypes.c_void_p),
        ("scores_stride", ctypes.c_int64),
        ("labels", ctypes.c_void_p),
        ("class_weights", ctypes.c_void_p),
        ("samples", ctypes.c_int64),
        ("classes", ctypes.c_int64),
        ("ignore_index", ctypes.c_int64),
        ("has_ignore_index", ctypes.c_int32),
        ("loss", ctypes.c_int32),
        ("score_type", ctypes.c_int32),
        ("reduction", ctypes.c_int32),
        ("tau", ctypes.c_double),
        ("alpha", ctypes.c_double),
        ("k", ctypes.c_int32),
    ]


def load(programs):
    """The library, and a function that raises the error of a result."""
    library = ctypes.CDLL(str(programs / "libtopk_ops_cuda.so"))
    library.topk_cuda_error.restype = ctypes.c_char_p

    def check(code):
        if code:
            raise RuntimeError(f"libtopk_ops_cuda.so: {library.topk_cuda_error().decode()}")

    return library, check


class Library:
    """The losses of tensors."""

    def __init__(self, programs):
        self.library, self.check = load(programs)

    def svm(self, scores, labels, k, tau, alpha, reduction="none"):
        """A function without arguments that computes the smooth top-k SVM, and the tensors that it fills: the loss
        and its gradient."""
        import torch

        samples, classes = scores.shape
        batch = Batch(
            scores=scores.data_ptr(),
            scores_stride=scores.stride(0),
            labels=labels.data_ptr(),
            samples=samples,
            classes=classes,
            score_type=TYPES[str(scores.dtype)],
            reduction=REDUCTIONS[reduction],
            tau=tau,
            alpha=alpha,
            k=k,
        )
        size = ctypes.c_size_t()
        self.check(self.library.topk_cuda_workspace_bytes(ctypes.byref(batch), ctypes.byref(size)))
        workspace = torch.empty(max(size.value, 8), dtype=torch.uint8, device=scores.device)
        loss = torch.empty(samples if reduction == "none" else 1, device=scores.device)
        gradient = torch.empty_like(scores)
        arguments = (
            ctypes.byref(batch),
            ctypes.c_void_p(loss.data_ptr()),
            ctypes.c_void_p(gradient.data_ptr()),
            ctypes.c_int64(classes),
            ctypes.c_void_p(workspace.data_ptr()),
        )

        def launch():
            stream = ctypes.c_void_p(torch.cuda.current_stream(scores.device).cuda_stream)
            self.check(self.library.topk_cuda_loss_and_gradient(*arguments, stream))

        # The tensors live as long as the function.
        launch.keep = (batch, workspace, labels, scores)
        return launch, loss, gradient
