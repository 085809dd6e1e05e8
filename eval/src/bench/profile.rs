//! Sums of ONNX Runtime's profile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, io, process};

use serde::Deserialize;
use thiserror::Error;
use topk_results::bench::{NodeTime, OperatorTime, Profile};

/// Number of runs of a profile, after those that do not count.
pub(super) const RUNS: usize = 20;

/// Number of nodes that are listed.
const NODES: usize = 50;

/// The largest profile that is read, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// A profile that cannot be summed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum ProfileError {
    /// The file cannot be read.
    #[error("cannot read ONNX Runtime's profile {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The file is not a list of events.
    #[error("ONNX Runtime's profile {} cannot be parsed: {error}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: serde_json::Error,
    },
    /// The file has no events of runs or nodes.
    #[error("ONNX Runtime's profile {} has no times of nodes: the provider does not record them", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// An event of the profile; times are in microseconds.
#[derive(Debug, Deserialize)]
struct Event {
    #[serde(default)]
    cat: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    ts: f64,
    #[serde(default)]
    dur: f64,
    #[serde(default)]
    args: Arguments,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Arguments {
    op_name: String,
    provider: String,
}

/// The start of the name of a file for a profile, in the folder for temporary files, different in each call. ONNX Runtime
/// appends the time.
pub(super) fn file_start() -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("topk-eval-profile-{}-{number}", process::id()))
}

/// Sums the last [`RUNS`] runs of the profile in a file, and removes it.
pub(super) fn sum(path: &Path, batch_size: usize) -> Result<Profile, ProfileError> {
    let read = |error| ProfileError::Read {
        path: path.to_owned(),
        error,
    };
    let bytes = topk_files::read_limited(path, MAX_BYTES).map_err(read);
    // Whether or not it can be read.
    let removed = fs::remove_file(path);
    let bytes = bytes?.ok_or_else(|| read(io::Error::other("it is larger than 1 GiB")))?;
    removed.map_err(read)?;
    let events: Vec<Event> =
        serde_json::from_slice(&bytes).map_err(|error| ProfileError::Json {
            path: path.to_owned(),
            error,
        })?;
    profile(&events, batch_size, RUNS).ok_or_else(|| ProfileError::Empty {
        path: path.to_owned(),
    })
}

/// The last `most` runs of a profile; `None` without runs or nodes.
fn profile(events: &[Event], batch_size: usize, most: usize) -> Option<Profile> {
    let runs = events.iter().filter(|event| event.name == "model_run");
    let mut runs: Vec<&Event> = runs.collect();
    runs.sort_by(|a, b| a.ts.total_cmp(&b.ts));
    let runs = &runs[runs.len().saturating_sub(most)..];
    let start = runs.first()?.ts;
    // A node has a name, and the operators and providers of its events are the same.
    let mut nodes: BTreeMap<&str, (&Arguments, f64)> = BTreeMap::new();
    for event in events {
        let name = event.name.strip_suffix("_kernel_time");
        if let Some(name) = name.filter(|_| event.cat == "Node" && event.ts >= start) {
            nodes.entry(name).or_insert((&event.args, 0.0)).1 += event.dur;
        }
    }
    let seconds = |microseconds: f64| microseconds / 1e6 / runs.len() as f64;
    let total: f64 = nodes.values().map(|(_, time)| time).sum();
    if nodes.is_empty() {
        return None;
    }
    let share = |time: f64| if total > 0.0 { time / total } else { 0.0 };
    let mut operators: BTreeMap<(&str, &str), (usize, f64)> = BTreeMap::new();
    for (of, time) in nodes.values() {
        let sum = operators.entry((&of.op_name, &of.provider)).or_default();
        *sum = (sum.0 + 1, sum.1 + time);
    }
    let operators = operators.into_iter();
    let mut operators: Vec<OperatorTime> = operators
        .map(|((operator, provider), (nodes, time))| OperatorTime {
            operator: operator.to_owned(),
            provider: provider.to_owned(),
            nodes,
            seconds: seconds(time),
            share: share(time),
        })
        .collect();
    operators.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let nodes = nodes.into_iter();
    let mut nodes: Vec<NodeTime> = nodes
        .map(|(name, (of, time))| NodeTime {
            name: name.to_owned(),
            operator: of.op_name.clone(),
            provider: of.provider.clone(),
            seconds: seconds(time),
            share: share(time),
        })
        .collect();
    nodes.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    nodes.truncate(NODES);
    Some(Profile {
        batch_size,
        runs: runs.len(),
        run_seconds: seconds(runs.iter().map(|run| run.dur).sum()),
        node_seconds: seconds(total),
        operators,
        nodes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(json: &str) -> Vec<Event> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_last_runs_are_summed_by_operator() {
        let node = |ts: u32, dur: u32, name: &str, operator: &str| {
            format!(
                r#"{{"cat":"Node","ts":{ts},"dur":{dur},"name":"{name}_kernel_time",
                    "args":{{"op_name":"{operator}","provider":"CPUExecutionProvider","node_index":"1"}}}}"#
            )
        };
        let run = |ts: u32, dur: u32| {
            format!(r#"{{"cat":"Session","ts":{ts},"dur":{dur},"name":"model_run","args":{{}}}}"#)
        };
        let all = [
            r#"{"cat":"Session","ts":1,"dur":9,"name":"session_initialization"}"#.to_owned(),
            // The first run does not count.
            node(11, 100, "a", "Conv"),
            run(10, 500),
            node(1001, 30, "a", "Conv"),
            node(1040, 20, "b", "Conv"),
            node(1070, 10, "c", "Relu"),
            run(1000, 80),
            node(2001, 50, "a", "Conv"),
            node(2060, 20, "b", "Conv"),
            node(2080, 30, "c", "Relu"),
            run(2000, 120),
        ];
        let found = profile(&events(&format!("[{}]", all.join(","))), 4, 2).unwrap();
        assert_eq!((found.batch_size, found.runs), (4, 2));
        assert!((found.run_seconds - 100e-6).abs() < 1e-12);
        assert!((found.node_seconds - 80e-6).abs() < 1e-12);
        let operators: Vec<_> = found
            .operators
            .iter()
            .map(|of| (&*of.operator, of.nodes, (100.0 * of.share).round()))
            .collect();
        assert_eq!(operators, [("Conv", 2, 75.0), ("Relu", 1, 25.0)]);
        let nodes: Vec<&str> = found.nodes.iter().map(|of| &*of.name).collect();
        assert_eq!(nodes, ["a", "b", "c"]);
        assert!((found.nodes[0].seconds - 40e-6).abs() < 1e-12);
    }

    #[test]
    fn a_profile_without_nodes_is_empty() {
        assert_eq!(profile(&events("[]"), 1, RUNS), None);
        let run = r#"[{"cat":"Session","ts":1,"dur":2,"name":"model_run","args":{}}]"#;
        assert_eq!(profile(&events(run), 1, RUNS), None);
    }
}
