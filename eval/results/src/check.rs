use thiserror::Error;
use topk_ops::LossError;

use crate::metrics::Metrics;
use crate::outcome::Outcome;
use crate::results::{FORMAT, Results};

/// The most k that accuracies are computed for: each costs a pass over the images.
const MAX_TOPK: usize = 100;

/// Why results cannot be: their parts contradict each other.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InvalidResults {
    /// They are of another version of the format.
    #[error("the format is {0}, this topk-eval writes {FORMAT}")]
    Format(u32),
    /// Something has another number of entries than it must have.
    #[error("{what}: {found} entries, expected {expected}")]
    Count {
        /// What it is.
        what: String,
        /// Its entries.
        found: usize,
        /// How many there must be.
        expected: usize,
    },
    /// A list is not in ascending order, or names something twice.
    #[error("{what} must be in ascending order, but {next} follows {previous}")]
    Order {
        /// What is listed.
        what: &'static str,
        /// An entry.
        previous: usize,
        /// The next.
        next: usize,
    },
    /// A number is not in its range.
    #[error("{what} is {value}, which is not in {range}")]
    Range {
        /// What it is.
        what: String,
        /// Its value.
        value: String,
        /// What it may be.
        range: String,
    },
    /// The k asked for are none, or not possible.
    #[error(
        "{count} k for top-k accuracy, the first {}: name 1 to {MAX_TOPK}, each from 1 to \
         {choices}, the number of classes to choose from",
        first.map_or("none".to_owned(), |k| k.to_string())
    )]
    TopK {
        /// How many k.
        count: usize,
        /// The first that is not possible, or the first of all.
        first: Option<usize>,
        /// Number of classes that are chosen from.
        choices: usize,
    },
    /// The shard is not one of its number.
    #[error("shard {index} of {count}: shards are counted from 1")]
    Shard {
        /// The shard.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A failure is not one of the images.
    #[error("`{name}` at place {place} has failed, but is not among the images")]
    Failure {
        /// Its place.
        place: usize,
        /// Its name.
        name: String,
    },
    /// An image has an outcome that it cannot have, or none that it must have.
    #[error("{model} has {found} for `{image}`, which {because}")]
    Presence {
        /// The model's file.
        model: String,
        /// What there is.
        found: &'static str,
        /// The image.
        image: String,
        /// Why it should not be.
        because: &'static str,
    },
    /// An outcome contradicts itself or the settings.
    #[error("the outcome of {model} for `{image}` cannot be: {fault}")]
    Outcome {
        /// The model's file.
        model: String,
        /// The image.
        image: String,
        /// What is wrong.
        fault: &'static str,
    },
    /// What is computed from the rest is not what the rest gives.
    #[error("{0} is not what the outcomes give: the file was changed or is damaged")]
    Computed(String),
    /// The loss cannot be computed.
    #[error(transparent)]
    Loss(#[from] LossError),
}

impl Results {
    /// Whether the parts fit each other and what is computed is what [`Results::finish`] computes.
    ///
    /// # Errors
    /// The first fault.
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

    /// Whether that fits which nothing is computed from yet.
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
        let classes = self.data.classes;
        // Tables of classes are allocated: their number is backed by names.
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
                    range(value.is_finite(), what, value, "the finite numbers")?;
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
        let (topk, choices) = (&self.settings.topk, self.choices());
        let impossible = topk.iter().find(|k| !(1..=choices).contains(*k));
        if impossible.is_some() || !(1..=MAX_TOPK).contains(&topk.len()) {
            return Err(InvalidResults::TopK {
                count: topk.len(),
                first: impossible.or(topk.first()).copied(),
                choices,
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
            "places of images",
            self.images.iter().map(|image| image.place),
        )?;
        let places = self.places();
        for image in &self.images {
            let is_place = places.contains(&image.place);
            let what = || format!("the place of image `{}`", image.name);
            range(is_place, what, image.place, format!("{places:?}"))?;
            for &label in &image.labels {
                let is_class = (label as usize) < self.data.classes;
                let what = || format!("a label of image `{}`", image.name);
                range(is_class, what, label, format!("0..{}", self.data.classes))?;
            }
        }
        let failed = self.failures.iter().map(|failure| failure.place);
        ascending("places of failures", failed)?;
        for failure in &self.failures {
            let at = self
                .images
                .binary_search_by_key(&failure.place, |image| image.place);
            if at.is_err() {
                return Err(InvalidResults::Failure {
                    place: failure.place,
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
        let mut failures = self.failures.iter().map(|failure| failure.place).peekable();
        for (image, outcome) in self.images.iter().zip(outcomes) {
            let failed = failures.next_if_eq(&image.place).is_some();
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
                Some(_) if failed => return presence("an outcome", "could not be read"),
                Some(_) if !counts => return presence("an outcome", "has no right class"),
                None if counts && !failed => {
                    return presence("no outcome", "was read and has a right class");
                }
                None => {}
                Some(outcome) => {
                    let fault = self.fault(outcome, best);
                    if let Some(fault) = fault {
                        return Err(InvalidResults::Outcome {
                            model: model.to_owned(),
                            image: image.name.clone(),
                            fault,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// What is wrong with an outcome of a model that keeps `best` classes.
    fn fault(&self, outcome: &Outcome, best: usize) -> Option<&'static str> {
        let is_loss = |loss: f64| loss >= 0.0 && loss.is_finite();
        let is_probability = |p: f32| (0.0..=1.0).contains(&p);
        let guesses = &outcome.best;
        let faults = [
            (
                outcome.rank as usize >= self.choices(),
                "its rank is not below the number of classes",
            ),
            (
                !self.is_valid_class(outcome.predicted),
                "its prediction is not a class to choose from",
            ),
            (
                !is_probability(outcome.confidence),
                "its confidence is not in 0..1",
            ),
            (
                !is_loss(outcome.cross_entropy),
                "its cross-entropy is not a finite number of at least 0",
            ),
            (
                outcome.topk_loss.is_some() != self.settings.loss.is_some(),
                "it has a top-k loss where the settings have none, or none where they have one",
            ),
            (
                outcome.topk_loss.is_some_and(|loss| !is_loss(loss)),
                "its top-k loss is not a finite number of at least 0",
            ),
            (
                guesses.len() != best,
                "it has another number of best classes than the first outcome",
            ),
            (
                guesses
                    .iter()
                    .any(|guess| !self.is_valid_class(guess.class)),
                "one of its best classes is not a class to choose from",
            ),
            (
                guesses
                    .iter()
                    .any(|guess| !is_probability(guess.probability)),
                "the probability of one of its best classes is not in 0..1",
            ),
            (
                guesses
                    .first()
                    .is_some_and(|guess| guess.class != outcome.predicted),
                "the first of its best classes is not its prediction",
            ),
        ];
        let mut wrong = faults.into_iter().filter(|(wrong, _)| *wrong);
        wrong.next().map(|(_, fault)| fault)
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
