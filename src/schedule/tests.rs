use super::*;
use crate::args::Args;

const STEPS: usize = 10;

fn schedule(sched: Scheduler, warmup_epochs: usize) -> LrSchedule {
    let settings = ScheduleSettings {
        sched,
        decay_milestones: Some(Milestones::default_for(300)),
        warmup_epochs,
        ..ScheduleSettings::default()
    };
    LrSchedule::new(settings, 0.1, 300, STEPS, None)
}

#[test]
fn milestones_and_rates_match_the_authors_code() {
    let schedule = schedule(Scheduler::Step, 0);
    assert_eq!(
        schedule.settings.decay_milestones,
        Some(Milestones(vec![151, 226]))
    );
    for (epoch, rate) in [(1, 0.1), (150, 0.1), (151, 0.01), (225, 0.01), (226, 0.001)] {
        for step in [0, 9] {
            assert!((schedule.learning_rate(epoch, step) - rate).abs() < 1e-12);
        }
    }
}

#[test]
fn a_short_run_is_trained_at_the_peak_first() {
    for (epochs, milestones) in [
        (1, vec![]),
        (2, vec![2]),
        (3, vec![2, 3]),
        (4, vec![3, 4]),
        (5, vec![3, 4]),
    ] {
        assert_eq!(Milestones::default_for(epochs).0, milestones);
    }
}

#[test]
fn milestones_are_read_as_they_are_written() {
    for text in ["none", "3", "151,226"] {
        assert_eq!(text.parse::<Milestones>().unwrap().to_string(), text);
    }
    assert_eq!("".parse(), Ok(Milestones(vec![])));
    for text in ["1.5", "3,", "-1", "a"] {
        assert!(text.parse::<Milestones>().is_err(), "{text}");
    }
}

#[test]
fn cosine_decays_from_peak_to_zero() {
    let schedule = schedule(Scheduler::Cosine, 0);
    assert_eq!(schedule.learning_rate(1, 0), 0.1);
    assert!((schedule.learning_rate(151, 0) - 0.05).abs() < 1e-12);
    assert!(schedule.learning_rate(300, 9) < 1e-7);
}

#[test]
fn warmup_is_linear_and_both_schedulers_follow_it() {
    for scheduler in [Scheduler::Step, Scheduler::Cosine] {
        let schedule = schedule(scheduler, 2);
        assert!((schedule.learning_rate(1, 0) - 0.005).abs() < 1e-12);
        assert!((schedule.learning_rate(1, 9) - 0.05).abs() < 1e-12);
        assert!((schedule.learning_rate(2, 9) - 0.1).abs() < 1e-12);
        assert!((schedule.learning_rate(3, 0) - 0.1).abs() < 1e-12);
    }
    assert!(schedule(Scheduler::Cosine, 2).learning_rate(300, 9) < 1e-7);
}

/// Largest difference from timm's and PyTorch's learning rates, relative to the peak.
const TOLERANCE: f64 = 1e-12;

/// A line of the file that `tests/data/make_schedules.py` writes.
#[derive(serde::Deserialize)]
struct Recorded {
    flags: String,
    lr: f64,
    accuracies: Vec<f64>,
    rates: Vec<f64>,
}

#[test]
fn learning_rates_are_those_of_timm_and_pytorch() {
    let lines = include_str!("../../tests/data/schedules.jsonl").lines();
    for line in lines {
        let recorded: Recorded = serde_json::from_str(line).unwrap();
        let (epochs, flags) = (recorded.accuracies.len(), &recorded.flags);
        let words = format!("--data=D --epochs={epochs} --lr={} {flags}", recorded.lr);
        let config = Args::config_of(words.split_whitespace().map(Into::into)).unwrap();
        config.check().unwrap();
        assert!(
            config.decisions.is_empty(),
            "{flags}: {:?}",
            config.decisions
        );
        let config = config.resolved();
        let steps = recorded.rates.len() / epochs;
        let mut schedule = LrSchedule::new(config.schedule, recorded.lr, epochs, steps, None);
        let mut rates = recorded.rates.iter();
        let mut largest = 0f64;
        for (accuracy, epoch) in recorded.accuracies.iter().zip(1..) {
            for step in 0..steps {
                let (found, expected) =
                    (schedule.learning_rate(epoch, step), rates.next().unwrap());
                let difference = (found - expected).abs() / recorded.lr;
                largest = largest.max(difference);
                assert!(
                    difference < TOLERANCE,
                    "{flags}, epoch {epoch}, step {step}: {found}, expected {expected}"
                );
            }
            schedule.epoch_ended(epoch, *accuracy, false);
            // As if the run was resumed here.
            let saved = serde_json::to_string(&schedule.plateau()).unwrap();
            let saved = serde_json::from_str(&saved).unwrap();
            let (settings, peak) = (schedule.settings.clone(), schedule.peak);
            schedule = LrSchedule::new(settings, peak, epochs, steps, saved);
        }
        println!("{flags:100} {largest:.1e}");
    }
}

#[test]
fn a_plateau_of_a_loss_is_where_it_does_not_fall() {
    let settings = ScheduleSettings {
        sched: Scheduler::Plateau,
        patience_epochs: Some(0),
        ..ScheduleSettings::default()
    };
    let mut schedule = LrSchedule::new(settings, 1.0, 9, STEPS, None);
    let mut rates = Vec::new();
    for (epoch, loss) in (1..).zip([2.0, 1.0, 0.99995, 0.5, f64::NAN]) {
        rates.push(schedule.learning_rate(epoch, 0));
        schedule.epoch_ended(epoch, loss, true);
    }
    rates.push(schedule.learning_rate(6, 0));
    assert_eq!(rates, [1.0, 1.0, 1.0, 0.1, 0.1, 0.1 * 0.1]);
}

/// timm scales by the ratio of the images per step, or by its square root for adaptive optimizers.
#[test]
fn the_base_learning_rate_is_scaled_as_timms() {
    let peak = |flags: &str| {
        let words = format!("--data=D --lr-base=0.1 --batch-size=64 {flags}");
        let config = Args::config_of(words.split_whitespace().map(Into::into)).unwrap();
        config.check().unwrap();
        config.for_ranks(2).resolved().peak_lr()
    };
    assert_eq!(peak(""), 0.05);
    assert_eq!(peak("--grad-accum-steps=4"), 0.2);
    assert_eq!(peak("--lr-base-size=128"), 0.1);
    assert_eq!(peak("--opt=rmsprop"), 0.05);
    for opt in ["adam", "adamw", "lamb"] {
        assert_eq!(peak(&format!("--opt={opt}")), 0.1 * 0.5f64.sqrt());
    }
    assert_eq!(peak("--opt=adamw --lr-base-scale=linear"), 0.05);
    assert_eq!(peak("--lr-base-scale=sqrt"), 0.1 * 0.5f64.sqrt());
}
