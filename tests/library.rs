//! Training from another program.

use std::fs;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;
use topk_data::{Image, ImageSet};
use topk_history::Event;
use topk_train::{Annealed, Config, Images, Outcome, Sampler, Scheduler, Trainer, TrainingEvent};

/// A process trains one run at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Images of one of two colours, with noise.
fn images(name: &str, count: usize) -> ImageSet {
    let images = (0..count).map(|index| {
        let label = index % 2;
        let value = |at: usize| {
            let bright = if at / 64 == label { 150 } else { 0 };
            (bright + (at * 31 + index * 17) % 97) as u8
        };
        let image = Image::Pixels {
            shape: [3, 8, 8],
            pixels: (0..3 * 64).map(value).collect(),
        };
        (label as u32, image)
    });
    let classes = ["red", "green"].map(str::to_owned).into();
    ImageSet::in_memory(name, classes, images).unwrap()
}

fn given() -> Images {
    Images {
        training: images("drawn", 64),
        validation: Some(images("held out", 16)),
        test: Some(images("unseen", 20)),
    }
}

fn config() -> Config {
    serde_json::from_value(json!({
        "model": "basic-4",
        "input-size": 32,
        "train-resize": 32,
        "val-resize": 32,
        "augment": "none",
        "topk": 1,
        "epochs": 3,
        "batch-size": 16,
        "lr": 0.05,
        "device": "cpu",
        "workers": 1,
    }))
    .unwrap()
}

#[test]
fn images_of_a_program_are_trained_on_and_tested() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let (mut lines, mut epochs, mut batches, mut logged) = (Vec::new(), Vec::new(), 0, 0);
    let trainer = Trainer::new(config(), &out)
        .with_images(given())
        .with_observer(|event: &TrainingEvent<'_>| {
            match event {
                TrainingEvent::Message(line) => lines.push((*line).to_owned()),
                TrainingEvent::Begun(extent) => {
                    assert_eq!((extent.epochs, extent.batches, extent.k), (3, 4, 1));
                }
                TrainingEvent::Batch(_) => batches += 1,
                TrainingEvent::Epoch { epoch, .. } => epochs.push(epoch.val.top1()),
                TrainingEvent::Logged(_) => logged += 1,
                _ => {}
            }
            ControlFlow::Continue(())
        });
    let Outcome::Finished(end) = trainer.train().unwrap() else {
        panic!("nothing stops it")
    };
    assert_eq!((epochs.len(), batches), (3, 12));
    assert_eq!(epochs.last(), Some(&1.0));
    assert_eq!(end.checkpoints[0].test.unwrap().images, 20);
    assert!(lines.contains(&"data: drawn (memory): 64 images, 2 classes".to_owned()));
    let log = fs::read_to_string(out.join("log.jsonl")).unwrap();
    assert_eq!(log.lines().count(), logged);
    let start: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(start["config"]["data"], "drawn");
    assert!(out.join("best1.onnx").is_file());
}

#[test]
fn an_observer_stops_a_run_which_resumes_bit_for_bit() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let train = |name: &str, stops_at: Option<usize>| {
        let trainer = Trainer::new(config(), out(name))
            .with_images(given())
            .with_observer(move |event: &TrainingEvent<'_>| match event {
                TrainingEvent::Batch(progress) if Some(progress.batch) == stops_at => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            });
        trainer.train().unwrap()
    };
    assert!(matches!(train("whole", None), Outcome::Finished(_)));
    assert_eq!(train("stopped", Some(2)), Outcome::Interrupted);
    assert!(matches!(train("stopped", None), Outcome::Finished(_)));
    assert!(matches!(
        train("stopped", None),
        Outcome::AlreadyFinished(_)
    ));
    for name in ["best1.safetensors", "log.jsonl"] {
        let [whole, stopped] =
            ["whole", "stopped"].map(|run| fs::read(out(run).join(name)).unwrap());
        assert!(whole == stopped, "{name} differs");
    }
}

#[test]
fn a_flag_stops_a_run() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let trainer = Trainer::new(config(), folder.path().join("run")).with_images(given());
    trainer.stop_flag().store(true, Ordering::Relaxed);
    assert_eq!(trainer.train().unwrap(), Outcome::Interrupted);
}

#[test]
fn other_images_do_not_resume_a_run() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let trainer = Trainer::new(config(), &out).with_images(given());
    trainer.train().unwrap();
    let longer = Config {
        epochs: 5,
        ..config()
    };
    let other = Images {
        training: images("drawn", 62),
        ..given()
    };
    let error = Trainer::new(longer, &out).with_images(other).train();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("images"), "{error}");
}

#[test]
fn errors_name_the_setting() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let error = |config: Config, images: Option<Images>| {
        let mut trainer = Trainer::new(config, folder.path().join("run"));
        if let Some(images) = images {
            trainer = trainer.with_images(images);
        }
        trainer.train().unwrap_err().to_string()
    };
    assert_eq!(error(config(), None), "--data must be given, got nothing");
    let named = Config {
        data: Some("photos".into()),
        ..config()
    };
    assert_eq!(
        error(named, Some(given())),
        "--data must be absent, because the images are given, got photos"
    );
    let never = Config {
        epochs: 0,
        ..config()
    };
    assert_eq!(
        error(never, Some(given())),
        "--epochs must be at least 1, got 0"
    );
}

/// The keys are those of recipes, and the defaults those of the command line.
#[test]
fn settings_are_read_and_written() {
    let config: Config = serde_json::from_value(json!({
        "loss": "ce",
        "lr": 0.2,
        "sched": "cosine",
        "sampler": "square-root",
        "tau": "10..0.1",
        "channels-last": true,
    }))
    .unwrap();
    let mut expected = Config::default();
    expected.loss.name = "ce".parse().unwrap();
    expected.loss.tau = "10..0.1".parse().unwrap();
    expected.schedule.lr = Some(0.2);
    expected.schedule.sched = Scheduler::Cosine;
    expected.sampling.sampler = Sampler::SquareRoot;
    expected.machine.channels_last = Some(true);
    expected.decisions.clone_from(&config.decisions);
    assert_eq!(config, expected);
    assert_eq!(
        config.decisions,
        ["tau of the settings has no effect with --loss ce"]
    );
    assert_eq!(Config::default().loss.tau, Annealed::constant(1.0));
    let again: Config = toml::from_str(&toml::to_string(&Config::default()).unwrap()).unwrap();
    assert_eq!(again, Config::default());
    let error = serde_json::from_value::<Config>(json!({"learning-rate": 1.0})).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("unknown setting `learning-rate`"),
        "{error}"
    );
}

/// What is logged is told, in its order.
#[test]
fn the_log_is_told() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut events = Vec::new();
    let trainer = Trainer::new(config(), folder.path().join("run"))
        .with_images(given())
        .with_observer(|event: &TrainingEvent<'_>| {
            if let TrainingEvent::Logged(event) = event {
                events.push((*event).clone());
            }
            ControlFlow::Continue(())
        });
    trainer.train().unwrap();
    assert!(matches!(
        &events[..],
        [
            Event::Start(_),
            Event::Epoch(_),
            Event::Epoch(_),
            Event::Epoch(_),
            Event::End(_)
        ]
    ));
}
