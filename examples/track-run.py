"""Copies a run of topk-train to Weights & Biases or MLflow, from its TensorBoard files.

    python track-run.py RUN --wandb PROJECT
    python track-run.py RUN --mlflow EXPERIMENT

RUN is the folder of the run, finished or not. Needs tensorboard, and wandb or mlflow. With WANDB_MODE=offline, or with
MLFLOW_TRACKING_URI=sqlite:///mlflow.db, nothing leaves this machine; `wandb sync` uploads an offline run later.
"""

import argparse
import json
import pathlib

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def scalars(folder):
    """Yields (tag, step, value, seconds) of all scalars in a folder of TensorBoard files."""
    events = EventAccumulator(str(folder))
    events.Reload()
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            yield tag, event.step, event.value, event.wall_time


def to_wandb(run_folder, settings, project):
    import wandb

    with wandb.init(project=project, name=run_folder.name, config=settings) as run:
        for folder, axis in [(run_folder, "epoch"), (run_folder / "steps", "step")]:
            rows = {}
            run.define_metric(axis)
            for tag, step, value, _ in scalars(folder):
                run.define_metric(tag, step_metric=axis)
                rows.setdefault(step, {})[tag] = value
            for step, row in sorted(rows.items()):
                run.log({axis: step, **row})
        run.save(str(run_folder / "run.html"), base_path=str(run_folder), policy="now")


def to_mlflow(run_folder, settings, experiment):
    import mlflow
    from mlflow.entities import Metric

    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=run_folder.name) as run:
        mlflow.log_params(settings)
        for folder in (run_folder, run_folder / "steps"):
            metrics = [
                Metric(tag, value, round(1000 * seconds), step)
                for tag, step, value, seconds in scalars(folder)
            ]
            # MLflow takes at most 1,000 metrics at once.
            for start in range(0, len(metrics), 1000):
                batch = metrics[start : start + 1000]
                mlflow.MlflowClient().log_batch(run.info.run_id, metrics=batch)
        mlflow.log_artifact(str(run_folder / "run.html"))


parser = argparse.ArgumentParser(description="Copies a run of topk-train to an experiment tracker.")
parser.add_argument("run", type=pathlib.Path, help="folder of the run")
tracker = parser.add_mutually_exclusive_group(required=True)
tracker.add_argument("--wandb", metavar="PROJECT")
tracker.add_argument("--mlflow", metavar="EXPERIMENT")
args = parser.parse_args()
run_folder = args.run.resolve()
with open(run_folder / "log.jsonl") as log:
    settings = json.loads(next(log))["config"]
if args.wandb:
    to_wandb(run_folder, settings, args.wandb)
else:
    to_mlflow(run_folder, settings, args.mlflow)
