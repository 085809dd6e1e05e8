//! The end of a run: exports the best checkpoints and evaluates them on the test images.

use std::path::Path;
use std::sync::atomic::AtomicBool;

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

use crate::config::{Config, ErrorPolicy};
use crate::state::BestSoFar;

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
    /// The results cannot be written.
    #[error(transparent)]
    Results(#[from] FileError),
}

impl From<EvaluationError> for FinalTestError {
    fn from(error: EvaluationError) -> Self {
        Self::Evaluation(Box::new(error))
    }
}

/// Exports a best checkpoint to ONNX, evaluates the exported model on the test images, and saves the results beside
/// it as JSON.
pub(crate) fn final_test(
    runtime: &Runtime,
    config: &Config,
    folder: &Path,
    best: &BestSoFar,
    test: Option<&ImageSet>,
) -> Result<BestCheckpoint, FinalTestError> {
    let file = |extension: &str| format!("{}.{extension}", best.name);
    let (weights, onnx) = (file("safetensors"), file("onnx"));
    let checkpoint = Checkpoint::load(&folder.join(&weights))?;
    export(checkpoint, &ExportOptions::default(), &folder.join(&onnx))?;
    let test = match test {
        None => None,
        Some(set) => Some(evaluate(
            runtime,
            config,
            &folder.join(&onnx),
            &folder.join(file("json")),
            set,
        )?),
    };
    Ok(BestCheckpoint {
        name: best.name.clone(),
        epoch: best.epoch,
        k: config.topk,
        val: best.val,
        test,
        checkpoint: weights,
        onnx: Some(onnx),
    })
}

/// Test accuracy of an exported model.
fn evaluate(
    runtime: &Runtime,
    config: &Config,
    onnx: &Path,
    json: &Path,
    set: &ImageSet,
) -> Result<Accuracy, FinalTestError> {
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
    let mut topk = vec![1, config.topk];
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
    let indices: Vec<usize> = evaluation.indices().collect();
    let results = evaluation.run(&indices, &AtomicBool::new(false), |_| ());
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
    results.save(json)?;
    let outcomes = results.models.iter().flat_map(|model| &model.outcomes);
    let ranks: Vec<usize> = outcomes
        .flatten()
        .map(|found| found.rank as usize)
        .collect();
    Ok(Accuracy::of(&ranks, config.topk))
}
