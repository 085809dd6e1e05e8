//! What all parts have in common: the file, and what is read from it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use anyhow::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::setup::{Peers, Setup};

/// The figures of a part.
pub(super) trait Figures: DeserializeOwned + Serialize {
    /// Packages of Python that are timed, or that its scripts need.
    const PACKAGES: &[&str] = &[];

    /// Runs the part's programs, alone if `peers` is `None`.
    fn measure(setup: &Setup, peers: Option<&Peers>) -> Result<Measured<Self>>;

    /// Our times relative to the peers'.
    fn ratios(&self) -> Vec<Ratio>;

    /// The tables of the page, in Markdown.
    fn tables(&self) -> String;

    /// Bars of the page's figure.
    fn bars(&self) -> Vec<Bar>;
}

/// Figures, and the number of threads with which they were measured.
pub(super) struct Measured<F> {
    pub(super) threads: usize,
    pub(super) figures: F,
}

/// The content of a file.
#[derive(Deserialize, Serialize)]
pub(super) struct Report<F> {
    /// UTC, as `2026-01-31`.
    pub(super) date: String,
    pub(super) processor: String,
    /// The widest instruction set extension that the losses use.
    pub(super) instructions: String,
    pub(super) threads: usize,
    /// Versions of the peers by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) peers: BTreeMap<String, String>,
    #[serde(flatten)]
    pub(super) figures: F,
}

/// Our time over the peer's.
#[derive(Clone, Debug)]
pub(super) struct Ratio {
    /// What was timed.
    pub(super) what: String,
    /// Whose time it is relative to.
    pub(super) peer: &'static str,
    /// `None` without the peer.
    pub(super) value: Option<f64>,
}

impl Ratio {
    /// The bar of the same work, with the peer.
    pub(super) fn bar(self, group: &'static str) -> Option<Bar> {
        Some(Bar {
            group,
            what: self.what,
            peer: self.peer,
            times: self.value?.recip(),
        })
    }
}

/// How many times as fast as a peer.
pub(super) struct Bar {
    /// Its kind of work, such as training.
    pub(super) group: &'static str,
    pub(super) what: String,
    pub(super) peer: &'static str,
    pub(super) times: f64,
}

/// What is read from a file.
pub(super) struct Summary {
    pub(super) ratios: Vec<Ratio>,
    /// Machine, date, versions and tables, in Markdown.
    pub(super) section: String,
    pub(super) bars: Vec<Bar>,
}

/// Measures a part and reads its file, whatever its figures are.
pub(super) struct Kind {
    pub(super) packages: &'static [&'static str],
    /// The content of a new file.
    pub(super) measure: fn(&Setup) -> Result<String>,
    pub(super) summary: fn(&str) -> serde_json::Result<Summary>,
}

impl Kind {
    pub(super) fn of<F: Figures>() -> Self {
        Self {
            packages: F::PACKAGES,
            measure: measure::<F>,
            summary: summary::<F>,
        }
    }
}

fn measure<F: Figures>(setup: &Setup) -> Result<String> {
    let peers = setup.peers(F::PACKAGES)?;
    let Measured { threads, figures } = F::measure(setup, peers.as_ref())?;
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let report = Report {
        date: now[..10].to_owned(),
        processor: topk_native::processor(),
        instructions: topk_ops::instructions().to_owned(),
        threads,
        peers: peers.map_or_else(BTreeMap::new, |peers| peers.versions),
        figures,
    };
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

fn summary<F: Figures>(json: &str) -> serde_json::Result<Summary> {
    let report: Report<F> = serde_json::from_str(json)?;
    Ok(Summary {
        ratios: report.figures.ratios(),
        section: section(&report),
        bars: report.figures.bars(),
    })
}

fn section<F: Figures>(report: &Report<F>) -> String {
    let Report {
        date,
        processor,
        instructions,
        threads,
        peers,
        figures,
    } = report;
    let threads = match threads {
        1 => "One thread".to_owned(),
        threads => format!("{threads} threads"),
    };
    let peers: String = peers
        .iter()
        .map(|(name, version)| format!(", {name} {version}"))
        .collect();
    format!(
        "{threads}, {processor} with {instructions}, {date}{peers}:\n\n{}",
        figures.tables()
    )
}

/// Ours and the peer's: medians over all turns, and the median of the ratios of ours to the peer's in the same turn.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Beside {
    pub(super) ours: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ratio: Option<f64>,
}

impl Beside {
    /// Of values of each turn. There must be as many of the peer's as of ours, or none.
    pub(super) fn new(ours: &[f64], peer: &[f64]) -> Self {
        let ratios: Vec<f64> = ours
            .iter()
            .zip(peer)
            .map(|(ours, peer)| ours / peer)
            .collect();
        let of_peer = |values: &[f64]| (!peer.is_empty()).then(|| median(values));
        Self {
            ours: median(ours),
            peer: of_peer(peer),
            ratio: of_peer(&ratios),
        }
    }
}

/// The middle value or the mean of the two, to four significant digits. There must be values.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let last = values.len() - 1;
    let middle = 0.5 * (values[last / 2] + values[last.div_ceil(2)]);
    let rounded = format!("{middle:.3e}").parse();
    rounded.expect("a number in scientific notation is one")
}

/// A cell of a table: a number, or a dash without a peer.
pub(super) fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_the_turns() {
        let beside = Beside::new(&[1.0, 4.0, 3.0], &[2.0, 4.0, 12.0]);
        assert_eq!(beside.ours, 3.0);
        assert_eq!(beside.peer, Some(4.0));
        assert_eq!(beside.ratio, Some(0.5));
    }

    #[test]
    fn an_even_number_of_values_has_a_median() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&[2.71234]), 2.712);
    }

    #[test]
    fn without_a_peer_there_is_no_ratio() {
        let alone = Beside::new(&[1.23456], &[]);
        let json = serde_json::to_string(&alone).unwrap();
        assert_eq!(json, r#"{"ours":1.235}"#);
        assert_eq!(serde_json::from_str::<Beside>(&json).unwrap(), alone);
        assert_eq!(cell(alone.ratio, 2), "–");
    }
}
