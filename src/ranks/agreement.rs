//! What must be the same on all ranks, checked at the start of a run.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tch::Device;
use thiserror::Error;
use topk_history::ChangedSetting;

use super::Ranks;
use crate::TrainError;
use crate::changes::Changes;
use crate::config::Config;
use crate::data_record::DataRecord;
use crate::train::CheckpointPolicy;

/// Settings that may differ: where a rank computes and finds the images. The record of the images decides whether these
/// are the same.
const MAY_DIFFER: [&str; 7] = [
    "device",
    "workers",
    "data",
    "val-data",
    "test-data",
    "format",
    "checkpoint",
];

/// What a rank is about to do.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Card {
    /// Version of the program.
    pub(crate) version: String,
    /// `cpu` or `cuda`.
    pub(crate) device: String,
    pub(crate) settings: Map<String, Value>,
}

impl Card {
    /// The card of this process.
    pub(crate) fn new(config: &Config, policy: CheckpointPolicy, device: Device) -> Self {
        let mut settings = config.clone().resolved().to_map();
        if let Some(batches) = policy.batches {
            settings.insert("recovery-interval".to_owned(), batches.into());
        }
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: if device.is_cuda() { "cuda" } else { "cpu" }.to_owned(),
            settings,
        }
    }
}

/// Ranks do not fit together.
#[derive(Clone, Debug, Error, PartialEq)]
pub(crate) enum AgreementError {
    /// A rank runs another version of the program, which says other things.
    #[error("rank {rank} runs another version of topk-train: start the same program on all ranks")]
    Version {
        /// The rank.
        rank: usize,
    },
    /// A rank runs another version of the program.
    #[error(
        "rank {rank} runs topk-train {version}, rank 0 runs {first}: start the same program on all ranks"
    )]
    Versions {
        /// The rank.
        rank: usize,
        /// Its version.
        version: String,
        /// The version of rank 0.
        first: String,
    },
    /// A rank computes on another kind of device.
    #[error(
        "rank {rank} computes on {device}, rank 0 on {first}: give --device cpu on all ranks, or a GPU to each"
    )]
    Device {
        /// The rank.
        rank: usize,
        /// `cpu` or `cuda`.
        device: String,
        /// That of rank 0.
        first: String,
    },
    /// A rank has other settings.
    #[error(
        "rank {rank} has other settings: {differences}. Start all ranks with the same settings"
    )]
    Settings {
        /// The rank.
        rank: usize,
        /// The settings that differ.
        differences: String,
    },
    /// A rank reads other images.
    #[error(
        "rank {rank} reads other images than rank 0: {difference}. Give all ranks the same images"
    )]
    Data {
        /// The rank.
        rank: usize,
        /// What is different there, as compared with rank 0.
        difference: String,
    },
}

impl Ranks {
    /// Checks that all ranks run the same program with the same settings.
    pub(crate) fn agree_on(&self, card: Card) -> Result<(), TrainError> {
        Ok(check_cards(&self.gather(&card)?)?)
    }

    /// Checks that all ranks read the same images.
    pub(crate) fn agree_on_data(&self, record: &DataRecord) -> Result<(), TrainError> {
        if !self.are_several() {
            return Ok(());
        }
        Ok(check_records(&self.gather(record)?)?)
    }
}

fn check_cards(cards: &[Card]) -> Result<(), AgreementError> {
    let [first, others @ ..] = cards else {
        return Ok(());
    };
    for (card, rank) in others.iter().zip(1..) {
        if card.version != first.version {
            return Err(AgreementError::Versions {
                rank,
                version: card.version.clone(),
                first: first.version.clone(),
            });
        }
        if card.device != first.device {
            return Err(AgreementError::Device {
                rank,
                device: card.device.clone(),
                first: first.device.clone(),
            });
        }
        let changes = Changes::between(&first.settings, &card.settings);
        let differences: Vec<String> = changes
            .settings()
            .iter()
            .filter(|changed| !MAY_DIFFER.contains(&&*changed.setting))
            .map(|ChangedSetting { setting, was, now }| {
                let (now, was) = (text(now), text(was));
                format!("--{setting} is {now}, and {was} on rank 0")
            })
            .collect();
        if !differences.is_empty() {
            return Err(AgreementError::Settings {
                rank,
                differences: differences.join("; "),
            });
        }
    }
    Ok(())
}

fn check_records(records: &[DataRecord]) -> Result<(), AgreementError> {
    let [first, others @ ..] = records else {
        return Ok(());
    };
    for (record, rank) in others.iter().zip(1..) {
        let difference = match first.difference(record) {
            None if first.has_same_order(record) => continue,
            None => "they are in another order".to_owned(),
            Some(difference) => difference,
        };
        return Err(AgreementError::Data { rank, difference });
    }
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn card(lr: f64, device: &str) -> Card {
        let settings = json!({"lr": lr, "device": device, "loss": "ce"});
        Card {
            version: "1.0".to_owned(),
            device: "cpu".to_owned(),
            settings: settings.as_object().unwrap().clone(),
        }
    }

    #[test]
    fn the_first_rank_that_differs_is_named() {
        let cards = |third: Card| [card(0.1, "cuda:0"), card(0.1, "cuda:1"), third];
        assert_eq!(check_cards(&cards(card(0.1, "cuda:2"))), Ok(()));
        let error = |third| check_cards(&cards(third)).unwrap_err().to_string();
        assert_eq!(
            error(card(0.2, "cpu")),
            "rank 2 has other settings: --lr is 0.2, and 0.1 on rank 0. Start all ranks with the same settings"
        );
        let older = Card {
            version: "0.9".to_owned(),
            ..card(0.1, "cpu")
        };
        assert_eq!(
            error(older),
            "rank 2 runs topk-train 0.9, rank 0 runs 1.0: start the same program on all ranks"
        );
        let on_gpu = Card {
            device: "cuda".to_owned(),
            ..card(0.1, "cuda")
        };
        assert_eq!(
            error(on_gpu),
            "rank 2 computes on cuda, rank 0 on cpu: give --device cpu on all ranks, or a GPU to each"
        );
    }
}
