//! The end of a run: exports the best checkpoints and evaluates them on the test images.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;
use topk_data::{DataError, ImageSet};
use topk_eval::{
    BadImages, EvalOptions, Evaluation, EvaluationError, Execution, Model, ModelError, OnBadImage,
    PreprocessOverrides, Provider, labels_of,
};
use topk_export::{ExportError, ExportOptions, export};
use topk_history::{Accuracy, Checkpoint as BestCheckpoint};
use topk_models::{Checkpoint, CheckpointError};
use topk_native::{Device, Runtime};
use topk_results::FileError;

use crate::checkpoints::EXTENSION;
use crate::config::{Config, ErrorPolicy};
use crate::state::ValidatedEpoch;

/// The best checkpoints cannot be exported or evaluated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum FinalTestError {
    /// A checkpoint cannot be read back.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The test images cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The exported model cannot be run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The evaluation failed.
    #[error(transparent)]
    Evaluation(Box<EvaluationError>),
    /// Test images cannot be read.
    #[error(
        "{count} test images cannot be read, such as {name}: {reason}. Use --on-bad-image skip to skip such images"
    )]
    BadImages {
        /// Number of such images.
        count: usize,
        /// Name of the first.
        name: String,
        /// What is wrong with the first.
        reason: String,
    },
    /// No test image can be read.
    #[error(
        "none of the {count} test images can be read, such as {name}: {reason}. Repair them, or choose others with \
         --test-data; then run the same command to test the exported models"
    )]
    NoImages {
        /// Number of such images.
        count: usize,
        /// Name of the first.
        name: String,
        /// What is wrong with the first.
        reason: String,
    },
    /// The results cannot be written.
    #[error(transparent)]
    Results(#[from] FileError),
}

impl From<EvaluationError> for FinalTestError {
    fn from(error: EvaluationError) -> Self {
        Self::Evaluation(Box::new(error))
    }
}

/// Exports the checkpoint of a name to ONNX, evaluates the exported model on the test images, and saves the results beside
/// it as JSON. Returns `None` once `stop` is set; then nothing of the test is saved.
pub(crate) fn final_test(
    runtime: &Runtime,
    config: &Config,
    folder: &Path,
    name: &str,
    of: &ValidatedEpoch,
    test: Option<&ImageSet>,
    stop: &AtomicBool,
) -> Result<Option<BestCheckpoint>, FinalTestError> {
    let stopped = || stop.load(Ordering::Relaxed);
    if stopped() {
        return Ok(None);
    }
    let file = |extension: &str| format!("{name}.{extension}");
    let (weights, onnx) = (file(EXTENSION), file("onnx"));
    let checkpoint = Checkpoint::load(&folder.join(&weights))?;
    export(checkpoint, &ExportOptions::default(), &folder.join(&onnx))?;
    let test = match test {
        None => None,
        Some(_) if stopped() => return Ok(None),
        Some(set) => {
            let (onnx, json) = (folder.join(&onnx), folder.join(file("json")));
            let Some(accuracy) = evaluate(runtime, config, &onnx, &json, set, stop)? else {
                return Ok(None);
            };
            Some(accuracy)
        }
    };
    Ok(Some(BestCheckpoint {
        name: name.to_owned(),
        epoch: of.epoch,
        k: config.topk(),
        val: of.val,
        test,
        checkpoint: weights,
        onnx: Some(onnx),
    }))
}

/// Test accuracy of an exported model, unless `stop` was set.
fn evaluate(
    runtime: &Runtime,
    config: &Config,
    onnx: &Path,
    json: &Path,
    set: &ImageSet,
    stop: &AtomicBool,
) -> Result<Option<Accuracy>, FinalTestError> {
    let provider = match config.device {
        Device::Auto => Provider::Auto,
        Device::Cpu => Provider::Cpu,
        Device::Cuda(index) => Provider::Cuda(index),
    };
    let execution = Execution {
        provider,
        threads: config.workers,
        ..Execution::default()
    };
    let model = Model::open(runtime, onnx, execution)?;
    let options = EvalOptions::new(set)?;
    let mut topk = vec![1, config.topk()];
    topk.dedup();
    let options = EvalOptions {
        topk,
        on_bad_image: match config.on_bad_image {
            ErrorPolicy::Fail => OnBadImage::Fail,
            ErrorPolicy::Skip => OnBadImage::Skip,
        },
        overrides: PreprocessOverrides {
            crops: config.test_crops,
            ..PreprocessOverrides::default()
        },
        ..options
    };
    let labels = labels_of(set);
    let mut evaluation = Evaluation::new(runtime, set, &labels, vec![model], &options)?;
    let indices = evaluation.indices();
    let results = evaluation.run(&indices, stop, |_| ());
    let results = results.map_err(|error| match error {
        EvaluationError::BadImages(BadImages { images }) => {
            let count = images.len();
            let (name, reason) = images.into_iter().next().unwrap_or_default();
            FinalTestError::BadImages {
                count,
                name,
                reason,
            }
        }
        error => error.into(),
    })?;
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let outcomes = results.models.iter().flat_map(|model| &model.outcomes);
    let ranks: Vec<usize> = outcomes
        .flatten()
        .map(|found| found.rank as usize)
        .collect();
    if ranks.is_empty() {
        let first = results.failures.into_iter().next();
        let (name, reason) = first
            .map(|first| (first.name, first.message))
            .unwrap_or_default();
        return Err(FinalTestError::NoImages {
            count: indices.len(),
            name,
            reason,
        });
    }
    results.save(json)?;
    Ok(Some(Accuracy::of(&ranks, config.topk())))
}
