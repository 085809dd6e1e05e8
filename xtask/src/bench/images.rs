//! Decoding and preprocessing of photographs on one core beside Pillow.

use std::ffi::OsStr;
use std::fmt::Write;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::report::{Bar, Beside, Figures, Measured, Ratio, cell};
use super::setup::{Peers, Setup};

const PEER: &str = "Pillow";

/// What the benchmark writes: seconds of each turn.
#[derive(Deserialize)]
struct Output {
    images: usize,
    works: Vec<Turns>,
}

#[derive(Deserialize)]
struct Turns {
    name: String,
    ours: Vec<f64>,
    pillow: Vec<f64>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Images {
    images: usize,
    works: Vec<Work>,
}

#[derive(Deserialize, Serialize)]
struct Work {
    name: String,
    /// For all images.
    seconds: Beside,
}

impl Figures for Images {
    const PACKAGES: &[&str] = &["pillow"];

    fn measure(setup: &Setup, peers: Option<&Peers>) -> Result<Measured<Self>> {
        let mut arguments = vec![OsStr::new("--images"), setup.images()?.as_os_str()];
        if let Some(peers) = peers {
            arguments.extend([OsStr::new("--python"), peers.python().as_os_str()]);
        }
        let output: Output = setup.cargo_bench("topk-image", "against_pillow", &arguments)?;
        let work = |turns: Turns| Work {
            name: turns.name,
            seconds: Beside::new(&turns.ours, &turns.pillow),
        };
        Ok(Measured {
            threads: 1,
            figures: Self {
                images: output.images,
                works: output.works.into_iter().map(work).collect(),
            },
        })
    }

    fn ratios(&self) -> Vec<Ratio> {
        let ratio = |work: &Work| Ratio {
            what: work.name.clone(),
            peer: PEER,
            value: work.seconds.ratio,
        };
        self.works.iter().map(ratio).collect()
    }

    fn tables(&self) -> String {
        let mut table = format!(
            "| {} photographs in memory | `topk-image`, images/s | Pillow, images/s | times as fast |\n\
             | --- | --- | --- | --- |\n",
            self.images
        );
        for Work { name, seconds } in &self.works {
            let speed = |seconds: f64| self.images as f64 / seconds;
            writeln!(
                table,
                "| {name} | {:.0} | {} | {} |",
                speed(seconds.ours),
                cell(seconds.peer.map(speed), 0),
                cell(seconds.ratio.map(f64::recip), 2)
            )
            .expect("strings can be written to");
        }
        table
    }

    fn bars(&self) -> Vec<Bar> {
        let ratios = self.ratios().into_iter();
        ratios.filter_map(|ratio| ratio.bar("Images")).collect()
    }
}
