//! Trains a linear classifier for top-k accuracy, on arrays: the smooth top-2 SVM, gradient descent, and nothing
//! but `ndarray`.
//!
//! ```sh
//! cargo run --release -p topk-ops --example linear-classifier
//! ```

use std::error::Error;
use std::io::{self, Write};

use ndarray::{Array1, Array2, Axis};
use topk_ops::array::topk_accuracy;
use topk_ops::{Criterion, SmoothTopkSvm};

const SAMPLES: usize = 600;
const FEATURES: usize = 16;
const CLASSES: usize = 10;
const LEARNING_RATE: f32 = 0.3;

fn main() -> Result<(), Box<dyn Error>> {
    train(&mut io::stdout())
}

/// Trains, and prints the loss and the accuracy of every tenth step.
///
/// # Errors
/// If the loss cannot be computed, or `out` cannot be written to.
pub fn train(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let (features, labels) = samples();
    // k, tau, alpha; the mean over the samples.
    let criterion = Criterion::new(SmoothTopkSvm::new(2, 0.5, 1.0)?);
    let mut weights = Array2::<f32>::zeros((FEATURES, CLASSES));
    let mut bias = Array1::<f32>::zeros(CLASSES);
    // Written in each step, instead of a new array.
    let mut gradient = Array2::zeros((SAMPLES, CLASSES));
    for step in 0..=50 {
        let scores = features.dot(&weights) + &bias;
        let loss = criterion.value_and_gradient_into(&scores, &labels, &mut gradient)?;
        if step % 10 == 0 {
            let [top1, top2] = topk_accuracy(&scores, &labels, [1, 2])?;
            let [top1, top2] = [top1, top2].map(|accuracy| 100.0 * accuracy);
            writeln!(
                out,
                "step {step:2}  loss {loss:.4}  top-1 {top1:5.1} %  top-2 {top2:5.1} %"
            )?;
        }
        weights.scaled_add(-LEARNING_RATE, &features.t().dot(&gradient));
        bias.scaled_add(-LEARNING_RATE, &gradient.sum_axis(Axis(0)));
    }
    Ok(())
}

/// Samples around one centre per class, far enough apart that a linear classifier separates them.
fn samples() -> (Array2<f32>, Array1<i64>) {
    let mut state = 1u32;
    // From −1 to 1, with the constants of "Numerical Recipes".
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let centres = Array2::from_shape_simple_fn((CLASSES, FEATURES), &mut uniform);
    let labels = Array1::from_shape_fn(SAMPLES, |sample| (sample % CLASSES) as i64);
    let noise = Array2::from_shape_simple_fn((SAMPLES, FEATURES), &mut uniform);
    let of_sample = labels.mapv(|label| label as usize).to_vec();
    (centres.select(Axis(0), &of_sample) + noise, labels)
}
