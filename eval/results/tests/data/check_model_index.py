#!/usr/bin/env python3
"""Reads a model-index with huggingface_hub, as the hub does for a model card, and prints what it found.

    pip install huggingface_hub==2.4.0 pyyaml==6.0.4
    python check_model_index.py [FILE]

Each entry becomes the metadata of a card of its own, because a card describes one model. Fails if a field is missing,
or if writing the card again loses one.
"""

import sys
from pathlib import Path

import yaml
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results


def main():
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("model_index.yaml")
    entries = yaml.safe_load(path.read_text())["model-index"]
    for entry in entries:
        card = ModelCard("---\n" + yaml.safe_dump({"model-index": [entry]}) + "---\n# Model\n", ignore_metadata_errors=False)
        assert isinstance(card.data, ModelCardData) and card.data.model_name == entry["name"]
        results = card.data.eval_results
        assert len(results) == sum(len(result["metrics"]) for result in entry["results"])
        for result in results:
            assert result.task_type == "image-classification" and 0 <= result.metric_value
            print(f"{entry['name']}: {result.dataset_name}: {result.metric_name} {result.metric_value}")
        again = eval_results_to_model_index(entry["name"], results)
        assert model_index_to_eval_results(again) == (entry["name"], results)


if __name__ == "__main__":
    main()
