from collections.abc import Sequence

__version__: str

def instructions() -> str: ...
def cuda_is_available() -> bool: ...
def onnx_function(
    operator: str,
    k: int,
    tau: float,
    alpha: float,
    reduction: str,
    ignore_index: int | None,
    opset: int,
    classes: int,
    weighted: bool,
) -> bytes: ...

class Loss:
    @staticmethod
    def smooth_topk_svm(k: int, tau: float, alpha: float) -> Loss: ...
    @staticmethod
    def max_topk_svm(k: int, alpha: float) -> Loss: ...
    @staticmethod
    def topk_hinge_alpha(k: int, alpha: float) -> Loss: ...
    @staticmethod
    def topk_hinge_beta(k: int, alpha: float) -> Loss: ...
    @staticmethod
    def truncated_topk_entropy(k: int) -> Loss: ...
    @staticmethod
    def psi5(k: int, alpha: float) -> Loss: ...
    @staticmethod
    def balanced_noised_topk(
        k: int, epsilon: float, draws: int, alpha: float, margins: Sequence[float] | None, seed: int
    ) -> Loss: ...
    @staticmethod
    def lml(k: int) -> Loss: ...
    @staticmethod
    def differentiable_topk_cross_entropy(p_k: Sequence[float], tau: float) -> Loss: ...
    @staticmethod
    def lapsum(k: int, tau: float) -> Loss: ...
    @staticmethod
    def dftopk(k: int, tau: float) -> Loss: ...
    @staticmethod
    def ldr_kl(tau: float, alpha: float) -> Loss: ...
    def check_classes(self, classes: int) -> None: ...
    def compute(
        self,
        dtype: str,
        samples: int,
        classes: int,
        scores: int,
        labels: int,
        weight: int,
        reduction: str,
        ignore_index: int,
        label_smoothing: float,
        values: int,
        grad: int,
        threads: int,
    ) -> None: ...

class CudaLoss:
    @staticmethod
    def of(loss: Loss, dtype: str, classes: int, reduction: str, ignore_index: int) -> CudaLoss | None: ...
    def workspace_bytes(self, samples: int, classes: int) -> tuple[int, int]: ...
    def loss(
        self,
        samples: int,
        classes: int,
        scores: int,
        stride: int,
        labels: int,
        weight: int,
        values: int,
        gradient: int,
        workspace: int,
        stream: int,
    ) -> None: ...
    def gradient(
        self,
        samples: int,
        classes: int,
        scores: int,
        stride: int,
        labels: int,
        weight: int,
        upstream: int,
        per_sample: bool,
        skip_if_one: bool,
        gradient: int,
        workspace: int,
        stream: int,
    ) -> None: ...
