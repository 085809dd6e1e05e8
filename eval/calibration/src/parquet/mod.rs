//! Logits in Parquet: one row per image with the columns `index`, `label` and `logits`, which is a list of floats.

mod read;
mod write;

pub(crate) use read::read;
pub(crate) use write::write;

/// Names of the columns.
const INDEX: &str = "index";
const LABEL: &str = "label";
const LOGITS: &str = "logits";
