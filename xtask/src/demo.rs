//! `cargo xtask demo`: checks the installation by training, exporting and evaluating two networks.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use topk_testing::root;

use crate::cargo;
use crate::native::{self, Libraries};

/// The losses: the value of `--loss`, and the name in the table.
const LOSSES: [(&str, &str); 2] = [("ce", "cross-entropy"), ("svm", "smooth top-5 SVM")];

/// The two best checkpoints of a run, and the metric that each is best in.
const CHECKPOINTS: [(&str, &str); 2] = [("best1", "top-1"), ("bestk", "top-5")];

/// The paper's settings for CIFAR-100, with a small network and few epochs, to take a few minutes on
/// two cores. There are 172 images per class, 22 of them for validation.
const SETTINGS: [&str; 15] = [
    "--model=basic-16",
    "--topk=5",
    "--tau=1",
    "--alpha=1",
    "--noise=0.6",
    "--val-size=440",
    "--epochs=30",
    "--batch-size=64",
    "--lr=0.1",
    "--momentum=0.9",
    "--weight-decay=1e-4",
    "--seed=0",
    "--device=cpu",
    "--channels-last=false",
    "--validation-batch-size=256",
];

pub(crate) fn run() -> Result<()> {
    native::set_up(Libraries::CPU)?;
    cargo::run(cargo::cargo().args(["build", "--release", "--bin=topk-train", "--bin=topk-eval"]))?;

    let start = Instant::now();
    let target = cargo::target_dir()?;
    let programs = target.join("release");
    let data = root().join("tests/data/cifar100-sample");
    let out = target.join("demo");
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| format!("cannot remove {}", out.display()))?;
    }

    let mut models = Vec::new();
    for (loss, title) in LOSSES {
        println!("\nTraining with {title}");
        let folder = out.join(loss);
        cargo::run(
            Command::new(programs.join("topk-train"))
                .args(SETTINGS)
                .arg(format!("--loss={loss}"))
                .arg("--data")
                .arg(&data)
                .arg("--out")
                .arg(&folder),
        )?;
        models.extend(CHECKPOINTS.map(|(name, _)| folder.join(name).with_extension("onnx")));
    }
    let trained = start.elapsed();

    println!("\nEvaluating the ONNX models with ONNX Runtime");
    let results = out.join("results.json");
    let mut evaluate = Command::new(programs.join("topk-eval"));
    evaluate
        .args(["--topk=5", "--device=cpu", "--data"])
        .arg(&data);
    for model in &models {
        evaluate.arg("--model").arg(model);
    }
    cargo::run(evaluate.arg("--json").arg(&results))?;
    let total = start.elapsed();

    let rows = rows(&out, &results)?;
    println!(
        "\nAccuracy on {} test images with clean labels, in %",
        rows[0].test.images
    );
    println!("(trained with 60 % of the labels redrawn at random within groups of five classes;");
    println!("random guessing gives 5.00 top-1 and 25.00 top-5)\n");
    println!("loss              best validation  epoch  top-1  top-5");
    for Row {
        loss,
        best_by,
        epoch,
        test,
    } in &rows
    {
        let [top1, topk] = test
            .correct
            .map(|n| 100.0 * (n as f64 / test.images as f64));
        println!("{loss:16}  {best_by:15}  {epoch:>5}  {top1:5.2}  {topk:5.2}");
    }
    println!(
        "\nThe installation works: topk-train and topk-eval agree on all four models. The accuracies \
         are\nthose of one short run on little data; docs/label-noise.md compares the losses.\n\
         Training took {:.0} s, evaluation {:.1} s. The files are in {}:",
        trained.as_secs_f64(),
        (total - trained).as_secs_f64(),
        out.display()
    );
    for (loss, _) in LOSSES {
        println!(
            "  {loss}/run.html  {loss}/log.jsonl  {loss}/best{{1,k}}.safetensors  {loss}/best{{1,k}}.onnx"
        );
    }
    println!("  results.json");
    Ok(())
}

/// A row of the table.
struct Row {
    loss: &'static str,
    best_by: &'static str,
    epoch: u64,
    /// The accuracy of the exported model according to `topk-eval`.
    test: Accuracy,
}

fn rows(out: &Path, results: &Path) -> Result<Vec<Row>> {
    let results = read_json(results, &fs::read_to_string(results)?)?;
    let mut results = results["models"]
        .as_array()
        .context("the results have no models")?
        .iter();
    let mut rows = Vec::new();
    for (name, loss) in LOSSES {
        let log = out.join(name).join("log.jsonl");
        let text = fs::read_to_string(&log)?;
        let end = read_json(&log, text.lines().last().context("the log is empty")?)?;
        for (checkpoint, (_, best_by)) in CHECKPOINTS.iter().enumerate() {
            let trained = &end["checkpoints"][checkpoint];
            let result = results.next().context("a model was not evaluated")?;
            let test = evaluated(&result["metrics"]).context("a model has no metrics")?;
            ensure!(
                Some(test) == logged(&trained["test"]),
                "the test accuracies in {} differ from those of topk-eval",
                log.display()
            );
            rows.push(Row {
                loss,
                best_by,
                epoch: trained["epoch"]
                    .as_u64()
                    .context("a checkpoint has no epoch")?,
                test,
            });
        }
    }
    Ok(rows)
}

/// The number of images, and of those with a correct top-1 and top-k prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Accuracy {
    images: u64,
    correct: [u64; 2],
}

/// The accuracy of a model in the results, which have one k besides 1.
fn evaluated(metrics: &Value) -> Option<Accuracy> {
    let correct = |index: usize| metrics["topk"][index]["correct"].as_u64();
    Some(Accuracy {
        images: metrics["images"].as_u64()?,
        correct: [correct(0)?, correct(1)?],
    })
}

/// The accuracy of a checkpoint in the log.
fn logged(test: &Value) -> Option<Accuracy> {
    Some(Accuracy {
        images: test["images"].as_u64()?,
        correct: [
            test["top1_correct"].as_u64()?,
            test["topk_correct"].as_u64()?,
        ],
    })
}

fn read_json(path: &Path, text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("cannot read {}", path.display()))
}
