//! ImageNet-C: corruptions, their severities, and the mean corruption error.

use std::fmt;
use std::path::Path;

use serde::Serialize;

/// Severities of each corruption, from 1.
pub const SEVERITIES: usize = 5;

/// The corruptions that the mean corruption error covers, and the top-1 error of AlexNet, 0 to 1, averaged over the
/// severities (Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
/// ICLR 2019, and the values that the authors published to six digits).
const ALEXNET: [(&str, f64); 15] = [
    ("gaussian_noise", 0.886_428),
    ("shot_noise", 0.894_468),
    ("impulse_noise", 0.922_640),
    ("defocus_blur", 0.819_880),
    ("glass_blur", 0.826_268),
    ("motion_blur", 0.785_948),
    ("zoom_blur", 0.798_360),
    ("snow", 0.866_816),
    ("frost", 0.826_572),
    ("fog", 0.819_324),
    ("brightness", 0.564_592),
    ("contrast", 0.853_204),
    ("elastic_transform", 0.646_056),
    ("pixelate", 0.717_840),
    ("jpeg_compression", 0.606_500),
];

/// The other corruptions, for validation: they do not count in the mean corruption error.
const EXTRA: [&str; 4] = ["speckle_noise", "gaussian_blur", "spatter", "saturate"];

/// The top-1 error of AlexNet on the validation set, 0 to 1 (Table 1 of the paper).
const ALEXNET_CLEAN: f64 = 0.435;

/// A corruption at one severity.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Corruption {
    /// Its name, such as `gaussian_noise`.
    pub name: &'static str,
    /// 1 to 5.
    pub severity: usize,
}

/// The errors of a model on ImageNet-C.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CorruptionErrors {
    /// The mean corruption error: the mean over the 15 corruptions of the error of the model, averaged over the severities,
    /// divided by that of AlexNet. AlexNet has 1, and lower is better. Absent unless all 75 errors are known.
    pub mce: Option<f64>,
    /// The same for the rise of the error above that on the validation set; absent if that is not known either.
    pub relative_mce: Option<f64>,
    /// The mean top-1 error over the 75, 0 to 1.
    pub mean_error: Option<f64>,
    /// Each corruption with known errors: first those that count.
    pub corruptions: Vec<CorruptionError>,
}

/// The errors of a model on one corruption.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CorruptionError {
    /// The corruption.
    pub name: &'static str,
    /// Top-1 error at each severity, 0 to 1, where it is known.
    pub errors: [Option<f64>; SEVERITIES],
    /// Their mean divided by that of AlexNet; absent if one is not known, and for corruptions that do not count.
    pub corruption_error: Option<f64>,
}

impl Corruption {
    /// The corruption in a folder such as `ImageNet-C/gaussian_noise/3`.
    pub fn of_path(path: &Path) -> Option<Self> {
        let mut components = path.components().rev();
        let mut component = || components.next()?.as_os_str().to_str();
        let severity = component()?;
        Self::new(component()?, severity)
    }

    /// The corruption of a test set, whose name is that of a variant of ImageNet, the corruption and the severity.
    pub(crate) fn of_preset(preset: &str) -> Option<Self> {
        let (name, severity) = preset.strip_prefix("imagenet-c/")?.split_once('/')?;
        Self::new(name, severity)
    }

    fn new(name: &str, severity: &str) -> Option<Self> {
        let severity = severity.parse().ok()?;
        let name = names().find(|known| *known == name)?;
        (1..=SEVERITIES)
            .contains(&severity)
            .then_some(Self { name, severity })
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.severity)
    }
}

/// The names of all corruptions, first those that count in the mean corruption error.
fn names() -> impl Iterator<Item = &'static str> {
    ALEXNET.iter().map(|(name, _)| *name).chain(EXTRA)
}

impl CorruptionErrors {
    /// Computes the errors from the top-1 error of each corruption, 0 to 1, and that on the validation set if it is known.
    pub fn new(errors: impl IntoIterator<Item = (Corruption, f64)>, clean: Option<f64>) -> Self {
        let mut corruptions: Vec<CorruptionError> = names()
            .map(|name| CorruptionError {
                name,
                errors: [None; SEVERITIES],
                corruption_error: None,
            })
            .collect();
        for (corruption, error) in errors {
            let of_name = |known: &&mut CorruptionError| known.name == corruption.name;
            if let Some(known) = corruptions.iter_mut().find(of_name) {
                known.errors[corruption.severity - 1] = Some(error);
            }
        }
        let counted: Option<Vec<(f64, f64)>> = (corruptions.iter().zip(ALEXNET))
            .map(|(corruption, (_, alexnet))| Some((corruption.mean()?, alexnet)))
            .collect();
        let mean_over = |ratio: &dyn Fn(&(f64, f64)) -> f64| {
            let counted = counted.as_ref()?;
            Some(counted.iter().map(ratio).sum::<f64>() / counted.len() as f64)
        };
        let mce = mean_over(&|(error, alexnet)| error / alexnet);
        let relative_mce = clean.and_then(|clean| {
            mean_over(&|(error, alexnet)| (error - clean) / (alexnet - ALEXNET_CLEAN))
        });
        let mean_error = mean_over(&|(error, _)| *error);
        for (corruption, (_, alexnet)) in corruptions.iter_mut().zip(ALEXNET) {
            corruption.corruption_error = corruption.mean().map(|error| error / alexnet);
        }
        corruptions.retain(|corruption| corruption.errors.iter().any(Option::is_some));
        Self {
            mce,
            relative_mce,
            mean_error,
            corruptions,
        }
    }

    /// Number of errors that the mean corruption error needs and that are not known.
    pub(crate) fn missing(&self) -> usize {
        let known = |corruption: &CorruptionError| corruption.errors.iter().flatten().count();
        let counts = |corruption: &&CorruptionError| !EXTRA.contains(&corruption.name);
        let known: usize = self.corruptions.iter().filter(counts).map(known).sum();
        ALEXNET.len() * SEVERITIES - known
    }
}

impl CorruptionError {
    /// The mean over the severities; none if one is not known.
    pub(crate) fn mean(&self) -> Option<f64> {
        let errors: Option<Vec<f64>> = self.errors.iter().copied().collect();
        Some(errors?.iter().sum::<f64>() / SEVERITIES as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(error: impl Fn(&str, usize) -> f64) -> Vec<(Corruption, f64)> {
        let at = |name| (1..=SEVERITIES).map(move |severity| Corruption { name, severity });
        let corruptions = names().flat_map(at);
        corruptions
            .map(|corruption| (corruption, error(corruption.name, corruption.severity)))
            .collect()
    }

    fn alexnet(name: &str) -> f64 {
        let found = ALEXNET.iter().find(|(known, _)| *known == name);
        found.map_or(0.5, |(_, error)| *error)
    }

    #[test]
    fn alexnet_has_an_error_of_one() {
        // Errors rise with the severity, and have the mean of AlexNet.
        let errors = all(|name, severity| alexnet(name) + 0.02 * (severity as f64 - 3.0));
        let errors = CorruptionErrors::new(errors, Some(ALEXNET_CLEAN));
        assert!((errors.mce.unwrap() - 1.0).abs() < 1e-12);
        assert!((errors.relative_mce.unwrap() - 1.0).abs() < 1e-12);
        assert!((errors.mean_error.unwrap() - 0.788_993).abs() < 1e-6);
        assert_eq!((errors.corruptions.len(), errors.missing()), (19, 0));
        assert_eq!(errors.corruptions[15].name, "speckle_noise");
        assert_eq!(errors.corruptions[15].corruption_error, None);
    }

    #[test]
    fn the_mean_needs_all_errors() {
        let mut errors = all(|name, _| 0.5 * alexnet(name));
        let halved = CorruptionErrors::new(errors.clone(), None);
        assert!((halved.mce.unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(halved.relative_mce, None);
        errors.remove(7);
        let incomplete = CorruptionErrors::new(errors, Some(0.3));
        assert_eq!((incomplete.mce, incomplete.relative_mce), (None, None));
        assert_eq!(incomplete.missing(), 1);
        assert_eq!(incomplete.corruptions[1].errors[2], None);
        assert_eq!(incomplete.corruptions[1].corruption_error, None);
        assert!(incomplete.corruptions[0].corruption_error.is_some());
    }

    #[test]
    fn corruptions_are_found_in_paths() {
        let of = |path: &str| Corruption::of_path(Path::new(path)).map(|found| found.to_string());
        assert_eq!(of("c/fog/3").as_deref(), Some("fog/3"));
        assert_eq!(
            of("c/digital/jpeg_compression/5/").as_deref(),
            Some("jpeg_compression/5")
        );
        for other in ["c/fog/6", "c/fog/0", "c/rain/1", "fog", "c/fog/3/train"] {
            assert_eq!(of(other), None, "{other}");
        }
        let preset = Corruption::of_preset("imagenet-c/snow/2");
        assert_eq!(
            preset.map(|found| (found.name, found.severity)),
            Some(("snow", 2))
        );
        assert_eq!(Corruption::of_preset("imagenet-v2"), None);
    }
}
