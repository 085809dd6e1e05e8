use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use topk_data::{ImageSet, Options};
use topk_labels::{ClassNames, Classes};
use topk_native::Runtime;
use topk_onnx::{WeightTypes, read_without_weights};
use topk_results::{
    Environment, FailurePolicy, Measurements, MergeError, ModelMeasurements, Results, Settings,
};

use crate::classes::check_classes;
use crate::collected::{Collected, EvaluatedBatch};
use crate::error::{BadImages, EvaluationError};
use crate::model::{Execution, Model, processors};
use crate::model_run::{ModelRun, ModelScorer, crop_averaging};
use crate::options::{EvalOptions, Labels, OnBadImage, labels_of};
use crate::pipeline::{Batch, Pipeline};
use crate::progress::Progress;
use crate::transform::{InputTransform, TransformError};
use crate::worker::SessionWorker;

/// Evaluates a model on a data set: top-k accuracy for each k, on the centre crop of every image, with the
/// preprocessing from the model's metadata.
///
/// Uses a GPU if ONNX Runtime can. See [`Evaluation`] for several models, progress, and other settings.
///
/// # Errors
/// If the model or the data cannot be read, they do not match, or the model fails.
pub fn evaluate(model: &Path, data: &Path, topk: &[usize]) -> Result<Results, EvaluationError> {
    let set = ImageSet::open(data, &Options::default())?;
    let labels = labels_of(&set);
    let runtime = Runtime::load()?;
    let model = Model::open(&runtime, model, Execution::default())?;
    let mut options = EvalOptions::new(&set)?;
    options.topk = topk.to_vec();
    options.topk.sort_unstable();
    options.topk.dedup();
    let mut evaluation = Evaluation::new(&runtime, &set, &labels, vec![model], &options)?;
    let indices: Vec<usize> = evaluation.indices().collect();
    evaluation.run(&indices, &AtomicBool::new(false), |_| ())
}

/// Models to evaluate on a data set.
pub struct Evaluation<'a> {
    set: &'a ImageSet,
    labels: &'a Labels,
    options: &'a EvalOptions,
    onnxruntime: String,
    models: Vec<ModelRun>,
    transforms: Vec<InputTransform>,
}

/// Runs all models on a batch and computes the outcomes.
fn evaluate_batch(
    models: &mut [(&ModelScorer, &mut SessionWorker)],
    batch: &Batch,
    set: &ImageSet,
    labels: &Labels,
) -> Result<EvaluatedBatch, EvaluationError> {
    if let Some(error) = &batch.wrong_size {
        return Err(error.clone().into());
    }
    let image = |index: usize| (&set.samples()[index].name, &labels[index]);
    let scores = models
        .iter_mut()
        .map(|(scorer, worker)| scorer.score(worker, batch, image));
    Ok(EvaluatedBatch {
        scores: scores.collect::<Result<_, _>>()?,
        indices: batch.indices.clone(),
        errors: batch.errors.clone(),
        preparation: batch.preparation,
    })
}

impl<'a> Evaluation<'a> {
    /// Prepares an evaluation.
    ///
    /// # Errors
    /// If the classes, sizes or k of a model and the data do not match, or its preprocessing is unknown.
    pub fn new(
        runtime: &Runtime,
        set: &'a ImageSet,
        labels: &'a Labels,
        models: Vec<Model>,
        options: &'a EvalOptions,
    ) -> Result<Self, EvaluationError> {
        let mut evaluation = Self {
            set,
            labels,
            options,
            onnxruntime: runtime.version().to_owned(),
            models: Vec::new(),
            transforms: Vec::new(),
        };
        for model in models {
            evaluation.add(model)?;
        }
        Ok(evaluation)
    }

    fn add(&mut self, model: Model) -> Result<(), EvaluationError> {
        let transform = InputTransform::new(&model, &self.options.overrides)?;
        let known = self.transforms.iter().position(|known| *known == transform);
        if let Some(first) = self.models.first().filter(|_| transform.preprocessing.fast)
            && known.is_none()
        {
            return Err(TransformError::Fast {
                first: first.model.path().display().to_string(),
                second: model.path().display().to_string(),
            }
            .into());
        }
        let index = known.unwrap_or_else(|| {
            self.transforms.push(transform);
            self.transforms.len() - 1
        });
        let classes = check_classes(
            &model,
            self.set.classes(),
            self.options.class_names.as_ref(),
        )?;
        let num_valid = self
            .options
            .valid_classes
            .as_ref()
            .map_or(classes, Vec::len);
        if let Some(&k) = self.options.topk.iter().find(|&&k| k > num_valid) {
            return Err(EvaluationError::TopK {
                k,
                classes: num_valid,
            });
        }
        let best = self.options.topk.last().copied().unwrap_or(1);
        let scorer = self
            .settings()
            .scorer(classes)
            .map(|scorer| scorer.with_best(best));
        let scorer = scorer.map_err(|error| EvaluationError::Score {
            model: model.path().display().to_string(),
            error,
        })?;
        // ONNX Runtime also reads formats other than ONNX.
        let precision = read_without_weights(model.path()).map_or_else(
            |_| "unknown".to_owned(),
            |model| WeightTypes::of(&model).to_string(),
        );
        self.models.push(ModelRun {
            precision,
            scorer: ModelScorer {
                path: model.path().to_owned(),
                transform: index,
                scorer,
                classes,
                averaging: crop_averaging(&model, &transform, self.options.crop_averaging),
            },
            model,
        });
        Ok(())
    }

    fn settings(&self) -> Settings {
        Settings {
            topk: self.options.topk.clone(),
            failures: match self.options.on_bad_image {
                OnBadImage::Fail | OnBadImage::CountWrong => FailurePolicy::CountWrong,
                OnBadImage::Skip => FailurePolicy::Skip,
            },
            loss: self.options.loss,
            valid_classes: self.options.valid_classes.clone(),
        }
    }

    pub(crate) fn set(&self) -> &ImageSet {
        self.set
    }

    pub(crate) fn models(&self) -> &[ModelRun] {
        &self.models
    }

    pub(crate) fn transform(&self, run: &ModelRun) -> &InputTransform {
        &self.transforms[run.scorer.transform]
    }

    /// Indices of the images to evaluate.
    pub fn indices(&self) -> Range<usize> {
        match self.options.shard {
            Some(shard) => shard.indices(self.set.len()),
            None => 0..self.set.len(),
        }
    }

    /// Checks that results belong to this run.
    ///
    /// # Errors
    /// With the first difference.
    pub fn check_same_run(&self, results: &Results) -> Result<(), MergeError> {
        self.measurements(Collected::default(), Duration::ZERO)
            .finish()?
            .check_same_run(results)
    }

    /// Evaluates all models on the images with these indices, and calls `progress` after each batch.
    ///
    /// Stops after the current batch once `stop` is set, with the results so far.
    ///
    /// # Errors
    /// If a model fails or returns invalid scores, or an image cannot be read and
    /// [`OnBadImage::Fail`] is set.
    pub fn run(
        &mut self,
        indices: &[usize],
        stop: &AtomicBool,
        mut progress: impl FnMut(&Progress),
    ) -> Result<Results, EvaluationError> {
        let start = Instant::now();
        let mut collected = Collected::new(self.models.len());
        let mut shown = Progress::new(&self.options.topk);
        let pipeline = Pipeline::new(self.set, &self.transforms, self.options.limits)?;
        let crops = self
            .transforms
            .iter()
            .map(InputTransform::crops)
            .max()
            .unwrap_or(1);
        let images = (self.options.batch_size / crops).max(1);
        // Inputs are allocated by the first model that reads them.
        let allocators = (0..self.transforms.len()).map(|transform| {
            let mut models = self.models.iter();
            let model = models.find(|run| run.scorer.transform == transform);
            model
                .expect("each transform belongs to a model")
                .model
                .allocator()
        });
        let allocators = allocators.collect::<Result<_, _>>()?;
        let (set, labels, options) = (self.set, self.labels, self.options);
        // Each consumer has one session of each model.
        let mut sessions: Vec<_> = self
            .models
            .iter_mut()
            .map(|ModelRun { model, scorer, .. }| (&*scorer, model.workers_mut().iter_mut()))
            .collect();
        let mut consumers = Vec::new();
        while let Some(mut workers) = sessions
            .iter_mut()
            .map(|(scorer, workers)| Some((*scorer, workers.next()?)))
            .collect::<Option<Vec<_>>>()
        {
            consumers.push(move |batch: &Batch| evaluate_batch(&mut workers, batch, set, labels));
        }
        pipeline.run(
            indices,
            images,
            allocators,
            stop,
            consumers,
            |batch: EvaluatedBatch| {
                shown.add(&batch);
                collected.add(batch, set, labels, options);
                progress(&shown);
            },
        )?;
        if self.options.on_bad_image == OnBadImage::Fail && !collected.failures.is_empty() {
            let failures = collected.failures.into_iter();
            let failures = failures.map(|failure| (failure.name, failure.message));
            return Err(EvaluationError::BadImages(BadImages {
                images: failures.collect(),
            }));
        }
        Ok(self.measurements(collected, start.elapsed()).finish()?)
    }

    fn measurements(&self, collected: Collected, elapsed: Duration) -> Measurements {
        let set_classes = self.set.classes();
        let classes = self
            .models
            .first()
            .map_or(set_classes.len(), |run| run.scorer.classes);
        let card = self.models.first().and_then(|run| run.model.card());
        let given = self.options.class_names.as_ref();
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
        let Collected {
            images,
            failures,
            outcomes,
            inference,
            preparation,
        } = collected;
        let mut outcomes = outcomes.into_iter();
        let mut inference = inference.into_iter();
        let models = self.models.iter().map(|run| ModelMeasurements {
            model: run.info(self.transform(run), self.options),
            threads: run.model.execution().all_threads(),
            elapsed,
            decode: preparation,
            inference: inference.next().unwrap_or_default(),
            outcomes: outcomes.next().unwrap_or_default(),
        });
        let mut data = self.options.data.clone();
        data.classes = classes;
        Measurements {
            topk_eval: env!("CARGO_PKG_VERSION").to_owned(),
            started: humantime::format_rfc3339_seconds(SystemTime::now() - elapsed).to_string(),
            shard: self.options.shard,
            data,
            settings: self.settings(),
            environment: Environment {
                onnxruntime: self.onnxruntime.clone(),
                cpu: topk_native::processor(),
                cores: processors(),
                os: topk_native::platform(),
            },
            class_names,
            wnids: wnids.collect::<Option<_>>().or(given_wnids),
            images,
            failures,
            models: models.collect(),
        }
    }
}
