//! Synthetic runs.

#![allow(dead_code, reason = "each test uses a part of this module")]

use std::fs;
use std::path::Path;

use serde_json::json;
use topk_history::{
    Accuracy, BEST1, BESTK, Checkpoint, End, Epoch, EpochTime, Event, LOG, Run, Start, TIMES,
};

/// Settings of a synthetic run.
#[derive(Clone)]
pub struct Plan {
    pub loss: &'static str,
    pub noise: f64,
    pub seed: u64,
    pub epochs: usize,
}

impl Plan {
    /// Runs with six noise levels, two losses and three seeds.
    pub fn sweep(epochs: usize) -> Vec<Self> {
        let mut plans = Vec::new();
        for noise in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
            for loss in ["ce", "svm"] {
                plans.extend((1..=3).map(|seed| Self {
                    loss,
                    noise,
                    seed,
                    epochs,
                }));
            }
        }
        plans
    }

    /// Name of the run's folder.
    pub fn name(&self) -> String {
        format!("{}-noise{}-seed{}", self.loss, self.noise, self.seed)
    }

    pub fn start(&self) -> Start {
        let mut config = json!({
            "data": "cifar100",
            "model": "densenet40-40",
            "loss": self.loss,
            "topk": 5,
            "noise": self.noise,
            "seed": self.seed,
            "epochs": self.epochs,
            "batch-size": 64,
            "lr": 0.1,
            "sched": { "milestones": [self.epochs / 2, 3 * self.epochs / 4] },
            "checkpoint": null,
        });
        if self.loss == "svm" {
            config["tau"] = 1.0.into();
            config["alpha"] = 1.0.into();
        }
        Start {
            config: config.as_object().unwrap().clone(),
            device: "cpu".to_owned(),
            classes: 100,
            train_images: 45_000,
            val_images: 5_000,
            parameters: 1_941_620,
            decisions: Vec::new(),
        }
    }

    pub fn epoch(&self, epoch: usize) -> Epoch {
        let drops = [self.epochs / 2, 3 * self.epochs / 4];
        let drops = drops.iter().filter(|&&drop| epoch > drop).count();
        let skill = 1.0 - (-6.0 * epoch as f64 / self.epochs as f64).exp() + 0.08 * drops as f64;
        let svm = f64::from(self.loss == "svm");
        let wobble = ((epoch * 7 + self.seed as usize * 13) % 11) as f64 / 11.0 - 0.5;
        let accuracy = |images: usize, top1: f64, topk: f64| {
            let count = |part: f64| (images as f64 * part.clamp(0.0, 1.0)) as usize;
            Accuracy {
                images,
                top1_correct: count(top1.min(topk)),
                topk_correct: count(topk),
            }
        };
        let harm = self.noise * (0.28 - 0.06 * svm) * skill;
        // The spread over seeds grows with the noise.
        let luck = (self.seed as f64 - 2.0) * (0.004 + 0.01 * self.noise);
        let noisy = 0.012 * wobble + skill * luck;
        Epoch {
            epoch,
            lr: 0.1 * 0.1f64.powi(drops as i32),
            tau: None,
            alpha: None,
            loss: 4.6 * (-4.0 * skill).exp() + 0.02 + 0.3 * self.noise + 0.05 * wobble,
            train: accuracy(45_000, 0.78 * skill, 0.9 * skill),
            val: accuracy(
                5_000,
                // Top-1 and top-k are best in different epochs.
                0.68 * skill - harm - noisy + 2.0 * skill * luck,
                0.82 * skill - harm + noisy,
            ),
            val_loss: None,
            val_correct: Vec::new(),
            raw: None,
            skipped_steps: 0,
            skipped_images: 0,
            skipped_val_images: 0,
        }
    }

    pub fn time(&self, epoch: usize) -> EpochTime {
        EpochTime {
            epoch,
            seconds: 41.0 + (epoch * 5 % 7) as f64 * 0.4,
            images_per_second: 1_150.0 - (epoch * 5 % 7) as f64 * 11.0,
            waiting_seconds: 0.2 + (epoch % 3) as f64 * 0.1,
            retries: 0,
        }
    }

    /// The run after this many epochs; finished if these are all.
    pub fn run(&self, epochs: usize) -> Run {
        let mut run = Run {
            start: self.start(),
            changes: Vec::new(),
            epochs: (1..=epochs).map(|epoch| self.epoch(epoch)).collect(),
            times: (1..=epochs).map(|epoch| Some(self.time(epoch))).collect(),
            end: None,
        };
        if epochs == self.epochs {
            let checkpoint = |name: &str, epoch: &Epoch| Checkpoint {
                name: name.to_owned(),
                epoch: epoch.epoch,
                k: 5,
                val: epoch.val,
                test: Some(Accuracy {
                    images: 10_000,
                    top1_correct: (2 * epoch.val.top1_correct).saturating_sub(40),
                    topk_correct: (2 * epoch.val.topk_correct).saturating_sub(30),
                }),
                checkpoint: format!("{name}.safetensors"),
                onnx: Some(format!("{name}.onnx")),
            };
            let checkpoints = vec![
                checkpoint(BEST1, run.best1().unwrap()),
                checkpoint(BESTK, run.bestk().unwrap()),
            ];
            run.end = Some(End {
                checkpoints,
                stopped: None,
            });
        }
        run
    }
}

/// Writes the files of a run.
pub fn save(run: &Run, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let mut log = Event::Start(run.start.clone()).to_line();
    log.extend(
        run.epochs
            .iter()
            .map(|epoch| Event::Epoch(epoch.clone()).to_line()),
    );
    log.extend(run.end.iter().map(|end| Event::End(end.clone()).to_line()));
    fs::write(folder.join(LOG), log).unwrap();
    let times = run.times.iter().flatten().map(EpochTime::to_line);
    fs::write(folder.join(TIMES), times.collect::<String>()).unwrap();
}

/// # Panics
/// If a tag of the body of a page, or of an SVG file, is not closed where it should be.
pub fn opened_and_closed(markup: &str) {
    let mut open = Vec::new();
    for tag in markup.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        let name = tag.split_whitespace().next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if name == "br" || tag.ends_with('/') => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty() || open == ["body"], "{open:?}");
}
