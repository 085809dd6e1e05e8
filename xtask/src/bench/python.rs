//! The Python package beside PyTorch's cross-entropy and the code of other losses' authors.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use topk_testing::root;

use super::report::{Bar, Beside, Figures, Measured, Ratio, cell};
use super::setup::{Peers, Setup, needed};
use crate::dist;

const PYTORCH: &str = "PyTorch's cross-entropy";
const AUTHORS: &str = "the authors' code";

/// Options of `python/benches/peers.py`, and the folders of the clones.
const CLONES: [(&str, &str); 3] = [
    ("--lml", "lml"),
    ("--noised", "noised-topk"),
    ("--difftopk", "difftopk"),
];

/// The authors' code of the smooth top-k SVM.
const SMOOTH_TOPK: &str = "smooth-topk";

/// Threads of the scripts.
const THREADS: usize = 2;

/// What `python/benches/loss.py` writes.
#[derive(Deserialize)]
struct Losses {
    cases: Vec<Case>,
    import_ms: f64,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Package {
    /// Beside PyTorch's cross-entropy.
    losses: Vec<Case>,
    /// After PyTorch has been imported.
    import_ms: f64,
    /// Beside the code of the authors.
    authors: Vec<Authors>,
}

#[derive(Deserialize, Serialize)]
struct Case {
    samples: usize,
    classes: usize,
    k: usize,
    microseconds: Beside,
    /// Microseconds of the authors' code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authors_us: Option<f64>,
}

#[derive(Deserialize, Serialize)]
struct Authors {
    loss: String,
    samples: usize,
    classes: usize,
    microseconds: Beside,
}

impl Figures for Package {
    const PACKAGES: &[&str] = &["torch"];

    fn measure(setup: &Setup, peers: Option<&Peers>) -> Result<Measured<Self>> {
        let peers = needed(peers, "--python")?;
        setup.build(&["topk-python"])?;
        let package = install(setup)?;
        let clone = |name: &str| {
            let found = setup.clone_of(name);
            if found.is_none() {
                println!("Without {name} in the folder of --clones, its losses are left out.");
            }
            found
        };
        let authors = clone(SMOOTH_TOPK);
        let authors: Vec<&Path> = authors.as_deref().into_iter().collect();
        let losses: Losses = run(setup, peers, &package, "loss.py", &authors)?;

        let mut clones = Vec::new();
        for (option, name) in CLONES {
            if let Some(clone) = clone(name) {
                clones.extend([PathBuf::from(option), clone]);
            }
        }
        let clones: Vec<&Path> = clones.iter().map(PathBuf::as_path).collect();
        let authors = run(setup, peers, &package, "peers.py", &clones)?;
        Ok(Measured {
            threads: THREADS,
            figures: Self {
                losses: losses.cases,
                import_ms: losses.import_ms,
                authors,
            },
        })
    }

    fn ratios(&self) -> Vec<Ratio> {
        let loss = |case: &Case| Ratio {
            what: format!(
                "smooth top-k SVM in Python, {} x {}, k = {}",
                case.samples, case.classes, case.k
            ),
            peer: PYTORCH,
            value: case.microseconds.ratio,
        };
        let authors = |case: &Authors| Ratio {
            what: format!("{}, {} x {}", case.loss, case.samples, case.classes),
            peer: AUTHORS,
            value: case.microseconds.ratio,
        };
        let losses = self.losses.iter().map(loss);
        losses.chain(self.authors.iter().map(authors)).collect()
    }

    fn tables(&self) -> String {
        let mut table =
            "| smooth top-k SVM, samples × classes | k | `cross_entropy`, µs | `topk`, µs | ratio | the authors' code, µs |\n\
             | --- | --- | --- | --- | --- | --- |\n"
                .to_owned();
        for case in &self.losses {
            let Beside { ours, peer, ratio } = case.microseconds;
            writeln!(
                table,
                "| {} × {} | {} | {} | {ours:.0} | {} | {} |",
                case.samples,
                case.classes,
                case.k,
                cell(peer, 0),
                cell(ratio, 2),
                cell(case.authors_us, 0)
            )
            .expect("strings can be written to");
        }
        let import = self.import_ms;
        write!(
            table,
            "\nImporting the package after PyTorch takes {import:.0} ms.\n"
        )
        .expect("strings can be written to");
        if !self.authors.is_empty() {
            table += "\n| loss, k = 5 | samples × classes | `topk`, µs | authors, µs | ratio |\n\
                      | --- | --- | --- | --- | --- |\n";
        }
        for case in &self.authors {
            let Beside { ours, peer, ratio } = case.microseconds;
            writeln!(
                table,
                "| {} | {} × {} | {ours:.0} | {} | {} |",
                case.loss,
                case.samples,
                case.classes,
                cell(peer, 0),
                cell(ratio, 3)
            )
            .expect("strings can be written to");
        }
        table
    }

    /// Each loss of other authors with the most classes.
    fn bars(&self) -> Vec<Bar> {
        let bar = |case: &Authors| {
            Some(Bar {
                group: "Loss",
                what: case.loss.clone(),
                peer: AUTHORS,
                times: case.microseconds.ratio?.recip(),
            })
        };
        let largest = self.authors.iter().filter(|case| case.classes >= 1000);
        largest.filter_map(bar).collect()
    }
}

/// A folder with the package as it is installed.
fn install(setup: &Setup) -> Result<PathBuf> {
    let folder = setup.folder().join("package");
    dist::copy_python(&root().join("python/py_src/topk"), &folder.join("topk"))?;
    dist::copy(
        &setup.built("lib_topk.so"),
        &folder.join("topk/_topk.abi3.so"),
    )?;
    Ok(folder)
}

/// Runs a script of `python/benches`, which writes JSON.
fn run<T: DeserializeOwned>(
    setup: &Setup,
    peers: &Peers,
    package: &Path,
    script: &str,
    arguments: &[&Path],
) -> Result<T> {
    let mut command = peers.script(&format!("python/benches/{script}"));
    setup.results_of(command.args(arguments).env("PYTHONPATH", package))
}
