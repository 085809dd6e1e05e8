//! Targets that are not one label per image.

use tch::{Kind, TchError, Tensor};
use topk_ops::Reduction;
use topk_ops_tch::loss;

use super::{Learner, StepError};
use crate::loss::TrainingLoss;

/// Binary cross-entropy with targets of 0 and 1 only, as timm's `--bce-target-thresh`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThresholdedBce {
    /// Smoothed and mixed targets above this become 1.
    pub(super) threshold: f64,
    pub(super) label_smoothing: f64,
    /// Whether it is summed over the classes, not averaged.
    pub(super) is_sum: bool,
}

impl ThresholdedBce {
    /// The mean over a batch.
    fn mean(
        self,
        scores: &Tensor,
        labels: &Tensor,
        mixed: Option<&(Tensor, f64)>,
    ) -> Result<Tensor, TchError> {
        let scores = scores.f_to_kind(Kind::Float)?;
        let target = dense_target(&scores, labels, mixed, self.label_smoothing)?;
        let target = target.f_gt(self.threshold)?.f_to_kind(Kind::Float)?;
        let mean = scores.f_binary_cross_entropy_with_logits(
            &target,
            None::<Tensor>,
            None::<Tensor>,
            tch::Reduction::Mean,
        )?;
        match self.is_sum {
            true => mean.f_mul_scalar(scores.size()[1] as f64),
            false => Ok(mean),
        }
    }
}

impl Learner {
    /// The mean loss of a batch.
    pub(crate) fn loss(
        &self,
        criterion: &TrainingLoss,
        scores: &Tensor,
        labels: &Tensor,
    ) -> Result<Tensor, StepError> {
        let loss = loss(criterion, scores, labels)?;
        Ok(match criterion.reduction() {
            // With weights whose sum over the labels of a step is their number.
            Reduction::Sum => loss / labels.size()[0] as f64,
            _ => loss,
        })
    }

    /// The mean loss of a batch in training, with the labels of the partners of mixed images and the weight of each
    /// image's own label.
    pub(super) fn mean_loss(
        &self,
        criterion: &TrainingLoss,
        scores: &Tensor,
        labels: &Tensor,
        mixed: Option<&(Tensor, f64)>,
    ) -> Result<Tensor, StepError> {
        if let Some(bce) = self.settings.bce {
            return Ok(bce.mean(scores, labels, mixed)?);
        }
        let with_own = self.loss(criterion, scores, labels)?;
        match mixed {
            None => Ok(with_own),
            Some((partners, lambda)) => {
                let with_partners = self.loss(criterion, scores, partners)?;
                Ok(with_own * *lambda + with_partners * (1.0 - lambda))
            }
        }
    }
}

/// The probabilities of the classes for each image, `[N, C]`: the part `smoothing` spread evenly, and the rest at the
/// label, or at the labels of two images in the proportion of the mixing.
fn dense_target(
    scores: &Tensor,
    labels: &Tensor,
    mixed: Option<&(Tensor, f64)>,
    smoothing: f64,
) -> Result<Tensor, TchError> {
    let classes = scores.size()[1] as f64;
    let target = scores.f_full_like(smoothing / classes)?.f_detach()?;
    let add = |target: &Tensor, labels: &Tensor, share: f64| {
        let column = labels.f_unsqueeze(1)?;
        let own = Tensor::f_full(column.size(), share, (Kind::Float, scores.device()))?;
        target.f_scatter_add(1, &column, &own)
    };
    let at_labels = 1.0 - smoothing;
    match mixed {
        None => add(&target, labels, at_labels),
        Some((partners, lambda)) => {
            let target = add(&target, labels, lambda * at_labels)?;
            add(&target, partners, (1.0 - lambda) * at_labels)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use serde::Deserialize;
    use tch::Device;
    use topk_models::architecture;
    use topk_models_tch::Network;

    use super::*;
    use crate::args::Args;
    use crate::train::criterion;

    const CLASSES: usize = 7;

    /// A batch, and what PyTorch and timm make of it.
    #[derive(Deserialize)]
    struct Case {
        /// Flags of topk-train.
        flags: Vec<String>,
        scores: Vec<f32>,
        labels: Vec<i64>,
        weights: Option<Vec<f64>>,
        /// Scores of a teacher.
        teacher: Option<Vec<f32>>,
        /// The weight of each image's own label, if the batch is mixed with its reverse.
        lambda: Option<f64>,
        loss: f64,
        gradient: Vec<f64>,
    }

    impl Case {
        /// Loss and gradient.
        fn computed(&self) -> (f64, Vec<f64>) {
            let common = ["--data=D", "--model=basic-4", "--topk=3"].map(OsString::from);
            let flags = self.flags.iter().map(OsString::from);
            let mut config = Args::config_of(common.into_iter().chain(flags)).unwrap();
            config.loss.of_classes.weights = self.weights.clone();
            let shape = [3, 32, 32];
            let network = Network::new(
                architecture("basic-4", shape, CLASSES).unwrap(),
                Device::Cpu,
            );
            let learner = Learner::new(&config, network, shape).unwrap();
            let mut criterion = criterion(&config, 1, 0).unwrap();
            if self.weights.is_some() && self.lambda.is_some() {
                // As in a step of mixed images.
                criterion = criterion.with_reduction(Reduction::Sum);
            }
            let scores = Tensor::from_slice(&self.scores).view([-1, CLASSES as i64]);
            let scores = scores.set_requires_grad(true);
            let labels = Tensor::from_slice(&self.labels);
            let mixed = self.lambda.map(|lambda| (labels.flip([0]), lambda));
            let mean = learner.mean_loss(&criterion, &scores, &labels, mixed.as_ref());
            let mut mean = mean.unwrap();
            if let Some(teacher) = &self.teacher {
                let teacher = Tensor::from_slice(teacher).view([-1, CLASSES as i64]);
                let distillation = config.loss.distillation();
                mean = distillation.mean(&mean, &scores, &teacher).unwrap();
            }
            mean.backward();
            let gradient = Vec::try_from(scores.grad().to_kind(Kind::Double).view(-1)).unwrap();
            (mean.double_value(&[]), gradient)
        }
    }

    #[test]
    fn losses_of_a_batch_are_those_of_pytorch_and_timm() {
        let lines = include_str!("../../tests/data/targets.jsonl").lines();
        let cases: Vec<Case> = lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(cases.len(), 26);
        let mut largest: f64 = 0.0;
        for case in cases {
            let (loss, gradient) = case.computed();
            let found = std::iter::once(&loss).chain(&gradient);
            let expected = std::iter::once(&case.loss).chain(&case.gradient);
            for (found, expected) in found.zip(expected) {
                let error = (found - expected).abs() / expected.abs().max(1.0);
                assert!(error < 1e-6, "{:?}: {found} is not {expected}", case.flags);
                largest = largest.max(error);
            }
        }
        println!("largest error {largest:.1e}");
    }
}
