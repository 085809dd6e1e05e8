//! `cargo xtask demo`: the whole way from images to an evaluated ONNX model, twice.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use topk_history::Accuracy;

use crate::{cargo, native};

/// The losses by their names on the command line, and what to call them.
const LOSSES: [(&str, &str); 2] = [("ce", "cross-entropy"), ("svm", "smooth top-5 SVM")];

/// The two best checkpoints of a run, and what they are best by.
const CHECKPOINTS: [(&str, &str); 2] = [("best1", "top-1"), ("bestk", "top-5")];

/// The paper's settings for CIFAR-100, with a network and a number of epochs for a few minutes on two
/// cores. The images are 172 a class, of which 22 are for validation.
const SETTINGS: [&str; 14] = [
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
    "--test-batch-size=256",
];

pub(crate) fn run() -> Result<()> {
    native::set_up(false)?;
    cargo::run(cargo::cargo().args(["build", "--release", "--bin=topk-train", "--bin=topk-eval"]))?;

    let start = Instant::now();
    let target = cargo::target_dir()?;
    let programs = target.join("release");
    let data = cargo::root().join("tests/data/cifar100-sample");
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
    let evaluated = start.elapsed();

    let rows = rows(&out, &results)?;
    println!(
        "\nAccuracy on {} test images with clean labels, in %",
        rows[0].test.images
    );
    println!(
        "(trained on labels of which 60 % were redrawn at random within groups of five classes;"
    );
    println!("guessing gives 5.00 top-1 and 25.00 top-5)\n");
    println!("loss              best validation  epoch  top-1  top-5");
    for Row {
        loss,
        best_by,
        epoch,
        test,
    } in &rows
    {
        let (top1, topk) = (100.0 * test.top1(), 100.0 * test.topk());
        println!("{loss:16}  {best_by:15}  {epoch:>5}  {top1:5.2}  {topk:5.2}");
    }
    println!(
        "\nTraining took {:.0} s, evaluation {:.1} s. Everything is in {}:",
        trained.as_secs_f64(),
        (evaluated - trained).as_secs_f64(),
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

/// A line of the table.
struct Row {
    loss: &'static str,
    best_by: &'static str,
    epoch: u64,
    /// What `topk-eval` gives for the exported model.
    test: Accuracy,
}

fn rows(out: &Path, results: &Path) -> Result<Vec<Row>> {
    let results = read_json(results, &fs::read_to_string(results)?)?;
    let mut results = results["models"].as_array().context("no results")?.iter();
    let mut rows = Vec::new();
    for (name, loss) in LOSSES {
        let log = out.join(name).join("log.jsonl");
        let text = fs::read_to_string(&log)?;
        let end = read_json(&log, text.lines().last().context("the log is empty")?)?;
        for (checkpoint, (_, best_by)) in CHECKPOINTS.iter().enumerate() {
            let trained = &end["checkpoints"][checkpoint];
            let result = results.next().context("a model was not evaluated")?;
            let test = accuracy(&result["metrics"]).context("a model was not judged")?;
            ensure!(
                test == Accuracy::deserialize(&trained["test"])?,
                "{} has other test accuracies than topk-eval gives",
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

/// What the results say of a model: top-1, and the only other k.
fn accuracy(metrics: &Value) -> Option<Accuracy> {
    let correct = |at: usize| Some(metrics["topk"][at]["correct"].as_u64()? as usize);
    Some(Accuracy {
        images: metrics["images"].as_u64()? as usize,
        top1_correct: correct(0)?,
        topk_correct: correct(1)?,
    })
}

fn read_json(path: &Path, text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("cannot read {}", path.display()))
}
