//! Steps that are not finite: all ranks leave out the same ones.

use std::path::Path;

use topk_models::Checkpoint;
use topk_weights::{StateDict, Tensor};

use crate::equality::{ROUNDING, assert_equal, difference};
use crate::processes::Case;

const FLAGS: [&str; 8] = [
    "--model=basic-4",
    "--val-size=50",
    "--epochs=3",
    "--lr=1e-5",
    "--clip-grad=1",
    "--on-nan=skip",
    "--device=cpu",
    "--seed=3",
];

/// Multiplies the weights of the last layer of a trained network.
fn enlarge(trained: &Path, factor: f32, to: &Path) {
    let checkpoint = Checkpoint::load(&trained.join("bestk.safetensors")).unwrap();
    let mut weights = StateDict {
        tensors: checkpoint.weights().clone(),
        ..StateDict::default()
    };
    let scores = weights.tensors.get_mut("fc.weight").unwrap();
    let values = scores.to_f32().unwrap().into_iter();
    let values: Vec<f32> = values.map(|weight| weight * factor).collect();
    *scores = Tensor::from_f32(scores.shape(), &values).unwrap();
    weights.save(to).unwrap();
}

/// Runs with one and with two ranks, in the folders `one` and `two`, from a network whose last layer is enlarged.
fn train(factor: f32, flags: &[&str]) -> Case {
    let case = Case::new(250, &FLAGS);
    case.finish(case.command("trained", &["--lr=0", "--epochs=1"]));
    let large = case.path("large.safetensors");
    enlarge(&case.path("trained"), factor, &large);
    let checkpoint = format!("--checkpoint={}", large.display());
    let flags = [flags, &[&checkpoint]].concat();
    case.finish(case.command("one", &[&flags[..], &["--batch-size=12"]].concat()));
    let ranks = [&flags[..], &["--batch-size=6", "--sync-bn"]].concat();
    case.finish_ranks("two", 2, &ranks);
    case
}

/// Number of skipped steps of each epoch.
fn skipped(case: &Case, out: &str) -> Vec<u64> {
    let epochs = case.events(out, "epoch").into_iter();
    epochs
        .map(|epoch| epoch["skipped_steps"].as_u64().unwrap())
        .collect()
}

/// The square of the gradients' norm is about the largest number of f32, so that it overflows in some steps.
#[test]
fn steps_that_overflow_are_skipped_by_all_ranks() {
    let case = train(5e19, &[]);
    assert_equal(&case, "one", "two", ROUNDING);
    let skipped = skipped(&case, "one");
    let steps = 200_u64.div_ceil(12);
    assert!(
        skipped.iter().any(|&count| 0 < count && count < steps),
        "{skipped:?}"
    );
}

/// A rank averages over half of the images, so that its gradients may overflow at half the scale, as with PyTorch's DDP and
/// GradScaler. Both scales have halved with each step that was skipped.
#[test]
fn ranks_share_the_scale_of_float16() {
    let case = train(3e3, &["--amp", "--amp-dtype=float16"]);
    let counts = ["one", "two"].map(|out| skipped(&case, out).into_iter().sum::<u64>());
    assert!(counts[0] > 0);
    let more = counts[1] - counts[0];
    assert!(more <= 1, "{counts:?}");
    for (out, count) in ["one", "two"].into_iter().zip(counts) {
        let state = StateDict::read(&case.path(out).join("state.safetensors")).unwrap();
        let bits = state.tensors["loss-scale"].to_f32().unwrap()[0] as u32;
        assert_eq!(f32::from_bits(bits), 65536.0 * 0.5f32.powi(count as i32));
    }
    let [one, two] = ["one", "two"].map(|out| case.path(out));
    assert!(difference(&one, &two, false) < 1e-4);
}
