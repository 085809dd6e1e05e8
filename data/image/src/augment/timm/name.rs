//! The text form of policies, such as `rand-m9-mstd0.5-inc1`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::super::AugmentationError;
use super::tables::{AutoPolicy, RandSet};

/// What a policy does. Its text form is that of timm:
///
/// | text | what |
/// | --- | --- |
/// | `original`, `originalr`, `v0`, `v0r` | AutoAugment; `-mstd0.5` varies magnitudes |
/// | `3a` | 3-Augment |
/// | `rand-m9-n2-p0.5-mstd0.5-mmax10-inc1-tweights` | RandAugment, with any of these sections |
/// | `augmix-m3-w3-d2-a1-mstd0.5-b1` | AugMix, with any of these sections |
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TimmPolicy {
    /// One of the sub-policies of a list per image.
    Auto {
        /// The list.
        policy: AutoPolicy,
        /// Standard deviation of magnitudes.
        std: f64,
    },
    /// RandAugment: operations drawn from a list.
    Rand {
        /// Magnitude of all operations.
        magnitude: u32,
        /// Number of operations drawn per image.
        layers: u32,
        /// Probability with which each is applied.
        probability: f64,
        /// Standard deviation of magnitudes; infinite for uniform ones from 0 to the magnitude.
        std: f64,
        /// Largest magnitude; 10 if there is none.
        largest: Option<u32>,
        /// Whether all operations are stronger for larger magnitudes.
        increasing: bool,
        /// The list.
        set: RandSet,
    },
    /// AugMix: a mixture of the image and several chains of operations.
    AugMix {
        /// Magnitude of all operations.
        magnitude: u32,
        /// Number of chains.
        width: u32,
        /// Operations per chain; 1 to 3 at random if there is none.
        depth: Option<u32>,
        /// α of the distributions of weights.
        alpha: f64,
        /// Whether each chain is blended with the image before it, in timm's words `blended`: nearly the same mixture,
        /// but rounded after each chain.
        #[serde(default)]
        blended: bool,
        /// Standard deviation of magnitudes; infinite for uniform ones from 0 to the magnitude.
        std: f64,
    },
}

impl FromStr for TimmPolicy {
    type Err = AugmentationError;

    fn from_str(text: &str) -> Result<Self, AugmentationError> {
        let mut sections = text.split('-');
        let name = sections.next().unwrap_or_default();
        let (mut policy, known): (_, &[&str]) = match name {
            "rand" => (
                Self::Rand {
                    magnitude: 10,
                    layers: 2,
                    probability: 0.5,
                    std: 0.0,
                    largest: None,
                    increasing: false,
                    set: RandSet::All,
                },
                &["m", "n", "p", "mstd", "mmax", "inc", "t"],
            ),
            "augmix" => (
                Self::AugMix {
                    magnitude: 3,
                    width: 3,
                    depth: None,
                    alpha: 1.0,
                    blended: false,
                    std: f64::INFINITY,
                },
                &["m", "w", "d", "a", "b", "mstd"],
            ),
            _ => {
                let mut all = AutoPolicy::ALL.into_iter();
                let Some((policy, _)) = all.find(|(_, known)| *known == name) else {
                    let names = AutoPolicy::ALL.map(|(_, name)| name).join(", ");
                    return Err(AugmentationError::Name {
                        name: name.to_owned(),
                        known: format!("{names}, rand and augmix, such as rand-m9-mstd0.5-inc1"),
                    });
                };
                (Self::Auto { policy, std: 0.0 }, &["mstd"])
            }
        };
        for section in sections {
            policy
                .set(section)
                .ok_or_else(|| AugmentationError::Section {
                    policy: text.to_owned(),
                    section: section.to_owned(),
                    known: known.join(", "),
                })?;
        }
        Ok(policy)
    }
}

impl TimmPolicy {
    /// Sets what a section such as `m9` says; `None` if that is nothing.
    fn set(&mut self, section: &str) -> Option<()> {
        let digits = section.find(|c: char| c.is_ascii_digit());
        let (key, value) = match section.strip_prefix('t') {
            Some(name) => ("t", name),
            None => section.split_at(digits?),
        };
        let whole = || value.parse::<u32>().ok();
        let number = || {
            value
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
        };
        // So in timm.
        let or_uniform = |std: f64| if std > 100.0 { f64::INFINITY } else { std };
        match (self, key) {
            (Self::Auto { std, .. } | Self::AugMix { std, .. }, "mstd") => *std = number()?,
            (Self::Rand { std, .. }, "mstd") => *std = or_uniform(number()?),
            (Self::Rand { magnitude, .. } | Self::AugMix { magnitude, .. }, "m") => {
                *magnitude = whole()?;
            }
            (Self::Rand { layers, .. }, "n") => *layers = whole()?,
            (Self::Rand { probability, .. }, "p") => *probability = number()?,
            (Self::Rand { largest, .. }, "mmax") => {
                // 0 is the default, as in timm.
                *largest = Some(whole()?).filter(|&largest| largest > 0);
            }
            (Self::Rand { increasing, .. }, "inc") => *increasing = whole()? != 0,
            (Self::Rand { set, .. }, "t") => {
                let mut named = RandSet::NAMED.into_iter();
                (*set, _) = named.find(|(_, name)| *name == value)?;
            }
            (Self::AugMix { width, .. }, "w") => *width = whole()?,
            (Self::AugMix { depth, .. }, "d") => *depth = Some(whole()?),
            (Self::AugMix { alpha, .. }, "a") => *alpha = number()?,
            (Self::AugMix { blended, .. }, "b") => *blended = whole()? != 0,
            _ => return None,
        }
        Some(())
    }

    /// Whether timm's `--aa` of this policy leaves `--color-jitter` out, unless it is forced.
    pub fn replaces_color_jitter(&self) -> bool {
        !self.to_string().contains("3a")
    }
}

impl fmt::Display for TimmPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A number that timm reads as infinite.
        let finite = |std: f64| if std.is_finite() { std } else { 101.0 };
        match *self {
            Self::Auto { policy, std } => {
                let mut all = AutoPolicy::ALL.into_iter();
                let name = all.find_map(|(other, name)| (other == policy).then_some(name));
                f.write_str(name.unwrap_or_default())?;
                match std {
                    0.0 => Ok(()),
                    std => write!(f, "-mstd{std}"),
                }
            }
            Self::Rand {
                magnitude,
                layers,
                probability,
                std,
                largest,
                increasing,
                set,
            } => {
                write!(
                    f,
                    "rand-m{magnitude}-n{layers}-p{probability}-mstd{}",
                    finite(std)
                )?;
                if let Some(largest) = largest {
                    write!(f, "-mmax{largest}")?;
                }
                write!(f, "-inc{}", u8::from(increasing))?;
                let mut named = RandSet::NAMED.into_iter();
                match named.find(|(other, _)| *other == set) {
                    Some((_, name)) => write!(f, "-t{name}"),
                    None => Ok(()),
                }
            }
            Self::AugMix {
                magnitude,
                width,
                depth,
                alpha,
                blended,
                std,
            } => {
                write!(f, "augmix-m{magnitude}-w{width}")?;
                if let Some(depth) = depth {
                    write!(f, "-d{depth}")?;
                }
                write!(f, "-a{alpha}")?;
                if blended {
                    f.write_str("-b1")?;
                }
                match std {
                    f64::INFINITY => Ok(()),
                    std => write!(f, "-mstd{std}"),
                }
            }
        }
    }
}
