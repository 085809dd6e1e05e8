use std::fmt;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;
use topk_data::ImageSet;
use topk_labels::{ClassNames, Classes};
use topk_native::Runtime;
use topk_onnx::WeightTypes;
use topk_preprocessing::PreprocessingError;
use topk_results::{
    CropAveraging, Environment, FORMAT, Failure, FailurePolicy, Image, InvalidResults, JudgeError,
    MergeError, Metrics, ModelResults, Outcome, Results, Settings, Timing,
};

use crate::judged::{Judged, Judging, Said, averaging, nodes};
use crate::lane::Lane;
use crate::model::{Model, ModelError, processors};
use crate::pipeline::{Batch, MemoryError, Pipeline, SizeError};
use crate::plan::{Labels, OnError, Plan};
use crate::recipe::{Recipe, RecipeError};

/// Why models cannot be judged on a data set.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// A model is for another number of classes.
    #[error(
        "{model} has {expected} classes, the data has {found}: they do not belong together (a class \
         map or --valid-labels says how they do)"
    )]
    Classes {
        /// The model's file.
        model: String,
        /// Scores of the model.
        expected: usize,
        /// Classes of the data set.
        found: usize,
    },
    /// A model is for other classes.
    #[error(
        "class {class} is `{expected}` to {model} and `{found}` in the data: they do not belong \
         together"
    )]
    ClassName {
        /// The model's file.
        model: String,
        /// Index of the first class that differs.
        class: usize,
        /// The model's name for it.
        expected: String,
        /// The data set's.
        found: String,
    },
    /// There is not a name for each class.
    #[error("{names} has {found} names, but {model} has {expected} classes")]
    ClassNames {
        /// The file of names.
        names: String,
        /// Names in it.
        found: usize,
        /// The model's file.
        model: String,
        /// Scores of the model.
        expected: usize,
    },
    /// k is out of range.
    #[error("--topk {k} is not in 1..={classes}: there are {classes} classes to choose from")]
    TopK {
        /// The k asked for.
        k: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A model's scores cannot be judged.
    #[error("{model}: {error}")]
    Judge {
        /// The model's file.
        model: String,
        /// What is wrong with them.
        error: JudgeError,
    },
    /// It is not known how images are prepared for a model.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// They cannot be prepared so.
    #[error(transparent)]
    Preprocessing(#[from] PreprocessingError),
    /// They do not get the size that a model takes.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// A model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Batches are too large.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Results contradict each other; a bug.
    #[error(transparent)]
    Results(#[from] InvalidResults),
}

/// How far a run is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Images that have been run or could not be read.
    pub images: usize,
    /// Of the first model: images judged, and for each k those that are right.
    judged: usize,
    right: Vec<(usize, usize)>,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (k, right)) in self.right.iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            let share = 100.0 * *right as f64 / self.judged.max(1) as f64;
            write!(f, "{space}top-{k} {share:.2}")?;
        }
        Ok(())
    }
}

/// How a run ended.
#[derive(Debug)]
pub enum Finished {
    /// With results.
    Results(Box<Results>),
    /// With images that cannot be read, by name, and why.
    BadImages(Vec<(String, String)>),
}

/// Models and a data set that fit each other.
pub struct Evaluation<'a> {
    set: &'a ImageSet,
    labels: &'a Labels,
    plan: &'a Plan,
    onnxruntime: String,
    models: Vec<Judged>,
    recipes: Vec<Recipe>,
}

/// What has been found.
#[derive(Default)]
struct Found {
    images: Vec<Image>,
    failures: Vec<Failure>,
    /// For each model, the outcomes of `images`.
    outcomes: Vec<Vec<Option<Outcome>>>,
    inference: Vec<Duration>,
    preparation: Duration,
}

/// What all models say of a batch.
struct Part {
    places: Vec<usize>,
    faults: Vec<Option<String>>,
    said: Vec<Said>,
    preparation: Duration,
}

impl Progress {
    fn add(&mut self, part: &Part) {
        self.images += part.places.len();
        let first = part.said.first().into_iter();
        for outcome in first.flat_map(|said| &said.outcomes).flatten() {
            self.judged += 1;
            for (k, right) in &mut self.right {
                *right += usize::from((outcome.rank as usize) < *k);
            }
        }
    }
}

impl Found {
    fn add(&mut self, part: Part, set: &ImageSet, labels: &Labels, plan: &Plan) {
        let samples = set.samples();
        self.preparation += part.preparation;
        for (&place, fault) in part.places.iter().zip(part.faults) {
            self.failures.extend(fault.map(|message| Failure {
                place,
                name: samples[place].name.clone(),
                message,
            }));
        }
        if plan.on_error == OnError::Fail && !self.failures.is_empty() {
            // There will be no results: what is left to find out is which other images are bad.
            return;
        }
        self.images.extend(part.places.iter().map(|&place| Image {
            place,
            name: samples[place].name.clone(),
            labels: labels[place].clone(),
        }));
        for (model, said) in part.said.into_iter().enumerate() {
            self.inference[model] += said.inference;
            self.outcomes[model].extend(said.outcomes);
        }
    }
}

/// Has all models judge a batch.
fn judge(
    lanes: &mut [(&Judging, &mut Lane)],
    batch: &Batch,
    set: &ImageSet,
    labels: &Labels,
) -> Result<Part, EvaluationError> {
    if let Some(error) = &batch.wrong_size {
        return Err(error.clone().into());
    }
    let image = |place: usize| (&set.samples()[place].name, &labels[place]);
    let said = lanes
        .iter_mut()
        .map(|(judging, lane)| judging.judge(lane, batch, image));
    Ok(Part {
        said: said.collect::<Result<_, _>>()?,
        places: batch.places.clone(),
        faults: batch.faults.clone(),
        preparation: batch.preparation,
    })
}

impl<'a> Evaluation<'a> {
    /// Checks that the models can be judged on the data.
    ///
    /// # Errors
    /// If sizes, classes, k or preprocessing do not fit or are not known.
    pub fn new(
        runtime: &Runtime,
        set: &'a ImageSet,
        labels: &'a Labels,
        models: Vec<Model>,
        plan: &'a Plan,
    ) -> Result<Self, EvaluationError> {
        let mut evaluation = Self {
            set,
            labels,
            plan,
            onnxruntime: runtime.version().to_owned(),
            models: Vec::new(),
            recipes: Vec::new(),
        };
        for model in models {
            evaluation.add(model)?;
        }
        Ok(evaluation)
    }

    fn add(&mut self, model: Model) -> Result<(), EvaluationError> {
        let recipe = Recipe::new(&model, &self.plan.wishes)?;
        let place = self.recipes.iter().position(|known| *known == recipe);
        if let Some(first) = self.models.first().filter(|_| recipe.preprocessing.fast)
            && place.is_none()
        {
            return Err(RecipeError::Fast {
                first: first.model.path().display().to_string(),
                second: model.path().display().to_string(),
            }
            .into());
        }
        let place = place.unwrap_or_else(|| {
            self.recipes.push(recipe);
            self.recipes.len() - 1
        });
        let classes = check_classes(&model, self.set.classes(), self.plan.class_names.as_ref())?;
        let choices = self.plan.valid_classes.as_ref().map_or(classes, Vec::len);
        if let Some(&k) = self.plan.topk.iter().find(|&&k| k > choices) {
            return Err(EvaluationError::TopK {
                k,
                classes: choices,
            });
        }
        let best = self.plan.topk.last().copied().unwrap_or(1);
        let judge = self
            .settings()
            .judge(classes)
            .map(|judge| judge.with_best(best));
        let judge = judge.map_err(|error| EvaluationError::Judge {
            model: model.path().display().to_string(),
            error,
        })?;
        // ONNX Runtime reads other formats than ONNX's, too.
        let precision = WeightTypes::read(model.path())
            .map_or_else(|_| "unknown".to_owned(), |types| types.to_string());
        self.models.push(Judged {
            precision,
            judging: Judging {
                path: model.path().to_owned(),
                recipe: place,
                judge,
                classes,
                averaging: averaging(&model, &recipe, self.plan.averaging),
            },
            model,
        });
        Ok(())
    }

    fn settings(&self) -> Settings {
        Settings {
            topk: self.plan.topk.clone(),
            failures: match self.plan.on_error {
                OnError::Fail => FailurePolicy::default(),
                OnError::Report(policy) => policy,
            },
            loss: self.plan.loss,
            valid_classes: self.plan.valid_classes.clone(),
        }
    }

    /// Lines that say what is run, and how.
    pub fn description(&self) -> Vec<String> {
        let mut lines = vec![self.set.description().to_string()];
        lines.extend(self.set.warnings().to_string().lines().map(str::to_owned));
        for Judged { model, judging, .. } in &self.models {
            let recipe = &self.recipes[judging.recipe];
            let normalized = recipe
                .normalization
                .map_or_else(String::new, |normalization| {
                    let [mean, std] = [normalization.mean, normalization.std];
                    format!(", mean {mean:?}, deviation {std:?}")
                });
            let averaged = match judging.averaging {
                CropAveraging::None => "",
                CropAveraging::Softmax => ", probabilities averaged",
                CropAveraging::Scores => ", scores averaged",
            };
            let nodes: Vec<String> = nodes(model)
                .iter()
                .map(|(provider, count)| format!("{count} nodes on {provider}"))
                .collect();
            lines.push(format!(
                "{}: {}{normalized}{averaged}; {}",
                model.path().display(),
                recipe.preprocessing,
                nodes.join(", ")
            ));
        }
        lines
    }

    /// The images that are to be run.
    pub fn places(&self) -> Range<usize> {
        match self.plan.shard {
            Some(shard) => shard.places(self.set.len()),
            None => 0..self.set.len(),
        }
    }

    /// Whether results are of this run.
    ///
    /// # Errors
    /// With what differs.
    pub fn check_same_run(&self, results: &Results) -> Result<(), MergeError> {
        self.results(&[], Found::default(), Duration::ZERO)
            .check_same_run(results)
    }

    /// Runs all models on the images of these places. Calls `progress` after each batch.
    ///
    /// Ends early, with the results of whole batches, once `stop` is set.
    ///
    /// # Errors
    /// If a model fails, or gives scores that cannot be judged.
    pub fn run(
        &mut self,
        places: &[usize],
        stop: &AtomicBool,
        mut progress: impl FnMut(&Progress),
    ) -> Result<Finished, EvaluationError> {
        let start = Instant::now();
        let mut found = Found {
            outcomes: vec![Vec::new(); self.models.len()],
            inference: vec![Duration::ZERO; self.models.len()],
            ..Found::default()
        };
        let mut shown = Progress {
            images: 0,
            judged: 0,
            right: self.plan.topk.iter().map(|&k| (k, 0)).collect(),
        };
        let pipeline = Pipeline::new(self.set, &self.recipes, self.plan.limits)?;
        let crops = self.recipes.iter().map(Recipe::crops).max().unwrap_or(1);
        let images = (self.plan.batch_size / crops).max(1);
        // In memory of the first model that reads them.
        let allocators = (0..self.recipes.len()).map(|recipe| {
            let mut models = self.models.iter();
            let model = models.find(|judged| judged.judging.recipe == recipe);
            model.expect("recipes are of models").model.allocator()
        });
        let allocators = allocators.collect::<Result<_, _>>()?;
        let (set, labels, plan) = (self.set, self.labels, self.plan);
        // A consumer has one session of each model.
        let mut sessions: Vec<_> = self
            .models
            .iter_mut()
            .map(|Judged { model, judging, .. }| (&*judging, model.lanes_mut().iter_mut()))
            .collect();
        let mut consumers = Vec::new();
        while let Some(mut lanes) = sessions
            .iter_mut()
            .map(|(judging, lanes)| Some((*judging, lanes.next()?)))
            .collect::<Option<Vec<_>>>()
        {
            consumers.push(move |batch: &Batch| judge(&mut lanes, batch, set, labels));
        }
        pipeline.run(places, images, allocators, stop, consumers, |part: Part| {
            shown.add(&part);
            found.add(part, set, labels, plan);
            progress(&shown);
        })?;
        if self.plan.on_error == OnError::Fail && !found.failures.is_empty() {
            let failures = found.failures.into_iter();
            let failures = failures.map(|failure| (failure.name, failure.message));
            return Ok(Finished::BadImages(failures.collect()));
        }
        let results = self.results(places, found, start.elapsed()).finish()?;
        Ok(Finished::Results(Box::new(results)))
    }

    fn results(&self, places: &[usize], found: Found, elapsed: Duration) -> Results {
        let set_classes = self.set.classes();
        let classes = self
            .models
            .first()
            .map_or(set_classes.len(), |judged| judged.judging.classes);
        let card = self.models.first().and_then(|judged| judged.model.card());
        let given = self.plan.class_names.as_ref();
        let of_model = card.and_then(|card| card.class_names.as_deref());
        let class_names = match (given, set_classes, of_model) {
            (Some(given), _, _) => given.names().to_vec(),
            (None, Classes::Numbered(_), Some(names)) => names.to_vec(),
            _ => (0..classes as u32)
                .map(|class| set_classes.name(class).into_owned())
                .collect(),
        };
        let wnids = (0..classes as u32).map(|class| set_classes.wnid(class).map(str::to_owned));
        let given_wnids = given.and_then(ClassNames::wnids).map(<[String]>::to_vec);
        let Found {
            images,
            failures,
            outcomes,
            inference,
            preparation,
        } = found;
        let mut outcomes = outcomes.into_iter();
        let mut inference = inference.into_iter();
        let models = self.models.iter().map(|judged| ModelResults {
            model: judged.info(&self.recipes[judged.judging.recipe], self.plan),
            timing: Timing {
                threads: Some(judged.model.execution().all_threads()),
                seconds: elapsed.as_secs_f64(),
                decode_seconds: preparation.as_secs_f64(),
                inference_seconds: inference.next().unwrap_or_default().as_secs_f64(),
                images_per_second: 0.0,
            },
            metrics: Metrics::default(),
            outcomes: outcomes.next().unwrap_or_default(),
        });
        let mut data = self.plan.data.clone();
        data.classes = classes;
        Results {
            format: FORMAT,
            topk_eval: env!("CARGO_PKG_VERSION").to_owned(),
            started: humantime::format_rfc3339_seconds(SystemTime::now() - elapsed).to_string(),
            complete: places.len() == self.places().len(),
            shard: self.plan.shard,
            data,
            settings: self.settings(),
            environments: vec![Environment {
                onnxruntime: self.onnxruntime.clone(),
                cpu: topk_native::processor(),
                cores: processors(),
                os: topk_native::platform(),
            }],
            class_names,
            wnids: wnids.collect::<Option<_>>().or(given_wnids),
            images,
            failures,
            models: models.collect(),
        }
    }
}

/// The number of scores, if model and data have the same classes.
fn check_classes(
    model: &Model,
    data: &Classes,
    given: Option<&ClassNames>,
) -> Result<usize, EvaluationError> {
    let name = || model.path().display().to_string();
    let named = model.card().and_then(|card| card.class_names.as_ref());
    let known = model.classes().or(named.map(Vec::len));
    let known = known.or(given.map(|given| given.names().len()));
    let expected = known.unwrap_or(data.len());
    let fits = match data {
        // What is labelled may be a part of the classes.
        Classes::Numbered(count) => *count <= expected,
        Classes::Imagenet | Classes::Named(_) => data.len() == expected,
    };
    if !fits {
        return Err(EvaluationError::Classes {
            model: name(),
            expected,
            found: data.len(),
        });
    }
    if let Some(given) = given.filter(|given| given.names().len() != expected) {
        return Err(EvaluationError::ClassNames {
            names: given.path().display().to_string(),
            found: given.names().len(),
            model: name(),
            expected,
        });
    }
    if let (Some(expected), Classes::Named(found)) = (named, data) {
        let pairs = expected.iter().zip(found).enumerate();
        if let Some((class, (expected, found))) = pairs
            .into_iter()
            .find(|(_, (expected, found))| expected != found)
        {
            return Err(EvaluationError::ClassName {
                model: name(),
                class,
                expected: expected.clone(),
                found: found.clone(),
            });
        }
    }
    Ok(expected)
}
