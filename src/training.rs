use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt;
use tch::Device;
use topk_history::{
    Accuracy, BEST1, BESTK, End, Epoch, EpochTime, Event, EventWriter, Run, Start, run_page,
};
use topk_libtorch::use_caching_allocator;
use topk_models::architecture;
use topk_models_tch::Network;
use topk_native::Runtime;
use topk_onnx::{CardResize, ModelCard, Training};
use topk_ops_tch::select_device;
use topk_preprocessing::Interpolation;
use topk_weights::StateDict;

use crate::conclusion::conclude;
use crate::config::{Config, OnBad};
use crate::data::Data;
use crate::folder::{FolderError, RunFolder, write_whole};
use crate::images::Batch;
use crate::learner::{Fault, Learner, RankError, label_ranks};
use crate::loss::TrainingLoss;
use crate::progress::Progress;
use crate::ramp::Ramp;
use crate::random::{Purpose, generator};
use crate::schedule::Schedule;
use crate::state::{BestSoFar, Position, State};
use crate::{ConfigError, TrainError};

/// Name of the page of a run's curves in its folder.
pub const PAGE: &str = "run.html";

/// Steps on a GPU after which it is looked whether one was left out.
const LOOK_EVERY: usize = 50;

/// When the state of a run is saved, besides after each epoch.
#[derive(Clone, Copy, Debug)]
pub struct Saving {
    /// After so many batches, if that is wanted.
    pub batches: Option<usize>,
    /// After so much time.
    pub interval: Duration,
}

impl Default for Saving {
    /// Every ten minutes.
    fn default() -> Self {
        Self {
            batches: None,
            interval: Duration::from_secs(600),
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With everything done.
    Finished(End),
    /// It was finished before, and nothing was done.
    WasFinished(End),
    /// It was asked to stop, has saved its state, and can go on.
    Interrupted,
}

/// Trains a network and leaves in the folder `out`:
///
/// - `log.jsonl`: the settings, then a line an epoch, then the test accuracy of the best; and
///   `times.jsonl`, how long they took;
/// - `best1.safetensors` and `bestk.safetensors`: the weights after the epochs with the best top-1 and
///   top-k accuracy on the validation images, each with its ONNX model and, in `.json`, what
///   `topk-eval` measured of it;
/// - `state.safetensors`: from which the run goes on when it is started again;
/// - `run.html`, a page of its curves, and files for TensorBoard.
///
/// A run that goes on gives the same as one that was never stopped: weights, log and best files bit for
/// bit, on the CPU with the same number of threads. The test images are not looked at before the end.
///
/// Stops after a step, with its state saved, once `stop` is set.
///
/// # Errors
/// If the data, the network or the device cannot be had, the settings do not fit them or those of a run
/// in the folder, the training diverges, or a file cannot be written. Files written before stay and are
/// whole, and the same call goes on from them.
pub fn train(
    config: &Config,
    out: &Path,
    saving: Saving,
    stop: &AtomicBool,
) -> Result<Outcome, TrainError> {
    config.check()?;
    let config = &config.clone().resolved();
    let settings = config.to_map();
    let open = || RunFolder::open(out, &settings);
    let opened = out.exists().then(open).transpose()?;
    if let Some((_, Some(state))) = &opened
        && state.position.finished
    {
        let run = Run::read(out)?;
        let end = run.end;
        let end = end.ok_or_else(|| FolderError::Foreign(out.to_owned()))?;
        return Ok(Outcome::WasFinished(end));
    }
    set_up_process(config);
    let device = select_device(config.device)?;
    // Needed at the end: not to be missed only then.
    let runtime = Runtime::load()?;
    let data = load_data(config)?;
    let mut learner = learner(config, &data, device)?;
    // Not before it is known that the run can start.
    let (folder, state) = match opened {
        Some(opened) => opened,
        None => open()?,
    };
    let position = match state {
        Some(state) => state.restore(&mut learner)?,
        None => Position::start(settings.clone()),
    };
    let start = Start {
        config: position.config.clone(),
        device: device_name(device),
        classes: data.class_names.len(),
        train_images: data.training.len(),
        val_images: data.validation.len(),
        parameters: learner.network().architecture().trainable_len(),
    };
    let batches = data.training.batches(config.batch_size);
    let progress = Progress::new(config.epochs, batches, config.topk);
    progress.line(&data.description);
    progress.line(&format!(
        "{} training and {} validation images of {} classes{}",
        start.train_images,
        start.val_images,
        start.classes,
        match data.test {
            Some(ref test) => format!(", {} for the test", test.len()),
            None => ", none for a test".to_owned(),
        }
    ));
    progress.line(&format!(
        "{}: {} parameters, loss {}, on {}",
        config.model,
        start.parameters,
        config.loss.name.as_str(),
        start.device
    ));
    let events = EventWriter::create(out, &start, position.epoch)?;
    let mut training = Trainer {
        schedule: schedule(config, batches),
        config,
        data: &data,
        learner,
        folder,
        events,
        progress,
        position,
        saving,
        saved: Instant::now(),
    };
    if training.position.log_bytes == 0 {
        let event = Event::Start(start);
        training.folder.log(&event, &mut training.position)?;
    } else {
        let Position { epoch, batch, .. } = training.position;
        training
            .progress
            .line(&format!("going on in epoch {epoch} after batch {batch}"));
    }
    if !training.epochs(stop)? {
        training.progress.finish();
        return Ok(Outcome::Interrupted);
    }
    training.progress.finish();
    training.conclude(&runtime).map(Outcome::Finished)
}

/// The images that a run needs.
pub(crate) fn load_data(config: &Config) -> Result<Data, TrainError> {
    let path = config.data.as_ref().ok_or_else(ConfigError::no_data)?;
    Ok(Data::load(config, path)?)
}

/// Settings of the process: its threads, and what becomes of its memory.
pub(crate) fn set_up_process(config: &Config) {
    use_caching_allocator();
    if let Some(threads) = config.threads {
        tch::set_num_threads(threads as i32);
        // Fails only if there is a pool already, which then stays.
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global();
    }
}

/// The network as it begins.
pub(crate) fn learner(config: &Config, data: &Data, device: Device) -> Result<Learner, TrainError> {
    let classes = data.class_names.len();
    if config.topk > classes {
        let k = config.topk;
        return Err(TrainError::TopK { k, classes });
    }
    criterion(config, 1, 0)?.check_classes(classes)?;
    tch::manual_seed(config.seed.into());
    let architecture = architecture(&config.model, data.shape, classes)?;
    let mut network = Network::new(architecture, device);
    if let Some(path) = &config.weights {
        let file = StateDict::read(path)?;
        let matched = network.architecture().matched(file, config.head);
        let matched = matched.map_err(|error| TrainError::Pretrained {
            path: path.clone(),
            error,
        })?;
        network.load(&matched.tensors)?;
    }
    Ok(Learner::new(config, network, data.shape)?)
}

pub(crate) fn schedule(config: &Config, batches: usize) -> Schedule {
    Schedule {
        kind: config.schedule,
        peak: config.lr,
        milestones: config.milestones.clone().unwrap_or_default(),
        warmup: config.warmup_epochs,
        epochs: config.epochs,
        steps_per_epoch: batches.div_ceil(config.accumulate),
    }
}

/// The loss in an epoch; `seed` is for what it draws.
pub(crate) fn criterion(
    config: &Config,
    epoch: usize,
    seed: u64,
) -> Result<TrainingLoss, topk_ops::LossError> {
    config
        .loss
        .criterion(config.topk, epoch, config.epochs, seed)
}

/// A run in progress.
struct Trainer<'a> {
    config: &'a Config,
    data: &'a Data,
    schedule: Schedule,
    learner: Learner,
    folder: RunFolder,
    events: EventWriter,
    progress: Progress,
    position: Position,
    saving: Saving,
    saved: Instant,
}

impl Trainer<'_> {
    /// Trains through all epochs that are left; says whether it came to the end.
    fn epochs(&mut self, stop: &AtomicBool) -> Result<bool, TrainError> {
        if self.position.epoch <= self.config.epochs {
            self.progress.titles();
        }
        while self.position.epoch <= self.config.epochs {
            if !self.train_epoch(stop)? {
                self.save()?;
                return Ok(false);
            }
            self.end_epoch()?;
        }
        Ok(true)
    }

    /// Trains through the rest of an epoch; says whether it came to its end.
    fn train_epoch(&mut self, stop: &AtomicBool) -> Result<bool, TrainError> {
        let config = self.config;
        let epoch = self.position.epoch;
        let total = self.data.training.batches(config.batch_size);
        let mut clock = Instant::now();
        let mut batches = self
            .data
            .training
            .epoch(epoch, config.batch_size, self.position.batch);
        let wait = self.learner.device() == Device::Cpu || config.on_nan == OnBad::Skip;
        while self.position.batch < total {
            let first = self.position.batch;
            let count = config.accumulate.min(total - first);
            let mut group = Vec::with_capacity(count);
            let waiting = Instant::now();
            for batch in batches.by_ref().take(count) {
                group.push(batch?);
            }
            self.position.waiting_seconds += waiting.elapsed().as_secs_f64();
            let lr = self
                .schedule
                .learning_rate(epoch, first / config.accumulate);
            self.train_step(&group, lr, wait)?;
            self.position.batch += count;
            for batch in &group {
                self.position.images += batch.labels.len();
                self.position.skipped_images += batch.skipped;
            }
            self.position.seconds += clock.elapsed().as_secs_f64();
            clock = Instant::now();
            let steps = self.position.batch.div_ceil(config.accumulate);
            if !wait && (steps.is_multiple_of(LOOK_EVERY) || self.position.batch == total) {
                self.look_for_skipped(lr)?;
            }
            self.show(self.learner.device() == Device::Cpu);
            if self.position.batch < total {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                self.save_if_due()?;
            }
        }
        Ok(true)
    }

    /// Learns from batches, for one step.
    fn train_step(&mut self, group: &[Batch], lr: f64, wait: bool) -> Result<(), TrainError> {
        let epoch = self.position.epoch;
        let images: usize = group.iter().map(|batch| batch.labels.len()).sum();
        if images == 0 {
            return Ok(());
        }
        self.learner.begin_step()?;
        for (batch, number) in group.iter().zip(self.position.batch..) {
            if batch.labels.is_empty() {
                continue;
            }
            let purpose = Purpose::Batch {
                epoch,
                batch: number,
            };
            let seed: u64 = generator(self.config.seed, purpose).random();
            // What the network draws, such as dropout.
            tch::manual_seed(seed as i64);
            let criterion = criterion(self.config, epoch, seed)?;
            let weight = batch.labels.len() as f64 / images as f64;
            match self.learner.learn(batch, &criterion, weight) {
                Ok(()) => {}
                Err(Fault::NotFinite(_)) if self.config.on_nan == OnBad::Skip => {
                    self.learner.give_up_step()?;
                    self.position.skipped_steps += self.learner.take_skipped();
                    return Ok(());
                }
                Err(fault) => return Err(fault.at(epoch, number + 1, lr)),
            }
        }
        let made = self.learner.step(lr, wait)?;
        if made == Some(false) {
            if self.config.on_nan == OnBad::Stop {
                let reason = match self.learner.bad_gradient() {
                    Some(name) => format!("the gradient of {name} is not finite"),
                    None => "the gradient is not finite".to_owned(),
                };
                return Err(Fault::NotFinite(reason).at(epoch, self.position.batch + 1, lr));
            }
            self.position.skipped_steps += self.learner.take_skipped();
        }
        Ok(())
    }

    fn look_for_skipped(&mut self, lr: f64) -> Result<(), TrainError> {
        match self.learner.take_skipped() {
            0 => Ok(()),
            count => {
                let reason = format!("{count} of the last {LOOK_EVERY} gradients were not finite");
                let Position { epoch, batch, .. } = self.position;
                Err(Fault::NotFinite(reason).at(epoch, batch, lr))
            }
        }
    }

    /// Shows how far the epoch is; the loss and accuracy too if that takes no waiting.
    fn show(&self, sums: bool) {
        let Position {
            epoch,
            batch,
            images,
            seconds,
            ..
        } = self.position;
        let sums = sums.then(|| self.learner.sums().map(|sum| sum / images.max(1) as f64));
        self.progress
            .step(epoch, batch, images as f64 / seconds, sums);
    }

    /// Validates, keeps the network if it is among the best, and writes what the epoch gave.
    fn end_epoch(&mut self) -> Result<(), TrainError> {
        let config = self.config;
        let start = Instant::now();
        let number = self.position.epoch;
        let ranks = label_ranks(
            self.learner.kept(),
            &self.data.validation,
            self.data.shape,
            config.test_batch_size,
        )
        .map_err(|error| match error {
            RankError::BadImage(error) => TrainError::BadImage(error),
            RankError::Nan(image) => TrainError::NanScores {
                epoch: number,
                image,
            },
        })?;
        let val = Accuracy::of(&ranks, config.topk);
        let [loss, top1, topk] = self.learner.sums();
        let images = self.position.images;
        let changing = |ramp: Option<Ramp>| {
            let ramp = ramp.filter(|ramp| !ramp.is_constant())?;
            Some(ramp.at(number, config.epochs))
        };
        let last_step = self.schedule.steps_per_epoch.saturating_sub(1);
        let epoch = Epoch {
            epoch: number,
            lr: self.schedule.learning_rate(number, last_step),
            tau: changing(config.loss.used_tau()),
            alpha: changing(config.loss.used_alpha()),
            loss: loss / images as f64,
            train: Accuracy {
                images,
                top1_correct: top1 as usize,
                topk_correct: topk as usize,
            },
            val,
            skipped_steps: self.position.skipped_steps,
            skipped_images: self.position.skipped_images,
        };
        let time = EpochTime {
            epoch: number,
            seconds: self.position.seconds + start.elapsed().as_secs_f64(),
            images_per_second: images as f64 / self.position.seconds,
            waiting_seconds: self.position.waiting_seconds,
        };
        let improved = self.keep_best(val)?;
        self.folder
            .log(&Event::Epoch(epoch.clone()), &mut self.position)?;
        self.folder.time(&time, &mut self.position)?;
        self.events.epoch(&epoch, Some(&time))?;
        self.position.next_epoch();
        self.learner.set_sums([0.0; 3]);
        self.save()?;
        self.write_page()?;
        self.progress.epoch(&epoch, &time, &improved.join(" "));
        Ok(())
    }

    /// Writes the network to the files of the measures by which it is the best so far, and names them.
    fn keep_best(&mut self, val: Accuracy) -> Result<Vec<&'static str>, TrainError> {
        type Measure = fn(&Accuracy) -> usize;
        let measures: [(&str, Measure); 2] = [
            (BEST1, |accuracy| accuracy.top1_correct),
            (BESTK, |accuracy| accuracy.topk_correct),
        ];
        let mut improved = Vec::new();
        let mut checkpoint = None;
        for (name, measure) in measures {
            let known = self.position.best.iter().position(|best| best.name == name);
            if known.is_some_and(|at| measure(&val) <= measure(&self.position.best[at].val)) {
                continue;
            }
            let path = self.folder.path().join(name).with_extension("safetensors");
            checkpoint
                .get_or_insert_with(|| self.learner.kept().checkpoint(self.card(&val)))
                .save(&path)?;
            let best = BestSoFar {
                name: name.to_owned(),
                epoch: self.position.epoch,
                val,
            };
            match known {
                Some(at) => self.position.best[at] = best,
                None => self.position.best.push(best),
            }
            improved.push(name);
        }
        Ok(improved)
    }

    fn card(&self, val: &Accuracy) -> ModelCard {
        let (config, data) = (self.config, self.data);
        let epoch = self.position.epoch;
        let number = |ramp: Option<Ramp>| ramp.map(|ramp| ramp.at(epoch, config.epochs));
        ModelCard {
            format: ModelCard::FORMAT,
            architecture: config.model.clone(),
            class_names: Some(data.class_names.clone()),
            input_size: data.shape,
            resize: data.test_resize.map(|shorter_side| CardResize {
                shorter_side: shorter_side as usize,
                interpolation: Interpolation::Bilinear,
            }),
            mean: data.normalization.mean,
            std: data.normalization.std,
            training: Some(Training {
                dataset: config.data.as_deref().map(Data::name).unwrap_or_default(),
                noise: config.noise,
                loss: config.loss.name.as_str().to_owned(),
                k: config.topk,
                tau: number(config.loss.used_tau()),
                alpha: number(config.loss.used_alpha()),
                seed: config.seed.into(),
                epoch,
                val_top1: val.top1(),
                val_topk: val.topk(),
            }),
        }
    }

    fn save_if_due(&mut self) -> Result<(), TrainError> {
        let Saving { batches, interval } = self.saving;
        let by_count =
            batches.is_some_and(|every| self.position.batch.is_multiple_of(every.max(1)));
        if by_count || self.saved.elapsed() >= interval {
            self.save()?;
        }
        Ok(())
    }

    fn save(&mut self) -> Result<(), TrainError> {
        State::save(self.folder.path(), &self.position, &self.learner)?;
        self.saved = Instant::now();
        Ok(())
    }

    fn write_page(&self) -> Result<(), TrainError> {
        let page = run_page(&Run::read(self.folder.path())?);
        let path = self.folder.path().join(PAGE);
        Ok(write_whole(&path, page.as_bytes())?)
    }

    /// Exports the best checkpoints, measures them on the test images, and ends the run.
    fn conclude(mut self, runtime: &Runtime) -> Result<End, TrainError> {
        let folder = self.folder.path().to_owned();
        let best = self.position.best.iter();
        let checkpoints = best
            .map(|best| conclude(runtime, self.config, &folder, best, self.data.test.as_ref()))
            .collect::<Result<_, _>>()?;
        let end = End { checkpoints };
        self.folder
            .log(&Event::End(end.clone()), &mut self.position)?;
        self.events.end(&end)?;
        self.write_page()?;
        self.position.finished = true;
        self.save()?;
        Ok(end)
    }
}

pub(crate) fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        device => format!("{device:?}").to_lowercase(),
    }
}
