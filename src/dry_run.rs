//! What `topk-train --dry-run` prints.

use std::fmt::{self, Write};
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};
use topk_libtorch::select_device;
use topk_models::Architecture;
use topk_report::text::{TERMINAL_WIDTH, grouped, wrap};

use crate::TrainError;
use crate::batching::Part;
use crate::config::Config;
use crate::dataset::Dataset;
use crate::defaults::resolve;
use crate::images::Batch;
use crate::loss::TrainingLoss;
use crate::step::Learner;
use crate::train::{criterion, device_name, learner, load_data, set_up_process};

/// Maximum number of rows in the table of the network.
const MAX_STAGES: usize = 32;
/// Minimum number of steps at the start that are not timed.
const WARM_UP: usize = 2;
/// Columns of the labels before facts.
const INDENT: usize = 12;
/// Minimum number of timed steps.
const MIN_STEPS: usize = 3;
/// Duration for which steps are timed, and for which loading images is.
const TIMED: Duration = Duration::from_secs(3);
/// Number of repetitions for timing the loss alone.
const LOSS_REPEATS: u32 = 20;

/// Describes a run without training: its settings as a recipe, the network, the data, and the time it would take on
/// this machine, measured with a few steps.
///
/// # Errors
/// The errors of [`train`](crate::train::train) at the start of a run.
pub(crate) fn dry_run(config: &Config) -> Result<String, TrainError> {
    Ok(measure(config)?.text)
}

/// A dry run.
pub(crate) struct DryRun {
    /// The description.
    pub(crate) text: String,
    /// Estimated duration of an epoch with its validation.
    pub(crate) epoch_seconds: f64,
}

/// Makes a dry run; see [`dry_run`].
pub(crate) fn measure(config: &Config) -> Result<DryRun, TrainError> {
    let config = &config.clone().for_ranks(1);
    config.check()?;
    set_up_process(config, None)?;
    let device = select_device(config.device)?;
    let data = load_data(config, None, device)?;
    let config = &resolve(config, &data, device)?;
    let (learner, notes) = learner(config, &data, device, config.checkpoint.as_deref())?;
    for note in notes {
        eprintln!("note: {note}");
    }
    let mut text = toml::to_string(config).expect("settings are serialisable");
    text.push('\n');
    for line in &config.decisions {
        text += &wrap(line, TERMINAL_WIDTH, 2);
        text.push('\n');
    }
    // Writing to a string cannot fail.
    let _ = network(&mut text, learner.network().architecture());
    text.push('\n');
    fact(&mut text, "device", &device_name(device));
    if let Some(line) = config.machine.decision(device) {
        fact(&mut text, "", &line);
    }
    if device.is_cuda() && config.machine.cuda_graphs {
        let line = "the times below are those without --cuda-graphs";
        fact(&mut text, "", line);
    }
    images(&mut text, &data);
    let times = Times::measure(config, &data, learner)?;
    times.write(&mut text, config, &data);
    Ok(DryRun {
        text,
        epoch_seconds: times.epoch_seconds(config, &data),
    })
}

/// Appends a line with a label, wrapped to the terminal's width.
fn fact(text: &mut String, label: &str, fact: &str) {
    let line = format!("{label:INDENT$}{fact}");
    *text += &wrap(&line, TERMINAL_WIDTH, INDENT);
    text.push('\n');
}

fn network(text: &mut String, architecture: &Architecture) -> fmt::Result {
    writeln!(
        text,
        "{:28} {:>12} {:>12} {:>15}",
        "network", "output", "parameters", "multiply-adds"
    )?;
    let mut line = |name: &str, shape: &str, parameters: usize, macs: usize| {
        let unless_zero =
            |number: usize, text: String| if number > 0 { text } else { String::new() };
        let millions = format!("{:.1} M", macs as f64 / 1e6);
        let line = format!(
            "{name:28} {shape:>12} {:>12} {:>15}",
            unless_zero(parameters, grouped(parameters)),
            unless_zero(macs, millions)
        );
        writeln!(text, "{}", line.trim_end())
    };
    let dims = |shape: &[usize]| {
        let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
        sides.join("×")
    };
    line("  input", &dims(&architecture.input_size()), 0, 0)?;
    for stage in architecture.stages(MAX_STAGES) {
        line(
            &format!("  {}", stage.name),
            &dims(&stage.shape),
            stage.trainable_len,
            stage.macs,
        )?;
    }
    line(
        architecture.name(),
        "",
        architecture.trainable_len(),
        architecture.macs(),
    )
}

fn images(text: &mut String, data: &Dataset) {
    fact(text, "data", &data.description);
    for line in &data.decisions {
        fact(text, "", line);
    }
    let counts = &data.class_counts;
    let mut training = format!(
        "{} images, {} to {} per class",
        grouped(data.training.len()),
        grouped(counts.iter().min().copied().unwrap_or_default()),
        grouped(counts.iter().max().copied().unwrap_or_default()),
    );
    if data.changed_labels > 0 {
        training += &format!(", {} labels changed by noise", grouped(data.changed_labels));
    }
    training += &format!("; augmentation {}", data.augmentation);
    fact(text, "training", &training);
    let validation = format!("{} images", grouped(data.validation.len()));
    fact(text, "validation", &validation);
    let test = data.test.as_ref();
    let test = test.map_or_else(|| "none".to_owned(), |test| test.description().to_string());
    fact(text, "test", &test);
}

/// Measured times.
struct Times {
    /// Training on an image, in seconds, including the wait for it.
    image: f64,
    /// The loss of a batch and its gradient.
    loss: Duration,
    /// Validation of an image, in seconds, including the wait for it.
    validation: f64,
    /// Images per second of the data loader alone.
    loader: f64,
}

impl Times {
    fn measure(config: &Config, data: &Dataset, mut learner: Learner) -> Result<Self, TrainError> {
        let mut loaded = 0;
        let start = Instant::now();
        for batch in data.training.epoch(1, config.batching(), 0, Part::WHOLE) {
            loaded += batch?.labels.len();
            if start.elapsed() > TIMED {
                break;
            }
        }
        let loader = loaded as f64 / start.elapsed().as_secs_f64();
        let steps = time_steps(config, data, &mut learner, TIMED)?;
        Ok(Self {
            image: steps.seconds / steps.images.max(1) as f64,
            loss: time_of_loss(config, data, &learner)?,
            validation: time_of_validation(config, data, &learner)?,
            loader,
        })
    }

    /// Duration of an epoch and its validation.
    fn epoch_seconds(&self, config: &Config, data: &Dataset) -> f64 {
        let batching = config.batching();
        let images = data.training.per_epoch();
        let last = batching.batches(images).saturating_sub(1);
        let trained = batching.positions(images, last).end.min(images);
        self.image * trained as f64 + self.validation * data.validation.len() as f64
    }

    fn write(&self, text: &mut String, config: &Config, data: &Dataset) {
        let batches = config.batching().batches(data.training.per_epoch());
        let batch = config.batch_size.min(data.training.per_epoch());
        let step = self.image * batch as f64;
        let epoch = self.epoch_seconds(config, data);
        let speed = format!(
            "{} per batch ({:.1} % of it the loss), {} images/s; the data loader alone: {} images/s",
            duration(step),
            100.0 * self.loss.as_secs_f64() / step,
            grouped((1.0 / self.image).round() as usize),
            grouped(self.loader.round() as usize),
        );
        fact(text, "speed", &speed);
        let plural = |count: usize, ending| if count == 1 { "" } else { ending };
        let time = format!(
            "{} for {} epoch{} of {} batch{}, including validation; {} per epoch",
            duration(epoch * config.epochs as f64),
            config.epochs,
            plural(config.epochs, "s"),
            grouped(batches),
            plural(batches, "es"),
            duration(epoch),
        );
        fact(text, "time", &time);
    }
}

/// A duration in words: `0.012 s`, `3.4 s`, `2m 5s`.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        ..1.0 => format!("{seconds:.3} s"),
        ..60.0 => format!("{seconds:.1} s"),
        _ => humantime::format_duration(Duration::from_secs(seconds.round() as u64)).to_string(),
    }
}

/// Training steps and the time that they took.
#[derive(Debug, Default)]
struct Steps {
    seconds: f64,
    /// Images that the steps were made with, or that could not be read.
    images: usize,
    /// Optimizer steps.
    count: usize,
}

/// Times training steps, from loading the images to updating the weights, for at least `at_least`, after a few steps
/// that are not timed. Epochs of a few batches are timed as a whole, so that a smaller last batch and the start of
/// loading count as they do in a run.
fn time_steps(
    config: &Config,
    data: &Dataset,
    learner: &mut Learner,
    at_least: Duration,
) -> Result<Steps, TrainError> {
    let batches = config.batching().batches(data.training.per_epoch());
    let steps_per_epoch = batches.div_ceil(config.grad_accum_steps);
    let whole_epochs = steps_per_epoch < WARM_UP + MIN_STEPS;
    let mut steps = Steps::default();
    let mut start = Instant::now();
    // Steps of an epoch that is timed as a whole are timed from the second epoch on.
    let mut warm_up = match whole_epochs {
        true => steps_per_epoch,
        false => WARM_UP,
    };
    let criterion = criterion(config, 1, 0)?;
    for epoch in 1.. {
        let mut batches = data
            .training
            .epoch(epoch, config.batching(), 0, Part::WHOLE);
        let mut tried = 0;
        let mut updated = 0;
        loop {
            let group = batches.by_ref().take(config.grad_accum_steps);
            let group: Vec<Batch> = group.collect::<Result<_, _>>()?;
            if group.is_empty() {
                break;
            }
            tried += 1;
            let usable = group.iter().filter(|batch| learner.can_train_on(batch));
            let images: usize = usable.map(|batch| batch.labels.len()).sum();
            if images > 0 {
                step(learner, &group, &criterion, images)?;
                updated += 1;
            }
            if warm_up > 0 {
                warm_up -= 1;
                learner.wait();
                (start, steps) = (Instant::now(), Steps::default());
                continue;
            }
            let skipped: usize = group.iter().map(|batch| batch.skipped).sum();
            steps.images += images + skipped;
            steps.count += usize::from(images > 0);
            let is_enough = start.elapsed() >= at_least;
            if !whole_epochs && tried >= WARM_UP + MIN_STEPS && is_enough {
                learner.wait();
                steps.seconds = start.elapsed().as_secs_f64();
                return Ok(steps);
            }
        }
        learner.wait();
        steps.seconds = start.elapsed().as_secs_f64();
        let enough = steps.count >= MIN_STEPS && start.elapsed() >= at_least;
        // Without a readable image there is nothing to measure.
        if enough || updated == 0 {
            return Ok(steps);
        }
    }
    Ok(steps)
}

/// Makes an optimizer step as a run does. With a learning rate of 0, it takes the same time but cannot diverge.
fn step(
    learner: &mut Learner,
    group: &[Batch],
    criterion: &TrainingLoss,
    images: usize,
) -> Result<(), TrainError> {
    learner.zero_grad()?;
    for batch in group {
        if !learner.can_train_on(batch) {
            continue;
        }
        let weight = batch.labels.len() as f64 / images as f64;
        learner
            .accumulate_gradients(batch, criterion, weight, false)
            .map_err(|error| error.at(1, 1, 0.0))?;
    }
    // As in a run, a GPU is not waited for.
    let wait = learner.device() == Device::Cpu;
    learner.step(0.0, 1, wait)?;
    Ok(())
}

/// Seconds of validation per image. The first batch is not timed, since it is slower.
fn time_of_validation(
    config: &Config,
    data: &Dataset,
    learner: &Learner,
) -> Result<f64, TrainError> {
    let batches = || {
        data.validation
            .in_order(config.validation_batch_size, Part::WHOLE)
    };
    let mut networks = vec![learner.validated_network()];
    if config.validation.val_raw {
        networks.push(learner.network());
    }
    let score = |batch: &Batch| match batch.labels.is_empty() {
        true => Ok(()),
        false => learner.scores(batch, &networks).map(drop),
    };
    if let Some(first) = batches().next() {
        score(&first?)?;
    }
    let (start, mut images) = (Instant::now(), 0);
    for batch in batches() {
        let batch = batch?;
        score(&batch)?;
        images += batch.labels.len() + batch.skipped;
        if start.elapsed() > TIMED {
            break;
        }
    }
    Ok(start.elapsed().as_secs_f64() / images.max(1) as f64)
}

/// Time of the loss of a batch and its gradient, without the network.
fn time_of_loss(
    config: &Config,
    data: &Dataset,
    learner: &Learner,
) -> Result<Duration, TrainError> {
    let batch = config.batch_size.min(data.training.per_epoch()) as i64;
    let classes = data.class_names.len() as i64;
    let device = learner.device();
    let scores = Tensor::randn([batch, classes], (Kind::Float, device)).set_requires_grad(true);
    let labels = Tensor::randint(classes, [batch], (Kind::Int64, device));
    let criterion = criterion(config, 1, 0)?;
    let mut start = Instant::now();
    for number in 0..=LOSS_REPEATS {
        learner
            .loss(&criterion, &scores, &labels)
            .and_then(|loss| Ok(loss.f_backward()?))
            .map_err(|error| error.at(1, 1, config.peak_lr()))?;
        // Waits for the device to finish.
        scores.grad().double_value(&[0, 0]);
        if number == 0 {
            start = Instant::now();
        }
    }
    Ok(start.elapsed() / LOSS_REPEATS)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::args::Args;
    use crate::sample;

    /// The number of timed steps and images with so many training images.
    fn steps(folder: &Path, images: usize, flags: &str) -> (Steps, usize) {
        let flags = format!(
            "--data={} --train-size={images} --val-size=20 --model=basic-4 --device=cpu --workers=1 \
             --batch-size=16 {flags}",
            folder.display()
        );
        let config = Args::config_of(flags.split_whitespace().map(Into::into)).unwrap();
        let data = load_data(&config, None, Device::Cpu).unwrap();
        let (mut learner, _) = learner(&config, &data, Device::Cpu, None).unwrap();
        let before = learner.network().weights();
        let steps = time_steps(&config, &data, &mut learner, Duration::ZERO).unwrap();
        let after = learner.network().weights();
        // Batch norm statistics change.
        for (name, weight) in after {
            assert!(
                name.contains("running_") || before[&name] == weight,
                "{name}"
            );
        }
        let batches = config.batching().batches(data.training.per_epoch());
        (steps, batches)
    }

    #[test]
    fn short_epochs_are_timed_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        sample::write(folder.path(), 200, 1);
        // One batch; two; one image over; a small last batch.
        for images in [16, 32, 33, 40] {
            let (steps, batches) = steps(folder.path(), images, "");
            assert!(steps.seconds > 0.0 && steps.count >= MIN_STEPS, "{steps:?}");
            assert_eq!(steps.images % images, 0, "{steps:?}");
            assert_eq!(steps.count, steps.images / images * batches, "{steps:?}");
        }
    }

    #[test]
    fn a_timed_step_is_a_group_of_batches() {
        let folder = tempfile::tempdir().unwrap();
        sample::write(folder.path(), 200, 1);
        // Three steps per epoch, of two batches, two batches and one batch.
        let flags = "--grad-accum-steps=2 --model-ema-decay=0.9 --clip-grad=1";
        let (steps, _) = steps(folder.path(), 80, flags);
        assert!(steps.count >= MIN_STEPS, "{steps:?}");
        assert_eq!(steps.count, steps.images / 80 * 3, "{steps:?}");
        // Long epochs are timed in part.
        let (steps, _) = self::steps(folder.path(), 160, "");
        assert_eq!((steps.count, steps.images), (MIN_STEPS, 16 * MIN_STEPS));
    }
}
