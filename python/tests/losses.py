"""The losses as the tests name them, and the files with exact values."""

import json
from pathlib import Path

import topk.functional as F
from topk._losses import PARAMETERS

ROOT = Path(__file__).resolve().parents[2]

# The noise of a loss is the same in each call only with a seed.
OPTIONS = {"balanced_noised_topk": {"seed": 7}}

LOSSES = sorted(PARAMETERS)


def loss(name):
    """The function of this loss, with the options that make it a function of its arguments."""
    function = getattr(F, name)
    options = OPTIONS.get(name, {})
    return lambda *args, **others: function(*args, **options, **others)


def golden():
    """Cases of the smooth top-k SVM, computed with 60 digits: the full list if it is there, else the short one."""
    full = ROOT.parent / "shared/golden/loss.jsonl"
    file = full if full.exists() else ROOT / "ops/tests/data/loss.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]
