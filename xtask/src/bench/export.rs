//! topk-export with its verification beside `torch.onnx.export` with one.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::networks::write_weights;
use super::process::{Finished, timed};
use super::report::{Bar, Beside, Figures, Measured, Ratio, cell};
use super::setup::{PROGRAMS, Peers, Setup, threads};

const PEER: &str = "torch.onnx.export";

const NETWORK: &str = "resnet50";

const TURNS: usize = 5;

#[derive(Deserialize, Serialize)]
pub(super) struct Export {
    network: String,
    /// Of the file of weights.
    weights_mib: f64,
    /// From start to end of the program.
    seconds: Beside,
    /// Largest resident set.
    mib: Beside,
}

impl Figures for Export {
    const PACKAGES: &[&str] = &[
        "onnxruntime",
        "onnxscript",
        "safetensors",
        "torch",
        "torchvision",
    ];

    fn measure(setup: &Setup, peers: Option<&Peers>) -> Result<Measured<Self>> {
        setup.build(&PROGRAMS)?;
        let weights = write_weights(setup, NETWORK)?;
        let size =
            fs::metadata(&weights).with_context(|| format!("cannot read {}", weights.display()))?;
        let out = setup.folder().join("exported.onnx");
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            let mut command = Command::new(setup.built("topk-export"));
            command.args(["model", "--model", NETWORK, "--checkpoint"]);
            ours.push(timed(command.arg(&weights).arg("--out").arg(&out))?);
            if let Some(peers) = peers {
                let mut script = peers.script("models/export/benches/torch_onnx_export.py");
                theirs.push(timed(script.arg(NETWORK).arg(&weights).arg(&out))?);
            }
        }
        let seconds =
            |runs: &[Finished]| -> Vec<f64> { runs.iter().map(|run| run.seconds).collect() };
        let mib = |runs: &[Finished]| -> Vec<f64> { runs.iter().map(|run| run.mib).collect() };
        Ok(Measured {
            threads: threads(),
            figures: Self {
                network: NETWORK.to_owned(),
                weights_mib: (size.len() as f64 / f64::from(1 << 20)).round(),
                seconds: Beside::new(&seconds(&ours), &seconds(&theirs)),
                mib: Beside::new(&mib(&ours), &mib(&theirs)),
            },
        })
    }

    fn ratios(&self) -> Vec<Ratio> {
        vec![Ratio {
            what: format!("export of {}", self.network),
            peer: PEER,
            value: self.seconds.ratio,
        }]
    }

    fn tables(&self) -> String {
        let Self {
            network,
            weights_mib,
            seconds,
            mib,
        } = self;
        format!(
            "| `{network}`, {weights_mib:.0} MiB of weights | `topk-export model` | `torch.onnx.export` | ratio |\n\
             | --- | --- | --- | --- |\n\
             | time, s | {:.2} | {} | {} |\n\
             | peak memory, MiB | {:.0} | {} | {} |\n",
            seconds.ours,
            cell(seconds.peer, 2),
            cell(seconds.ratio, 2),
            mib.ours,
            cell(mib.peer, 0),
            cell(mib.ratio, 2)
        )
    }

    fn bars(&self) -> Vec<Bar> {
        let bar = |ratio: f64| Bar {
            group: "Export",
            what: self.network.clone(),
            peer: PEER,
            times: ratio.recip(),
        };
        self.seconds.ratio.map(bar).into_iter().collect()
    }
}
