//! `cargo xtask bench`: our programs beside others. Each part writes `docs/benchmarks/PART.json`; the tables and the
//! figure of `docs/benchmarks.md` are made from these files.

mod algorithms;
mod compare;
mod evaluation;
mod export;
mod figure;
mod images;
mod loss;
mod networks;
mod operator;
mod page;
mod process;
mod python;
mod report;
mod setup;
mod training;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use topk_testing::root;

use self::compare::{TOLERANCE, best, compare};
use self::report::{Kind, Ratio, Summary};
use self::setup::{Data, Setup};

#[derive(Args)]
pub(crate) struct Options {
    /// Parts to measure [default: all whose data is there]
    parts: Vec<Part>,
    /// Write nothing, and fail if something is more than 1.5 times as slow as in the files
    ///
    /// Compares times relative to the peer's, so that it can run on other machines. A part in which
    /// something is slower is measured a second time, and the better ratio counts. What has no peer in
    /// the file or in this run is listed, not compared.
    #[arg(long)]
    check: bool,
    /// Measure nothing, and make the tables and the figure from the files
    #[arg(long, conflicts_with_all = ["check", "parts"])]
    render: bool,
    /// Python interpreter of an environment with the peers [default: leave them out]
    ///
    /// Its packages: torch, torchvision, timm, pillow, onnxscript, onnxruntime and safetensors.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    #[command(flatten)]
    data: Data,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Part {
    /// Losses through tensors beside libtorch's cross-entropy (10 s)
    Loss,
    /// Algorithms for the smooth top-k SVM with topk-perf, which draws its plots (20 s)
    Algorithms,
    /// The operator of ONNX Runtime beside the same loss called from Rust (30 s)
    Operator,
    /// Decoding and preprocessing of photographs on one core beside Pillow (20 s); needs --images
    Images,
    /// topk-eval beside timm's loop around ONNX Runtime, and models together (3 min); needs --images
    Evaluation,
    /// topk-train beside PyTorch, and channels last (9 min); needs --images and --cifar
    Training,
    /// topk-export beside torch.onnx.export (1 min)
    Export,
    /// The Python package beside PyTorch and the code of other losses' authors (1 min); needs --python
    Python,
}

impl Part {
    /// The name on the command line, and that of the file.
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn kind(self) -> Kind {
        match self {
            Self::Loss => Kind::of::<loss::Losses>(),
            Self::Algorithms => Kind::of::<algorithms::Algorithms>(),
            Self::Operator => Kind::of::<operator::Operator>(),
            Self::Images => Kind::of::<images::Images>(),
            Self::Evaluation => Kind::of::<evaluation::Evaluation>(),
            Self::Training => Kind::of::<training::Training>(),
            Self::Export => Kind::of::<export::Export>(),
            Self::Python => Kind::of::<python::Package>(),
        }
    }

    /// The flags that this part needs, and that are missing.
    fn missing(self, options: &Options) -> Vec<&'static str> {
        let images = ("--images", options.data.images.is_some());
        let cifar = ("--cifar", options.data.cifar.is_some());
        let python = ("--python", options.python.is_some());
        let needed = match self {
            Self::Loss | Self::Algorithms | Self::Operator | Self::Export => vec![],
            Self::Images | Self::Evaluation => vec![images],
            Self::Training => vec![images, cifar],
            Self::Python => vec![python],
        };
        let missing = needed.into_iter().filter(|&(_, given)| !given);
        missing.map(|(flag, _)| flag).collect()
    }

    /// The file of the results, relative to the repository.
    fn file(self) -> String {
        format!("docs/benchmarks/{}.json", self.name())
    }

    /// What is in the file, or `None` before the part was first measured.
    fn summary(self) -> Result<Option<Summary>> {
        let file = self.file();
        let path = root().join(&file);
        if !path.exists() {
            return Ok(None);
        }
        let json = fs::read_to_string(path).with_context(|| format!("cannot read {file}"))?;
        let summary = (self.kind().summary)(&json);
        Ok(Some(
            summary.with_context(|| format!("cannot parse {file}"))?,
        ))
    }
}

/// Measures parts, and writes the results or compares them with the files.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.render {
        return render();
    }
    let setup = Setup::new(options.python.as_deref(), &options.data, options.check)?;
    if options.python.is_none() {
        println!("Without --python, peers in Python are left out.");
    }
    let parts = selected(options)?;
    // What is missing should not appear after minutes.
    for part in &parts {
        setup.peers(part.kind().packages)?;
    }
    let mut slower = Vec::new();
    for part in parts {
        let json = measure(part, &setup)?;
        if options.check {
            slower.extend(check(part, &json, &setup)?);
        } else {
            write(part, &json)?;
        }
    }
    if !slower.is_empty() {
        bail!(
            "more than {TOLERANCE} times as slow as in docs/benchmarks:\n{}",
            slower.join("\n")
        );
    }
    Ok(())
}

/// The parts that were named, or all that have what they need; the others are printed.
fn selected(options: &Options) -> Result<Vec<Part>> {
    let mut selected = Vec::new();
    for &part in Part::value_variants() {
        let named = options.parts.contains(&part);
        if !named && !options.parts.is_empty() {
            continue;
        }
        let (name, missing) = (part.name(), part.missing(options).join(" and "));
        match (missing.is_empty(), named) {
            (true, _) => selected.push(part),
            (false, true) => bail!("{name} cannot be measured without {missing}"),
            (false, false) => println!("{name} is skipped, for lack of {missing}."),
        }
    }
    Ok(selected)
}

/// The content of a new file.
fn measure(part: Part, setup: &Setup) -> Result<String> {
    let name = part.name();
    println!("\n{name}");
    let start = Instant::now();
    let json = (part.kind().measure)(setup).with_context(|| name.clone())?;
    println!("{name}: {:.0} s", start.elapsed().as_secs_f64());
    Ok(json)
}

/// What became slower than in the file. Where other programs may have disturbed the first measurement, a second one
/// decides.
fn check(part: Part, json: &str, setup: &Setup) -> Result<Vec<String>> {
    let Some(before) = part.summary()? else {
        bail!(
            "{} does not exist: write it first with `cargo xtask bench {}`",
            part.file(),
            part.name()
        );
    };
    let ratios = |json: &str| -> Result<Vec<Ratio>> {
        let summary = (part.kind().summary)(json).context("cannot parse the results")?;
        Ok(summary.ratios)
    };
    let mut now = ratios(json)?;
    let mut outcome = compare(&before.ratios, &now);
    if !outcome.slower.is_empty() {
        println!("{} ratios are worse: measured again", outcome.slower.len());
        now = best(now, &ratios(&measure(part, setup)?)?);
        outcome = compare(&before.ratios, &now);
    }
    for line in &outcome.not_compared {
        println!("{line}");
    }
    println!(
        "{} of {} ratios compared with {}: {} slower",
        outcome.compared,
        now.len(),
        part.file(),
        outcome.slower.len()
    );
    Ok(outcome.slower)
}

/// Writes the results of a part, and what is made from them.
fn write(part: Part, json: &str) -> Result<()> {
    let file = part.file();
    fs::write(root().join(&file), json).with_context(|| format!("cannot write {file}"))?;
    println!("Wrote {file}.");
    render()
}

/// Writes what is made from the files.
fn render() -> Result<()> {
    let summaries = summaries()?;
    page::write(&page::with_tables(&page::read()?, &summaries)?)?;
    figure::write(&summaries)?;
    println!("Wrote {} and {}.", page::FILE, figure::FILE);
    Ok(())
}

/// All parts that have been measured.
fn summaries() -> Result<Vec<(Part, Summary)>> {
    let mut found = Vec::new();
    for &part in Part::value_variants() {
        found.extend(part.summary()?.map(|summary| (part, summary)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_and_figure_are_those_of_the_files() {
        let summaries = summaries().unwrap();
        assert_eq!(summaries.len(), Part::value_variants().len());
        let page = page::read().unwrap();
        let renewed = "renew it with `cargo xtask bench --render`";
        assert!(
            page::with_tables(&page, &summaries).unwrap() == page,
            "{}: {renewed}",
            page::FILE
        );
        let figure = fs::read_to_string(root().join(figure::FILE)).unwrap();
        assert!(
            figure::draw(&summaries) == figure,
            "{}: {renewed}",
            figure::FILE
        );
    }

    #[test]
    fn parts_name_the_flags_that_they_need() {
        let options = |python: Option<&str>, images: Option<&str>| Options {
            parts: Vec::new(),
            check: false,
            render: false,
            python: python.map(PathBuf::from),
            data: Data {
                images: images.map(PathBuf::from),
                cifar: None,
                clones: None,
            },
        };
        let nothing = options(None, None);
        assert!(Part::Loss.missing(&nothing).is_empty());
        assert_eq!(Part::Training.missing(&nothing), ["--images", "--cifar"]);
        assert_eq!(Part::Python.missing(&nothing), ["--python"]);
        let some = options(Some("python3"), Some("images"));
        assert_eq!(Part::Training.missing(&some), ["--cifar"]);
        assert!(Part::Evaluation.missing(&some).is_empty());
    }
}
