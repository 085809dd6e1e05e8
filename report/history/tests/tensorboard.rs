//! Event files, read by TensorBoard.

mod synthetic;

use std::fs;

use serde_json::{Value, json};
use synthetic::Plan;
use topk_history::{
    Accuracy, Confusion, CorrectAt, EventWriter, LabeledImage, Picture, RawValidation, StepEvents,
    StepRecord,
};
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

/// Reads images, texts and the scalars of steps.
const READ_MORE: &str = r#"
import base64, io, json, struct, sys, zlib
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as Plugins
from tensorboard.util import tensor_util

def pixels(png):
    header = png.index(b"IHDR") + 4
    width, height, depth, colour = struct.unpack(">IIBB", png[header:header + 10])
    assert (depth, colour) == (8, 2)
    return [width, height]

run, steps = EventAccumulator(sys.argv[1]), EventAccumulator(sys.argv[1] + "/steps")
plugins = Plugins(sys.argv[1])
for each in (run, steps, plugins):
    each.Reload()
images = {tag: [[e.step, e.width, e.height, *pixels(e.encoded_image_string)] for e in run.Images(tag)]
          for tag in run.Tags()["images"]}
shown = [tag for tag in plugins.Tags()["tensors"]
         if plugins.SummaryMetadata(tag).plugin_data.plugin_name == "images"]
text = lambda tag: [[e.step, tensor_util.make_ndarray(e.tensor_proto).item().decode()] for e in plugins.Tensors(tag)]
print(json.dumps({
    "images": images,
    "shown": shown,
    "confused": text("confusion/most"),
    "scalars": {tag: [[e.step, e.value] for e in run.Scalars(tag)] for tag in run.Tags()["scalars"]},
    "steps": {tag: [[e.step, e.value] for e in steps.Scalars(tag)] for tag in steps.Tags()["scalars"]},
}))
"#;

#[test]
fn images_confusions_and_steps_are_shown() {
    let Some(mut python) = python(Environment::TensorBoard) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("events");
    let mut writer = EventWriter::create(&events, &PLAN.start(), 1).unwrap();
    let image = |label: &str| LabeledImage {
        picture: Picture {
            width: 3,
            height: 2,
            pixels: (0..18).collect(),
        },
        label: label.to_owned(),
    };
    writer
        .images(1, &[image("rose"), image("0.75 rose + 0.25 daisy")])
        .unwrap();
    let mut confusion = Confusion::new(2);
    confusion.add(&[1.0, 0.0, 1.0, 0.0], &[0, 1]);
    let names = ["rose", "daisy"].map(str::to_owned);
    writer.confusion(2, &confusion, &names).unwrap();
    let mut epoch = PLAN.epoch(1);
    epoch.val_loss = Some(2.5);
    epoch.val_correct = vec![CorrectAt {
        k: 3,
        correct: 2500,
    }];
    epoch.raw = Some(RawValidation {
        val: epoch.val,
        val_loss: Some(3.5),
        val_correct: vec![CorrectAt {
            k: 3,
            correct: 1250,
        }],
    });
    writer.epoch(&epoch, None).unwrap();

    let record = |step: usize| StepRecord {
        step,
        epoch: 1,
        batch: step,
        lr: 0.5,
        loss: step as f64 / 2.0,
        train: Accuracy {
            images: 8,
            top1_correct: 2,
            topk_correct: 6,
        },
    };
    let mut first = StepEvents::create(&events, 1, 5).unwrap();
    for step in [50, 100, 150] {
        first.step(&record(step)).unwrap();
    }
    // Resumed after step 70.
    let mut second = StepEvents::create(&events, 71, 5).unwrap();
    second.step(&record(100)).unwrap();

    let printed = run(python.args(["-c", READ_MORE]).arg(&events));
    let found: Value = serde_json::from_str(&printed).unwrap();
    let [first, second] = ["images/0 rose", "images/1 0.75 rose + 0.25 daisy"];
    let images = json!({
        first: [[1, 3, 2, 3, 2]],
        second: [[1, 3, 2, 3, 2]],
        "confusion/val": [[2, 512, 512, 512, 512]],
    });
    assert_eq!(found["images"], images);
    assert_eq!(found["shown"].as_array().unwrap().len(), 3);
    let table = "| images | of | predicted as |\n| ---: | --- | --- |\n| 1 | daisy | rose |\n";
    assert_eq!(found["confused"], json!([[2, table]]));
    let steps = json!({
        "step/loss": [[50, 25.0], [100, 50.0]],
        "step/top1": [[50, 25.0], [100, 25.0]],
        "step/top5": [[50, 75.0], [100, 75.0]],
        "step/lr": [[50, 0.5], [100, 0.5]],
    });
    assert_eq!(found["steps"], steps);
    let scalars = &found["scalars"];
    for (tag, value) in [
        ("loss/val", 2.5),
        ("loss/val_raw", 3.5),
        ("top3/val", 50.0),
        ("top3/val_raw", 25.0),
    ] {
        assert_eq!(scalars[tag], json!([[1, value]]), "{tag}");
    }
    assert_eq!(scalars["top5/val"], scalars["top5/val_raw"]);
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
