//! topk-train beside PyTorch, and the channels-last memory format over the other.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use topk_testing::root;

use super::process::timed;
use super::report::{Bar, Beside, Figures, Measured, Ratio, cell};
use super::setup::{PROGRAMS, Peers, Setup, class_folders, threads};

const PYTORCH: &str = "PyTorch";
const COMPILED: &str = "torch.compile";
const OTHER_FORMAT: &str = "the same without channels last";

/// Class folders of photographs that are trained on.
const CLASSES: usize = 96;

/// The networks of the comparison with PyTorch, with flags of `benches/against_pytorch.py`.
const NETWORKS: [(&str, Images, &str); 3] = [
    (
        "basic-16",
        Images::Cifar,
        "--batch-size 64 --images 1920 --epochs 3 --turns 3 --workers 0 2",
    ),
    (
        "densenet-40-40",
        Images::Cifar,
        "--batch-size 64 --images 128 --epochs 2 --turns 2 --workers 2 --compile",
    ),
    (
        "resnet18",
        Images::Photographs,
        "--batch-size 16 --epochs 2 --turns 3 --workers 2 --classes 1000",
    ),
];

/// Networks and batches that are trained with channels last and without.
const FORMATS: [(&str, Images, usize); 4] = [
    ("basic-4", Images::Cifar, 64),
    ("basic-16", Images::Cifar, 64),
    ("densenet-40-40", Images::Cifar, 32),
    ("resnet18", Images::Photographs, 16),
];

/// Turns with both memory formats.
const TURNS: usize = 2;

#[derive(Clone, Copy, PartialEq)]
enum Images {
    Cifar,
    Photographs,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Training {
    networks: Vec<Network>,
    channels_last: Vec<Format>,
}

/// Whole epochs.
#[derive(Deserialize, Serialize)]
struct Network {
    network: String,
    batch: usize,
    topk_train: Speed,
    pytorch: Vec<PyTorch>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
struct Speed {
    images_per_second: f64,
    /// Largest resident set.
    mib: f64,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
struct PyTorch {
    /// Processes that load images.
    workers: usize,
    /// With `torch.compile`.
    compiled: bool,
    #[serde(flatten)]
    speed: Speed,
    /// Our speed over this one.
    ratio: f64,
}

/// Steps with channels last beside those without.
#[derive(Deserialize, Serialize)]
struct Format {
    network: String,
    batch: usize,
    milliseconds_per_image: Beside,
}

/// What `benches/against_pytorch.py` writes.
#[derive(Deserialize)]
struct Output {
    batch: usize,
    topk_train: Speed,
    pytorch: Vec<PyTorch>,
}

impl Network {
    /// PyTorch with the number of workers that is best for it.
    fn best(&self, compiled: bool) -> Option<&PyTorch> {
        let speed = |peer: &PyTorch| peer.speed.images_per_second;
        let peers = self.pytorch.iter().filter(|peer| peer.compiled == compiled);
        peers.max_by(|a, b| speed(a).total_cmp(&speed(b)))
    }
}

impl Figures for Training {
    const PACKAGES: &[&str] = &["torch", "torchvision"];

    fn measure(setup: &Setup, peers: Option<&Peers>) -> Result<Measured<Self>> {
        setup.build(&PROGRAMS)?;
        let photographs = photographs(setup)?;
        let data = |images| match images {
            Images::Cifar => setup.cifar(),
            Images::Photographs => Ok(photographs.as_path()),
        };
        let mut networks = Vec::new();
        for (name, images, flags) in NETWORKS {
            networks.push(network(setup, peers, name, data(images)?, flags)?);
        }
        let mut channels_last = Vec::new();
        for (name, images, batch) in FORMATS {
            let (mut with, mut without) = (Vec::new(), Vec::new());
            for turn in 0..TURNS {
                let mut formats = [("true", &mut with), ("false", &mut without)];
                if turn % 2 == 1 {
                    formats.reverse();
                }
                for (flag, times) in formats {
                    let mut command = dry_run(setup, name, data(images)?, batch);
                    if images == Images::Photographs {
                        command.arg("--val-data").arg(&photographs);
                    }
                    command.arg(format!("--channels-last={flag}"));
                    let output = timed(&mut command)?.output;
                    times.push(1000.0 / images_per_second(&output)?);
                }
            }
            channels_last.push(Format {
                network: name.to_owned(),
                batch,
                milliseconds_per_image: Beside::new(&with, &without),
            });
        }
        Ok(Measured {
            threads: threads(),
            figures: Self {
                networks,
                channels_last,
            },
        })
    }

    fn ratios(&self) -> Vec<Ratio> {
        let mut ratios = Vec::new();
        for network in &self.networks {
            for (peer, compiled) in [(PYTORCH, false), (COMPILED, true)] {
                let best = network.best(compiled);
                if compiled && best.is_none() {
                    continue;
                }
                ratios.push(Ratio {
                    what: format!("training of {}", network.network),
                    peer,
                    value: best.map(|best| best.ratio.recip()),
                });
            }
        }
        ratios.extend(self.channels_last.iter().map(|format| Ratio {
            what: format!("channels last in {}", format.network),
            peer: OTHER_FORMAT,
            value: format.milliseconds_per_image.ratio,
        }));
        ratios
    }

    fn tables(&self) -> String {
        let mut table =
            "| network | batch | `topk-train`, images/s | PyTorch | times as fast | `torch.compile` | times as fast | memory, `topk-train` | memory, PyTorch |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
                .to_owned();
        for network in &self.networks {
            let (eager, compiled) = (network.best(false), network.best(true));
            let speed = |peer: Option<&PyTorch>| {
                let speed = peer.map(|peer| peer.speed.images_per_second);
                cell(speed, 1)
            };
            let ratio = |peer: Option<&PyTorch>| cell(peer.map(|peer| peer.ratio), 2);
            let mib = match eager {
                Some(eager) => format!("{:.0} MiB", eager.speed.mib),
                None => "–".to_owned(),
            };
            writeln!(
                table,
                "| `{}` | {} | {:.1} | {} | {} | {} | {} | {:.0} MiB | {mib} |",
                network.network,
                network.batch,
                network.topk_train.images_per_second,
                speed(eager),
                ratio(eager),
                speed(compiled),
                ratio(compiled),
                network.topk_train.mib
            )
            .expect("strings can be written to");
        }
        table += "\nImages per second with channels last over those without (`--dry-run`):\n\n\
                  | network | batch | times as fast |\n| --- | --- | --- |\n";
        for format in &self.channels_last {
            let ratio = format.milliseconds_per_image.ratio.map(f64::recip);
            writeln!(
                table,
                "| `{}` | {} | {} |",
                format.network,
                format.batch,
                cell(ratio, 2)
            )
            .expect("strings can be written to");
        }
        table
    }

    fn bars(&self) -> Vec<Bar> {
        let mut bars = Vec::new();
        for network in &self.networks {
            for (peer, compiled) in [(PYTORCH, false), (COMPILED, true)] {
                bars.extend(network.best(compiled).map(|best| Bar {
                    group: "Training",
                    what: network.network.clone(),
                    peer,
                    times: best.ratio,
                }));
            }
        }
        bars
    }
}

/// A folder with some of the class folders of photographs.
fn photographs(setup: &Setup) -> Result<PathBuf> {
    let folder = setup.folder().join("photographs");
    if folder.exists() {
        return Ok(folder);
    }
    fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let images = setup.images()?;
    for class in class_folders(images)?.iter().take(CLASSES) {
        let link = folder.join(class);
        symlink(images.join(class), &link)
            .with_context(|| format!("cannot create {}", link.display()))?;
    }
    Ok(folder)
}

/// Whole epochs of one network in `topk-train`, and in PyTorch if it is there.
fn network(
    setup: &Setup,
    peers: Option<&Peers>,
    name: &str,
    data: &Path,
    flags: &str,
) -> Result<Network> {
    let script = "benches/against_pytorch.py";
    let mut command = match peers {
        Some(peers) => peers.script(script),
        // It runs both sides, and needs nothing but Python for ours.
        None => {
            let mut command = Command::new("python3");
            command.arg(root().join(script)).arg("--alone");
            command
        }
    };
    command
        .args(["--model", name, "--data"])
        .arg(data)
        .args(flags.split(' '))
        .arg("--topk-train")
        .arg(setup.built("topk-train"));
    let output: Output = setup.results_of(&mut command)?;
    Ok(Network {
        network: name.to_owned(),
        batch: output.batch,
        topk_train: output.topk_train,
        pytorch: output.pytorch,
    })
}

fn dry_run(setup: &Setup, network: &str, data: &Path, batch: usize) -> Command {
    let mut command = Command::new(setup.built("topk-train"));
    command
        .args(["--dry-run", "--device", "cpu", "--model", network, "--data"])
        .arg(data)
        .args(["--batch-size", &batch.to_string(), "--out"])
        .arg(setup.folder().join("run"));
    command
}

/// The speed of a step in the output of `--dry-run`.
fn images_per_second(output: &str) -> Result<f64> {
    let words: Vec<&str> = output.split_whitespace().collect();
    let speed = words
        .iter()
        .skip_while(|&&word| word != "speed")
        .zip(words.iter().skip_while(|&&word| word != "speed").skip(1))
        .find(|(_, unit)| unit.starts_with("images/s"))
        .and_then(|(number, _)| number.replace(',', "").parse().ok());
    match speed {
        Some(speed) => Ok(speed),
        None => bail!("topk-train --dry-run prints no speed:\n{output}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_of_a_step_is_found_in_wrapped_lines() {
        let output = "model basic-16\n\
            speed       0.015 s per batch (0.2 % of it the loss), 4,251\n            images/s; the data loader alone: 467,176 images/s\n";
        assert_eq!(images_per_second(output).unwrap(), 4251.0);
        assert!(images_per_second("100 images/s").is_err());
    }

    #[test]
    fn pytorch_has_its_best_number_of_workers() {
        let pytorch = |workers, compiled, images_per_second| PyTorch {
            workers,
            compiled,
            speed: Speed {
                images_per_second,
                mib: 900.0,
            },
            ratio: 30.0 / images_per_second,
        };
        let training = Training {
            networks: vec![Network {
                network: "resnet18".to_owned(),
                batch: 16,
                topk_train: Speed {
                    images_per_second: 30.0,
                    mib: 800.0,
                },
                pytorch: vec![pytorch(0, false, 10.0), pytorch(2, false, 15.0)],
            }],
            channels_last: Vec::new(),
        };
        let table = training.tables();
        let row = "| `resnet18` | 16 | 30.0 | 15.0 | 2.00 | – | – | 800 MiB | 900 MiB |\n";
        assert!(table.contains(row), "{table}");
        let ratios = training.ratios();
        assert_eq!(ratios.len(), 1);
        assert_eq!(ratios[0].value, Some(0.5));
    }
}
