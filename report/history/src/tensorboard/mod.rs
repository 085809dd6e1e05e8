//! TensorBoard event files.

mod proto;
mod tfrecord;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::accuracy::Accuracy;
use prost::Message;
use serde_json::Value as Json;
use thiserror::Error;

use crate::record::{BEST1, BESTK, End, Epoch, EpochTime, Start};
use proto::{
    Event, HParamsPluginData, Kind, PluginData, ProtobufValue, Session, SessionEndInfo, SessionLog,
    SessionStartInfo, Summary, SummaryMetadata, TensorProto, TensorShapeProto, Value, What,
};

/// Prefix of the names of event files.
const PREFIX: &str = "events.out.tfevents.";

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
/// | `loss/train` | mean loss |
/// | `top1/train`, `top1/val` | top-1 accuracy in % |
/// | `top5/train`, `top5/val` | top-k accuracy in %, named after the run's k; absent for k = 1 |
/// | `test/top1`, `test/top5` | test accuracy in % of the checkpoint with the best validation accuracy of its kind |
/// | `schedule/lr`, `schedule/tau`, `schedule/alpha` | learning rate; temperature and margin if annealed |
/// | `time/seconds`, `time/images_per_second`, `time/waiting_seconds` | of [`EpochTime`] |
/// | `skipped_steps` | of [`Epoch`] |
/// | `run` | the configuration, as text |
///
/// The step is the epoch. Hyperparameters are written for the HParams page, which compares the runs of a sweep.
///
/// The results of an epoch are in the file when [`EventWriter::epoch`] returns.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
    k: Option<usize>,
}

impl EventWriter {
    /// Creates a file in a folder, and the folder if it does not exist. `first_epoch` is 1, or the next epoch of a
    /// resumed run; TensorBoard then shows only the earlier epochs of older files in the folder.
    ///
    /// # Errors
    /// If the folder or the file cannot be created or written.
    pub fn create(folder: &Path, start: &Start, first_epoch: usize) -> Result<Self, EventsError> {
        let fail = |error| EventsError {
            path: folder.to_owned(),
            error,
        };
        fs::create_dir_all(folder).map_err(fail)?;
        let path = folder.join(name(folder).map_err(fail)?);
        let mut options = OpenOptions::new();
        let file = options
            .create_new(true)
            .append(true)
            .open(&path)
            .map_err(|error| EventsError {
                path: path.clone(),
                error,
            })?;
        let mut writer = Self {
            path,
            file,
            k: start.k(),
        };
        let session = SessionStartInfo {
            hparams: hparams(start),
            start_time_secs: now(),
        };
        let values = vec![session_value(Session::Start(session)), text(start)];
        writer.write(vec![
            (0, What::FileVersion("brain.Event:2".to_owned())),
            (
                step(first_epoch),
                What::SessionLog(SessionLog {
                    status: proto::START,
                }),
            ),
            (0, What::Summary(Summary { value: values })),
        ])?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
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
        self.write(vec![(step(epoch.epoch), What::Summary(Summary { value }))])
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
            let value = value.collect();
            events.push((step(best.epoch), What::Summary(Summary { value })));
        }
        let session = session_value(Session::End(SessionEndInfo {
            status: proto::SUCCESS,
            end_time_secs: now(),
        }));
        let value = vec![session];
        events.push((0, What::Summary(Summary { value })));
        self.write(events)
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

    fn write(&mut self, events: Vec<(i64, What)>) -> Result<(), EventsError> {
        let mut bytes = Vec::new();
        let wall_time = now();
        for (step, what) in events {
            let event = Event {
                wall_time,
                step,
                what: Some(what),
            };
            tfrecord::append(&mut bytes, &event.encode_to_vec());
        }
        self.file.write_all(&bytes).map_err(|error| EventsError {
            path: self.path.clone(),
            error,
        })
    }
}

/// A file name that sorts after those of older event files in the folder: TensorBoard reads them in this order.
fn name(folder: &Path) -> io::Result<String> {
    let mut seconds = now() as u64;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let older = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let older = older.and_then(|older| older.split('.').next()?.parse::<u64>().ok());
        seconds = seconds.max(older.map_or(0, |older| older.saturating_add(1)));
    }
    // The host only makes names distinct, so any text will do.
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect();
    let host = if host.is_empty() { "localhost" } else { &host };
    Ok(format!(
        "{PREFIX}{seconds:010}.{host}.{}",
        std::process::id()
    ))
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn step(epoch: usize) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

/// A scalar in the format of TensorBoard 1 and PyTorch, which all readers support; TensorBoard 2 converts it.
fn scalar(tag: &str, value: f64, about: &str) -> Value {
    Value {
        tag: tag.to_owned(),
        simple_value: Some(value as f32),
        tensor: None,
        metadata: Some(SummaryMetadata {
            summary_description: about.to_owned(),
            ..SummaryMetadata::default()
        }),
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
        simple_value: None,
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
    Value {
        tag: "run".to_owned(),
        simple_value: None,
        tensor: Some(TensorProto {
            dtype: proto::STRING,
            tensor_shape: Some(TensorShapeProto {}),
            string_val: vec![table.into_bytes()],
        }),
        metadata: Some(SummaryMetadata {
            plugin_data: Some(PluginData {
                plugin_name: "text".to_owned(),
                content: Vec::new(),
            }),
            data_class: proto::TENSOR,
            ..SummaryMetadata::default()
        }),
    }
}
