use std::io::{self, Write};
use std::path::{Path, PathBuf};

use atomic_write_file::AtomicWriteFile;
use serde::{Deserialize, Serialize};
use topk_image::Normalization;

/// Results of a run of `topk-eval`: what the JSON file holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// Version of `topk-eval`.
    pub version: String,
    /// Version of ONNX Runtime.
    pub onnxruntime: String,
    /// Folder of the data set.
    pub data: PathBuf,
    /// One entry a model.
    pub results: Vec<Result>,
}

/// The accuracy of one model, and what it was measured with.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Result {
    /// The model's file.
    pub model: PathBuf,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Where it ran: `cpu` or `cuda:N`.
    pub provider: String,
    /// Whether matrix products were rounded to TF32; on the CPU they never are.
    pub tf32: bool,
    /// Mean and standard deviation that the images were normalised with.
    #[serde(flatten)]
    pub normalization: Normalization,
    /// Images judged.
    pub images: usize,
    /// The k of top-k.
    pub k: usize,
    /// Images whose label has the highest score.
    pub top1_correct: usize,
    /// Images whose label is among the k highest scores.
    pub topk_correct: usize,
    /// Top-1 accuracy, 0 to 1.
    pub top1: f64,
    /// Top-k accuracy, 0 to 1.
    pub topk: f64,
    /// Time for all images, in seconds.
    pub seconds: f64,
}

impl Report {
    /// Writes the report to a JSON file, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        let mut file = AtomicWriteFile::open(path)?;
        file.write_all(&json)?;
        file.commit()
    }

    /// The results as a table for people; all of the same k.
    pub fn table(&self) -> String {
        let names: Vec<String> = self
            .results
            .iter()
            .map(|result| result.model.display().to_string())
            .collect();
        let width = names
            .iter()
            .map(|name| name.chars().count())
            .max()
            .unwrap_or(0)
            .max(5);
        let k = self.results.first().map_or(0, |result| result.k);
        let topk = format!("top-{k}");
        let mut table = format!(
            "{:width$}  {:>7}  {:>7}  {:>7}  on\n",
            "model", "images", "top-1", topk
        );
        for (name, result) in names.iter().zip(&self.results) {
            let Result {
                images,
                top1,
                topk,
                provider,
                ..
            } = result;
            let (top1, topk) = (100.0 * top1, 100.0 * topk);
            table +=
                &format!("{name:width$}  {images:>7}  {top1:>6.2}%  {topk:>6.2}%  {provider}\n");
        }
        table
    }
}
