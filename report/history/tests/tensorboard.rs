//! Event files, read by TensorBoard.

mod synthetic;

use std::fs;

use serde_json::{Value, json};
use synthetic::Plan;
use topk_history::EventWriter;
use topk_testing::{Environment, python, run};

const PLAN: Plan = Plan {
    loss: "svm",
    noise: 0.6,
    seed: 1,
    epochs: 8,
};

/// Reads a folder with TensorBoard's own reader and with the one for scripts.
const READ: &str = r#"
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as Plugins
from tensorboard.plugins.hparams import metadata
from tensorboard.util import tensor_util

scripts, plugins = EventAccumulator(sys.argv[1]), Plugins(sys.argv[1])
scripts.Reload()
plugins.Reload()
number = lambda event: tensor_util.make_ndarray(event.tensor_proto).item()
tags = plugins.Tags()["tensors"]
content = lambda tag: plugins.SummaryMetadata(tag).plugin_data.content
start = metadata.parse_session_start_info_plugin_data(content(metadata.SESSION_START_INFO_TAG))
end = metadata.parse_session_end_info_plugin_data(content(metadata.SESSION_END_INFO_TAG))
print(json.dumps({
    "scripts": {tag: [[e.step, e.value] for e in scripts.Scalars(tag)] for tag in scripts.Tags()["scalars"]},
    "plugins": {tag: [[e.step, number(e)] for e in plugins.Tensors(tag)] for tag in tags
                if plugins.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"},
    "about": plugins.SummaryMetadata("top5/val").summary_description,
    "text": number(plugins.Tensors("run")[-1]).decode(),
    "hparams": {key: getattr(value, value.WhichOneof("kind")) for key, value in start.hparams.items()},
    "status": end.status,
}))
"#;

#[test]
fn a_resumed_run_is_one_curve() {
    let Some(mut python) = python(Environment::TensorBoard) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("events");
    let plan = PLAN;
    let mut first = EventWriter::create(&events, &plan.start(), 1).unwrap();
    for epoch in 1..=5 {
        let mut lost = plan.epoch(epoch);
        if epoch > 3 {
            lost.loss = 1000.0;
        }
        first.epoch(&lost, Some(&plan.time(epoch))).unwrap();
    }
    // The run was killed while writing, and resumes after epoch 3.
    let mut bytes = fs::read(first.path()).unwrap();
    bytes.truncate(bytes.len() - 9);
    fs::write(first.path(), bytes).unwrap();
    let mut second = EventWriter::create(&events, &plan.start(), 4).unwrap();
    assert!(second.path() > first.path());
    for epoch in 4..=8 {
        second
            .epoch(&plan.epoch(epoch), Some(&plan.time(epoch)))
            .unwrap();
    }
    let run_ = plan.run(8);
    second.end(run_.end.as_ref().unwrap()).unwrap();

    let printed = run(python.args(["-c", READ]).arg(&events));
    let found: Value = serde_json::from_str(&printed).unwrap();
    let expected = |value: &dyn Fn(usize) -> f64| -> Value {
        let points = (1..=8).map(|epoch| json!([epoch, f64::from(value(epoch) as f32)]));
        points.collect()
    };
    for reader in ["scripts", "plugins"] {
        let curves = &found[reader];
        assert_eq!(
            curves["loss/train"],
            expected(&|epoch| plan.epoch(epoch).loss),
            "{reader}"
        );
        assert_eq!(
            curves["top5/val"],
            expected(&|epoch| 100.0 * plan.epoch(epoch).val.topk()),
            "{reader}"
        );
        assert_eq!(
            curves["time/seconds"],
            expected(&|epoch| plan.time(epoch).seconds),
            "{reader}"
        );
        let best = run_.checkpoint("bestk").unwrap();
        let test = f64::from((100.0 * best.test.unwrap().topk()) as f32);
        assert_eq!(curves["test/top5"], json!([[best.epoch, test]]), "{reader}");
        assert_eq!(curves.as_object().unwrap().len(), 12, "{curves:#}");
    }
    assert_eq!(found["about"], "accuracy on validation images, %");
    assert!(found["text"].as_str().unwrap().contains("| loss | svm |\n"));
    assert_eq!(found["hparams"]["noise"], 0.6);
    assert_eq!(found["hparams"]["loss"], "svm");
    assert_eq!(found["hparams"]["sched"], r#"{"milestones":[4,6]}"#);
    assert!(found["hparams"].get("checkpoint").is_none());
    assert_eq!(found["status"], 1);
}

#[test]
fn a_file_that_cannot_be_created_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = EventWriter::create(&file, &PLAN.start(), 1)
        .unwrap_err()
        .to_string();
    let expected = format!("cannot write TensorBoard events to {}: ", file.display());
    assert!(error.starts_with(&expected), "{error}");
}
