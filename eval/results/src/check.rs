use thiserror::Error;
use topk_ops::LossError;

use crate::schema::{FORMAT, Metrics, Outcome, Results};

/// The largest number of k: each takes a pass over the images.
const MAX_TOPK: usize = 100;

/// Results that contradict themselves.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InvalidResults {
    /// Another version of the format.
    #[error("the format is {0}, but this topk-eval writes {FORMAT}")]
    Format(u32),
    /// A list has the wrong length.
    #[error("{what}: expected {expected} entries, got {found}")]
    Count {
        /// What is listed.
        what: String,
        /// Number of entries.
        found: usize,
        /// Expected number of entries.
        expected: usize,
    },
    /// A list is not in ascending order, or has duplicates.
    #[error("{what} must be in ascending order, but {next} follows {previous}")]
    Order {
        /// What is listed.
        what: &'static str,
        /// An entry.
        previous: usize,
        /// The next.
        next: usize,
    },
    /// A number is out of range.
    #[error("{what} must be in {range}, got {value}")]
    Range {
        /// Which number.
        what: String,
        /// Its value.
        value: String,
        /// Its range.
        range: String,
    },
    /// The values of k are missing, too many, or out of range.
    #[error(
        "expected 1 to {MAX_TOPK} values of k, each from 1 to {valid} (the number of valid \
         classes), got {count}{}",
        first.map_or(String::new(), |k| format!(" with k = {k}"))
    )]
    TopK {
        /// Number of values.
        count: usize,
        /// The first that is out of range, or the first of all.
        first: Option<usize>,
        /// Number of valid classes.
        valid: usize,
    },
    /// The shard is out of range.
    #[error("shard {index} of {count} does not exist: shards are numbered from 1")]
    Shard {
        /// The shard.
        index: usize,
        /// Number of shards.
        count: usize,
    },
    /// A failure is not one of the images.
    #[error("`{name}` (index {index}) failed, but is not among the images")]
    Failure {
        /// Index in the data set.
        index: usize,
        /// Name of the image.
        name: String,
    },
    /// An image has an outcome that it must not have, or lacks one.
    #[error("{model} has {found} for `{image}`, which {because}")]
    Presence {
        /// The model's file.
        model: String,
        /// What was found.
        found: &'static str,
        /// The image.
        image: String,
        /// Why it is wrong.
        because: &'static str,
    },
    /// An outcome contradicts itself or the settings.
    #[error("invalid outcome of {model} for `{image}`: {reason}")]
    Outcome {
        /// The model's file.
        model: String,
        /// The image.
        image: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A computed value does not match the outcomes.
    #[error("{0} does not match the outcomes: the file was changed or is damaged")]
    Computed(String),
    /// The loss cannot be computed.
    #[error(transparent)]
    Loss(#[from] LossError),
}

impl Results {
    /// Checks that the parts agree, and that computed values are those of [`Results::recompute`].
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), InvalidResults> {
        self.check_parts()?;
        if self.complete != self.is_complete() {
            return Err(InvalidResults::Computed("`complete`".to_owned()));
        }
        for (at, model) in self.models.iter().enumerate() {
            if model.metrics != Metrics::of(self, at) {
                let what = format!("`metrics` of {}", model.model.path);
                return Err(InvalidResults::Computed(what));
            }
        }
        Ok(())
    }

    /// Checks everything but the computed values.
    pub(crate) fn check_parts(&self) -> Result<(), InvalidResults> {
        if self.format != FORMAT {
            return Err(InvalidResults::Format(self.format));
        }
        if let Some(shard) = self.shard.filter(|shard| !shard.is_valid()) {
            return Err(InvalidResults::Shard {
                index: shard.index,
                count: shard.count,
            });
        }
        if let Some(subset) = &self.subset {
            count("indices of the subset", subset.indices.len(), subset.images)?;
            ascending("indices of the subset", subset.indices.iter().copied())?;
            if let Some(&last) = subset.indices.last() {
                let what = || "an index of the subset".to_owned();
                let images = self.data.images;
                range(last < images, what, last, format!("0..{images}"))?;
            }
        }
        let classes = self.data.classes;
        // Tables are allocated for this many classes, so there must be a name for each.
        count("class_names", self.class_names.len(), classes)?;
        if let Some(wnids) = &self.wnids {
            count("wnids", wnids.len(), classes)?;
        }
        self.check_settings()?;
        self.check_images()?;
        for model in &self.models {
            let path = &model.model.path;
            count(
                &format!("outcomes of {path}"),
                model.outcomes.len(),
                self.images.len(),
            )?;
            let timing = &model.timing;
            let [seconds, decode, inference, speed] = [
                timing.seconds,
                timing.decode_seconds,
                timing.inference_seconds,
                timing.images_per_second,
            ];
            for time in [seconds, decode, inference, speed] {
                let is_time = time >= 0.0 && time.is_finite();
                range(is_time, || format!("a time of {path}"), time, "0..")?;
            }
            if let Some(normalization) = &model.model.normalization {
                for value in normalization.mean.iter().chain(&normalization.std) {
                    let what = || format!("a mean or std of {path}");
                    range(value.is_finite(), what, value, "-inf..inf (exclusive)")?;
                }
            }
            self.check_outcomes(path, &model.outcomes)?;
        }
        Ok(())
    }

    fn check_settings(&self) -> Result<(), InvalidResults> {
        let classes = self.data.classes;
        if let Some(valid) = &self.settings.valid_classes {
            ascending("valid_classes", valid.iter().map(|&class| class as usize))?;
            for &class in valid {
                let is_class = (class as usize) < classes;
                range(
                    is_class,
                    || "a valid class".to_owned(),
                    class,
                    format!("0..{classes}"),
                )?;
            }
        }
        let (topk, valid) = (&self.settings.topk, self.num_valid_classes());
        let impossible = topk.iter().find(|k| !(1..=valid).contains(*k));
        if impossible.is_some() || !(1..=MAX_TOPK).contains(&topk.len()) {
            return Err(InvalidResults::TopK {
                count: topk.len(),
                first: impossible.or(topk.first()).copied(),
                valid,
            });
        }
        ascending("topk", topk.iter().copied())?;
        if let Some(loss) = self.settings.loss {
            loss.loss()?;
        }
        Ok(())
    }

    fn check_images(&self) -> Result<(), InvalidResults> {
        ascending(
            "indices of images",
            self.images.iter().map(|image| image.index),
        )?;
        let (images, subset) = (self.data.images, self.subset.is_some());
        let all = match self.shard {
            _ if subset => "the subset".to_owned(),
            Some(shard) => format!("{:?}", shard.indices(images)),
            None => format!("{:?}", 0..images),
        };
        for image in &self.images {
            let what = || format!("the index of image `{}`", image.name);
            range(self.includes(image.index), what, image.index, &all)?;
            for &label in &image.labels {
                let is_class = (label as usize) < self.data.classes;
                let what = || format!("a label of image `{}`", image.name);
                range(is_class, what, label, format!("0..{}", self.data.classes))?;
            }
            let groups = self.data.group_names.len();
            for &group in image.groups.iter().flatten() {
                let what = || format!("a group of image `{}`", image.name);
                range(
                    (group as usize) < groups,
                    what,
                    group,
                    format!("0..{groups}"),
                )?;
            }
        }
        let failed = self.failures.iter().map(|failure| failure.index);
        ascending("indices of failures", failed)?;
        for failure in &self.failures {
            let at = self
                .images
                .binary_search_by_key(&failure.index, |image| image.index);
            if at.is_err() {
                return Err(InvalidResults::Failure {
                    index: failure.index,
                    name: failure.name.clone(),
                });
            }
        }
        Ok(())
    }

    fn check_outcomes(
        &self,
        model: &str,
        outcomes: &[Option<Outcome>],
    ) -> Result<(), InvalidResults> {
        let best = outcomes.iter().flatten().next();
        let best = best.map_or(0, |outcome| outcome.best.len());
        let mut failures = self.failures.iter().map(|failure| failure.index).peekable();
        for (image, outcome) in self.images.iter().zip(outcomes) {
            let failed = failures.next_if_eq(&image.index).is_some();
            let presence = |found, because| {
                Err(InvalidResults::Presence {
                    model: model.to_owned(),
                    found,
                    image: image.name.clone(),
                    because,
                })
            };
            let counts = self.class(image).is_some();
            match outcome {
                Some(_) if failed => return presence("an outcome", "could not be evaluated"),
                Some(_) if !counts => return presence("an outcome", "has no valid label"),
                None if counts && !failed => {
                    return presence("no outcome", "was read and has a valid label");
                }
                None => {}
                Some(outcome) => {
                    if let Some(reason) = self.outcome_error(outcome, best) {
                        return Err(InvalidResults::Outcome {
                            model: model.to_owned(),
                            image: image.name.clone(),
                            reason,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// What is wrong with an outcome of a model that keeps the `best` most probable classes.
    fn outcome_error(&self, outcome: &Outcome, best: usize) -> Option<&'static str> {
        let is_loss = |loss: f64| loss >= 0.0 && loss.is_finite();
        let is_probability = |p: f32| (0.0..=1.0).contains(&p);
        let predictions = &outcome.best;
        let checks = [
            (
                outcome.rank as usize >= self.num_valid_classes(),
                "its rank is not below the number of valid classes",
            ),
            (
                (outcome.label_ranks.first()).is_some_and(|&first| first != outcome.rank),
                "its rank is not the lowest of its label_ranks",
            ),
            (
                !outcome.label_ranks.is_sorted_by(|a, b| a < b)
                    || (outcome.label_ranks.last())
                        .is_some_and(|&last| last as usize >= self.num_valid_classes()),
                "its label_ranks are not ascending, or not below the number of valid classes",
            ),
            (
                !self.is_valid_class(outcome.predicted),
                "its prediction is not a valid class",
            ),
            (
                !is_probability(outcome.confidence),
                "its confidence is not in 0..1",
            ),
            (
                !is_loss(outcome.cross_entropy),
                "its cross-entropy is negative or not finite",
            ),
            (
                outcome
                    .brier
                    .is_some_and(|score| !(0.0..=2.0).contains(&score)),
                "its Brier score is not in 0..2",
            ),
            (
                outcome.topk_loss.is_some() != self.settings.loss.is_some(),
                "it has a top-k loss without one in the settings, or lacks it",
            ),
            (
                outcome.topk_loss.is_some_and(|loss| !is_loss(loss)),
                "its top-k loss is negative or not finite",
            ),
            (
                predictions.len() != best,
                "its number of best classes differs from that of the first outcome",
            ),
            (
                predictions
                    .iter()
                    .any(|prediction| !self.is_valid_class(prediction.class)),
                "one of its best classes is not a valid class",
            ),
            (
                predictions
                    .iter()
                    .any(|prediction| !is_probability(prediction.probability)),
                "the probability of one of its best classes is not in 0..1",
            ),
            (
                predictions
                    .first()
                    .is_some_and(|prediction| prediction.class != outcome.predicted),
                "the first of its best classes is not its prediction",
            ),
        ];
        let mut failed = checks.into_iter().filter(|(wrong, _)| *wrong);
        failed.next().map(|(_, reason)| reason)
    }
}

fn count(what: &str, found: usize, expected: usize) -> Result<(), InvalidResults> {
    if found == expected {
        return Ok(());
    }
    Err(InvalidResults::Count {
        what: what.to_owned(),
        found,
        expected,
    })
}

fn range(
    holds: bool,
    what: impl FnOnce() -> String,
    value: impl ToString,
    range: impl ToString,
) -> Result<(), InvalidResults> {
    if holds {
        return Ok(());
    }
    Err(InvalidResults::Range {
        what: what(),
        value: value.to_string(),
        range: range.to_string(),
    })
}

fn ascending(
    what: &'static str,
    numbers: impl Iterator<Item = usize>,
) -> Result<(), InvalidResults> {
    let mut last = None;
    for next in numbers {
        if let Some(previous) = last.filter(|&previous| previous >= next) {
            return Err(InvalidResults::Order {
                what,
                previous,
                next,
            });
        }
        last = Some(next);
    }
    Ok(())
}
