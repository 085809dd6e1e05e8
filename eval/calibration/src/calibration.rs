use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::halves::Halves;
use crate::logits::{Logits, LogitsError};
use crate::reliability::Reliability;
use crate::sets::PredictionSets;
use crate::temperature::Temperature;

/// What to measure, and how.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Settings {
    /// Seed of the halves, of the random numbers of prediction sets and of bootstrap samples.
    pub seed: u64,
    /// Coverages of prediction sets, each above 0 and below 1.
    pub coverage: Vec<f64>,
    /// λ of RAPS, at least 0.
    pub raps_penalty: f64,
    /// k of RAPS: the number of classes without a penalty.
    pub raps_k: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            coverage: vec![0.9, 0.95, 0.99],
            raps_penalty: 0.01,
            raps_k: 5,
        }
    }
}

/// Logits that cannot be measured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// There are too few images.
    #[error("calibration needs at least 2 images, one to fit on and one to evaluate on, got {0}")]
    Images(usize),
    /// A coverage is out of range.
    #[error("a coverage must be above 0 and below 1, such as 0.9, got {0}")]
    Coverage(f64),
    /// The penalty of RAPS is out of range.
    #[error("the penalty of RAPS must be a number of at least 0, got {0}")]
    Penalty(f64),
    /// An index identifies two images.
    #[error("image {0} appears twice")]
    Repeated(u64),
    /// The logits cannot be read.
    #[error(transparent)]
    Logits(#[from] LogitsError),
}

/// Calibration measured on one half of the images, after a temperature and thresholds were fitted on the other.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Calibration {
    /// The settings.
    pub settings: Settings,
    /// Number of images that the temperature and the thresholds were fitted on.
    pub fitted_on: usize,
    /// Number of images that the rest was measured on.
    pub images: usize,
    /// The fitted temperature.
    pub temperature: Temperature,
    /// At temperature 1.
    pub before: Reliability,
    /// At the fitted temperature.
    pub after: Reliability,
    /// Prediction sets of the probabilities at the fitted temperature.
    pub sets: Vec<PredictionSets>,
}

impl Settings {
    /// Checks that the settings are in range.
    ///
    /// # Errors
    /// With the first that is not.
    pub fn check(&self) -> Result<(), CalibrationError> {
        let out_of_range = |&&coverage: &&f64| !(coverage > 0.0 && coverage < 1.0);
        if let Some(&coverage) = self.coverage.iter().find(out_of_range) {
            return Err(CalibrationError::Coverage(coverage));
        }
        if !(self.raps_penalty >= 0.0 && self.raps_penalty.is_finite()) {
            return Err(CalibrationError::Penalty(self.raps_penalty));
        }
        Ok(())
    }
}

impl Calibration {
    /// Fits on a random half of the images and measures on the other.
    ///
    /// The same file and settings give the same figures to the last bit, with any number of threads. Which half an
    /// image is in does not depend on the order of the file.
    ///
    /// # Errors
    /// If there are fewer than 2 images, the settings are out of range, two images have the same index, or the logits
    /// cannot be read or are NaN or infinite.
    pub fn measure(logits: &Logits, settings: &Settings) -> Result<Self, CalibrationError> {
        settings.check()?;
        if logits.images() < 2 {
            return Err(CalibrationError::Images(logits.images()));
        }
        let mut indices = logits.indices().to_vec();
        indices.sort_unstable();
        if let Some(pair) = indices.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(CalibrationError::Repeated(pair[0]));
        }
        let halves = Halves::new(logits.indices(), settings.seed);
        let temperature = Temperature::fit(logits, &halves.fit)?;
        let inverse = 1.0 / temperature.value;
        let reliability =
            |inverse| Reliability::measure(logits, &halves.evaluate, inverse, settings.seed);
        Ok(Self {
            settings: settings.clone(),
            fitted_on: halves.fit.len(),
            images: halves.evaluate.len(),
            temperature,
            before: reliability(1.0)?,
            after: reliability(inverse)?,
            sets: PredictionSets::measure(logits, &halves, inverse, settings)?,
        })
    }
}
