//! timm's policies: AutoAugment, RandAugment, AugMix and 3-Augment.
//!
//! Given the same draws, the pixels are those of timm 1.0.31 on Pillow.

mod level;
mod name;
mod tables;

use rand::{Rng, RngExt};
use rand_distr::{Beta, Distribution, Gamma, Normal};
use serde::{Deserialize, Serialize};
use topk_preprocessing::Interpolation;

use super::error::{check, check_probability};
use super::{AugmentationError, Operation};
use level::{Level, LevelOp};

pub use name::TimmPolicy;
pub use tables::{AutoPolicy, RandSet};

/// A policy of timm, as `--aa` of its training script names it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TimmAugment {
    /// The policy.
    pub policy: TimmPolicy,
    /// Colour of new pixels; timm takes the mean of the normalisation.
    pub fill: [u8; 3],
    /// Filter of shears, translations and rotations, bilinear or bicubic; one of the two at random if there is none.
    pub interpolation: Option<Interpolation>,
}

/// Operations of a sub-policy: what, with which probability, and its magnitude.
type SubPolicy = [(LevelOp, f64, f64); 2];

/// Largest magnitude, unless a policy has another.
const MAGNITUDE: f64 = 10.0;

/// Mean of ImageNet, the colour of new pixels.
pub(super) const IMAGENET_FILL: [u8; 3] = [124, 116, 104];

/// What all operations of a policy have in common.
#[derive(Clone, Copy, Debug)]
struct Settings {
    /// Standard deviation of magnitudes; uniform from 0 if infinite.
    std: f64,
    largest: f64,
    /// Largest translation, as a part of the side.
    translate: f64,
}

impl TimmAugment {
    /// The policy with timm's defaults.
    pub fn new(policy: TimmPolicy) -> Self {
        Self {
            policy,
            fill: IMAGENET_FILL,
            interpolation: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), AugmentationError> {
        if let Some(interpolation) = self.interpolation {
            let good = matches!(
                interpolation,
                Interpolation::Bilinear | Interpolation::Bicubic
            );
            check(
                "the interpolation of aa",
                interpolation,
                "bilinear, bicubic or random",
                good,
            )?;
        }
        let count = |what, value: u32, most| {
            check(what, value, "from 1 to 100", (1..=most).contains(&value))
        };
        let std = |value: f64| check("mstd of aa", value, "at least 0", value >= 0.0);
        match self.policy {
            TimmPolicy::Auto { std: value, .. } => std(value),
            TimmPolicy::Rand {
                layers,
                probability,
                std: value,
                set,
                ..
            } => {
                std(value)?;
                check_probability("p of aa", probability)?;
                count("n of aa", layers, 100)?;
                // Weighted operations are drawn without replacement.
                let most = set.weights().map_or(100, |weights| weights.len() as u32);
                let expected = "at most the number of weighted operations";
                check("n of aa", layers, expected, layers <= most)
            }
            TimmPolicy::AugMix {
                width,
                depth,
                alpha,
                std: value,
                ..
            } => {
                std(value)?;
                count("w of aa", width, 100)?;
                count("d of aa", depth.unwrap_or(1), 100)?;
                let good = (1e-3..=1e3).contains(&alpha);
                check("a of aa", alpha, "from 0.001 to 1000", good)
            }
        }
    }

    /// Draws the operations for an image of this width and height.
    pub(super) fn draw(
        &self,
        image: [u32; 2],
        generator: &mut (impl Rng + ?Sized),
        out: &mut Vec<Operation>,
    ) {
        let settings = |std, largest, translate| Settings {
            std,
            largest,
            translate,
        };
        match self.policy {
            TimmPolicy::Auto { policy, std } => {
                let settings = settings(std, MAGNITUDE, 0.45);
                let all = policy.sub_policies();
                let chosen = all[generator.random_range(0..all.len())];
                for (op, probability, magnitude) in chosen.into_iter().flatten() {
                    if generator.random_bool(probability) {
                        self.push(op, magnitude, &settings, image, generator, out);
                    }
                }
            }
            TimmPolicy::Rand {
                magnitude,
                layers,
                probability,
                std,
                largest,
                increasing,
                set,
            } => {
                let largest = largest.map_or(MAGNITUDE, f64::from);
                let settings = settings(std, largest, 0.45);
                for op in set.draw(increasing, layers, generator) {
                    if generator.random_bool(probability) {
                        self.push(op, magnitude.into(), &settings, image, generator, out);
                    }
                }
            }
            TimmPolicy::AugMix {
                magnitude,
                width,
                depth,
                alpha,
                blended,
                std,
            } => {
                let settings = settings(std, MAGNITUDE, 0.3);
                // Dirichlet's distribution, as normalised variates of Gamma's.
                let gamma = Gamma::new(alpha, 1.0).expect("alpha was checked");
                let weights: Vec<f64> = (0..width).map(|_| gamma.sample(generator)).collect();
                let sum: f64 = weights.iter().sum();
                let beta = Beta::new(alpha, alpha).expect("alpha was checked");
                let part = beta.sample(generator) as f32;
                // With a tiny alpha, all variates may be 0.
                let share = |weight: f64| match sum > 0.0 {
                    true => (weight / sum) as f32,
                    false => 1.0 / width as f32,
                };
                let mut weights: Vec<f32> = weights.into_iter().map(share).collect();
                if blended {
                    weights = blended_weights(&weights, part);
                }
                out.push(Operation::BeginMix);
                for weight in weights {
                    let depth = depth.unwrap_or_else(|| generator.random_range(1..=3));
                    for _ in 0..depth {
                        let ops = &tables::AUGMIX;
                        let op = ops[generator.random_range(0..ops.len())];
                        self.push(op, magnitude.into(), &settings, image, generator, out);
                    }
                    out.push(match blended {
                        false => Operation::AddToMix(weight),
                        true => Operation::BlendIntoMix(weight),
                    });
                }
                out.push(match blended {
                    false => Operation::EndMix(part),
                    true => Operation::EndBlendedMix,
                });
            }
        }
    }

    /// Draws the magnitude of an operation, and adds it.
    fn push(
        &self,
        op: LevelOp,
        magnitude: f64,
        settings: &Settings,
        image: [u32; 2],
        generator: &mut (impl Rng + ?Sized),
        out: &mut Vec<Operation>,
    ) {
        let drawn = match settings.std {
            0.0 => magnitude,
            f64::INFINITY => magnitude * generator.random::<f64>(),
            std => {
                let normal = Normal::new(magnitude, std).expect("the deviation was checked");
                normal.sample(generator)
            }
        };
        let level = Level {
            magnitude: drawn.clamp(0.0, settings.largest),
            negative: op.is_signed() && generator.random_bool(0.5),
            translate: settings.translate,
            blur: match op {
                LevelOp::GaussianBlurRand => generator.random(),
                _ => 0.0,
            },
        };
        let interpolation = match (op.is_affine(), self.interpolation) {
            (true, None) if generator.random_bool(0.5) => Interpolation::Bilinear,
            (true, None) => Interpolation::Bicubic,
            (_, given) => given.unwrap_or(Interpolation::Bilinear),
        };
        out.extend(level.operation(op, image, interpolation, self.fill));
    }
}

/// The weights with which chains are blended one after the other, so that each has `part` times its weight in the end
/// and the image the rest; in the precision of timm.
fn blended_weights(weights: &[f32], part: f32) -> Vec<f32> {
    let mut rest = 1.0;
    let mut blended: Vec<f32> = weights
        .iter()
        .rev()
        .map(|weight| {
            let blended = match rest > 0.0 {
                true => weight * part / rest,
                // Nothing is left of the image and the chains before.
                false => 0.0,
            };
            rest *= 1.0 - blended;
            blended
        })
        .collect();
    blended.reverse();
    blended
}

#[cfg(test)]
mod tests;
