//! topk-eval beside timm's loop around ONNX Runtime, several models in one run, and the first line of output.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::networks::{write_fixed, write_model};
use super::process::timed;
use super::report::{Bar, Beside, Figures, Measured, Ratio, cell, median};
use super::setup::{PROGRAMS, Peers, Setup, threads};

const TIMM: &str = "timm's loop";
const ALONE: &str = "one after the other";

const TURNS: usize = 3;

/// Turns of the first line.
const FIRST_LINES: usize = 5;

/// Images per run at a time in the model whose batch is fixed.
const FIXED_BATCH: i64 = 32;

/// Images for runs with a large model.
const FEW: usize = 32;

#[derive(Deserialize, Serialize)]
pub(super) struct Evaluation {
    models: Vec<One>,
    together: Vec<Together>,
    /// Median, from the start of the program.
    first_line_seconds: f64,
}

/// One model, from start to end of the program.
#[derive(Deserialize, Serialize)]
struct One {
    model: String,
    seconds: Beside,
}

/// Several models in one run, beside a run for each.
#[derive(Deserialize, Serialize)]
struct Together {
    models: Vec<String>,
    /// Number of images, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    images: Option<usize>,
    seconds: Beside,
}

impl One {
    fn ratio(&self) -> Ratio {
        Ratio {
            what: self.model.clone(),
            peer: TIMM,
            value: self.seconds.ratio,
        }
    }
}

/// Name and file.
type Model = (&'static str, PathBuf);

impl Figures for Evaluation {
    const PACKAGES: &[&str] = &["onnxruntime", "timm", "torch"];

    fn measure(setup: &Setup, peers: Option<&Peers>) -> Result<Measured<Self>> {
        setup.build(&PROGRAMS)?;
        let model = |name| -> Result<Model> { Ok((name, write_model(setup, name)?)) };
        let squeezenet = model("squeezenet1_1")?;
        let resnet = model("resnet18")?;
        let efficientnet = model("efficientnet_b0")?;
        let vit = model("vit_b_16")?;
        let fixed = write_fixed(setup, &squeezenet.1, FIXED_BATCH)?;
        let fixed = ("squeezenet1_1 with a fixed batch of 32", fixed);

        let mut models = Vec::new();
        for model in [&squeezenet, &resnet] {
            models.push(one(setup, peers, model)?);
        }
        let together = vec![
            together(setup, &[&squeezenet, &resnet, &efficientnet], None)?,
            together(setup, &[&squeezenet, &vit], Some(FEW))?,
            together(setup, &[&squeezenet, &fixed], None)?,
        ];
        let mut first_lines = Vec::new();
        for _ in 0..FIRST_LINES {
            let finished = timed(&mut evaluate(setup, &[&squeezenet.1], Some(FEW))?)?;
            first_lines.push(finished.first_output);
        }
        Ok(Measured {
            threads: threads(),
            figures: Self {
                models,
                together,
                first_line_seconds: median(&first_lines),
            },
        })
    }

    fn ratios(&self) -> Vec<Ratio> {
        let together = |together: &Together| Ratio {
            what: together.models.join(" and "),
            peer: ALONE,
            value: together.seconds.ratio,
        };
        let ones = self.models.iter().map(One::ratio);
        ones.chain(self.together.iter().map(together)).collect()
    }

    fn tables(&self) -> String {
        let mut table =
            "| model | `topk-eval` | timm's loop around ONNX Runtime, two workers | times as fast |\n\
             | --- | --- | --- | --- |\n"
                .to_owned();
        for One { model, seconds } in &self.models {
            row(&mut table, &format!("`{model}`"), seconds);
        }
        table += "\n| models | in one run | one after the other | times as fast |\n| --- | --- | --- | --- |\n";
        for together in &self.together {
            let mut name = format!("`{}`", together.models.join("`, `"));
            if let Some(images) = together.images {
                write!(name, ", {images} images").expect("strings can be written to");
            }
            row(&mut table, &name, &together.seconds);
        }
        writeln!(
            table,
            "\nThe first line of output appears after {:.2} s.",
            self.first_line_seconds
        )
        .expect("strings can be written to");
        table
    }

    fn bars(&self) -> Vec<Bar> {
        let ratios = self.models.iter().map(One::ratio);
        ratios.filter_map(|ratio| ratio.bar("Evaluation")).collect()
    }
}

fn row(table: &mut String, name: &str, seconds: &Beside) {
    let seconds_of = |value: Option<f64>| match value {
        Some(_) => cell(value, 2) + " s",
        None => cell(value, 2),
    };
    writeln!(
        table,
        "| {name} | {} | {} | {} |",
        seconds_of(Some(seconds.ours)),
        seconds_of(seconds.peer),
        cell(seconds.ratio.map(f64::recip), 2)
    )
    .expect("strings can be written to");
}

/// topk-eval on the photographs; of `images` of them if not all.
fn evaluate(setup: &Setup, models: &[&PathBuf], images: Option<usize>) -> Result<Command> {
    let mut command = Command::new(setup.built("topk-eval"));
    command.args(["--provider", "cpu", "--preset", "torchvision", "--data"]);
    command.arg(setup.images()?);
    for model in models {
        command.arg("--model").arg(model);
    }
    if let Some(images) = images {
        command.args(["--limit", &images.to_string()]);
    }
    Ok(command)
}

fn one(setup: &Setup, peers: Option<&Peers>, (name, path): &Model) -> Result<One> {
    let (mut ours, mut timm) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        ours.push(timed(&mut evaluate(setup, &[path], None)?)?.seconds);
        if let Some(peers) = peers {
            let mut script = peers.script("eval/benches/timm_validate.py");
            let data: &Path = setup.images()?;
            timm.push(timed(script.arg(path).arg(data))?.seconds);
        }
    }
    Ok(One {
        model: (*name).to_owned(),
        seconds: Beside::new(&ours, &timm),
    })
}

fn together(setup: &Setup, models: &[&Model], images: Option<usize>) -> Result<Together> {
    let paths: Vec<&PathBuf> = models.iter().map(|(_, path)| path).collect();
    let (mut at_once, mut in_turn) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        at_once.push(timed(&mut evaluate(setup, &paths, images)?)?.seconds);
        let mut sum = 0.0;
        for path in &paths {
            sum += timed(&mut evaluate(setup, &[path], images)?)?.seconds;
        }
        in_turn.push(sum);
    }
    Ok(Together {
        models: models.iter().map(|(name, _)| (*name).to_owned()).collect(),
        images,
        seconds: Beside::new(&at_once, &in_turn),
    })
}
