//! How far the probabilities of a classifier can be trusted, from its logits.
//!
//! [`Calibration::measure`] divides images at random into two halves. On the first it fits the temperature that
//! minimises the cross-entropy (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017) and the
//! thresholds of prediction sets (split conformal prediction); on the second it reports calibration errors before
//! and after scaling, and how large the sets are and how often they contain the true class.
//!
//! [`AveragePrecision`] is how well the scores of each class rank images that may have several true classes.
//!
//! [`LogitsDifference`] compares the logits of two models, such as a model and its quantised version.
//!
//! [`Logits`] are read in blocks from a file that [`LogitsWriter`] wrote, or from an `.npz`, `.safetensors` or
//! `.parquet` file of any other program. Memory does not depend on the number of classes times that of images.
//!
//! ```
//! use topk_calibration::{Calibration, Logits, LogitsWriter, Settings};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("logits.npz");
//! let mut writer = LogitsWriter::new(&path, 3)?;
//! for image in 0..200 {
//!     let label = image % 3;
//!     let mut logits = [0.0; 3];
//!     logits[(label + u64::from(image % 10 == 0)) as usize % 3] = 4.0;
//!     writer.push(image, label as u32, &logits)?;
//! }
//! writer.finish()?;
//!
//! let calibration = Calibration::measure(&Logits::open(&path)?, &Settings::default())?;
//! assert!(calibration.temperature.value > 1.0, "nine of ten are right, but the model is surer than that");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod average_precision;
mod calibration;
mod difference;
mod estimate;
mod halves;
mod logits;
mod npy;
mod parquet;
mod reliability;
mod rows;
mod sets;
mod temperature;
mod writer;

pub use average_precision::{AveragePrecision, RankedBy};
pub use calibration::{Calibration, CalibrationError, Settings};
pub use difference::{DifferenceError, LogitsDifference};
pub use estimate::{Estimate, wilson};
pub use logits::{Logits, LogitsError, LogitsFormat};
pub use reliability::{CALIBRATION_BINS, Reliability, calibration_bin};
pub use sets::{PredictionSets, SetMethod};
pub use temperature::Temperature;
pub use writer::LogitsWriter;
