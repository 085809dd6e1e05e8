//! Training from start to finish: sets up a run, trains, and tests the best checkpoints.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tch::Device;
use topk_history::{End, EventWriter, Run, SUMMARY, Start, run_csv, run_page};
use topk_libtorch::{
    Graph, LossScaler, adapt_spinning_to_load, select_device, use_caching_allocator,
};
use topk_models::op::{Node, Op};
use topk_models::{Classifier, architecture};
use topk_models_tch::Network;
use topk_native::Runtime;
use topk_weights::{Loaded, Note, ReadOptions, Tensor};

use crate::changes::{Changes, Effect, as_saved};
use crate::config::Config;
use crate::dataset::{Dataset, DatasetError};
use crate::defaults::resolve;
use crate::loss::TrainingLoss;
use crate::observer::{Followers, TrainingEvent};
use crate::random::with_torch_seed;
use crate::ranks::{Card, Ranks, Threads};
use crate::resume::Origin;
use crate::run_folder::{FolderError, RunFolder, write_atomically};
use crate::schedule::{LrSchedule, Plateau};
use crate::step::Learner;
use crate::teacher::Teacher;
use crate::trainer::Images;
use crate::training_loop::{Output, TrainingLoop};
use crate::{ConfigError, TrainError};

/// File name of the page with a run's curves.
pub(crate) const PAGE: &str = "run.html";

/// When the state of a run is saved, in addition to after each epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckpointPolicy {
    /// Every this many batches, if given.
    pub(crate) batches: Option<usize>,
    /// After this much time.
    pub(crate) interval: Duration,
}

impl Default for CheckpointPolicy {
    /// Every ten minutes.
    fn default() -> Self {
        Self {
            batches: None,
            interval: Duration::from_secs(600),
        }
    }
}

/// How a call of [`Trainer::train`](crate::Trainer::train) ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The run is finished.
    Finished(End),
    /// The run was finished before; nothing was done.
    AlreadyFinished(End),
    /// The run was interrupted after saving its state.
    Interrupted,
    /// This is not the rank that finishes the run; it has done its part.
    OtherRank,
}

/// A run to be trained, further trained, or resumed; see [`Trainer`](crate::Trainer).
pub(crate) struct Job<'a> {
    pub(crate) config: &'a Config,
    /// In place of those that the settings name.
    pub(crate) images: Option<Images>,
    pub(crate) out: &'a Path,
    pub(crate) resume_from: Option<&'a Path>,
    pub(crate) policy: CheckpointPolicy,
}

/// Trains a network; see [`Trainer::train`](crate::Trainer::train).
///
/// All ranks of a run call this with the same settings. Rank 0 reads and writes the folder, and the others get what they
/// need from it.
///
/// # Errors
/// Those of `Trainer::train`, or if another rank fails.
pub(crate) fn train(
    job: Job<'_>,
    ranks: &mut Ranks,
    followers: Followers<'_>,
) -> Result<Outcome, TrainError> {
    let trained = train_with(job, ranks, followers);
    trained.map_err(|error| ranks.explained(error))
}

fn train_with(
    job: Job<'_>,
    ranks: &mut Ranks,
    mut followers: Followers<'_>,
) -> Result<Outcome, TrainError> {
    let Job {
        config,
        images,
        out,
        resume_from,
        policy,
    } = job;
    let stop = followers.stop();
    if !ranks.is_first() {
        followers = Followers::new(None, stop);
    }
    let config = match &images {
        Some(images) => &config.clone().with_images(images)?,
        None => config,
    };
    let config = &config.clone().for_ranks(ranks.world_size());
    config.check()?;
    config.check_ranks(ranks.world_size())?;
    let device = select_device(config.device)?;
    ranks.agree_on(Card::new(config, policy, device))?;
    // Locked before the data are loaded: several processes may share the runs of a sweep.
    let opened = ranks.on_first(|| {
        let (folder, found) = RunFolder::open(out)?;
        let origin = Origin::find(&folder, found, resume_from)?;
        Ok((folder, origin))
    })?;
    let origin = opened.as_ref().map(|(_, origin)| origin);
    let saved = ranks.of_first(origin.map(Origin::saved_settings))?;
    let config = match &saved {
        Some(saved) => &as_saved(config, saved).resolved(),
        // A run that starts again finds its defaults, and says what it found, as the first time.
        None => &config.clone().resolved(),
    };
    config.check()?;
    let world_size = ranks.world_size();
    let changes = origin.map(|origin| origin.changes(out, config, world_size));
    let changes = ranks.together(changes.transpose().map_err(TrainError::from))?;
    let is_finished = origin.is_some_and(|origin| origin.is_finished(config));
    let has_paths = |changes: &Changes| !changes.with(Effect::Paths).is_empty();
    if ranks.any(is_finished && !changes.as_ref().is_some_and(has_paths))? {
        return already_finished(out, ranks);
    }
    set_up_process(config, ranks.threads())?;
    if config.machine.cuda_graphs && device.is_cuda() {
        Graph::check_support()
            .and_then(|()| Graph::prepare_thread(device))
            .map_err(TrainError::Graphs)?;
    }
    // Used only at the end, but a missing library must be reported at the start.
    let runtime = ranks.on_first(|| Ok(Runtime::load()?))?;
    let data = ranks.together(load_data(config, images, device))?;
    ranks.agree_on_data(&data.record)?;
    let checked = origin.map(|origin| origin.check_data(out, config, &data));
    ranks.together(checked.unwrap_or(Ok(())).map_err(TrainError::from))?;
    if ranks.any(is_finished)? {
        return already_finished(out, ranks);
    }
    let config = &ranks.together(resolve(config, &data, device))?;
    let has_weights = ranks.any(origin.is_some_and(Origin::has_weights))?;
    let checkpoint = config.checkpoint.as_deref().filter(|_| !has_weights);
    let (mut learner, notes) = ranks.together(learner(config, &data, device, checkpoint))?;
    for note in &notes {
        followers.tell(&TrainingEvent::Note(note));
    }
    let continues = origin.is_some_and(Origin::is_other);
    let begun = match (opened, changes) {
        (Some((mut folder, origin)), Some(changes)) => origin
            .begin(
                &mut folder,
                &mut learner,
                config,
                &data,
                &changes,
                world_size,
            )
            .map(|begin| Some((folder, begin))),
        _ => Ok(None),
    };
    let (folder, begin) = ranks.together(begun)?.unzip();
    let position = ranks.of_first(begin.as_ref().map(|begin| begin.position.clone()))?;
    share(ranks, &mut learner, config)?;
    let architecture = learner.network().architecture();
    let is_norm = |node: &Node| matches!(node.op, Op::BatchNorm2d { .. });
    let of_ranks = ranks.decisions(config, architecture.nodes().iter().any(is_norm));
    let start = Start {
        config: position.config.clone(),
        device: device_name(device),
        classes: data.class_names.len(),
        train_images: data.training.len(),
        val_images: data.validation.len(),
        parameters: architecture.trainable_len(),
        decisions: [&config.decisions, &data.decisions, &notes, &of_ranks]
            .into_iter()
            .flatten()
            .cloned()
            .chain(config.machine.decision(device))
            .collect(),
    };
    let mut lines = summary(config, &data, &start);
    lines.extend(of_ranks);
    lines.extend(config.machine.decision(device));
    let note = begin.as_ref().and_then(|begin| begin.note);
    lines.extend(note.map(str::to_owned));
    for line in lines {
        followers.line(&line);
    }
    let output = folder.map(|folder| -> Result<Output, TrainError> {
        let events = match continues {
            false => EventWriter::create(out, &start, position.epoch)?,
            true => events_of(out, &start)?,
        };
        Ok(Output { folder, events })
    });
    let output = ranks.together(output.transpose())?;
    let change = begin.and_then(|begin| begin.change);
    let mut training = TrainingLoop::new(
        config,
        &data,
        learner,
        ranks,
        output,
        followers.reborrow(),
        position,
        policy,
    );
    training.begin(start, change)?;
    let is_trained = training.epochs(stop)?;
    training.finish_steps()?;
    match (is_trained, runtime) {
        (false, _) => Ok(Outcome::Interrupted),
        (true, None) => Ok(Outcome::OtherRank),
        (true, Some(runtime)) => {
            let end = training.finish(&runtime, stop)?;
            Ok(end.map_or(Outcome::Interrupted, Outcome::Finished))
        }
    }
}

/// Gives all ranks the state of rank 0, and prepares their learners for common steps.
fn share(ranks: &Ranks, learner: &mut Learner, config: &Config) -> Result<(), TrainError> {
    if ranks.group().is_none() {
        return Ok(());
    }
    ranks.broadcast(&learner.tensors())?;
    let loss_scale = ranks.of_first(Some(learner.scaler().map(LossScaler::state)))?;
    if let (Some(scaler), Some(state)) = (learner.scaler_mut(), loss_scale) {
        scaler.set_state(state);
    }
    share_steps(ranks, learner, config)
}

/// Lets a learner take part in the steps of all ranks, if there are several.
pub(crate) fn share_steps(
    ranks: &Ranks,
    learner: &mut Learner,
    config: &Config,
) -> Result<(), TrainError> {
    let Some(group) = ranks.group() else {
        return Ok(());
    };
    let joined = learner.join(group, config.sync_bn);
    joined.map_err(|error| error.at(1, 1, config.peak_lr()))
}

/// The results of a run that is finished.
fn already_finished(out: &Path, ranks: &mut Ranks) -> Result<Outcome, TrainError> {
    ranks.finish()?;
    if !ranks.is_first() {
        return Ok(Outcome::OtherRank);
    }
    let end = Run::read(out)?.end;
    let end = end.ok_or_else(|| FolderError::Foreign(out.to_owned()))?;
    Ok(Outcome::AlreadyFinished(end))
}

/// TensorBoard's file of a run with the epochs in its log.
fn events_of(out: &Path, start: &Start) -> Result<EventWriter, TrainError> {
    let mut events = EventWriter::create(out, start, 1)?;
    let run = Run::read(out)?;
    for (epoch, time) in run.epochs.iter().zip(&run.times) {
        events.epoch(epoch, time.as_ref())?;
    }
    Ok(events)
}

/// The lines printed before the first epoch: data and decisions about it, network, loss and device.
fn summary(config: &Config, data: &Dataset, start: &Start) -> Vec<String> {
    let test = match &data.test {
        Some(test) => format!("{} test images", test.len()),
        None => "no test images".to_owned(),
    };
    let mut lines = config.decisions.clone();
    lines.push(format!("data: {}", data.description));
    lines.extend(data.decisions.iter().map(|line| format!("  {line}")));
    lines.extend([
        format!(
            "{} training, {} validation and {test}, {} classes",
            start.train_images, start.val_images, start.classes
        ),
        format!(
            "model: {} with {} parameters, loss {}, device {}",
            config.model(),
            start.parameters,
            config.loss.name.as_str(),
            start.device
        ),
    ]);
    lines
}

/// Loads the given images, or those that the settings name, for a device.
pub(crate) fn load_data(
    config: &Config,
    images: Option<Images>,
    device: Device,
) -> Result<Dataset, TrainError> {
    let path = config.data.as_ref().ok_or_else(ConfigError::no_data)?;
    let mut data = Dataset::load(config, path, images, device)?;
    let last_batch = config.batching().decision(data.training.per_epoch());
    data.decisions.extend(last_batch);
    Ok(data)
}

/// Process-wide settings: the CPU allocator, the number of threads, how they wait for each other, and numerics on a GPU.
/// Called by the thread that trains, before anything is computed.
///
/// `shared` are the threads of a rank that shares its machine, unless --workers is given.
pub(crate) fn set_up_process(config: &Config, shared: Option<Threads>) -> Result<(), TrainError> {
    config.machine.apply()?;
    use_caching_allocator();
    adapt_spinning_to_load();
    let threads = match config.workers {
        Some(threads) => Some(Threads {
            computing: Some(threads),
            loading: threads,
        }),
        None => shared,
    };
    if let Some(threads) = threads.and_then(|threads| threads.computing) {
        tch::set_num_threads(threads as i32);
    }
    if let Some(Threads { loading, .. }) = threads {
        // Fails only if the pool exists already; then its number of threads cannot be changed.
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(loading)
            .build_global();
    }
    Ok(())
}

/// The network at the start of training, with the weights in `checkpoint`, and its optimizer, and what was decided
/// about these weights.
pub(crate) fn learner(
    config: &Config,
    data: &Dataset,
    device: Device,
    checkpoint: Option<&Path>,
) -> Result<(Learner, Vec<String>), TrainError> {
    let classes = data.class_names.len();
    if let Some(setting) = config.first_k_above(classes) {
        return Err(TrainError::TopK { setting, classes });
    }
    // An epoch whose loss does not exist would end the run after the epochs before it.
    for epoch in 1..=config.epochs.max(1) {
        let (epochs, loss) = (config.epochs, criterion(config, epoch, 0));
        loss.and_then(|loss| loss.check_classes(classes))
            .map_err(|error| TrainError::EpochLoss {
                epoch,
                epochs,
                error,
            })?;
    }
    let architecture = architecture(config.model(), data.shape, classes)?;
    if let (true, Some(layer)) = (config.machine.cuda_graphs, architecture.random_layer()) {
        return Err(TrainError::RandomLayer {
            model: architecture.name().to_owned(),
            layer: layer.to_owned(),
        });
    }
    config.batching().check(
        data.training.per_epoch(),
        architecture.name(),
        architecture.single_value_norm(),
    )?;
    let mut network = with_torch_seed(config.seed.into(), || Network::new(architecture, device));
    let mut notes = Vec::new();
    if let Some(path) = checkpoint {
        let file = topk_data::remote::local(path).map_err(DatasetError::from)?;
        let (weights, decided) = initial_weights(&network, &file, config.classifier)?;
        network.load(&weights)?;
        for note in decided {
            notes.push(format!("{}: {note}", path.display()));
        }
    }
    let mut learner = Learner::new(config, network, data.shape)?;
    if let Some((mut teacher, lines)) = Teacher::open(config, data, device)? {
        notes.extend(lines);
        notes.extend(teacher.accuracy(config, data, device)?);
        learner.set_teacher(teacher);
    }
    notes.extend(frozen(config, &learner));
    Ok((learner, notes))
}

/// What --freeze amounts to, as a line.
fn frozen(config: &Config, learner: &Learner) -> Option<String> {
    let settings = &config.optimizer;
    let [frozen, all] = learner.frozen_len();
    let until = match settings.unfreeze_epoch {
        Some(epoch) => format!(" before epoch {epoch}"),
        None => String::new(),
    };
    (frozen > 0).then(|| {
        format!(
            "--freeze {}: {frozen} of {all} parameters are not trained{until}, and batch normalisation there uses its running \
             statistics",
            settings.freeze.join(",")
        )
    })
}

/// The weights in the file of --checkpoint, under the names of the network, and what was decided about them.
fn initial_weights(
    network: &Network,
    path: &Path,
    classifier: Classifier,
) -> Result<(BTreeMap<String, Tensor>, Vec<String>), TrainError> {
    let fail = |error| TrainError::Checkpoint {
        path: path.to_owned(),
        error: Box::new(error),
    };
    let Loaded { weights, notes } = Loaded::read(path, ReadOptions::default())?;
    let mut renamed = network.architecture().renamed(weights).map_err(fail)?;
    let adapted = network
        .architecture()
        .adapt_input_conv(&mut renamed.weights);
    let adapted = adapted.map_err(fail)?;
    let notes = notes.into_iter().map(|note| match note {
        Note::NotEma { .. } => format!("{note}; `topk-export weights --use-ema` writes those"),
        note => note.to_string(),
    });
    let notes = notes.chain(renamed.notes).chain(adapted).collect();
    let matched = network.architecture().matched(renamed.weights, classifier);
    Ok((matched.map_err(fail)?.tensors, notes))
}

/// The learning rates of a run with `batches` batches per epoch; `plateau` is saved with its state.
pub(crate) fn lr_schedule(config: &Config, batches: usize, plateau: Option<Plateau>) -> LrSchedule {
    let steps = batches.div_ceil(config.grad_accum_steps);
    let settings = config.schedule.clone();
    LrSchedule::new(settings, config.peak_lr(), config.epochs, steps, plateau)
}

/// The loss of training in an epoch; `seed` is for losses that draw random numbers.
pub(crate) fn criterion(
    config: &Config,
    epoch: usize,
    seed: u64,
) -> Result<TrainingLoss, topk_ops::LossError> {
    config
        .loss
        .criterion(config.topk(), epoch, config.epochs, seed)
}

/// Writes what is made from the log of the run in a folder: the page with the curves, and the table of epochs.
pub(crate) fn write_reports(folder: &Path) -> Result<(), TrainError> {
    let run = Run::read(folder)?;
    for (name, contents) in [(PAGE, run_page(&run)), (SUMMARY, run_csv(&run))] {
        write_atomically(&folder.join(name), contents.as_bytes())?;
    }
    Ok(())
}

/// `cpu` or `cuda:0`.
pub(crate) fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        device => format!("{device:?}").to_lowercase(),
    }
}
