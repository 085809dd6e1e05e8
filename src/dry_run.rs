use std::fmt::Write;
use std::time::{Duration, Instant};

use topk_ops_tch::select_device;

use crate::TrainError;
use crate::config::Config;
use crate::training::{criterion, device_name, learner, load_data, schedule, set_threads};

/// Steps that are timed, after one that is not.
const STEPS: usize = 3;

/// What a run would do: its settings as a recipe, the network, the data, and how long it would take on
/// this machine, measured by a few steps.
///
/// # Errors
/// As [`train`](crate::train), where it would fail at the start.
pub fn dry_run(config: &Config) -> Result<String, TrainError> {
    config.check()?;
    let config = &config.clone().resolved();
    set_threads(config);
    let device = select_device(config.device)?;
    let data = load_data(config)?;
    let mut learner = learner(config, &data, device)?;
    let batches = data.training.batches(config.batch_size);
    let schedule = schedule(config, batches);
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _ = writeln!(
        text,
        "{}",
        toml::to_string(config).expect("settings are plain values")
    );
    let architecture = learner.network().architecture();
    let _ = writeln!(
        text,
        "network     {}: input {:?}, {} classes, {} parameters, {:.0} M multiply-adds an image, on {}",
        architecture.name(),
        architecture.input_size(),
        architecture.classes(),
        architecture.trainable_len(),
        architecture.multiply_adds() as f64 / 1e6,
        device_name(device)
    );
    let _ = writeln!(text, "data        {}", data.description);
    let counts = &data.class_counts;
    let _ = writeln!(
        text,
        "training    {} images, {} to {} of a class{}; {}",
        data.training.len(),
        counts.iter().min().unwrap_or(&0),
        counts.iter().max().unwrap_or(&0),
        match data.changed_labels {
            0 => String::new(),
            changed => format!(", {changed} labels changed"),
        },
        data.augmentation
    );
    let _ = writeln!(text, "validation  {} images", data.validation.len());
    let _ = match &data.test {
        Some(test) => writeln!(text, "test        {}", test.description()),
        None => writeln!(text, "test        none"),
    };
    let mut times = Vec::new();
    for (number, batch) in data
        .training
        .epoch(1, config.batch_size, 0)
        .take(1 + STEPS)
        .enumerate()
    {
        let batch = batch?;
        let start = Instant::now();
        learner.begin_step()?;
        let lr = schedule.learning_rate(1, number);
        let learnt = learner.learn(&batch, &criterion(config, 1, 0)?, 1.0);
        learnt.map_err(|fault| fault.at(1, number + 1, lr))?;
        learner.step(lr, true)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let step = times[(times.len() - 1) / 2];
    let whole = step * (batches * config.epochs) as u32;
    let _ = writeln!(
        text,
        "time        {:.3} s a batch, {batches} batches an epoch: {} for {} epochs, without validation",
        step.as_secs_f64(),
        humantime::format_duration(Duration::from_secs(whole.as_secs())),
        config.epochs
    );
    Ok(text)
}
