use std::path::Path;
use std::sync::atomic::AtomicBool;

use thiserror::Error;
use topk_data::{DataError, ImageSet};
use topk_eval::{
    Evaluation, EvaluationError, Execution, Finished, Model, ModelError, OnError, Plan, Provider,
    Wishes, labels_of,
};
use topk_export::{ExportError, ExportOptions, export};
use topk_history::{Accuracy, Checkpoint as Best};
use topk_models::{Checkpoint, CheckpointError};
use topk_native::{Device, Runtime};
use topk_preprocessing::Crops;
use topk_results::{FailurePolicy, FileError};

use crate::config::{Config, OnBad};
use crate::state::BestSoFar;

/// Why the best checkpoints cannot be exported and judged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConclusionError {
    /// A checkpoint cannot be read back.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The test images cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The exported model does not run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// It cannot be judged on the test images.
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
    /// Test images cannot be read.
    #[error(
        "{} test images cannot be read, such as {name}: {reason}. --on-bad-image skip would leave them \
         out",
        count
    )]
    BadImages {
        /// How many.
        count: usize,
        /// The first.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The results cannot be written.
    #[error(transparent)]
    Results(#[from] FileError),
}

/// Exports a best checkpoint, measures the exported model on the test images, and leaves the results
/// beside it.
pub(crate) fn conclude(
    runtime: &Runtime,
    config: &Config,
    folder: &Path,
    best: &BestSoFar,
    test: Option<&ImageSet>,
) -> Result<Best, ConclusionError> {
    let file = |extension: &str| format!("{}.{extension}", best.name);
    let (weights, onnx) = (file("safetensors"), file("onnx"));
    let checkpoint = Checkpoint::load(&folder.join(&weights))?;
    export(checkpoint, &ExportOptions::default(), &folder.join(&onnx))?;
    let test = match test {
        None => None,
        Some(set) => Some(judge(
            runtime,
            config,
            &folder.join(&onnx),
            &folder.join(file("json")),
            set,
        )?),
    };
    Ok(Best {
        name: best.name.clone(),
        epoch: best.epoch,
        k: config.topk,
        val: best.val,
        test,
        checkpoint: weights,
        onnx: Some(onnx),
    })
}

fn judge(
    runtime: &Runtime,
    config: &Config,
    onnx: &Path,
    json: &Path,
    set: &ImageSet,
) -> Result<Accuracy, ConclusionError> {
    let provider = match config.device {
        Device::Auto => Provider::Auto,
        Device::Cpu => Provider::Cpu,
        Device::Cuda(index) => Provider::Cuda(index),
    };
    let execution = Execution {
        provider,
        threads: config.threads,
        ..Execution::default()
    };
    let model = Model::open(runtime, onnx, execution)?;
    let plan = Plan::new(set)?;
    let mut topk = vec![1, config.topk];
    topk.dedup();
    let plan = Plan {
        topk,
        on_error: match config.on_bad_image {
            OnBad::Stop => OnError::Fail,
            OnBad::Skip => OnError::Report(FailurePolicy::Skip),
        },
        wishes: Wishes {
            crops: match config.ten_crops {
                true => Crops::Ten,
                false => Crops::Center,
            },
            ..Wishes::default()
        },
        ..plan
    };
    let labels = labels_of(set);
    let mut evaluation = Evaluation::new(runtime, set, &labels, vec![model], &plan)?;
    let places: Vec<usize> = evaluation.places().collect();
    match evaluation.run(&places, &AtomicBool::new(false), |_| ())? {
        Finished::Results(results) => {
            results.save(json)?;
            let outcomes = results.models.iter().flat_map(|model| &model.outcomes);
            let ranks: Vec<usize> = outcomes
                .flatten()
                .map(|found| found.rank as usize)
                .collect();
            Ok(Accuracy::of(&ranks, config.topk))
        }
        Finished::BadImages(failures) => {
            let count = failures.len();
            let (name, reason) = failures.into_iter().next().unwrap_or_default();
            Err(ConclusionError::BadImages {
                count,
                name,
                reason,
            })
        }
    }
}
