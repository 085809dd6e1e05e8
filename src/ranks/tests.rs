//! Ranks whose batch normalisation computes with their own images, compared with one process that computes the part of
//! each rank by itself, and ranks of different versions. The tests of the program compare all else.

use std::env;
use std::ffi::OsString;
use std::io::Read;
use std::net::TcpListener;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use serde_json::Map;
use tch::Device;
use topk_cli::launch::Launch;
use topk_weights::StateDict;

use super::{Card, Ranks};
use crate::args::Args;
use crate::batching::Part;
use crate::sample;
use crate::train::{criterion, learner, load_data, lr_schedule};

/// What a rank is for, such as its flags, one per line; not set in the test itself.
const ROLE: &str = "TOPK_TEST_ROLE";

struct Rank(Child);

impl Drop for Rank {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A test of this file again, in another process that is a rank.
fn start(test: &str, role: &str, rank: usize, world_size: usize, port: u16) -> Rank {
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("ranks::tests::{test}")])
        .env(ROLE, role)
        .env("RANK", rank.to_string())
        .env("WORLD_SIZE", world_size.to_string())
        .env("MASTER_ADDR", "127.0.0.1")
        .env("MASTER_PORT", port.to_string())
        .stdout(Stdio::piped())
        .spawn();
    Rank(child.unwrap())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn a_rank_of_another_version_is_refused_on_all_ranks() {
    if let Ok(version) = env::var(ROLE) {
        let launch = Launch::from_env().unwrap().unwrap();
        let ranks = Ranks::join(&launch, Device::Cpu, None, Duration::from_secs(60)).unwrap();
        let card = Card {
            version,
            device: "cpu".to_owned(),
            settings: Map::new(),
        };
        println!("REFUSED: {}", ranks.agree_on(card).unwrap_err());
        return;
    }
    let (test, port) = (
        "a_rank_of_another_version_is_refused_on_all_ranks",
        free_port(),
    );
    let ranks = ["0.1.0", "0.0.9"].into_iter().zip(0..);
    let ranks: Vec<Rank> = ranks
        .map(|(version, rank)| start(test, version, rank, 2, port))
        .collect();
    for mut rank in ranks {
        let mut output = String::new();
        let stdout = rank.0.stdout.as_mut().unwrap();
        stdout.read_to_string(&mut output).unwrap();
        assert!(rank.0.wait().unwrap().success(), "{output}");
        let expected = "REFUSED: rank 1 runs topk-train 0.0.9, rank 0 runs 0.1.0: start the same program on all ranks";
        assert!(output.contains(expected), "{output}");
    }
}

#[test]
fn without_synchronised_batch_norm_each_rank_computes_with_its_own_images() {
    if let Ok(flags) = env::var(ROLE) {
        let words = std::iter::once("topk-train").chain(flags.lines());
        assert_eq!(Args::parse_from(words).run().unwrap(), ExitCode::SUCCESS);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    sample::write(folder.path(), 260, 10);
    let path = |name: &str| folder.path().join(name).display().to_string();
    for world_size in [2, 3] {
        let mut flags = [
            "--model=basic-4",
            "--val-size=100",
            "--epochs=8",
            "--lr=1e-5",
            "--seed=3",
            "--device=cpu",
            "--workers=1",
        ]
        .map(str::to_owned)
        .to_vec();
        flags.push(format!("--batch-size={}", 12 / world_size));
        flags.push(format!("--data={}", path("")));
        let words = flags.iter().map(OsString::from);
        let config = Args::config_of(words).unwrap().for_ranks(world_size);
        let data = load_data(&config, None, Device::Cpu).unwrap();
        let (mut learner, _) = learner(&config, &data, Device::Cpu, None).unwrap();
        let initial = StateDict {
            tensors: learner.network().weights(),
            ..StateDict::default()
        };
        initial.save(path("initial.safetensors").as_ref()).unwrap();
        flags.push(format!("--checkpoint={}", path("initial.safetensors")));
        let out = path(&format!("out{world_size}"));
        flags.push(format!("--out={out}"));
        let (test, port) = (
            "without_synchronised_batch_norm_each_rank_computes_with_its_own_images",
            free_port(),
        );
        let ranks: Vec<Rank> = (0..world_size)
            .map(|rank| start(test, &flags.join("\n"), rank, world_size, port))
            .collect();
        for mut rank in ranks {
            assert!(rank.0.wait().unwrap().success());
        }

        let batches = config.batching().batches(data.training.len());
        let schedule = lr_schedule(&config, batches, None);
        for epoch in 1..=config.epochs {
            let part = |rank| Part {
                rank,
                world_size,
                least: 1,
            };
            let mut parts: Vec<_> = (0..world_size)
                .map(|rank| data.training.epoch(epoch, config.batching(), 0, part(rank)))
                .collect();
            for step in 0..batches {
                let parts = parts.iter_mut().map(|part| part.next().unwrap().unwrap());
                let parts: Vec<_> = parts.collect();
                let total: usize = parts.iter().map(|part| part.labels.len()).sum();
                learner.zero_grad().unwrap();
                let loss = criterion(&config, epoch, 0).unwrap();
                for part in &parts {
                    let weight = part.labels.len() as f64 / total as f64;
                    learner
                        .accumulate_gradients(part, &loss, weight, true)
                        .unwrap();
                }
                let lr = schedule.learning_rate(epoch, step);
                learner.step(lr, 1, true).unwrap();
            }
        }
        assert!(batches * config.epochs > 100);
        let mut moved = 0f32;
        let state = StateDict::read(&std::path::Path::new(&out).join("state.safetensors")).unwrap();
        for (name, expected) in learner.network().weights() {
            // Those of rank 0 are saved.
            if name.contains("running_") {
                continue;
            }
            let found = state.tensors[&format!("weights/{name}")].to_f32().unwrap();
            let before = initial.tensors[&name].to_f32().unwrap();
            let steps = found.iter().zip(before);
            moved = steps.fold(moved, |moved, (now, before)| {
                moved.max((now - before).abs())
            });
            for (found, expected) in found.iter().zip(expected.to_f32().unwrap()) {
                assert!(
                    (found - expected).abs() < 1e-6,
                    "{name}: {found}, {expected}"
                );
            }
        }
        assert!(moved > 2e-5, "the weights moved by {moved} only");
    }
}
