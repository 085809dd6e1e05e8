"""The Python examples of the documentation run."""

import re

import pytest

from losses import ROOT

PAGES = ["README.md", "docs/python.md", "python/README.md"]


def examples():
    for page in PAGES:
        text = (ROOT / page).read_text()
        for match in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            yield pytest.param(match[1], id=f"{page}:{line}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("code", list(examples()))
def test_example(code, tmp_path, monkeypatch):
    if "import lightning" in code:
        pytest.importorskip("lightning")
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": "example"}
    exec(compile(code, "example", "exec"), scope)
    if "Classifier" in scope:
        train(scope["Classifier"])


def train(classifier):
    """One step of a Lightning module."""
    import lightning
    import torch

    module = classifier(torch.nn.Linear(4, 10))
    data = torch.utils.data.TensorDataset(torch.randn(8, 4), torch.randint(10, (8,)))
    trainer = lightning.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu"
    )
    before = module.network.weight.clone()
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=8))
    assert not torch.equal(before, module.network.weight)
