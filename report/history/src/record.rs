//! The lines of a run's files.

use crate::accuracy::Accuracy;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Name of the file of [`Event`]s in the folder of a run.
///
/// It has no times: the same run gives the same file.
pub const LOG: &str = "log.jsonl";

/// Name of the file of [`EpochTime`]s in the folder of a run.
pub const TIMES: &str = "times.jsonl";

/// A line of [`LOG`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// The first line.
    Start(Start),
    /// A line for each epoch.
    Epoch(Epoch),
    /// The last line.
    End(End),
}

/// What is trained, and how.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Start {
    /// Everything that decides the run; keys in kebab-case, such as `loss`, `topk` and `batch-size`.
    pub config: Map<String, Value>,
    /// Device in use, where the configuration may say `auto`.
    pub device: String,
    /// Number of classes.
    pub classes: usize,
    /// Images to train on.
    pub train_images: usize,
    /// Images that decide which epoch is best.
    pub val_images: usize,
    /// Trainable numbers of the network.
    pub parameters: usize,
}

impl Start {
    /// The k of top-k accuracy, which the configuration has under `topk`.
    pub fn k(&self) -> Option<usize> {
        usize::try_from(self.config.get("topk")?.as_u64()?).ok()
    }

    /// How many epochs the run is to have, if the configuration says so under `epochs`.
    pub fn epochs(&self) -> Option<usize> {
        usize::try_from(self.config.get("epochs")?.as_u64()?).ok()
    }
}

/// What an epoch gave.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Learning rate.
    pub lr: f64,
    /// Temperature of the loss, where it is scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tau: Option<f64>,
    /// Margin of the loss, where it is scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Mean loss over the training images, while the network changed. What is not finite stands as null in the
    /// file, and is NaN when it is read.
    #[serde(deserialize_with = "or_nan")]
    pub loss: f64,
    /// Accuracy on the training images as they are trained on, while the network changed.
    pub train: Accuracy,
    /// Accuracy on the validation images after the epoch: of the averaged weights, if weights are averaged.
    pub val: Accuracy,
    /// Steps that were left out because their gradient was not finite.
    #[serde(default)]
    pub skipped_steps: usize,
    /// Training images that could not be read, and were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped_images: usize,
}

/// What is left when a run has ended.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct End {
    /// The epochs that were best on the validation images.
    pub checkpoints: Vec<Checkpoint>,
}

/// A checkpoint that was best on the validation images.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Checkpoint {
    /// [`BEST1`] or [`BESTK`], or another.
    pub name: String,
    /// The epoch after which it was taken.
    pub epoch: usize,
    /// The k of its accuracies.
    pub k: usize,
    /// Accuracy on the validation images.
    pub val: Accuracy,
    /// Accuracy on the test images, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Accuracy>,
    /// File of the weights, in the folder of the run.
    pub checkpoint: String,
    /// The ONNX model, in the folder of the run.
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
    /// Training and validation.
    #[serde(deserialize_with = "or_nan")]
    pub seconds: f64,
    /// Images trained on in a second of training.
    #[serde(deserialize_with = "or_nan")]
    pub images_per_second: f64,
    /// Seconds of training in which the network waited for images.
    #[serde(deserialize_with = "or_nan")]
    pub waiting_seconds: f64,
}

impl Event {
    /// The line of the file, with its end.
    pub fn to_line(&self) -> String {
        to_line(self)
    }
}

impl EpochTime {
    /// The line of the file, with its end.
    pub fn to_line(&self) -> String {
        to_line(self)
    }
}

fn to_line(record: &impl Serialize) -> String {
    let mut line = serde_json::to_string(record).expect("records are plain data");
    line.push('\n');
    line
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// JSON has no NaN and no infinity, and `serde_json` writes null for them.
fn or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_format() {
        let lines = [
            r#"{"event":"start","config":{"loss":"svm","topk":5},"device":"cpu","classes":100,"train_images":45000,"val_images":5000,"parameters":300356}"#,
            r#"{"event":"epoch","epoch":1,"lr":0.1,"loss":3.9,"train":{"images":9,"top1_correct":1,"topk_correct":2},"val":{"images":4,"top1_correct":0,"topk_correct":3},"skipped_steps":0}"#,
            r#"{"event":"epoch","epoch":2,"lr":0.1,"tau":0.5,"alpha":1.0,"loss":3.9,"train":{"images":9,"top1_correct":1,"topk_correct":2},"val":{"images":4,"top1_correct":0,"topk_correct":3},"skipped_steps":7}"#,
            r#"{"event":"end","checkpoints":[{"name":"best1","epoch":1,"k":5,"val":{"images":4,"top1_correct":0,"topk_correct":3},"test":{"images":8,"top1_correct":2,"topk_correct":5},"checkpoint":"best1.safetensors","onnx":"best1.onnx"}]}"#,
        ];
        for line in lines {
            let event: Event = serde_json::from_str(line).unwrap();
            assert_eq!(event.to_line().trim_end(), line);
        }
        let time = r#"{"epoch":1,"seconds":12.3,"images_per_second":3700.0,"waiting_seconds":0.1}"#;
        let read: EpochTime = serde_json::from_str(time).unwrap();
        assert_eq!(read.to_line().trim_end(), time);
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
            skipped_steps: 0,
            skipped_images: 0,
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
