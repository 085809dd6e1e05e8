use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use topk_preprocessing::Interpolation;

use crate::ChannelValues;

/// A classifier's description of itself: its input, the meaning of its outputs, and its training.
///
/// In ONNX files each field is a metadata entry whose key is `topk.` and the field's name. Strings are
/// stored verbatim, other values as JSON; fields that do not apply are absent. The fields of [`Training`]
/// have entries like the others.
///
/// Keys that later versions add are ignored when a card is read; one that changes the meaning of others comes with a
/// new `format`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ModelCard {
    /// Version of this set of keys: 1.
    pub format: u32,
    /// Name of the network, such as `basic-32`.
    pub architecture: String,
    /// Names of the classes in the order of the scores, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_names: Option<Vec<String>>,
    /// Channels, height and width of an input image.
    pub input_size: [usize; 3],
    /// How images of other sizes become those of `input_size`; if not said, they have that size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<CardResize>,
    /// Mean per channel of pixels / 255, red first.
    pub mean: ChannelValues,
    /// Standard deviation per channel of pixels / 255.
    pub std: ChannelValues,
    /// How it was trained, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<Training>,
}

/// Resizing before the centre crop, as by torchvision's `Resize` and `CenterCrop` on Pillow images.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CardResize {
    /// Length of the shorter side afterwards, in pixels; the longer one keeps the proportion.
    pub shorter_side: usize,
    /// Width and height that the image covers afterwards, as tightly as its proportions allow, in place of
    /// `shorter_side`: for an input that is not square.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cover: Option<[usize; 2]>,
    /// The filter.
    pub interpolation: Interpolation,
}

/// How a classifier was trained by `topk-train`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Training {
    /// Data set that the network was trained on.
    pub dataset: String,
    /// Probability that a training label was replaced by a random one of its group.
    pub noise: f64,
    /// Loss that it was trained with: `svm` (smooth top-k SVM) or `ce` (cross-entropy).
    pub loss: String,
    /// The k of top-k: that of the loss, and of `val_topk`.
    pub k: usize,
    /// Temperature of the loss, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tau: Option<f64>,
    /// Margin of the loss, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Further settings of the loss that are not at their default, by the names of the flags, such as `label-smoothing`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub loss_settings: BTreeMap<String, Value>,
    /// Settings of the optimizer and the learning rate, by the names of their flags, such as `opt` and `weight-decay`; the
    /// ones of earlier versions are not recorded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub optimizer: BTreeMap<String, Value>,
    /// Settings of the training images, by the names of their flags: the augmentation, mixing and sampler, such as
    /// `augment` and `sampler`; those of earlier versions are not recorded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data_settings: BTreeMap<String, Value>,
    /// Seed of initialisation, noise, order and augmentation.
    pub seed: u64,
    /// Epoch after which these weights were saved; the first is 1.
    pub epoch: usize,
    /// Top-1 accuracy on the validation images, 0 to 1; unknown for a training state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_top1: Option<f64>,
    /// Top-k accuracy on the validation images, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_topk: Option<f64>,
    /// Mean loss over the validation images, without label smoothing and class weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
}

/// The metadata has a model card that is invalid.
#[derive(Debug, Error)]
pub enum CardError {
    /// A value is not valid JSON.
    #[error("metadata key {PREFIX}{key} is not valid JSON: {value}")]
    Json {
        /// The field.
        key: String,
        /// Its value.
        value: String,
    },
    /// A key is missing, unknown, or of the wrong type.
    #[error("the metadata {PREFIX}* is not a valid model card: {0}")]
    Fields(serde_json::Error),
    /// The metadata is from a later version of these tools.
    #[error(
        "the model card has format {0}, but this program only supports format {FORMAT}: use a newer version"
    )]
    Format(u32),
}

const PREFIX: &str = "topk.";

/// Fields that are stored verbatim, not as JSON.
const TEXTS: [&str; 3] = ["architecture", "dataset", "loss"];

/// Fields outside [`Training`].
const PLAIN: [&str; 7] = [
    "format",
    "architecture",
    "class_names",
    "input_size",
    "resize",
    "mean",
    "std",
];

/// Fields of [`Training`].
const TRAINED: [&str; 14] = [
    "dataset",
    "noise",
    "loss",
    "k",
    "tau",
    "alpha",
    "loss_settings",
    "optimizer",
    "data_settings",
    "seed",
    "epoch",
    "val_top1",
    "val_topk",
    "val_loss",
];

/// The field whose own fields have entries.
const TRAINING: &str = "training";

const FORMAT: u32 = 1;

impl ModelCard {
    /// The `format` that is written.
    pub const FORMAT: u32 = FORMAT;

    /// The card as metadata keys and values, in a fixed order.
    pub fn to_metadata(&self) -> BTreeMap<String, String> {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(self) else {
            unreachable!("a struct of plain fields is a JSON object")
        };
        if let Some(Value::Object(training)) = fields.remove(TRAINING) {
            fields.extend(training);
        }
        let text = |value| match value {
            Value::String(text) => text,
            value => value.to_string(),
        };
        fields
            .into_iter()
            .map(|(key, value)| (format!("{PREFIX}{key}"), text(value)))
            .collect()
    }

    /// The card in a model's metadata; `None` if there is none.
    ///
    /// # Errors
    /// If the card is incomplete, or has invalid values.
    pub fn from_metadata<'a>(
        metadata: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<Self>, CardError> {
        let mut fields = serde_json::Map::new();
        let mut training = serde_json::Map::new();
        for (key, value) in metadata {
            let Some(key) = key.strip_prefix(PREFIX) else {
                continue;
            };
            let of = match (PLAIN.contains(&key), TRAINED.contains(&key)) {
                (true, _) => &mut fields,
                (_, true) => &mut training,
                _ => continue,
            };
            let value = if TEXTS.contains(&key) {
                Value::String(value.to_owned())
            } else {
                serde_json::from_str(value).map_err(|_| CardError::Json {
                    key: key.to_owned(),
                    value: value.to_owned(),
                })?
            };
            of.insert(key.to_owned(), value);
        }
        if !training.is_empty() {
            fields.insert(TRAINING.to_owned(), Value::Object(training));
        }
        if fields.is_empty() {
            return Ok(None);
        }
        if let Some(format) = fields.get("format").and_then(Value::as_u64)
            && format > u64::from(FORMAT)
        {
            return Err(CardError::Format(format as u32));
        }
        serde_json::from_value(Value::Object(fields))
            .map(Some)
            .map_err(CardError::Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> ModelCard {
        ModelCard {
            format: ModelCard::FORMAT,
            architecture: "basic-32".into(),
            class_names: Some(vec!["apple".into(), "no \"bear\"".into()]),
            input_size: [3, 32, 32],
            resize: None,
            mean: [0.4914, 0.4824, 0.4467].into(),
            std: [0.247, 0.2435, 0.2616].into(),
            training: Some(Training {
                dataset: "123".into(),
                noise: 0.6,
                loss: "svm".into(),
                k: 5,
                tau: Some(0.1),
                alpha: None,
                loss_settings: BTreeMap::from([("label-smoothing".into(), 0.1.into())]),
                optimizer: BTreeMap::from([
                    ("opt".into(), "adamw".into()),
                    ("lr".into(), 0.001.into()),
                ]),
                data_settings: BTreeMap::from([("sampler".into(), "shuffle".into())]),
                seed: u64::MAX,
                epoch: 7,
                val_top1: Some(1.0 / 3.0),
                val_topk: Some(0.75),
                val_loss: Some(1.25),
            }),
        }
    }

    fn read(metadata: &BTreeMap<String, String>) -> Result<Option<ModelCard>, CardError> {
        ModelCard::from_metadata(metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())))
    }

    #[test]
    fn a_card_is_read_back_unchanged() {
        let mut metadata = card().to_metadata();
        assert_eq!(metadata["topk.architecture"], "basic-32");
        assert_eq!(metadata["topk.input_size"], "[3,32,32]");
        assert!(!metadata.contains_key("topk.alpha"));
        assert_eq!(metadata["topk.loss_settings"], r#"{"label-smoothing":0.1}"#);
        assert_eq!(metadata["topk.optimizer"], r#"{"lr":0.001,"opt":"adamw"}"#);
        assert_eq!(metadata["topk.data_settings"], r#"{"sampler":"shuffle"}"#);
        assert!(!metadata.contains_key("topk.training"));
        metadata.insert("author".into(), "somebody".into());
        assert_eq!(read(&metadata).unwrap(), Some(card()));
        // The fields of the constants are those of the structs.
        assert_eq!(metadata.len(), PLAIN.len() + TRAINED.len() - 2 + 1);
    }

    #[test]
    fn absent_fields_have_no_key() {
        let card = ModelCard {
            class_names: None,
            resize: Some(CardResize {
                shorter_side: 256,
                cover: None,
                interpolation: Interpolation::Bicubic,
            }),
            training: None,
            ..card()
        };
        let metadata = card.to_metadata();
        let keys: Vec<&str> = metadata.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "topk.architecture",
                "topk.format",
                "topk.input_size",
                "topk.mean",
                "topk.resize",
                "topk.std"
            ]
        );
        assert_eq!(
            metadata["topk.resize"],
            r#"{"interpolation":"bicubic","shorter_side":256}"#
        );
        assert_eq!(read(&metadata).unwrap(), Some(card.clone()));
        let oblong = ModelCard {
            resize: card.resize.map(|resize| CardResize {
                cover: Some([320, 256]),
                ..resize
            }),
            ..card
        };
        let metadata = oblong.to_metadata();
        assert_eq!(
            metadata["topk.resize"],
            r#"{"cover":[320,256],"interpolation":"bicubic","shorter_side":256}"#
        );
        assert_eq!(read(&metadata).unwrap(), Some(oblong));
    }

    #[test]
    fn grey_images_have_one_mean() {
        let grey = ModelCard {
            input_size: [1, 28, 28],
            mean: ChannelValues::L([0.125]),
            std: ChannelValues::L([0.5]),
            ..card()
        };
        let mut metadata = grey.to_metadata();
        assert_eq!(metadata["topk.mean"], "[0.125]");
        assert_eq!(read(&metadata).unwrap(), Some(grey));
        metadata.insert("topk.mean".into(), "[0.1,0.2]".into());
        let error = read(&metadata).unwrap_err().to_string();
        assert_eq!(
            error,
            "the metadata topk.* is not a valid model card: expected a list of three numbers, or of one for grey images"
        );
    }

    #[test]
    fn keys_of_later_versions_are_ignored() {
        let untrained = ModelCard {
            training: None,
            ..card()
        };
        for card in [card(), untrained] {
            let mut metadata = card.to_metadata();
            metadata.insert("topk.licence".into(), "none, and not JSON".into());
            assert_eq!(read(&metadata).unwrap(), Some(card.clone()));
            let mut json = serde_json::to_value(&card).unwrap();
            json["licence"] = "none".into();
            if let Some(training) = json.get_mut(TRAINING) {
                training["hours"] = 5.into();
            }
            assert_eq!(serde_json::from_value::<ModelCard>(json).unwrap(), card);
        }
    }

    #[test]
    fn a_missing_card_is_not_an_error() {
        assert_eq!(
            ModelCard::from_metadata([("author", "somebody")]).unwrap(),
            None
        );
    }

    #[test]
    fn an_invalid_card_is_an_error() {
        let mut metadata = card().to_metadata();
        metadata.remove("topk.k");
        assert!(
            read(&metadata)
                .unwrap_err()
                .to_string()
                .contains("missing field `k`")
        );
        metadata.insert("topk.k".into(), "five".into());
        let error = read(&metadata).unwrap_err().to_string();
        assert_eq!(error, "metadata key topk.k is not valid JSON: five");
        metadata.insert("topk.format".into(), "2".into());
        metadata.insert("topk.k".into(), "5".into());
        assert!(
            read(&metadata)
                .unwrap_err()
                .to_string()
                .contains("has format 2")
        );
    }
}
