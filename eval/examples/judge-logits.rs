//! Runs a session of `ort` on the images of a data set, and judges its logits: top-k accuracy and loss, on arrays.
//!
//! ```sh
//! cargo run --release -p topk-eval --example judge-logits -- resnet18.onnx imagenet/val
//! ```
//!
//! `topk_eval::Batches` preprocesses the images as the model's metadata say. `Model::logits` would run the model too;
//! here a session of one's own does, and its output is used where it lies, without a copy.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use ndarray::Ix2;
use ort::session::Session;
use ort::value::TensorRef;
use topk_eval::{
    Batches, DataOptions, EvalOptions, Execution, ImageSet, Model, Runtime, UNLABELLED,
};
use topk_ops::array::topk_correct;
use topk_ops::{Criterion, Reduction, SmoothTopkSvm};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [model, data] = &arguments[..] else {
        return Err("expected a model and a data set".into());
    };
    judge(model.as_ref(), data.as_ref(), &mut io::stdout())
}

/// Prints the accuracies and the mean loss of a model on a data set.
///
/// # Errors
/// If the model or the data cannot be read, they do not match, or the model fails.
pub fn judge(path: &Path, data: &Path, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    // Finds ONNX Runtime, and loads it for `ort` too.
    let runtime = Runtime::load()?;
    let set = ImageSet::open(data, &DataOptions::default())?;
    let options = EvalOptions::new(&set)?;
    let mut model = Model::open(&runtime, path, Execution::default())?;
    let batches = Batches::<f32>::new(&set, &mut model, &options)?;

    let mut session = Session::builder(runtime.environment())?.commit_from_file(path)?;
    // k, tau, alpha; the sum, to add up over batches.
    let criterion = Criterion::new(SmoothTopkSvm::new(5, 1.0, 1.0)?)
        .with_reduction(Reduction::Sum)
        .with_ignore_index(UNLABELLED);
    let (mut images, mut loss, mut correct) = (0, 0.0, [0; 2]);
    for batch in batches {
        let batch = batch?;
        let outputs = session.run(ort::inputs![TensorRef::from_array_view(&batch.images)?])?;
        let logits = outputs[0]
            .try_extract_array::<f32>()?
            .into_dimensionality::<Ix2>()?;
        loss += f64::from(criterion.value(logits, &batch.labels)?);
        let [top1, top5] = topk_correct(logits, &batch.labels, [1, 5])?;
        correct = [correct[0] + top1, correct[1] + top5];
        images += batch.labels.len();
    }
    let [top1, top5] = correct.map(|correct| 100.0 * correct as f64 / images as f64);
    let loss = loss / images as f64;
    writeln!(
        out,
        "{images} images: top-1 {top1:.2} %, top-5 {top5:.2} %, smooth top-5 SVM {loss:.4}"
    )?;
    Ok(())
}
