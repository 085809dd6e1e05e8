use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt};
use rand_distr::{Beta, Distribution};
use serde::{Deserialize, Serialize};

use super::error::check;
use super::text::options::Syntax;
use super::{AugmentationError, Rect};

/// Random mixing of the images of a batch: torchvision's `MixUp` and `CutMix`. If both are set, one of them
/// is drawn for each batch, with equal probability.
///
/// The text form is `mixup:0.2`, `cutmix:1`, or both separated by a comma.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mixing {
    /// α of mixup, whose λ has the distribution Beta(α, α).
    #[serde(default)]
    pub mixup: Option<f64>,
    /// α of CutMix.
    #[serde(default)]
    pub cutmix: Option<f64>,
}

/// How one batch is mixed.
///
/// The loss of image i is λ times that with its own label, and 1 − λ times that with the label of
/// image `partners()[i]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    partners: Vec<usize>,
    lambda: f64,
    /// The rectangle taken from the partner; `None` to blend the whole image with weight 1 − λ.
    rect: Option<Rect>,
}

impl Mixing {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// If an α is not from 0.001 to 1000, or both are unset.
    pub fn check(self) -> Result<Self, AugmentationError> {
        let some = self.mixup.is_some() || self.cutmix.is_some();
        check("mixing", "none", "mixup, cutmix or both", some)?;
        for (what, alpha) in [
            ("the alpha of mixup", self.mixup),
            ("the alpha of cutmix", self.cutmix),
        ] {
            let alpha = alpha.unwrap_or(1.0);
            check(what, alpha, "from 0.001 to 1000", ALPHAS.contains(&alpha))?;
        }
        Ok(self)
    }

    /// Draws how a batch of this many images of this width and height is mixed.
    ///
    /// Partners form one random cycle through all images, so that no image is its own partner unless it is
    /// alone in the batch. In torchvision the partner is the previous image; in timm, the image at the same
    /// position counted from the end.
    ///
    /// # Panics
    ///
    /// If [`check`](Self::check) fails.
    pub fn draw(
        &self,
        images: usize,
        [width, height]: [u32; 2],
        generator: &mut (impl Rng + ?Sized),
    ) -> Mix {
        let mut partners: Vec<usize> = (0..images).collect();
        // Sattolo's algorithm.
        for last in (1..images).rev() {
            partners.swap(last, generator.random_range(0..last));
        }
        let (alpha, cut) = match (self.mixup, self.cutmix) {
            (Some(mixup), None) => (mixup, false),
            (None, Some(cutmix)) => (cutmix, true),
            (Some(mixup), Some(cutmix)) => {
                let cut = generator.random_bool(0.5);
                (if cut { cutmix } else { mixup }, cut)
            }
            (None, None) => panic!("the mixing was checked"),
        };
        let beta = Beta::new(alpha, alpha).expect("alpha was checked");
        let lambda: f64 = beta.sample(generator);
        if !cut {
            return Mix::mixup(partners, lambda);
        }
        let center = [width, height].map(|side| generator.random_range(0..side));
        Mix::cutmix(partners, lambda, center, [width, height])
    }
}

const ALPHAS: std::ops::RangeInclusive<f64> = 1e-3..=1e3;

impl Mix {
    /// Each image times λ, plus its partner times 1 − λ.
    pub fn mixup(partners: Vec<usize>, lambda: f64) -> Self {
        Self {
            partners,
            lambda,
            rect: None,
        }
    }

    /// In each image of this width and height, a rectangle around the column and row `center` is replaced
    /// with its partner's. It has 1 − λ of the area; if it is clipped, λ is the remaining fraction.
    pub fn cutmix(partners: Vec<usize>, lambda: f64, center: [u32; 2], size: [u32; 2]) -> Self {
        let reach = 0.5 * (1.0 - lambda).sqrt();
        let [(x, width), (y, height)] = [0, 1].map(|axis| {
            let reach = (reach * f64::from(size[axis])) as u32;
            let begin = center[axis].saturating_sub(reach);
            let end = center[axis].saturating_add(reach).min(size[axis]);
            (begin, end.saturating_sub(begin))
        });
        let area = |[width, height]: [u32; 2]| f64::from(width) * f64::from(height);
        Self {
            partners,
            lambda: 1.0 - area([width, height]) / area(size),
            rect: Some(Rect {
                x,
                y,
                width,
                height,
            }),
        }
    }

    /// How the images with these indices are mixed, if they come first in a batch of their own: they and, behind them, their
    /// partners that are not among them. Returns the indices of these partners as well.
    ///
    /// # Panics
    ///
    /// If an index is out of range.
    pub fn part(&self, indices: &[usize]) -> (Self, Vec<usize>) {
        let mut rows: HashMap<usize, usize> = indices.iter().copied().zip(0..).collect();
        let mut others = Vec::new();
        let partners = indices.iter().map(|&index| {
            let partner = self.partners[index];
            *rows.entry(partner).or_insert_with(|| {
                others.push(partner);
                indices.len() + others.len() - 1
            })
        });
        let part = Self {
            partners: partners.collect(),
            ..self.clone()
        };
        (part, others)
    }

    /// For each image, the index of its partner.
    pub fn partners(&self) -> &[usize] {
        &self.partners
    }

    /// The rectangle that is taken from the partner; `None` if the whole images are blended.
    pub fn rect(&self) -> Option<Rect> {
        self.rect
    }

    /// The weight of each image's own label.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// Writes one image of a mixed batch, so that threads can share the work.
    ///
    /// `batch` has images of planes of this width and height; `out` has the length of one image.
    ///
    /// # Panics
    ///
    /// If the batch lacks the image or its partner, or `out` does not have planes of this size.
    pub fn write(&self, index: usize, batch: &[f32], size: [usize; 2], out: &mut [f32]) {
        let [width, height] = size;
        let len = out.len();
        let image = |index: usize| &batch[index * len..][..len];
        let [own, partner] = [index, self.partners[index]].map(image);
        match self.rect {
            None => {
                let (part, rest) = (self.lambda as f32, (1.0 - self.lambda) as f32);
                for ((out, own), partner) in out.iter_mut().zip(own).zip(partner) {
                    *out = partner * rest + own * part;
                }
            }
            Some(rect) => {
                out.copy_from_slice(own);
                let plane = width * height;
                assert!(len.is_multiple_of(plane));
                let rows = rect.y as usize..(rect.y + rect.height) as usize;
                for row in
                    (0..len / plane).flat_map(|channel| rows.clone().map(move |row| (channel, row)))
                {
                    let begin = row.0 * plane + row.1 * width + rect.x as usize;
                    let cut = begin..begin + rect.width as usize;
                    out[cut.clone()].copy_from_slice(&partner[cut]);
                }
            }
        }
    }
}

static MIXUP: Syntax<1> = Syntax {
    step: "mixup",
    options: ["alpha"],
    example: "mixup:0.2",
};
static CUTMIX: Syntax<1> = Syntax {
    step: "cutmix",
    options: ["alpha"],
    example: "cutmix:1",
};

impl FromStr for Mixing {
    type Err = AugmentationError;

    fn from_str(text: &str) -> Result<Self, AugmentationError> {
        let mut mixing = Self::default();
        for step in text.split(',').map(str::trim) {
            let (name, options) = match step.split_once(':') {
                Some((name, options)) => (name, Some(options)),
                None => (step, None),
            };
            let (syntax, alpha) = match name {
                "mixup" => (&MIXUP, &mut mixing.mixup),
                "cutmix" => (&CUTMIX, &mut mixing.cutmix),
                _ => {
                    return Err(AugmentationError::Name {
                        name: name.to_owned(),
                        known: [MIXUP.step, CUTMIX.step].join(", "),
                    });
                }
            };
            let value = syntax.read(options)?.require_number(0)?;
            if alpha.replace(value).is_some() {
                return Err(syntax.error("appears twice".to_owned()));
            }
        }
        mixing.check()
    }
}

impl fmt::Display for Mixing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mixup = self.mixup.map(|alpha| format!("mixup:{alpha}"));
        let cutmix = self.cutmix.map(|alpha| format!("cutmix:{alpha}"));
        let both: Vec<String> = mixup.into_iter().chain(cutmix).collect();
        f.write_str(&both.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::statistics::{assert_equally_likely, generator};

    #[test]
    fn partners_form_one_cycle() {
        let mixing: Mixing = "mixup:1".parse().unwrap();
        let mut generator = generator();
        let mut seen = [[0; 6]; 6];
        for _ in 0..6000 {
            let mix = mixing.draw(6, [4, 4], &mut generator);
            let mut at = 0;
            for step in 1..=6 {
                seen[at][mix.partners()[at]] += 1;
                at = mix.partners()[at];
                assert_eq!(at == 0, step == 6, "{:?}", mix.partners());
            }
        }
        for (image, partners) in seen.iter_mut().enumerate() {
            partners.swap(image, 5);
            assert_eq!(partners[5], 0);
            assert_equally_likely(&partners[..5]);
        }
        assert_eq!(mixing.draw(1, [4, 4], &mut generator).partners(), [0]);
        assert!(mixing.draw(0, [4, 4], &mut generator).partners().is_empty());
    }

    #[test]
    fn lambda_has_a_beta_distribution() {
        let mut generator = generator();
        for alpha in [0.001, 0.2, 1.0, 8.0, 1000.0] {
            let mixing = Mixing {
                mixup: Some(alpha),
                cutmix: None,
            };
            let lambdas: Vec<f64> = (0..20_000)
                .map(|_| mixing.draw(0, [1, 1], &mut generator).lambda())
                .collect();
            assert!(lambdas.iter().all(|lambda| (0.0..=1.0).contains(lambda)));
            let count = lambdas.len() as f64;
            let mean = lambdas.iter().sum::<f64>() / count;
            let squares = lambdas.iter().map(|lambda| (lambda - 0.5).powi(2));
            let variance = squares.sum::<f64>() / count;
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            let error = 5.0 * (expected / count).sqrt();
            assert!((mean - 0.5).abs() < error, "{alpha}: {mean}");
            assert!(
                (variance / expected - 1.0).abs() < 0.05,
                "{alpha}: {variance}"
            );
        }
    }

    #[test]
    fn mixup_and_cutmix_are_equally_likely_and_cuts_are_anywhere() {
        let mixing: Mixing = "mixup:0.2, cutmix:1".parse().unwrap();
        assert_eq!(mixing.to_string(), "mixup:0.2,cutmix:1");
        let mut generator = generator();
        let (mut cuts, mut clipped) = (0, 0);
        for _ in 0..4000 {
            let mix = mixing.draw(2, [20, 10], &mut generator);
            if let Some(rect) = mix.rect {
                cuts += 1;
                assert!(rect.x + rect.width <= 20 && rect.y + rect.height <= 10);
                let area = f64::from(rect.width * rect.height) / 200.0;
                assert!((mix.lambda() - (1.0 - area)).abs() < 1e-12);
                let at_border = rect.x == 0 || rect.x + rect.width == 20;
                clipped += u32::from(at_border && area > 0.0);
            }
        }
        assert_equally_likely(&[cuts, 4000 - cuts]);
        assert!(clipped > 500, "{clipped}");
    }

    #[test]
    fn invalid_mixing_is_an_error() {
        for (text, expected) in [
            ("", "expected one of mixup, cutmix"),
            ("mixup", "mixup needs alpha"),
            ("mixup:a", "must be a number"),
            ("mixup:0", "from 0.001 to 1000"),
            ("cutmix:nan", "from 0.001 to 1000"),
            ("mixup:1,mixup:1", "appears twice"),
        ] {
            let error = text.parse::<Mixing>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(Mixing::default().check().is_err());
    }
}
