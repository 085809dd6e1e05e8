//! What happens between the steps of a run, and when it is killed in between.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use tch::no_grad;
use tempfile::TempDir;
use topk_weights::{StateDict, Tensor as Weight};

use super::*;
use crate::args::Args;
use crate::batching::Part;
use crate::run_folder::Found;
use crate::sample;
use crate::state::STATE;
use crate::train::{Job, Outcome, learner, load_data, train};

/// A folder with a part of the sample.
struct Case {
    folder: TempDir,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        sample::write(folder.path(), 100, 10);
        Self { folder }
    }

    fn config(&self, flags: &[&str]) -> Config {
        let data = format!("--data={}", self.folder.path().display());
        let common = [
            "--model=basic-4",
            "--val-size=20",
            "--batch-size=8",
            "--epochs=2",
            "--device=cpu",
            "--workers=1",
            &data,
        ];
        let flags = common.iter().chain(flags);
        Args::config_of(flags.map(OsString::from)).unwrap()
    }

    fn out(&self) -> std::path::PathBuf {
        self.folder.path().join("out")
    }

    /// Continues or starts the run up to its first step, and calls a function with its trainer.
    fn with_trainer(
        &self,
        flags: &[&str],
        batches: Option<usize>,
        run: impl FnOnce(&mut TrainingLoop<'_>),
    ) {
        let config = &self.config(flags);
        let data = load_data(config, None, Device::Cpu).unwrap();
        let (mut learner, _) = learner(config, &data, Device::Cpu, None).unwrap();
        let (mut folder, found) = RunFolder::open(&self.out()).unwrap();
        let position = match found {
            Found::Saved(state) => {
                let position = state.position.clone();
                state.restore(&mut learner).unwrap();
                position
            }
            Found::New | Found::Started(_) => Position::start(config.to_map()),
        };
        folder
            .rewind(position.log_bytes, position.times_bytes)
            .unwrap();
        let start = Start {
            config: config.to_map(),
            device: "cpu".to_owned(),
            classes: data.class_names.len(),
            train_images: data.training.len(),
            val_images: data.validation.len(),
            parameters: 0,
            decisions: Vec::new(),
        };
        let events = EventWriter::create(&self.out(), &start, position.epoch).unwrap();
        let policy = CheckpointPolicy {
            batches,
            ..CheckpointPolicy::default()
        };
        let stop = never();
        let followers = Followers::new(None, &stop);
        let mut ranks = Ranks::alone();
        let output = Some(Output { folder, events });
        let mut trainer = TrainingLoop::new(
            config, &data, learner, &mut ranks, output, followers, position, policy,
        );
        trainer.begin(start, None).unwrap();
        run(&mut trainer);
    }
}

fn never() -> AtomicBool {
    AtomicBool::new(false)
}

fn state(out: &Path) -> Option<Vec<u8>> {
    fs::read(out.join(STATE)).ok()
}

/// Multiplies the weights of the classifier: by 2^90, scores are finite and gradients are not.
fn scale_classifier(trainer: &TrainingLoop<'_>, factor: f64) {
    let weight = &trainer.learner.network().tensors()["fc.weight"];
    no_grad(|| {
        let mut weight = weight.shallow_clone();
        weight *= factor;
    });
}

/// The batches of the first epoch.
fn batches(trainer: &TrainingLoop<'_>) -> Vec<Batch> {
    let batches = trainer
        .data
        .training
        .epoch(1, trainer.config.batching(), 0, Part::WHOLE);
    batches.collect::<Result<_, _>>().unwrap()
}

/// Whether a step was skipped is known only later on a GPU.
#[test]
fn a_state_after_a_skipped_step_does_not_replace_the_saved_one() {
    let case = Case::new();
    type Save = fn(&mut TrainingLoop<'_>) -> Result<(), TrainError>;
    let saves: [Save; 3] = [
        // The state is due by the number of batches, or by time.
        |trainer| {
            trainer.policy.batches = Some(1);
            trainer.train_epoch(&never()).map(drop)
        },
        |trainer| {
            trainer.policy.interval = std::time::Duration::ZERO;
            trainer.train_epoch(&never()).map(drop)
        },
        // The run is stopped.
        |trainer| {
            let stopped = trainer.train_epoch(&AtomicBool::new(true)).unwrap();
            assert!(!stopped);
            trainer.save()
        },
    ];
    for save in saves {
        case.with_trainer(&["--loss=ce"], None, |trainer| {
            trainer.save().unwrap();
            let good = state(&case.out()).unwrap();
            trainer.wait = false;
            scale_classifier(trainer, 2f64.powi(90));
            let error = save(trainer).unwrap_err();
            assert!(
                matches!(error, TrainError::Diverged { batch: 1, .. }),
                "{error}"
            );
            assert!(state(&case.out()).unwrap() == good);
        });
        fs::remove_dir_all(case.out()).unwrap();
    }
}

/// Gradients may be finite although a statistic is not.
#[test]
fn a_state_that_is_not_finite_is_not_saved() {
    let case = Case::new();
    case.with_trainer(&["--model-ema-decay=0.9"], None, |trainer| {
        trainer.save().unwrap();
        let good = state(&case.out()).unwrap();
        let network = trainer.learner.network();
        let mut statistic = network.tensors()["base.1.running_var"].shallow_clone();
        let _ = statistic.fill_(f64::INFINITY);
        let error = trainer.save().unwrap_err().to_string();
        assert!(
            error.contains(
                "base.1.running_var is not finite, a running statistic of batch normalisation"
            ),
            "{error}"
        );
        assert!(state(&case.out()).unwrap() == good);
    });
}

#[test]
fn skipped_steps_count_no_images() {
    let case = Case::new();
    case.with_trainer(&["--loss=ce", "--on-nan=skip"], None, |trainer| {
        let batches = batches(trainer);
        assert!(trainer.train_step(&batches[..1], 0.1).unwrap() > 0);
        let metrics = trainer.learner.running_metrics();
        scale_classifier(trainer, 2f64.powi(90));
        assert_eq!(trainer.train_step(&batches[1..2], 0.1).unwrap(), 0);
        assert_eq!(trainer.position.skipped_steps, 1);
        assert_eq!(trainer.learner.running_metrics(), metrics);
        // The rest of the epoch.
        let error = trainer.train_epoch(&never()).unwrap_err();
        assert_eq!(trainer.position.images, 0);
        assert!(
            matches!(
                error,
                TrainError::AllStepsSkipped {
                    epoch: 1,
                    steps: 11
                }
            ),
            "{error}"
        );
    });
}

#[test]
fn a_run_stopped_before_its_first_step_can_be_resumed() {
    let case = Case::new();
    let stop = AtomicBool::new(true);
    let job = Job {
        config: &case.config(&[]),
        images: None,
        out: &case.out(),
        resume_from: None,
        policy: CheckpointPolicy::default(),
    };
    let followers = Followers::new(None, &stop);
    let outcome = train(job, &mut Ranks::alone(), followers).unwrap();
    assert_eq!(outcome, Outcome::Interrupted);
    case.with_trainer(&[], None, |trainer| {
        assert_eq!((trainer.position.epoch, trainer.position.batch), (1, 0));
        assert!(trainer.position.log_bytes > 0);
    });
}

#[test]
fn the_recovery_interval_counts_batches_with_accumulation() {
    let case = Case::new();
    let saved = |every: usize| {
        let mut saved = 0;
        // Ten batches in steps of four, four and two.
        let flags = ["--grad-accum-steps=4"];
        case.with_trainer(&flags, Some(every), |trainer| {
            assert!(trainer.train_epoch(&never()).unwrap());
            saved = trainer.saved_batch;
        });
        fs::remove_dir_all(case.out()).unwrap();
        saved
    };
    assert_eq!([1, 3, 5, 6, 9, 11].map(saved), [10, 8, 8, 8, 10, 0]);
}

/// A process that is killed after it saved the state of an epoch, and before the checkpoint.
#[test]
fn best_checkpoints_follow_the_log_and_the_state() {
    let case = Case::new();
    let best = case.out().join("best1.safetensors");
    let mut written = Vec::new();
    case.with_trainer(&[], None, |trainer| {
        assert!(trainer.train_epoch(&never()).unwrap());
        // The checkpoint cannot be written: the log and the state are there.
        fs::create_dir_all(best.join("folder")).unwrap();
        trainer.end_epoch(&never()).unwrap_err();
        fs::remove_dir_all(&best).unwrap();
        trainer.write_checkpoints().unwrap();
        written = fs::read(&best).unwrap();
        fs::remove_file(&best).unwrap();
    });
    let log = fs::read_to_string(case.out().join("log.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 2);
    case.with_trainer(&[], None, |trainer| {
        assert_eq!((trainer.position.epoch, trainer.position.batch), (2, 0));
        assert!(fs::read(&best).unwrap() == written);
    });
}

/// Weights, EMA and momentum buffers after three steps, of which the second is not finite, and the images and steps that
/// count.
fn after_a_skipped_step(flags: &[&str], wait: bool) -> (Vec<Vec<f32>>, [f64; 3], Position) {
    let case = Case::new();
    let flags = [flags, &["--loss=ce", "--on-nan=skip"]].concat();
    let mut found = None;
    case.with_trainer(&flags, None, |trainer| {
        trainer.wait = wait;
        let batches = batches(trainer);
        for (number, group) in batches.chunks(1).take(3).enumerate() {
            let factor = 2f64.powi(90);
            if number == 1 {
                scale_classifier(trainer, factor);
            }
            trainer.position.images += trainer.train_step(group, 0.1).unwrap();
            if number == 1 {
                scale_classifier(trainer, 1.0 / factor);
            }
            trainer.position.batch += 1;
        }
        trainer.check_skipped_steps().unwrap();
        let learner = &trainer.learner;
        let ema = learner.ema().into_iter();
        let networks = std::iter::once(learner.network()).chain(ema);
        let tensors = networks.flat_map(|network| network.tensors().values());
        let buffers = learner.optimizer_state().map(|(_, _, tensor)| tensor);
        let values = |tensor: &tch::Tensor| Vec::try_from(tensor.detach().reshape(-1)).unwrap();
        let tensors = tensors.chain(buffers).map(values).collect();
        let metrics = learner.running_metrics();
        found = Some((tensors, metrics, trainer.position.clone()));
    });
    found.unwrap()
}

/// As on a GPU.
#[test]
fn steps_that_do_not_wait_skip_the_same() {
    let waits = after_a_skipped_step(&[], true);
    let never_waits = after_a_skipped_step(&[], false);
    assert!(waits.0 == never_waits.0);
    assert_eq!(waits.1, never_waits.1);
    for (_, _, position) in [waits, never_waits] {
        assert_eq!((position.images, position.skipped_steps), (16, 1));
    }
    // The averages are rounded in another way.
    let [waits, never_waits] =
        [true, false].map(|wait| after_a_skipped_step(&["--model-ema-decay=0.9"], wait).0);
    for (one, other) in waits.iter().flatten().zip(never_waits.iter().flatten()) {
        assert!(
            (one - other).abs() <= 1e-6 * one.abs().max(1.0),
            "{one} {other}"
        );
    }
}

#[test]
fn float16_trains_and_adapts_its_scale() {
    let case = Case::new();
    let flags = ["--amp", "--amp-dtype=float16"];
    for wait in [true, false] {
        case.with_trainer(&flags, None, |trainer| {
            trainer.wait = wait;
            let batches = batches(trainer);
            let before = trainer.learner.network().weights();
            assert_eq!(trainer.learner.scaler().unwrap().state(), (65536.0, 0));
            // Too large by far: gradients overflow until it is small enough.
            let scaler = trainer.learner.scaler_mut().unwrap();
            scaler.set_state((2f32.powi(45), 0));
            trainer.train_step(&batches[..1], 0.1).unwrap();
            trainer.check_skipped_steps().unwrap();
            assert_eq!(trainer.position.skipped_steps, 1);
            let scaler = trainer.learner.scaler_mut().unwrap();
            assert_eq!(scaler.state(), (2f32.powi(44), 0));
            assert!(trainer.learner.network().weights() == before);
            let scaler = trainer.learner.scaler_mut().unwrap();
            scaler.set_state((1024.0, 1998));
            for group in batches.chunks(1).take(3) {
                trainer.train_step(group, 0.1).unwrap();
            }
            trainer.check_skipped_steps().unwrap();
            assert_eq!(trainer.position.skipped_steps, 1);
            let state = trainer.learner.scaler().unwrap().state();
            assert_eq!(state, (2048.0, 1));
            assert!(trainer.learner.network().weights() != before);
            // The scale is a part of the saved state.
            trainer.save().unwrap();
            trainer.learner.scaler_mut().unwrap().set_state((1.0, 0));
            let saved = State::read(&case.out()).unwrap().unwrap();
            saved.restore(&mut trainer.learner).unwrap();
            assert_eq!(trainer.learner.scaler().unwrap().state(), state);
        });
        fs::remove_dir_all(case.out()).unwrap();
    }
}

/// A smaller scale does not help.
#[test]
fn float16_that_never_is_finite_ends_the_run() {
    let case = Case::new();
    for wait in [true, false] {
        case.with_trainer(&["--amp", "--amp-dtype=float16"], None, |trainer| {
            trainer.wait = wait;
            let scaler = trainer.learner.scaler_mut().unwrap();
            scaler.set_state((1.0 / 8192.0, 0));
            scale_classifier(trainer, f64::INFINITY);
            let error = trainer.train_epoch(&never()).unwrap_err().to_string();
            assert!(
                error.contains("gradients in float16 are not finite even with a loss scale of"),
                "{error}"
            );
        });
        fs::remove_dir_all(case.out()).unwrap();
    }
}

/// On the CPU, where the operations of a graph run one by one. The learning rates are exact in `f32`.
#[test]
fn captured_steps_are_those_of_other_steps() {
    let run = |captured: bool| {
        let case = Case::new();
        // Three steps are computed as usual at first, and the last, of four images, always is.
        let flags = [
            "--loss=ce",
            "--on-nan=skip",
            "--model-ema-decay=0.9",
            "--augment-on-device",
            "--clip-grad=0.5",
            "--train-size=76",
        ];
        let mut found = None;
        case.with_trainer(&flags, None, |trainer| {
            trainer.wait = false;
            trainer.captured = captured.then(|| CapturedSteps::new(8));
            let batches = batches(trainer);
            assert_eq!(batches.len(), 10);
            for (group, lr) in batches
                .chunks(1)
                .zip([0.5, 0.25, 0.125].into_iter().cycle())
            {
                let images = trainer.train_step(group, lr).unwrap();
                assert_eq!(images, group[0].labels.len());
                trainer.position.images += images;
                trainer.position.batch += 1;
                if trainer.position.batch == 7 {
                    scale_classifier(trainer, 2f64.powi(90));
                }
                if trainer.position.batch == 8 {
                    scale_classifier(trainer, 2f64.powi(-90));
                }
            }
            trainer.check_skipped_steps().unwrap();
            let learner = &trainer.learner;
            let networks = [learner.network(), learner.ema().unwrap()];
            let weights = networks.map(|network| network.weights());
            let metrics = learner.running_metrics();
            found = Some((weights, metrics, trainer.position.clone()));
        });
        found.unwrap()
    };
    let (expected, found) = (run(false), run(true));
    assert_eq!((found.2.skipped_steps, found.2.images), (1, 68));
    assert_eq!((expected.2.skipped_steps, expected.2.images), (1, 68));
    assert_eq!(found.1, expected.1);
    assert!(found.0 == expected.0);
}

/// The tensors of the state after an epoch, in one go or resumed from a state after its first step.
fn state_after_an_epoch(case: &Case, flags: &[&str], resumes: bool) -> BTreeMap<String, Weight> {
    if resumes {
        case.with_trainer(flags, None, |trainer| {
            assert!(!trainer.train_epoch(&AtomicBool::new(true)).unwrap());
            assert_eq!(trainer.position.batch, 1);
            trainer.save().unwrap();
        });
    }
    case.with_trainer(flags, None, |trainer| {
        assert!(trainer.train_epoch(&never()).unwrap());
        trainer.save().unwrap();
    });
    let state = StateDict::read(&case.out().join(STATE)).unwrap();
    fs::remove_dir_all(case.out()).unwrap();
    state.tensors
}

#[test]
fn runs_with_every_optimizer_resume_bit_for_bit() {
    let case = Case::new();
    let common = ["--loss=ce", "--weight-decay=0.01", "--filter-bias-and-bn"];
    let flags: [(&[&str], &[&str]); 6] = [
        (&["--opt=sgd", "--momentum=0.9"], &["velocities/"]),
        (
            &[
                "--opt=sgd",
                "--nesterov=false",
                "--clip-grad=0.01",
                "--clip-mode=agc",
            ],
            &["velocities/"],
        ),
        (
            &["--opt=adam", "--clip-grad=0.01", "--clip-mode=value"],
            &["optimizer/exp_avg/", "optimizer/exp_avg_sq/"],
        ),
        (
            &["--opt=adamw", "--layer-decay=0.9", "--model-ema-decay=0.9"],
            &["optimizer/exp_avg/", "optimizer/exp_avg_sq/"],
        ),
        (
            &["--opt=rmsprop", "--head-lr=0.1"],
            &["optimizer/square_avg/", "velocities/"],
        ),
        (
            &["--opt=lamb", "--freeze=base.0"],
            &["optimizer/exp_avg/", "optimizer/exp_avg_sq/"],
        ),
    ];
    for (flags, states) in flags {
        let flags: Vec<&str> = common.iter().chain(flags).copied().collect();
        let whole = state_after_an_epoch(&case, &flags, false);
        let resumed = state_after_an_epoch(&case, &flags, true);
        assert!(whole == resumed, "{flags:?}");
        for state in states {
            let of_head = whole[&format!("{state}fc.weight")].to_f32().unwrap();
            assert!(of_head.iter().any(|&value| value != 0.0), "{flags:?}");
        }
        let counts = flags
            .iter()
            .any(|flag| flag.contains("adam") || flag.contains("lamb"));
        assert_eq!(whole.contains_key("optimizer/steps"), counts, "{flags:?}");
    }
}

#[test]
fn frozen_layers_do_not_change_before_their_epoch() {
    let case = Case::new();
    let flags = [
        "--loss=ce",
        "--opt=adamw",
        "--freeze=backbone",
        "--unfreeze-epoch=2",
    ];
    let weights = |trainer: &TrainingLoop<'_>| trainer.learner.network().weights();
    case.with_trainer(&flags, None, |trainer| {
        let before = weights(trainer);
        assert!(trainer.train_epoch(&never()).unwrap());
        for (name, weight) in weights(trainer) {
            // Statistics of batch normalisation do not change either.
            let is_head = name.starts_with("fc.");
            assert_eq!(weight != before[&name], is_head, "{name}");
        }
        trainer.position.next_epoch();
        trainer.save().unwrap();
    });
    // A resumed run trains them too.
    case.with_trainer(&flags, None, |trainer| {
        assert_eq!(trainer.position.epoch, 2);
        let before = weights(trainer);
        assert!(trainer.train_epoch(&never()).unwrap());
        for (name, weight) in weights(trainer) {
            assert!(weight != before[&name], "{name}");
        }
    });
}
