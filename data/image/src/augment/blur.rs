use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::error::{check, check_probability, check_range};
use super::{AugmentationError, Operation};

/// torchvision's `GaussianBlur`, for a part of the images.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RandomGaussianBlur {
    /// Probability of blurring an image.
    pub p: f64,
    /// Width and height of the kernel, an odd number.
    pub kernel: u32,
    /// Range of the standard deviation in pixels.
    pub sigma: [f64; 2],
}

/// timm's for its `--gaussian-blur-prob`: 23 pixels, with standard deviations from 0.1 to 2.
impl Default for RandomGaussianBlur {
    fn default() -> Self {
        Self {
            p: 0.5,
            kernel: 23,
            sigma: [0.1, 2.0],
        }
    }
}

impl RandomGaussianBlur {
    pub(super) fn check(&self) -> Result<(), AugmentationError> {
        check_probability("p of gaussian-blur", self.p)?;
        let good = self.kernel % 2 == 1 && self.kernel <= 255;
        check(
            "kernel of gaussian-blur",
            self.kernel,
            "an odd number up to 255",
            good,
        )?;
        let sigma = "a range from 0.01 to 100";
        check_range("sigma of gaussian-blur", self.sigma, sigma, |sigma| {
            (0.01..=100.0).contains(&sigma)
        })
    }

    pub(super) fn draw(&self, generator: &mut (impl Rng + ?Sized)) -> Option<Operation> {
        let [low, high] = self.sigma;
        let blurs = generator.random_bool(self.p);
        blurs.then(|| Operation::GaussianKernel {
            kernel: self.kernel,
            sigma: generator.random_range(low..=high),
        })
    }
}
