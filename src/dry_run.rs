use std::fmt::{self, Write};
use std::time::{Duration, Instant};

use tch::{Kind, Tensor};
use topk_models::Architecture;
use topk_ops_tch::select_device;

use crate::TrainError;
use crate::config::Config;
use crate::data::Data;
use crate::learner::{Learner, scores};
use crate::models::with_commas;
use crate::training::{criterion, device_name, learner, load_data, schedule, set_up_process};

/// Most lines of the network's table.
const MAX_STAGES: usize = 32;
/// Steps that are not timed, at the start.
const WARM_UP: usize = 2;
/// Steps that are timed at least, if there are so many in an epoch.
const MIN_STEPS: usize = 3;
/// How long steps are timed, and how long the preparation of images is.
const TIMED: Duration = Duration::from_secs(3);
/// How often the loss alone is timed.
const LOSSES: u32 = 20;

/// What a run would do: its settings as a recipe, the network, the data, and how long it would take on
/// this machine, measured by a few steps.
///
/// # Errors
/// As [`train`](crate::train), where it would fail at the start.
pub fn dry_run(config: &Config) -> Result<String, TrainError> {
    config.check()?;
    let config = &config.clone().resolved();
    set_up_process(config);
    let device = select_device(config.device)?;
    let data = load_data(config)?;
    let learner = learner(config, &data, device)?;
    let mut text = toml::to_string(config).expect("settings are plain values");
    text.push('\n');
    // Writing to a text cannot fail.
    let _ = network(&mut text, learner.network().architecture());
    let _ = writeln!(text, "\ndevice      {}", device_name(device));
    let _ = images(&mut text, &data);
    let times = Times::measure(config, &data, learner)?;
    let _ = times.write(&mut text, config, &data);
    Ok(text)
}

fn network(text: &mut String, architecture: &Architecture) -> fmt::Result {
    writeln!(
        text,
        "{:28} {:>12} {:>12} {:>15}",
        "network", "makes", "parameters", "multiply-adds"
    )?;
    let mut line = |name: &str, shape: &str, parameters: usize, multiply_adds: usize| {
        let some = |number: usize, words: String| if number > 0 { words } else { String::new() };
        let millions = format!("{:.1} M", multiply_adds as f64 / 1e6);
        let line = format!(
            "{name:28} {shape:>12} {:>12} {:>15}",
            some(parameters, with_commas(parameters)),
            some(multiply_adds, millions)
        );
        writeln!(text, "{}", line.trim_end())
    };
    let by = |shape: &[usize]| {
        let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
        sides.join("×")
    };
    line("  input", &by(&architecture.input_size()), 0, 0)?;
    for stage in architecture.stages(MAX_STAGES) {
        line(
            &format!("  {}", stage.name),
            &by(&stage.shape),
            stage.trainable_len,
            stage.multiply_adds,
        )?;
    }
    line(
        architecture.name(),
        "",
        architecture.trainable_len(),
        architecture.multiply_adds(),
    )
}

fn images(text: &mut String, data: &Data) -> fmt::Result {
    writeln!(text, "data        {}", data.description)?;
    let counts = &data.class_counts;
    write!(
        text,
        "training    {} images, {} to {} of a class",
        with_commas(data.training.len()),
        with_commas(counts.iter().min().copied().unwrap_or_default()),
        with_commas(counts.iter().max().copied().unwrap_or_default()),
    )?;
    if data.changed_labels > 0 {
        write!(
            text,
            ", {} labels changed",
            with_commas(data.changed_labels)
        )?;
    }
    writeln!(text, "; {}", data.augmentation)?;
    let validation = with_commas(data.validation.len());
    writeln!(text, "validation  {validation} images")?;
    match &data.test {
        Some(test) => writeln!(text, "test        {}", test.description()),
        None => writeln!(text, "test        none"),
    }
}

/// What was measured.
struct Times {
    /// Of a step, with the wait for its images.
    step: Duration,
    /// Of the loss of a batch and its gradient.
    loss: Duration,
    /// Of an image for validation.
    validation: Duration,
    /// Images prepared in a second, while nothing else is done.
    prepared: f64,
}

impl Times {
    fn measure(config: &Config, data: &Data, mut learner: Learner) -> Result<Self, TrainError> {
        let epoch = || data.training.epoch(1, config.batch_size, 0);
        let mut prepared = 0;
        let start = Instant::now();
        for batch in epoch() {
            prepared += batch?.labels.len();
            if start.elapsed() > TIMED {
                break;
            }
        }
        let prepared = prepared as f64 / start.elapsed().as_secs_f64();

        let schedule = schedule(config, data.training.batches(config.batch_size));
        let mut start = Instant::now();
        let mut steps = 0;
        for (number, batch) in epoch().enumerate() {
            if steps >= MIN_STEPS && start.elapsed() > TIMED {
                break;
            }
            let batch = batch?;
            learner.begin_step()?;
            let lr = schedule.learning_rate(1, number / config.accumulate);
            let learnt = learner.learn(&batch, &criterion(config, 1, 0)?, 1.0);
            learnt.map_err(|fault| fault.at(1, number + 1, lr))?;
            learner.step(lr, true)?;
            steps += 1;
            if number + 1 == WARM_UP {
                (start, steps) = (Instant::now(), 0);
            }
        }
        let step = start.elapsed() / steps.max(1) as u32;

        let loss = time_of_loss(config, data, &learner)?;

        let network = learner.kept();
        let mut validation = Duration::ZERO;
        // The second, if there is one: the first is slower.
        for batch in data.validation.in_order(config.test_batch_size).take(2) {
            let batch = batch?;
            let start = Instant::now();
            scores(network, &batch, data.shape);
            validation = start.elapsed() / batch.labels.len().max(1) as u32;
        }
        Ok(Self {
            step,
            loss,
            validation,
            prepared,
        })
    }

    fn write(&self, text: &mut String, config: &Config, data: &Data) -> fmt::Result {
        let batches = data.training.batches(config.batch_size);
        let batch = config.batch_size.min(data.training.len());
        let speed = batch as f64 / self.step.as_secs_f64();
        let epoch = self.step.as_secs_f64() * batches as f64
            + self.validation.as_secs_f64() * data.validation.len() as f64;
        let words = |seconds: f64| {
            humantime::format_duration(Duration::from_secs(seconds.round() as u64)).to_string()
        };
        writeln!(
            text,
            "speed       {:.3} s a batch, {:.1} % of it the loss; {} images/s, and {} a second are prepared",
            self.step.as_secs_f64(),
            100.0 * self.loss.as_secs_f64() / self.step.as_secs_f64(),
            with_commas(speed.round() as usize),
            with_commas(self.prepared.round() as usize),
        )?;
        writeln!(
            text,
            "time        {} for {} epochs of {batches} batches, with validation; {} an epoch",
            words(epoch * config.epochs as f64),
            config.epochs,
            words(epoch),
        )
    }
}

/// How long the loss of a batch takes with its gradient, without the network.
fn time_of_loss(config: &Config, data: &Data, learner: &Learner) -> Result<Duration, TrainError> {
    let batch = config.batch_size.min(data.training.len()) as i64;
    let classes = data.class_names.len() as i64;
    let device = learner.device();
    let scores = Tensor::randn([batch, classes], (Kind::Float, device)).set_requires_grad(true);
    let labels = Tensor::randint(classes, [batch], (Kind::Int64, device));
    let criterion = criterion(config, 1, 0)?;
    let mut start = Instant::now();
    for number in 0..=LOSSES {
        learner
            .loss(&criterion, &scores, &labels)
            .and_then(|loss| Ok(loss.f_backward()?))
            .map_err(|fault| fault.at(1, 1, config.lr))?;
        // Waits for the device.
        scores.grad().double_value(&[0, 0]);
        if number == 0 {
            start = Instant::now();
        }
    }
    Ok(start.elapsed() / LOSSES)
}
