//! The lines of a run's log files.

use std::fmt;

use crate::accuracy::Accuracy;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// File name of the log, which contains one [`Event`] per line.
///
/// It contains no times: the same run always gives the same file.
pub const LOG: &str = "log.jsonl";

/// File name of the log of times, which contains one [`EpochTime`] per line.
pub const TIMES: &str = "times.jsonl";

/// A line of [`LOG`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// The first line.
    Start(Start),
    /// One line per epoch.
    Epoch(Epoch),
    /// The run was resumed with other settings.
    Change(Change),
    /// The last line.
    End(End),
}

/// Settings and data of a run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Start {
    /// All settings; keys in kebab-case, such as `loss`, `topk` and `batch-size`.
    pub config: Map<String, Value>,
    /// Device in use; the configuration may contain `auto`.
    pub device: String,
    /// Number of classes.
    pub classes: usize,
    /// Number of training images.
    pub train_images: usize,
    /// Number of validation images.
    pub val_images: usize,
    /// Number of trainable parameters.
    pub parameters: usize,
    /// What was decided about the data and the weights in --checkpoint, as printed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<String>,
}

impl Start {
    /// The k of top-k accuracy: `topk` of the configuration.
    pub fn k(&self) -> Option<usize> {
        usize::try_from(self.config.get("topk")?.as_u64()?).ok()
    }

    /// Planned number of epochs: `epochs` of the configuration.
    pub fn epochs(&self) -> Option<usize> {
        usize::try_from(self.config.get("epochs")?.as_u64()?).ok()
    }
}

/// Settings that were changed when a run was resumed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Change {
    /// Epoch in which the run was resumed, from 1.
    pub epoch: usize,
    /// Number of batches of this epoch that were trained with the old settings.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub batch: usize,
    /// The run that this one continues in another folder, as given to --resume-from.
    #[serde(
        default,
        rename = "resume-from",
        skip_serializing_if = "Option::is_none"
    )]
    pub resume_from: Option<String>,
    /// The settings that changed.
    pub settings: Vec<ChangedSetting>,
    /// What follows from the changes, as printed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<String>,
}

/// A setting that was changed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ChangedSetting {
    /// Key in the configuration of the run.
    pub setting: String,
    /// The value before; null if it was not set.
    pub was: Value,
    /// The value now; null if it is not set.
    pub now: Value,
}

impl fmt::Display for ChangedSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Value| match value {
            Value::Null => "not set".to_owned(),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let Self { setting, was, now } = self;
        write!(f, "--{setting} was {}, now {}", text(was), text(now))
    }
}

/// Results of an epoch.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Learning rate.
    pub lr: f64,
    /// Temperature of the loss, if it is annealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tau: Option<f64>,
    /// Margin of the loss, if it is annealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Mean loss over the training images, computed during the epoch. A value that is not finite is written as null
    /// and read as NaN.
    #[serde(deserialize_with = "or_nan")]
    pub loss: f64,
    /// Accuracy on the augmented training images, computed during the epoch.
    pub train: Accuracy,
    /// Accuracy on the validation images after the epoch; of the EMA of the weights if there is one. Of no images if
    /// the epoch was not validated.
    pub val: Accuracy,
    /// Mean loss over the validation images, without label smoothing and class weights. `None` in logs of earlier
    /// versions, and if it is not finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
    /// Validation accuracies for further k, in ascending order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub val_correct: Vec<CorrectAt>,
    /// Results of the raw weights, if they are validated beside their EMA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<RawValidation>,
    /// Number of steps skipped because the gradient was not finite.
    #[serde(default)]
    pub skipped_steps: usize,
    /// Number of training images skipped because they could not be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped_images: usize,
    /// Number of validation images skipped because they could not be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped_val_images: usize,
}

/// Number of images whose label is among the k highest scores.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct CorrectAt {
    /// The k.
    pub k: usize,
    /// The images.
    pub correct: usize,
}

/// Validation of the raw weights of an epoch, in addition to that of their EMA.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct RawValidation {
    /// As [`Epoch::val`].
    pub val: Accuracy,
    /// As [`Epoch::val_loss`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
    /// As [`Epoch::val_correct`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub val_correct: Vec<CorrectAt>,
}

/// Results of a finished run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct End {
    /// The checkpoints with the best validation accuracy, and others that were tested.
    pub checkpoints: Vec<Checkpoint>,
    /// Why the run ended before its last epoch, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// A checkpoint that was exported and tested, usually the one with the best validation accuracy of its kind.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Checkpoint {
    /// Name, such as [`BEST1`] or [`BESTK`].
    pub name: String,
    /// Epoch after which it was saved.
    pub epoch: usize,
    /// The k of top-k accuracy.
    pub k: usize,
    /// Accuracy on the validation images.
    pub val: Accuracy,
    /// Accuracy on the test images, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Accuracy>,
    /// File name of the weights in the run's folder.
    pub checkpoint: String,
    /// File name of the ONNX model in the run's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onnx: Option<String>,
}

/// Name of the checkpoint with the best top-1 validation accuracy.
pub const BEST1: &str = "best1";

/// Name of the checkpoint with the best top-k validation accuracy.
pub const BESTK: &str = "bestk";

/// A line of [`TIMES`].
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct EpochTime {
    /// From 1.
    pub epoch: usize,
    /// Duration of training and validation.
    #[serde(deserialize_with = "or_nan")]
    pub seconds: f64,
    /// Training images per second of training.
    #[serde(deserialize_with = "or_nan")]
    pub images_per_second: f64,
    /// Seconds of training spent waiting for images.
    #[serde(deserialize_with = "or_nan")]
    pub waiting_seconds: f64,
    /// How often requests to servers with images were repeated, by all processes of the run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: usize,
}

/// File name of the log of steps, which contains one [`StepRecord`] per line.
pub const STEPS: &str = "steps.jsonl";

/// A line of [`STEPS`]: the steps of an epoch since the line before.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct StepRecord {
    /// Number of the last of them in the run, from 1.
    pub step: usize,
    /// From 1.
    pub epoch: usize,
    /// Number of batches of the epoch that are done.
    pub batch: usize,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Mean loss over their images.
    #[serde(deserialize_with = "or_nan")]
    pub loss: f64,
    /// Accuracy on their images.
    pub train: Accuracy,
}

impl StepRecord {
    /// The line in the file, including the line break.
    pub fn to_line(&self) -> String {
        to_line(self)
    }
}

impl Event {
    /// The line in the file, including the line break.
    pub fn to_line(&self) -> String {
        to_line(self)
    }
}

impl EpochTime {
    /// The line in the file, including the line break.
    pub fn to_line(&self) -> String {
        to_line(self)
    }
}

fn to_line(record: &impl Serialize) -> String {
    let mut line = serde_json::to_string(record).expect("records are serialisable");
    line.push('\n');
    line
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Reads null as NaN: JSON has neither NaN nor infinity, and `serde_json` writes null for both.
fn or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_documented_format() {
        let lines = [
            r#"{"event":"start","config":{"loss":"svm","topk":5},"device":"cpu","classes":100,"train_images":45000,"val_images":5000,"parameters":300356}"#,
            r#"{"event":"epoch","epoch":1,"lr":0.1,"loss":3.9,"train":{"images":9,"top1_correct":1,"topk_correct":2},"val":{"images":4,"top1_correct":0,"topk_correct":3},"skipped_steps":0}"#,
            r#"{"event":"epoch","epoch":2,"lr":0.1,"tau":0.5,"alpha":1.0,"loss":3.9,"train":{"images":9,"top1_correct":1,"topk_correct":2},"val":{"images":4,"top1_correct":0,"topk_correct":3},"skipped_steps":7}"#,
            r#"{"event":"epoch","epoch":3,"lr":0.1,"loss":3.9,"train":{"images":9,"top1_correct":1,"topk_correct":2},"val":{"images":4,"top1_correct":0,"topk_correct":3},"val_loss":2.5,"val_correct":[{"k":3,"correct":2}],"raw":{"val":{"images":4,"top1_correct":1,"topk_correct":2},"val_loss":2.75,"val_correct":[{"k":3,"correct":1}]},"skipped_steps":0}"#,
            r#"{"event":"change","epoch":3,"settings":[{"setting":"epochs","was":2,"now":5}]}"#,
            r#"{"event":"change","epoch":3,"batch":7,"resume-from":"a","settings":[{"setting":"lr","was":0.1,"now":0.2}],"decisions":["x"]}"#,
            r#"{"event":"end","checkpoints":[{"name":"best1","epoch":1,"k":5,"val":{"images":4,"top1_correct":0,"topk_correct":3},"test":{"images":8,"top1_correct":2,"topk_correct":5},"checkpoint":"best1.safetensors","onnx":"best1.onnx"}]}"#,
            r#"{"event":"end","checkpoints":[],"stopped":"x"}"#,
        ];
        for line in lines {
            let event: Event = serde_json::from_str(line).unwrap();
            assert_eq!(event.to_line().trim_end(), line);
        }
        let time = r#"{"epoch":1,"seconds":12.3,"images_per_second":3700.0,"waiting_seconds":0.1}"#;
        let step = r#"{"step":150,"epoch":2,"batch":50,"lr":0.1,"loss":2.5,"train":{"images":9,"top1_correct":1,"topk_correct":2}}"#;
        let read: StepRecord = serde_json::from_str(step).unwrap();
        assert_eq!(read.to_line().trim_end(), step);
        let with_retries = time.replace('}', r#","retries":3}"#);
        for time in [time, &with_retries] {
            let read: EpochTime = serde_json::from_str(time).unwrap();
            assert_eq!(read.to_line().trim_end(), time);
        }
    }

    #[test]
    fn a_loss_that_is_not_finite_is_read_as_nan() {
        let epoch = |loss| Epoch {
            epoch: 1,
            lr: 0.1,
            tau: None,
            alpha: None,
            loss,
            train: Accuracy::of(&[0], 1),
            val: Accuracy::of(&[0], 1),
            val_loss: None,
            val_correct: Vec::new(),
            raw: None,
            skipped_steps: 0,
            skipped_images: 0,
            skipped_val_images: 0,
        };
        for loss in [f64::NAN, f64::INFINITY] {
            let line = Event::Epoch(epoch(loss)).to_line();
            assert!(line.contains(r#""loss":null"#), "{line}");
            let Event::Epoch(read) = serde_json::from_str(&line).unwrap() else {
                panic!("{line}");
            };
            assert!(read.loss.is_nan());
        }
    }
}
