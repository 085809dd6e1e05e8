"""Golden values of the loss, through the C interface and the Python package; and the tests of the Rust libraries
that use a GPU, where they were built."""

import json

import programs
import topk.functional as F
import torch
from c_interface import Library
from report import at_most, row

# Relative rounding error of a type.
ROUNDING = {torch.float32: 0.0, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}

# Bounds of the errors in float32: of the loss relative to max(1, loss), and of the entries of the gradient.
LOSS, GRADIENT = 2e-7, 1e-7


def cases(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def expected(case, dtype):
    """Loss and gradient: the golden ones for float32, and those of the CPU for scores rounded to a half."""
    if dtype is torch.float32:
        return case["loss"], torch.tensor(case["grad"], dtype=torch.float64)
    scores = torch.tensor([case["scores"]]).to(dtype).float().requires_grad_()
    loss = F.smooth_topk_svm(scores, torch.tensor([case["y"]]), case["k"], tau=case["tau"], alpha=case["alpha"])
    loss.backward()
    return loss.item(), scores.grad[0].double()


def excess(found, wanted, rounding, bound):
    """The largest error beyond one rounding, in units of the bound."""
    return ((found - wanted).abs() - rounding * wanted.abs()).max().item() / bound


def by_package(case, scores, labels):
    scores = scores.detach().requires_grad_()
    loss = F.smooth_topk_svm(scores, labels, case["k"], tau=case["tau"], alpha=case["alpha"])
    loss.backward()
    return loss, scores.grad


def by_library(library):
    def compute(case, scores, labels):
        launch, loss, gradient = library.svm(scores, labels, case["k"], case["tau"], case["alpha"])
        launch()
        return loss[0], gradient

    return compute


def door(name, compute, options):
    for dtype, rounding in ROUNDING.items():
        worst = {"loss": 0.0, "gradient": 0.0}
        count = 0
        for case in cases(options.cases):
            scores = torch.tensor([case["scores"]]).to(dtype)
            if not scores.isfinite().all():
                continue
            loss, gradient = expected(case, dtype)
            found = compute(case, scores.to(options.device), torch.tensor([case["y"]], device=options.device))
            of_loss = torch.tensor([loss], dtype=torch.float64)
            value = found[0].detach().double().cpu().reshape(1)
            worst["loss"] = max(worst["loss"], excess(value, of_loss, rounding, LOSS * max(1.0, loss)))
            worst["gradient"] = max(worst["gradient"], excess(found[1][0].double().cpu(), gradient, rounding, GRADIENT))
            count += 1
        for what, error in worst.items():
            at_most(f"{name}, {count} cases in {str(dtype)[6:]}: {what}'s error/bound", error, 1.0)


def other_losses(options):
    """The other losses with kernels, against the CPU."""
    torch.manual_seed(0)
    for function in (F.max_topk_svm, F.topk_hinge_alpha, F.topk_hinge_beta, F.truncated_topk_entropy, F.psi5):
        worst = 0.0
        for k in (1, 2, 5, 10):
            for classes in (k + 1, 100, 1000, 3000):
                scores = 2 * torch.randn(9, classes)
                labels = torch.randint(classes, (9,))
                results = []
                for device in ("cpu", options.device):
                    input = scores.clone().to(device).requires_grad_()
                    loss = function(input, labels.to(device), k, reduction="none")
                    loss.sum().backward()
                    results.append((loss.detach().double().cpu(), input.grad.double().cpu()))
                (wanted, wanted_grad), (loss, grad) = results
                of_loss = ((loss - wanted).abs() / wanted.clamp(min=1)).max().item()
                worst = max(worst, of_loss / LOSS, (grad - wanted_grad).abs().max().item() / GRADIENT)
        at_most(f"package, {function.__name__}: error/bound", worst, 1.0)


def rust_tests(options):
    """Test programs of the Rust libraries, `*-cuda-test` beside the programs."""
    for program in sorted(options.programs.glob("*-cuda-test")):
        # A test that skips itself says so on standard error; it must not.
        result = programs.result_of(options, program.name)
        skipped = "SKIPPED " in result.stderr
        passed = result.returncode == 0 and (not skipped or options.rehearse)
        row(program.name, "skipped" if skipped else f"exit {result.returncode}", passed=passed)


def run(options):
    door("package", by_package, options)
    if not options.rehearse:
        door("C interface", by_library(Library(options.programs)), options)
    other_losses(options)
    rust_tests(options)
