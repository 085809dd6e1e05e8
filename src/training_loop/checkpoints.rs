//! The checkpoints of a run.

use std::fs;
use std::io;
use std::path::Path;

use topk_history::{Accuracy, BEST1, BESTK};
use topk_models::Checkpoint;
use topk_onnx::{CardResize, ChannelValues, ModelCard, Training};
use topk_preprocessing::{Interpolation, Resize};

use super::TrainingLoop;
use crate::TrainError;
use crate::annealed::Annealed;
use crate::checkpoints::{EXTENSION, Kept, LAST, epoch_name, own_best_name};
use crate::config::Config;
use crate::dataset::Dataset;
use crate::run_folder::FolderError;
use crate::state::{BestSoFar, Position, ValidatedEpoch};
use crate::validation::{Metric, Tally};

impl TrainingLoop<'_> {
    /// Notes what follows from the validation of the current epoch: for which metrics it is the best so far, which are
    /// returned; whether its checkpoint is kept; and how long it has not become better.
    pub(super) fn note_validation(&mut self, tally: &Tally) -> Vec<Metric> {
        type Correct = fn(&Accuracy) -> usize;
        let (epoch, epochs) = (self.position.epoch, self.config.epochs);
        let at_epoch = |value: Option<Annealed>| value.map(|value| value.at(epoch, epochs));
        let validated = ValidatedEpoch {
            epoch,
            val: tally.accuracy(),
            val_loss: tally.mean_loss(),
            tau: at_epoch(self.config.loss.used_tau()),
            alpha: at_epoch(self.config.loss.used_alpha()),
        };
        let k = self.config.topk();
        let metric = self.config.eval_metric();
        let value = metric.finite(tally.value(metric));
        // These two are compared as counts.
        let mut kinds: Vec<(String, Metric, Option<Correct>)> = vec![
            (
                BEST1.to_owned(),
                Metric::Top(1),
                Some(|val| val.top1_correct),
            ),
            (
                BESTK.to_owned(),
                Metric::Top(k),
                Some(|val| val.topk_correct),
            ),
        ];
        if let Some(name) = own_best_name(metric, k) {
            kinds.push((name, metric, None));
        }
        let mut improved = Vec::new();
        for (name, kind, correct) in kinds {
            let is_better = |before: &BestSoFar| match correct {
                Some(correct) => correct(&validated.val) > correct(&before.of.val),
                None => before
                    .value
                    .is_none_or(|before| metric.is_better(value, before, 0.0)),
            };
            let best = BestSoFar {
                name: name.clone(),
                of: validated.clone(),
                value: correct.is_none().then_some(value),
                copied: false,
            };
            match self.position.best.iter_mut().find(|best| best.name == name) {
                Some(before) if !is_better(before) => continue,
                Some(before) => *before = best,
                None => self.position.best.push(best),
            }
            improved.push(kind);
        }
        improved.dedup();
        let min_delta = self.config.min_delta();
        self.position.watch.note(metric, epoch, value, min_delta);
        self.position.dropped = match self.config.checkpoints.checkpoint_hist {
            Some(most) => {
                let new = Kept { epoch, value };
                Kept::add(&mut self.position.kept, new, most, metric)
            }
            None => Vec::new(),
        };
        self.position.last = Some(validated);
        improved
    }

    /// Writes the checkpoints of the epoch before the position, which is the start of an epoch: the best ones, if that
    /// epoch is the best so far, and those that are kept for other reasons. Removes those that are not kept any more.
    ///
    /// The log and the state come first, so that each of these files belongs to an epoch of the log whenever the
    /// process is killed.
    pub(super) fn write_checkpoints(&self) -> Result<(), TrainError> {
        self.write_checkpoints_if(|_, _| true)
    }

    /// Does so when a run resumes, if the process was killed before it wrote them: the state has the same weights.
    pub(super) fn write_missing_checkpoints(&self) -> Result<(), TrainError> {
        self.write_checkpoints_if(|path, epoch| epoch_of(path) != Some(epoch))
    }

    fn write_checkpoints_if(&self, due: impl Fn(&Path, usize) -> bool) -> Result<(), TrainError> {
        let Some(output) = &self.output else {
            return Ok(());
        };
        let file = |name: &str| {
            let file = format!("{name}.{EXTENSION}");
            output.folder.path().join(file)
        };
        for (name, validated) in self.checkpoints_of_last_epoch() {
            let path = file(&name);
            if due(&path, validated.epoch) {
                let network = self.learner.validated_network();
                let card = self.model_card(validated.epoch, Some(validated));
                network.checkpoint(card).save(&path)?;
            }
        }
        for &epoch in &self.position.dropped {
            if !self.config.is_checkpoint_epoch(epoch) {
                remove_file(&file(&epoch_name(epoch)))?;
            }
        }
        Ok(())
    }

    /// The checkpoints that the epoch before the position has.
    fn checkpoints_of_last_epoch(&self) -> Vec<(String, &ValidatedEpoch)> {
        let (config, position) = (self.config, &self.position);
        let is_last = |validated: &&ValidatedEpoch| validated.epoch + 1 == position.epoch;
        let best = position.best.iter().filter(|best| !best.copied);
        let best = best.map(|best| (best.name.clone(), &best.of));
        let mut all: Vec<(String, &ValidatedEpoch)> =
            best.filter(|(_, validated)| is_last(validated)).collect();
        if let Some(last) = position.last.as_ref().filter(is_last) {
            let epoch = last.epoch;
            if config.checkpoints.save_last {
                all.push((LAST.to_owned(), last));
            }
            let is_among_best = position.kept.iter().any(|kept| kept.epoch == epoch);
            if is_among_best || config.is_checkpoint_epoch(epoch) {
                all.push((epoch_name(epoch), last));
            }
        }
        all
    }

    /// The checkpoints that are exported and tested at the end.
    pub(super) fn final_checkpoints(
        config: &Config,
        position: &Position,
    ) -> Vec<(String, ValidatedEpoch)> {
        let best = position.best.iter();
        let best = best.map(|best| (best.name.clone(), best.of.clone()));
        let last = position
            .last
            .iter()
            .filter(|_| config.checkpoints.save_last);
        let last = last.map(|last| (LAST.to_owned(), last.clone()));
        best.chain(last).collect()
    }

    /// Metadata of weights after so many epochs, counting one that has begun, and of what its validation found.
    pub(super) fn model_card(&self, epoch: usize, validated: Option<&ValidatedEpoch>) -> ModelCard {
        let (config, data) = (self.config, self.data);
        let at_epoch =
            |value: Option<Annealed>| value.map(|value| value.at(epoch.max(1), config.epochs));
        let [tau, alpha] = match validated {
            Some(validated) => [validated.tau, validated.alpha],
            None => [config.loss.used_tau(), config.loss.used_alpha()].map(at_epoch),
        };
        ModelCard {
            format: ModelCard::FORMAT,
            architecture: config.model().to_owned(),
            class_names: Some(data.class_names.clone()),
            input_size: data.shape,
            resize: match data.test_resize {
                Resize::ShorterSide(side) => Some((side, None)),
                Resize::Cover(size) => Some((size[0].min(size[1]), Some(size))),
                _ => None,
            }
            .map(|(shorter_side, cover)| CardResize {
                shorter_side: shorter_side as usize,
                cover: cover.map(|size| size.map(|side| side as usize)),
                interpolation: Interpolation::Bilinear,
            }),
            mean: ChannelValues::new(data.normalization.mean, data.mode),
            std: ChannelValues::new(data.normalization.std, data.mode),
            training: Some(Training {
                dataset: config
                    .data
                    .as_deref()
                    .map(Dataset::name)
                    .unwrap_or_default(),
                noise: config.noise,
                loss: config.loss.name.as_str().to_owned(),
                k: config.topk(),
                tau,
                alpha,
                loss_settings: config.loss.further(),
                optimizer: config.optimization(),
                data_settings: config.data_settings(&data.augmentation),
                seed: config.seed.into(),
                epoch,
                val_top1: validated.map(|validated| validated.val.top1()),
                val_topk: validated.map(|validated| validated.val.topk()),
                val_loss: validated.and_then(|validated| validated.val_loss),
            }),
        }
    }
}

/// The epoch of a checkpoint, if it can be read.
fn epoch_of(path: &Path) -> Option<usize> {
    let checkpoint = path.exists().then(|| Checkpoint::load(path))?.ok()?;
    Some(checkpoint.card().training.as_ref()?.epoch)
}

/// Removes a file, if it exists.
fn remove_file(path: &Path) -> Result<(), FolderError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FolderError::io(path)(error)),
        _ => Ok(()),
    }
}
