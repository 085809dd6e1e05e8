//! Random numbers drawn by numpy, from `tests/data/splits.json`, made by `make_splits.py` in the same folder.

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A summary of a long list: its length, first and last values, and SHA-256 of all as little-endian `u32`.
#[derive(Debug, Deserialize, PartialEq)]
pub(crate) struct Kept(usize, Vec<u32>, Vec<u32>, String);

impl Kept {
    pub fn new(values: impl IntoIterator<Item = u32>) -> Self {
        const SHOWN: usize = 4;
        let values: Vec<u32> = values.into_iter().collect();
        let shown = values.len().min(SHOWN);
        let (first, last) = (&values[..shown], &values[values.len() - shown..]);
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        Self(values.len(), first.to_vec(), last.to_vec(), sha256(bytes))
    }

    pub fn indices(indices: &[usize]) -> Self {
        Self::new(indices.iter().map(|&index| index as u32))
    }
}

/// The cases of a kind.
pub(crate) fn cases(kind: &str) -> Value {
    let mut all: Value = serde_json::from_str(include_str!("../tests/data/splits.json")).unwrap();
    all[kind].take()
}

pub(crate) fn sha256(bytes: impl IntoIterator<Item = u8>) -> String {
    let bytes: Vec<u8> = bytes.into_iter().collect();
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
