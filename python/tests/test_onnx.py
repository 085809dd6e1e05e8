"""Models that contain a loss, exported to ONNX."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import topk.nn
import topk.onnx

pytestmark = pytest.mark.filterwarnings("ignore")

OPERATORS = {
    "SmoothTopkSVM": {"tau": 0.5, "alpha": 2.0},
    "MaxTopkSVM": {"alpha": 2.0},
    "TopkHingeAlpha": {},
    "TopkHingeBeta": {"alpha": 0.5},
    "TruncatedTopkEntropy": {},
    "Psi5": {},
    # The first argument is tau.
    "LDRKL": {"alpha": 0.5},
    "DFTopk": {"tau": 0.5},
}


class Classifier(torch.nn.Module):
    def __init__(self, criterion):
        super().__init__()
        self.layer = torch.nn.Linear(8, 10)
        self.criterion = criterion

    def forward(self, features, target):
        scores = self.layer(features)
        return scores, self.criterion(scores, target)


def run(path, features, target, library=None):
    options = onnxruntime.SessionOptions()
    if library:
        options.register_custom_ops_library(library)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"features": features.numpy(), "target": target.numpy()})


@pytest.mark.parametrize(
    "name, reduction", [*((name, "mean") for name in OPERATORS), ("SmoothTopkSVM", "none"), ("Psi5", "sum")]
)
def test_exported_loss_equals_the_module(name, reduction, tmp_path):
    torch.manual_seed(0)
    weight = torch.rand(10) if reduction == "mean" else None
    module = getattr(topk.nn, name)(3, **OPERATORS[name], reduction=reduction, weight=weight)
    model = Classifier(module).eval()
    samples = torch.export.Dim("samples", min=2)
    path = tmp_path / "model.onnx"
    topk.onnx.export(
        model,
        (torch.randn(4, 8), torch.randint(10, (4,))),
        path,
        dynamic_shapes={"features": {0: samples}, "target": {0: samples}},
        external_data=False,
        verbose=False,
    )
    onnx.checker.check_model(path, full_check=True)
    features, target = torch.randn(7, 8), torch.randint(10, (7,))
    target[2] = -100
    scores, loss = run(path, features, target)
    expected_scores, expected = model(features, target)
    np.testing.assert_allclose(scores, expected_scores.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(loss, expected.detach().numpy(), atol=1e-5)
    assert loss.shape == expected.shape


def test_the_native_library_takes_the_place_of_the_function(tmp_path):
    try:
        library = topk.onnx.custom_ops_library()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    model = Classifier(topk.nn.SmoothTopkSVM(3)).eval()
    inputs = torch.randn(4, 8), torch.randint(10, (4,))
    program = torch.onnx.export(
        model, inputs, dynamo=True, custom_translation_table=topk.onnx.translation_table(), verbose=False
    )
    program.save(tmp_path / "model.onnx")
    scores, loss = run(tmp_path / "model.onnx", *inputs, library)
    np.testing.assert_allclose(loss, model(*inputs)[1].item(), atol=1e-6)


class Two(Classifier):
    def forward(self, features, target):
        scores, loss = super().forward(features, target)
        return scores, loss + topk.functional.smooth_topk_svm(scores, target, 2)


def test_two_losses_of_one_name_are_refused():
    inputs = torch.randn(4, 8), torch.randint(10, (4,))
    with pytest.raises(ValueError, match="two losses SmoothTopkSVMLoss with different k"):
        topk.onnx.export(Two(topk.nn.SmoothTopkSVM(3)), inputs, verbose=False)
    topk.onnx.export(Two(topk.nn.SmoothTopkSVM(2, tau=0.1)), inputs, verbose=False)


def test_label_smoothing_is_refused():
    inputs = torch.randn(4, 8), torch.randint(10, (4,))
    with pytest.raises(Exception, match="label smoothing cannot be exported"):
        topk.onnx.export(Classifier(topk.nn.SmoothTopkSVM(3, label_smoothing=0.1)), inputs, verbose=False)


def test_large_k_is_refused():
    model = torch.nn.Module()
    model.forward = lambda scores, target: topk.functional.smooth_topk_svm(scores, target, 129)
    with pytest.raises(ValueError, match="k = 129 is above 128"):
        topk.onnx.export(model, (torch.randn(2, 200), torch.tensor([0, 1])), verbose=False)
