//! What a run of a model shows, and what follows from it.

use topk_data::ImageSet;
use topk_labels::Classes;
use topk_onnx::Behavior;

use super::{Model, ModelError};
use crate::provider::Provider;
use crate::score_kind::{OffsetError, label_offset, output_kind};
use crate::trial::Trial;

impl Model {
    /// Runs the model on images of noise of this height and width, to determine what its file does not show, and
    /// decides which output belongs to which class of the data.
    ///
    /// # Errors
    /// If it fails on a single image, or its outputs are not scores of the classes.
    pub(crate) fn prepare(
        &mut self,
        size: [usize; 2],
        set: &ImageSet,
        labels: &[Vec<u32>],
    ) -> Result<(), ModelError> {
        let data = set.classes();
        let outputs = self.examine(size)?;
        if outputs == 1 && data.len() > 1 {
            let name = &self.output.name;
            return Err(self.signature_error(format!(
                "its output `{name}` has a single score per image, as for two classes with a sigmoid: export \
                 a score for each class, such as 0 and the logit"
            )));
        }
        let offset = {
            // The indices of a class map may count the background class.
            let numbered = Classes::Numbered(data.len());
            let data = if set.has_class_map() { &numbered } else { data };
            label_offset(self.options.label_offset, outputs, data, labels)
        };
        let (offset, line) = offset.map_err(|error| {
            let path = self.path.clone();
            match error {
                OffsetError::Unknown => ModelError::Background { path },
                OffsetError::TooLarge(offset) => ModelError::LabelOffset {
                    path,
                    offset,
                    outputs,
                },
            }
        })?;
        self.label_offset = offset;
        // The model may have been prepared for these data before.
        self.notes
            .extend(line.filter(|line| !self.notes.contains(line)));
        Ok(())
    }

    /// Runs the model on images of noise of this height and width, unless it was before, to determine the number of
    /// outputs, which is returned, what the scores are, and whether images can be run together.
    ///
    /// # Errors
    /// If it fails on a single image, or its outputs are not scores of the classes in its metadata.
    pub(crate) fn examine(&mut self, size: [usize; 2]) -> Result<usize, ModelError> {
        if let Some(outputs) = self.output.classes.filter(|_| self.examined) {
            return Ok(outputs);
        }
        let tensorrt = matches!(self.options.execution.provider, Provider::TensorRt(_));
        let trial = match self.output.classes {
            // An engine for another batch size takes minutes to build.
            Some(classes) if tensorrt && self.input.batch.is_none() => Trial::without_run(classes),
            _ => {
                let worker = &mut self.workers[0];
                let trial = Trial::run(worker, self.input.kind, size);
                trial.map_err(|reason| ModelError::Run {
                    path: self.path.clone(),
                    reason,
                })?
            }
        };
        let classes = trial.classes;
        self.check_card(Some(classes))?;
        let one_by_one = self.one_by_one(&trial);
        for worker in &mut self.workers {
            worker.set(classes, one_by_one.is_some());
        }
        self.output.classes = Some(classes);
        let (kind, line) = output_kind(self.options.output_kind, self.ending, trial.values);
        self.kind = kind;
        self.examined = true;
        self.notes.extend(line);
        let one_by_one = one_by_one.map(|why| format!("images are run one by one: {why}"));
        self.notes.extend(one_by_one);
        self.notes.extend(self.warnings(trial.random));
        Ok(classes)
    }

    /// Why images must be run one by one, if so and if the model can.
    fn one_by_one(&self, trial: &Trial) -> Option<String> {
        let Behavior {
            training,
            dynamic_quantization,
            ..
        } = &self.behavior;
        if self.input.batch.is_some() {
            return None;
        }
        if !dynamic_quantization.is_empty() {
            return Some(format!(
                "it is quantised dynamically ({dynamic_quantization}), with scales that depend on all images \
                 of a batch"
            ));
        }
        if training.contains("BatchNormalization") {
            return Some("its batch normalisation depends on all images of a batch".to_owned());
        }
        trial.one_by_one.clone()
    }

    fn warnings(&self, random: bool) -> Vec<String> {
        let Behavior {
            training,
            random: operators,
            dynamic_quantization,
        } = &self.behavior;
        let mut warnings = Vec::new();
        if !training.is_empty() {
            warnings.push(format!(
                "warning: it was exported in training mode ({training}), and scores differ from run to run or \
                 with the batch: export it in evaluation mode, in PyTorch after `model.eval()`"
            ));
        }
        if !operators.is_empty() {
            warnings.push(format!(
                "warning: it draws random numbers ({operators}): scores differ from run to run"
            ));
        }
        if random && training.is_empty() && operators.is_empty() {
            warnings.push("warning: the scores of an image differ from run to run".to_owned());
        }
        if let Some(batch) = self.input.batch.filter(|&batch| batch > 1)
            && !dynamic_quantization.is_empty()
        {
            warnings.push(format!(
                "warning: it is quantised dynamically ({dynamic_quantization}) for batches of {batch}: the \
                 scores of an image depend on the others"
            ));
        }
        warnings
    }
}
