//! What `topk-train --dry-run` prints.

use std::fmt::{self, Write};
use std::time::{Duration, Instant};

use tch::{Kind, Tensor};
use topk_libtorch::select_device;
use topk_models::Architecture;
use topk_report::text::{TERMINAL_WIDTH, grouped, wrap};

use crate::TrainError;
use crate::config::Config;
use crate::dataset::Dataset;
use crate::step::Learner;
use crate::train::{criterion, device_name, learner, load_data, lr_schedule, set_up_process};

/// Maximum number of rows in the table of the network.
const MAX_STAGES: usize = 32;
/// Number of steps at the start that are not timed.
const WARM_UP: usize = 2;
/// Columns of the labels before facts.
const INDENT: usize = 12;
/// Minimum number of timed steps, if an epoch has that many.
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
    config.check()?;
    let config = &config.clone().resolved();
    set_up_process(config);
    let device = select_device(config.device)?;
    let data = load_data(config)?;
    let (learner, _) = learner(config, &data, device, config.checkpoint.as_deref())?;
    let mut text = toml::to_string(config).expect("settings are serialisable");
    text.push('\n');
    // Writing to a string cannot fail.
    let _ = network(&mut text, learner.network().architecture());
    text.push('\n');
    fact(&mut text, "device", &device_name(device));
    images(&mut text, &data);
    let times = Times::measure(config, &data, learner)?;
    times.write(&mut text, config, &data);
    Ok(text)
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
    /// A training batch, including the wait for its images.
    step: Duration,
    /// The loss of a batch and its gradient.
    loss: Duration,
    /// Validation of an image.
    validation: Duration,
    /// Images per second of the data loader alone.
    loader: f64,
}

impl Times {
    fn measure(config: &Config, data: &Dataset, mut learner: Learner) -> Result<Self, TrainError> {
        let epoch = || data.training.epoch(1, config.batching(), 0);
        let mut loaded = 0;
        let start = Instant::now();
        for batch in epoch() {
            loaded += batch?.labels.len();
            if start.elapsed() > TIMED {
                break;
            }
        }
        let loader = loaded as f64 / start.elapsed().as_secs_f64();

        let schedule = lr_schedule(config, config.batching().batches(data.training.len()));
        let mut start = Instant::now();
        let mut steps = 0;
        for (number, batch) in epoch().enumerate() {
            if steps >= MIN_STEPS && start.elapsed() > TIMED {
                break;
            }
            let batch = batch?;
            if !learner.can_train_on(&batch) {
                continue;
            }
            learner.zero_grad()?;
            let lr = schedule.learning_rate(1, number / config.grad_accum_steps);
            learner
                .accumulate_gradients(&batch, &criterion(config, 1, 0)?, 1.0)
                .map_err(|error| error.at(1, number + 1, lr))?;
            learner.step(lr, number + 1, true)?;
            steps += 1;
            if number + 1 == WARM_UP {
                (start, steps) = (Instant::now(), 0);
            }
        }
        let step = start.elapsed() / steps.max(1) as u32;

        let loss = time_of_loss(config, data, &learner)?;

        let mut validation = Duration::ZERO;
        // The time of the second batch counts, if there is one: the first is slower.
        for batch in data
            .validation
            .in_order(config.validation_batch_size)
            .take(2)
        {
            let batch = batch?;
            let start = Instant::now();
            learner.scores(&batch)?;
            validation = start.elapsed() / batch.labels.len().max(1) as u32;
        }
        Ok(Self {
            step,
            loss,
            validation,
            loader,
        })
    }

    fn write(&self, text: &mut String, config: &Config, data: &Dataset) {
        let batches = config.batching().batches(data.training.len());
        let batch = config.batch_size.min(data.training.len());
        let speed = batch as f64 / self.step.as_secs_f64();
        let epoch = self.step.as_secs_f64() * batches as f64
            + self.validation.as_secs_f64() * data.validation.len() as f64;
        let duration = |seconds: f64| {
            humantime::format_duration(Duration::from_secs(seconds.round() as u64)).to_string()
        };
        let speed = format!(
            "{:.3} s per batch ({:.1} % of it the loss), {} images/s; the data loader alone: {} images/s",
            self.step.as_secs_f64(),
            100.0 * self.loss.as_secs_f64() / self.step.as_secs_f64(),
            grouped(speed.round() as usize),
            grouped(self.loader.round() as usize),
        );
        fact(text, "speed", &speed);
        let time = format!(
            "{} for {} epoch{} of {} batches, including validation; {} per epoch",
            duration(epoch * config.epochs as f64),
            config.epochs,
            if config.epochs == 1 { "" } else { "s" },
            grouped(batches),
            duration(epoch),
        );
        fact(text, "time", &time);
    }
}

/// Time of the loss of a batch and its gradient, without the network.
fn time_of_loss(
    config: &Config,
    data: &Dataset,
    learner: &Learner,
) -> Result<Duration, TrainError> {
    let batch = config.batch_size.min(data.training.len()) as i64;
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
            .map_err(|error| error.at(1, 1, config.lr))?;
        // Waits for the device to finish.
        scores.grad().double_value(&[0, 0]);
        if number == 0 {
            start = Instant::now();
        }
    }
    Ok(start.elapsed() / LOSS_REPEATS)
}
