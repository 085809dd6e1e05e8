//! The best checkpoints of a run.

use std::path::Path;

use topk_history::{Accuracy, BEST1, BESTK};
use topk_models::Checkpoint;
use topk_onnx::{CardResize, ModelCard, Training};
use topk_preprocessing::{Interpolation, Resize};

use super::Trainer;
use crate::TrainError;
use crate::annealed::Annealed;
use crate::dataset::Dataset;
use crate::state::BestSoFar;

impl Trainer<'_> {
    /// Notes in the position for which kinds of accuracy the current epoch is the best so far; returns their k.
    pub(super) fn note_best(&mut self, val: Accuracy) -> Vec<usize> {
        type Correct = fn(&Accuracy) -> usize;
        let kinds: [(&str, usize, Correct); 2] = [
            (BEST1, 1, |accuracy| accuracy.top1_correct),
            (BESTK, self.config.topk(), |accuracy| accuracy.topk_correct),
        ];
        let (epoch, epochs) = (self.position.epoch, self.config.epochs);
        let at_epoch = |value: Option<Annealed>| value.map(|value| value.at(epoch, epochs));
        let mut improved = Vec::new();
        for (name, k, correct) in kinds {
            let best = BestSoFar {
                name: name.to_owned(),
                epoch,
                val,
                tau: at_epoch(self.config.loss.used_tau()),
                alpha: at_epoch(self.config.loss.used_alpha()),
                copied: false,
            };
            match self.position.best.iter_mut().find(|best| best.name == name) {
                Some(before) if correct(&val) <= correct(&before.val) => continue,
                Some(before) => *before = best,
                None => self.position.best.push(best),
            }
            improved.push(k);
        }
        improved.dedup();
        improved
    }

    /// Writes the checkpoints of the epoch before the position, which is the start of an epoch, if that epoch is the
    /// best so far.
    ///
    /// The log and the state come first, so that each of these files belongs to an epoch of the log whenever the
    /// process is killed.
    pub(super) fn write_best(&self) -> Result<(), TrainError> {
        self.write_best_if(|_, _| true)
    }

    /// Does so when a run resumes, if the process was killed before it wrote them: the state has the same weights.
    pub(super) fn write_missing_best(&self) -> Result<(), TrainError> {
        self.write_best_if(|path, epoch| epoch_of(path) != Some(epoch))
    }

    fn write_best_if(&self, due: impl Fn(&Path, usize) -> bool) -> Result<(), TrainError> {
        let Some(output) = &self.output else {
            return Ok(());
        };
        let epoch = self.position.epoch;
        let best = self.position.best.iter();
        for best in best.filter(|best| best.epoch + 1 == epoch && !best.copied) {
            let path = output.folder.path().join(&best.name);
            let path = path.with_extension("safetensors");
            if due(&path, best.epoch) {
                let network = self.learner.validated_network();
                network.checkpoint(self.model_card(best)).save(&path)?;
            }
        }
        Ok(())
    }

    /// Metadata of a best checkpoint.
    fn model_card(&self, best: &BestSoFar) -> ModelCard {
        let (config, data) = (self.config, self.data);
        let val = best.val;
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
            mean: data.normalization.mean,
            std: data.normalization.std,
            training: Some(Training {
                dataset: config
                    .data
                    .as_deref()
                    .map(Dataset::name)
                    .unwrap_or_default(),
                noise: config.noise,
                loss: config.loss.name.as_str().to_owned(),
                k: config.topk(),
                tau: best.tau,
                alpha: best.alpha,
                loss_settings: config.loss.further(),
                seed: config.seed.into(),
                epoch: best.epoch,
                val_top1: val.top1(),
                val_topk: val.topk(),
            }),
        }
    }
}

/// The epoch of a checkpoint, if it can be read.
fn epoch_of(path: &Path) -> Option<usize> {
    let checkpoint = path.exists().then(|| Checkpoint::load(path))?.ok()?;
    Some(checkpoint.card().training.as_ref()?.epoch)
}
