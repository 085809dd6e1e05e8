//! Several ranks compute what one process does.
//!
//! Weights and running statistics are compared. Momentum buffers are not: where rounding moves a value of a ReLU across
//! zero, a gradient jumps, though the weights hardly change, since the learning rate is small.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use topk_testing::free_port;
use topk_weights::StateDict;

use crate::processes::{Case, LIMIT, Processes, torchrun};

/// About 100 steps.
const FLAGS: [&str; 11] = [
    "--model=basic-4",
    "--val-size=100",
    "--epochs=6",
    "--lr=1e-5",
    "--noise=0.2",
    "--model-ema-decay=0.9",
    "--val-raw",
    "--val-topk=3",
    "--eval-metric=loss",
    "--clip-grad=1",
    "--seed=3",
];

/// How much two runs may differ.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    weights: f64,
    statistics: f64,
    loss: f64,
}

pub const ROUNDING: Tolerance = Tolerance {
    weights: 1e-6,
    statistics: 1e-5,
    loss: 1e-6,
};

/// Largest difference between the weights or running statistics of two runs, those of the EMA included; relative for
/// values above 1.
pub fn difference(one: &Path, other: &Path, statistics: bool) -> f64 {
    let read = |folder: &Path| StateDict::read(&folder.join("state.safetensors")).unwrap();
    let (one, other) = (read(one), read(other));
    assert!(one.tensors.keys().eq(other.tensors.keys()));
    let tensors = one.tensors.iter().zip(other.tensors.values());
    let compared = tensors.filter(|((name, _), _)| {
        let is_other =
            name.starts_with("velocities/") || ["sums", "loss-scale"].contains(&name.as_str());
        !is_other && name.contains("running_") == statistics
    });
    let differences = compared.flat_map(|((_, one), other)| {
        let pairs = one
            .to_f32()
            .unwrap()
            .into_iter()
            .zip(other.to_f32().unwrap());
        pairs.map(|(one, other)| f64::from((one - other).abs() / one.abs().max(1.0)))
    });
    differences.fold(0.0, f64::max)
}

/// Fails unless two runs have the same weights up to rounding, and the same counts of correct images.
pub fn assert_equal(case: &Case, one: &str, other: &str, tolerance: Tolerance) {
    let differences =
        [false, true].map(|statistics| difference(&case.path(one), &case.path(other), statistics));
    assert!(
        differences[0] <= tolerance.weights && differences[1] <= tolerance.statistics,
        "{other} differs by {differences:?}"
    );
    let [one_log, other_log] = [one, other].map(|out| case.events(out, "epoch"));
    assert_eq!(one_log.len(), other_log.len());
    for (one, other) in one_log.iter().zip(&other_log) {
        for count in ["train", "val", "val_correct", "skipped_steps"] {
            assert_eq!(one[count], other[count], "{other}");
        }
        for loss in ["loss", "val_loss"] {
            let losses = [one, other].map(|epoch: &Value| epoch[loss].as_f64().unwrap());
            let difference = (losses[0] / losses[1] - 1.0).abs();
            assert!(difference < tolerance.loss, "{loss}: {losses:?}");
        }
    }
}

#[test]
fn ranks_with_synchronised_batch_norm_are_one_process() {
    // The last batch of an epoch has two images, so that one of three ranks has none.
    let case = Case::new(302 - 12, &FLAGS);
    let total = ["--batch-size=12"];
    case.finish(case.command("one", &total));
    case.finish_ranks("two", 2, &["--batch-size=6", "--sync-bn"]);
    case.finish_ranks("three", 3, &["--batch-size=4", "--sync-bn"]);
    assert_equal(&case, "one", "two", ROUNDING);
    assert_equal(&case, "one", "three", ROUNDING);
    // Each rank's own statistics make another run.
    case.finish_ranks("own", 2, &["--batch-size=6"]);
    assert!(difference(&case.path("one"), &case.path("own"), false) > 1e-5);
    let devices = ["--devices=cpu,cpu", "--global-batch-size=12", "--sync-bn"];
    let command = case.command("devices", &devices);
    case.finish(command);
    // The same sums in the same order.
    for statistics in [false, true] {
        let (two, devices) = (case.path("two"), case.path("devices"));
        assert_eq!(difference(&two, &devices, statistics), 0.0);
    }
}

#[test]
fn torchrun_starts_ranks() {
    let case = Case::new(300, &FLAGS);
    let program = case.command("two", &["--batch-size=6", "--sync-bn"]);
    let Some(torchrun) = torchrun(&[], &program) else {
        return;
    };
    case.finish(torchrun);
    case.finish(case.command("one", &["--batch-size=12"]));
    assert_equal(&case, "one", "two", ROUNDING);
    let [start] = &case.events("two", "start")[..] else {
        panic!("the run starts once")
    };
    let decisions = start["decisions"].to_string();
    assert!(
        decisions.contains("2 ranks: 6 images of each batch on each rank, 12 in total"),
        "{decisions}"
    );
}

#[test]
fn accumulation_and_mixing_are_those_of_one_process() {
    let flags = [
        &FLAGS[..],
        &[
            "--grad-accum-steps=3",
            "--mix=mixup:0.2,cutmix:1",
            "--loss=ce",
        ],
    ]
    .concat();
    let case = Case::new(250, &flags);
    case.finish(case.command("one", &["--batch-size=10"]));
    case.finish_ranks("three", 3, &["--global-batch-size=10", "--sync-bn"]);
    assert_equal(&case, "one", "three", ROUNDING);
}

#[test]
fn samplers_choose_the_same_images_for_any_number_of_ranks() {
    let case = Case::new(250, &FLAGS);
    for (name, flags) in [
        ("drawn", &["--sampler=square-root", "--limit-batches=9"][..]),
        (
            "repeated",
            &["--aug-repeats=3", "--color-jitter=0.4", "--epochs=3"],
        ),
    ] {
        let [one, three] = ["one", "three"].map(|ranks| format!("{name}-{ranks}"));
        case.finish(case.command(&one, &[&["--batch-size=12"], flags].concat()));
        let of_ranks = ["--global-batch-size=12", "--sync-bn"];
        case.finish_ranks(&three, 3, &[&of_ranks[..], flags].concat());
        assert_equal(&case, &one, &three, ROUNDING);
    }
}

#[test]
fn class_weights_are_those_of_one_process() {
    let weights = tempfile::NamedTempFile::new().unwrap();
    let lines: Vec<String> = (0..20).map(|class| format!("{}", class % 7)).collect();
    std::fs::write(weights.path(), lines.join("\n")).unwrap();
    let given = format!("--class-weights={}", weights.path().display());
    let flags = [
        &FLAGS[..],
        &[
            "--grad-accum-steps=3",
            "--loss=ce",
            "--label-smoothing=0.1",
            &given,
        ],
    ]
    .concat();
    let case = Case::new(250, &flags);
    case.finish(case.command("one", &["--batch-size=10"]));
    case.finish_ranks("three", 3, &["--global-batch-size=10", "--sync-bn"]);
    assert_equal(&case, "one", "three", ROUNDING);
}

#[test]
fn skipped_images_are_left_out_on_any_rank() {
    let case = Case::new(
        200,
        &[
            "--model=basic-4",
            "--epochs=3",
            "--lr=1e-5",
            "--on-bad-image=skip",
        ],
    );
    let train = case.path("photos");
    for (class, name) in ["a", "b", "c"].iter().enumerate() {
        for number in 0..20 {
            let path = train.join(name).join(format!("{number:03}.bmp"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match (class + number) % 7 {
                0 => std::fs::write(path, "not an image").unwrap(),
                _ => {
                    let pixel = |x, y| {
                        image::Rgb([
                            40 * class as u8,
                            (x * 7 + y * number as u32) as u8,
                            number as u8,
                        ])
                    };
                    image::RgbImage::from_fn(32, 32, pixel).save(path).unwrap();
                }
            }
        }
    }
    let run = |out: &str, flags: &[&str]| -> Command {
        let mut command =
            case.command(out, &["--input-size=32", "--augment=none", "--val-size=15"]);
        let data = format!("--data={}", train.display());
        command.arg(data).args(flags);
        command
    };
    case.finish(run("one", &["--batch-size=6"]));
    let ranks = (0..2)
        .map(|_| run("two", &["--batch-size=3", "--sync-bn"]))
        .collect();
    for end in Processes::ranks(ranks, free_port()).wait(LIMIT) {
        assert!(end.status.success(), "{end:?}");
    }
    assert_equal(&case, "one", "two", ROUNDING);
    let skipped = |out: &str| case.events(out, "epoch")[0]["skipped_images"].clone();
    assert!(skipped("one").as_u64() > Some(0));
    assert_eq!(skipped("one"), skipped("two"));
}

/// At this input size, the last layers normalise one value per image. Where rounding moves one of them across zero, the
/// gradient changes by several percent, on one process with another number of threads, too. So the learning rate is very
/// small, and running statistics are compared less strictly.
#[test]
fn a_resnet_with_synchronised_batch_norm_is_that_of_one_process() {
    let flags = [
        "--model=resnet18",
        "--val-size=50",
        "--train-size=200",
        "--drop-last",
        "--lr=1e-7",
        "--sched=cosine",
    ];
    let case = Case::new(250, &flags);
    case.finish(case.command("one", &["--epochs=7", "--batch-size=12"]));
    case.finish_ranks("two", 2, &["--epochs=7", "--batch-size=6", "--sync-bn"]);
    let tolerance = Tolerance {
        weights: 1e-7,
        statistics: 1e-4,
        loss: 1e-4,
    };
    assert_equal(&case, "one", "two", tolerance);
    case.finish(case.command("first", &["--epochs=1", "--batch-size=12"]));
    let moved = difference(&case.path("one"), &case.path("first"), false);
    assert!(moved > 10.0 * tolerance.weights, "{moved}");
}
