use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use topk_data::ImageSet;

use crate::TrainError;
use crate::config::Config;
use crate::observer::{Followers, Observer};
use crate::ranks::Ranks;
use crate::train::{CheckpointPolicy, Job, Outcome, train};

/// Images that a program has itself, in place of `data`, `val_data` and `test_data` of its [`Config`].
#[derive(Debug)]
pub struct Images {
    /// The training images; their classes are those of the network.
    pub training: ImageSet,
    /// The validation images; without them, some of the training images are held out.
    pub validation: Option<ImageSet>,
    /// The images of the final test.
    pub test: Option<ImageSet>,
}

/// A run cannot start, continue or finish. The message names the file, flag or value, and what to do.
#[derive(Debug)]
pub struct Error(Box<TrainError>);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl From<TrainError> for Error {
    fn from(error: TrainError) -> Self {
        Self(Box::new(error))
    }
}

/// Trains a network, as the command `topk-train` does; see [`train`](Self::train).
///
/// ```no_run
/// use std::ops::ControlFlow;
///
/// use topk_train::{Config, Trainer, TrainingEvent};
///
/// let config = Config {
///     data: Some("photos".into()),
///     epochs: 20,
///     ..Config::default()
/// };
/// let mut best = 0.0;
/// let trainer = Trainer::new(config, "run").with_observer(|event: &TrainingEvent<'_>| {
///     if let TrainingEvent::Epoch { epoch, .. } = event {
///         best = f64::max(best, epoch.val.topk());
///     }
///     // Good enough.
///     match best > 0.95 {
///         true => ControlFlow::Break(()),
///         false => ControlFlow::Continue(()),
///     }
/// });
/// trainer.train()?;
/// # Ok::<(), topk_train::Error>(())
/// ```
pub struct Trainer<'a> {
    config: Config,
    out: PathBuf,
    images: Option<Images>,
    resume_from: Option<PathBuf>,
    observer: Option<Box<dyn Observer + 'a>>,
    policy: CheckpointPolicy,
    ranks: Ranks,
    stop: Arc<AtomicBool>,
}

impl fmt::Debug for Trainer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trainer")
            .field("config", &self.config)
            .field("out", &self.out)
            .field("images", &self.images)
            .field("resume_from", &self.resume_from)
            .finish_non_exhaustive()
    }
}

impl<'a> Trainer<'a> {
    /// A run with these settings in the folder `out`, which is created if it does not exist.
    pub fn new(config: Config, out: impl Into<PathBuf>) -> Self {
        Self {
            config,
            out: out.into(),
            images: None,
            resume_from: None,
            observer: None,
            policy: CheckpointPolicy::default(),
            ranks: Ranks::alone(),
            stop: Arc::default(),
        }
    }

    /// Trains on these images; [`Config::data`], `val_data` and `test_data` must then be `None`. A run that is resumed
    /// needs images with the same names and labels.
    pub fn with_images(self, images: Images) -> Self {
        let images = Some(images);
        Self { images, ..self }
    }

    /// Continues another run, by its folder or its state, in the folder `out`, which must not have a run.
    pub fn with_resume_from(self, run: impl Into<PathBuf>) -> Self {
        let resume_from = Some(run.into());
        Self {
            resume_from,
            ..self
        }
    }

    /// Tells an observer what happens.
    pub fn with_observer(self, observer: impl Observer + 'a) -> Self {
        let observer: Option<Box<dyn Observer + 'a>> = Some(Box::new(observer));
        Self { observer, ..self }
    }

    /// Also saves the state after each such number of batches, not only after each epoch and every ten minutes.
    pub fn with_recovery_interval(self, batches: usize) -> Self {
        self.with_policy(CheckpointPolicy {
            batches: Some(batches),
            ..CheckpointPolicy::default()
        })
    }

    /// When the state is saved.
    pub(crate) fn with_policy(self, policy: CheckpointPolicy) -> Self {
        Self { policy, ..self }
    }

    /// One of several ranks.
    pub(crate) fn with_ranks(self, ranks: Ranks) -> Self {
        Self { ranks, ..self }
    }

    /// Stops when this is set.
    pub(crate) fn with_stop(self, stop: Arc<AtomicBool>) -> Self {
        Self { stop, ..self }
    }

    /// A flag that may be set from any thread, or by a signal: the run then finishes its current step, saves its state,
    /// and ends with [`Outcome::Interrupted`].
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Trains, and writes to the folder:
    ///
    /// - `log.jsonl`: the settings, one line per epoch, and the test accuracy of the best checkpoints;
    ///   `times.jsonl`: the duration of each epoch, and repeated requests to servers;
    /// - `best1.safetensors` and `bestk.safetensors`: the weights after the epochs with the best top-1 and top-k
    ///   validation accuracy, each with its ONNX model and, in `.json`, its test results as measured by `topk-eval`;
    /// - `state.safetensors`: the state from which the run is resumed;
    /// - `summary.csv`, a table of the epochs; `run.html`, a page with the curves; and TensorBoard files.
    ///
    /// On the CPU, with the same number of threads, a resumed run gives the same weights, log and best checkpoints as
    /// an uninterrupted one, bit for bit. The test images are used only at the end.
    ///
    /// A run in the folder is resumed; some settings may change then, and a run that is finished continues if there are
    /// more epochs.
    ///
    /// A process trains one run at a time: the number of threads and the precision are those of the whole process, and
    /// initial weights are drawn with libtorch's generator, which threads share.
    ///
    /// # Errors
    /// If the data, network or device is not available, the settings do not fit them or differ from those of a run
    /// in the folder, the training diverges, or a file cannot be written. Files already written stay intact, and the same
    /// call resumes from them.
    pub fn train(mut self) -> Result<Outcome, Error> {
        let job = Job {
            config: &self.config,
            images: self.images,
            out: &self.out,
            resume_from: self.resume_from.as_deref(),
            policy: self.policy,
        };
        let observer: Option<&mut dyn Observer> = match &mut self.observer {
            Some(observer) => Some(&mut **observer),
            None => None,
        };
        let followers = Followers::new(observer, &self.stop);
        Ok(train(job, &mut self.ranks, followers)?)
    }
}
