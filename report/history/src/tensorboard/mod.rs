//! TensorBoard event files.

mod file;
mod images;
mod proto;
mod steps;
mod tfrecord;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::accuracy::Accuracy;
use prost::Message;
use serde_json::Value as Json;
use thiserror::Error;

use crate::record::{BEST1, BESTK, CorrectAt, End, Epoch, EpochTime, Start};
use file::{EventFile, now};
use proto::{
    HParamsPluginData, Kind, PluginData, ProtobufValue, Session, SessionEndInfo, SessionStartInfo,
    SummaryMetadata, TensorProto, TensorShapeProto, Value,
};

pub use images::{LabeledImage, Picture};
pub use steps::StepEvents;

/// An event file cannot be written.
#[derive(Debug, Error)]
#[error("cannot write TensorBoard events to {}: {error}", path.display())]
pub struct EventsError {
    /// The file, or its folder.
    pub path: PathBuf,
    /// The system's error.
    pub error: io::Error,
}

/// Writes the event file of a run.
///
/// | tag | value |
/// | --- | --- |
/// | `loss/train`, `loss/val` | mean loss |
/// | `top1/train`, `top1/val` | top-1 accuracy in % |
/// | `top3/val` | validation accuracy in % for further k |
/// | `loss/val_raw`, `top1/val_raw`, … | the same of the raw weights, if they are validated beside their EMA |
/// | `top5/train`, `top5/val` | top-k accuracy in %, named after the run's k; absent for k = 1 |
/// | `test/top1`, `test/top5` | test accuracy in % of the checkpoint with the best validation accuracy of its kind |
/// | `schedule/lr`, `schedule/tau`, `schedule/alpha` | learning rate; temperature and margin if annealed |
/// | `time/seconds`, `time/images_per_second`, `time/waiting_seconds` | of [`EpochTime`] |
/// | `skipped_steps` | of [`Epoch`] |
/// | `run` | the configuration, as text |
/// | `images/0 NAME`, … | training images as the network sees them, named after their classes |
/// | `confusion/val` | the confusion matrix of the validation images |
/// | `confusion/most` | the pairs of classes that are confused most often, as text |
///
/// The step is the epoch. Hyperparameters are written for the HParams page, which compares the runs of a sweep.
///
/// The results of an epoch are in the file when [`EventWriter::epoch`] returns.
#[derive(Debug)]
pub struct EventWriter {
    file: EventFile,
    k: Option<usize>,
}

impl EventWriter {
    /// Creates a file in a folder, and the folder if it does not exist. `first_epoch` is 1, or the next epoch of a
    /// resumed run; TensorBoard then shows only the earlier epochs of older files in the folder.
    ///
    /// # Errors
    /// If the folder or the file cannot be created or written.
    pub fn create(folder: &Path, start: &Start, first_epoch: usize) -> Result<Self, EventsError> {
        let mut writer = Self {
            file: EventFile::create(folder, step(first_epoch))?,
            k: start.k(),
        };
        let session = SessionStartInfo {
            hparams: hparams(start),
            start_time_secs: now(),
        };
        let value = vec![session_value(Session::Start(session)), text(start)];
        writer.file.write(vec![(0, value)])?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Appends the results and times of an epoch.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn epoch(&mut self, epoch: &Epoch, time: Option<&EpochTime>) -> Result<(), EventsError> {
        let mut value = vec![scalar("loss/train", epoch.loss, "mean over the epoch")];
        let accuracies = [
            ("train", epoch.train, "training images"),
            ("val", epoch.val, "validation images"),
        ];
        for (name, accuracy, images) in accuracies {
            if accuracy.images == 0 {
                continue;
            }
            let about = format!("accuracy on {images}, %");
            for (top, part) in self.tops(&accuracy) {
                value.push(scalar(&format!("{top}/{name}"), 100.0 * part, &about));
            }
        }
        let about = "mean over the validation images";
        value.extend(epoch.val_loss.map(|loss| scalar("loss/val", loss, about)));
        value.extend(further("val", &epoch.val_correct, epoch.val.images));
        if let Some(raw) = &epoch.raw {
            let about = "raw weights, mean over the validation images";
            value.extend(raw.val_loss.map(|loss| scalar("loss/val_raw", loss, about)));
            let about = "accuracy of the raw weights on validation images, %";
            let tops = self.tops(&raw.val).into_iter();
            value.extend(
                tops.map(|(top, part)| scalar(&format!("{top}/val_raw"), 100.0 * part, about)),
            );
            value.extend(further("val_raw", &raw.val_correct, raw.val.images));
        }
        value.push(scalar("schedule/lr", epoch.lr, "learning rate"));
        let scheduled = [
            ("schedule/tau", epoch.tau, "temperature of the loss"),
            ("schedule/alpha", epoch.alpha, "margin of the loss"),
        ];
        for (tag, scheduled, about) in scheduled {
            value.extend(scheduled.map(|scheduled| scalar(tag, scheduled, about)));
        }
        if let Some(time) = time {
            value.push(scalar(
                "time/seconds",
                time.seconds,
                "training and validation",
            ));
            value.push(scalar(
                "time/images_per_second",
                time.images_per_second,
                "training",
            ));
            let waiting = time.waiting_seconds;
            value.push(scalar("time/waiting_seconds", waiting, "for images"));
        }
        let about = "steps skipped because the gradient was not finite";
        value.push(scalar("skipped_steps", epoch.skipped_steps as f64, about));
        self.file.write(vec![(step(epoch.epoch), value)])
    }

    /// Appends the test accuracies and the end of the run.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn end(&mut self, end: &End) -> Result<(), EventsError> {
        let about = "test accuracy of the epoch with the best validation accuracy, %";
        let mut events = Vec::new();
        for (at, name) in [BEST1, BESTK].into_iter().enumerate() {
            let mut checkpoints = end.checkpoints.iter();
            let Some(best) = checkpoints.find(|checkpoint| checkpoint.name == name) else {
                continue;
            };
            let Some(test) = best.test.filter(|test| test.images > 0) else {
                continue;
            };
            let tops = self.tops(&test).into_iter().skip(at).take(1);
            let value = tops.map(|(top, part)| scalar(&format!("test/{top}"), 100.0 * part, about));
            events.push((step(best.epoch), value.collect()));
        }
        let session = session_value(Session::End(SessionEndInfo {
            status: proto::SUCCESS,
            end_time_secs: now(),
        }));
        events.push((0, vec![session]));
        self.file.write(events)
    }

    /// Names and values of top-1 and top-k.
    fn tops(&self, accuracy: &Accuracy) -> Vec<(String, f64)> {
        let mut tops = vec![("top1".to_owned(), accuracy.top1())];
        match self.k {
            Some(1) => {}
            Some(k) => tops.push((format!("top{k}"), accuracy.topk())),
            None => tops.push(("topk".to_owned(), accuracy.topk())),
        }
        tops
    }
}

/// Accuracies for further k.
fn further(name: &str, correct: &[CorrectAt], images: usize) -> impl Iterator<Item = Value> {
    correct.iter().map(move |at| {
        let percent = 100.0 * at.correct as f64 / images as f64;
        scalar(&format!("top{}/{name}", at.k), percent, "accuracy, %")
    })
}

fn step(epoch: usize) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

/// A scalar in the format of TensorBoard 1 and PyTorch, which all readers support; TensorBoard 2 converts it.
fn scalar(tag: &str, value: f64, about: &str) -> Value {
    Value {
        tag: tag.to_owned(),
        simple_value: Some(value as f32),
        metadata: Some(SummaryMetadata {
            summary_description: about.to_owned(),
            ..SummaryMetadata::default()
        }),
        ..Value::default()
    }
}

fn session_value(session: Session) -> Value {
    let tag = match &session {
        Session::Start(_) => "_hparams_/session_start_info",
        Session::End(_) => "_hparams_/session_end_info",
    };
    let content = HParamsPluginData {
        data: Some(session),
    };
    Value {
        tag: tag.to_owned(),
        // TensorBoard drops values without a tensor.
        tensor: Some(TensorProto {
            dtype: proto::FLOAT,
            tensor_shape: Some(TensorShapeProto {}),
            string_val: Vec::new(),
        }),
        metadata: Some(SummaryMetadata {
            plugin_data: Some(PluginData {
                plugin_name: "hparams".to_owned(),
                content: content.encode_to_vec(),
            }),
            data_class: proto::TENSOR,
            ..SummaryMetadata::default()
        }),
        ..Value::default()
    }
}

fn hparams(start: &Start) -> BTreeMap<String, ProtobufValue> {
    let value = |value: &Json| match value {
        Json::Null => None,
        Json::Bool(value) => Some(Kind::Bool(*value)),
        Json::Number(value) => value.as_f64().map(Kind::Number),
        Json::String(value) => Some(Kind::String(value.clone())),
        value => Some(Kind::String(value.to_string())),
    };
    let hparams = start.config.iter().filter_map(|(key, entry)| {
        let kind = Some(value(entry)?);
        Some((key.clone(), ProtobufValue { kind }))
    });
    hparams.collect()
}

/// The run as a Markdown table.
fn text(start: &Start) -> Value {
    let facts = [
        ("device in use", Json::from(start.device.as_str())),
        ("classes", start.classes.into()),
        ("training images", start.train_images.into()),
        ("validation images", start.val_images.into()),
        ("parameters", start.parameters.into()),
    ];
    let facts = facts.iter().map(|(about, fact)| (*about, fact));
    let config = start
        .config
        .iter()
        .map(|(key, value)| (key.as_str(), value));
    let mut table = String::from("| run | |\n| --- | --- |\n");
    for (about, fact) in facts.chain(config) {
        let fact = match fact {
            Json::Null => continue,
            Json::String(fact) => fact.clone(),
            fact => fact.to_string(),
        };
        let escaped = |text: &str| text.replace('|', "\\|").replace(['\n', '\r'], " ");
        table += &format!("| {} | {} |\n", escaped(about), escaped(&fact));
    }
    text_value("run", table)
}

/// A text in Markdown.
fn text_value(tag: &str, text: String) -> Value {
    Value {
        tag: tag.to_owned(),
        tensor: Some(TensorProto {
            dtype: proto::STRING,
            tensor_shape: Some(TensorShapeProto {}),
            string_val: vec![text.into_bytes()],
        }),
        metadata: Some(SummaryMetadata {
            plugin_data: Some(PluginData {
                plugin_name: "text".to_owned(),
                content: Vec::new(),
            }),
            data_class: proto::TENSOR,
            ..SummaryMetadata::default()
        }),
        ..Value::default()
    }
}
