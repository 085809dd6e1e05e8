use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use topk_calibration::{Logits, LogitsError, LogitsWriter};
use topk_data::{ImageSet, Options};
use topk_files::Hasher;
use topk_native::Runtime;
use topk_results::{
    Environment, FailurePolicy, LabelledLogits, Measurements, MergeError, ModelMeasurements,
    Results, Settings, Subset,
};

use crate::classes::{ClassAssignment, assign_classes};
use crate::collected::{Collected, EvaluatedBatch};
use crate::error::{BadImages, EvaluationError};
use crate::model::{Model, ModelOptions, processors};
use crate::model_run::{BatchScores, ModelRun, ModelScorer, crop_averaging, images_per_batch};
use crate::options::{EvalOptions, Labels, OnBadImage, labels_of};
use crate::pipeline::{Batch, BatchMemory, Pipeline};
use crate::progress::Progress;
use crate::transform::{InputTransform, ResolvedTransform, TransformError};
use crate::worker::SessionWorker;

/// Evaluates a model on a data set: top-k accuracy for each k, on the centre crop of every image, with the
/// preprocessing from the model's metadata.
///
/// Uses a GPU if ONNX Runtime can. See [`Evaluation`] for several models, progress, and other settings.
///
/// # Errors
/// If the model or the data cannot be read, they do not match, or the model fails.
pub fn evaluate(
    model: impl AsRef<Path>,
    data: impl AsRef<Path>,
    topk: &[usize],
) -> Result<Results, EvaluationError> {
    let set = ImageSet::open(data.as_ref(), &Options::default())?;
    let labels = labels_of(&set);
    let runtime = Runtime::load()?;
    let opening = ModelOptions {
        classes: Some(set.classes().clone()),
        ..ModelOptions::default()
    };
    let model = Model::open(&runtime, model.as_ref(), opening)?;
    let mut options = EvalOptions::new(&set)?;
    options.topk = topk.to_vec();
    options.topk.sort_unstable();
    options.topk.dedup();
    let mut evaluation = Evaluation::new(&runtime, &set, &labels, vec![model], &options)?;
    let indices = evaluation.indices();
    evaluation.run(&indices, &AtomicBool::new(false), |_| ())
}

/// The largest number of classes per image whose probabilities are kept.
const MAX_BEST: usize = 100;

/// Models to evaluate on a data set.
pub struct Evaluation<'a> {
    set: &'a ImageSet,
    labels: Arc<Labels>,
    options: &'a EvalOptions,
    /// The random subset of the data, if requested.
    subset: Option<Subset>,
    /// The classes in results: those of the first model and the data.
    classes: ClassAssignment,
    /// What was decided about the classes of the models.
    decisions: Vec<String>,
    runtime: Runtime,
    models: Vec<ModelRun>,
    transforms: Vec<InputTransform>,
    /// Number of images of a batch.
    images_per_batch: usize,
    /// For each model, the file that keeps its logits, if they are kept.
    logits: Vec<LogitsWriter>,
}

/// The files that keep logits during a run.
struct KeptLogits {
    writers: Vec<LogitsWriter>,
    failed: Result<(), LogitsError>,
}

impl KeptLogits {
    /// Adds the logits of a batch. A failure ends the run: it sets `stop`.
    fn add(&mut self, batch: &EvaluatedBatch, stop: &AtomicBool) {
        for (writer, scores) in self.writers.iter_mut().zip(batch.scores.iter().flatten()) {
            let rows = batch.indices.iter().zip(&scores.logits);
            for (&index, logits) in rows {
                let Some(LabelledLogits { label, logits }) = logits else {
                    continue;
                };
                if self.failed.is_ok() {
                    self.failed = writer.push(index as u64, *label, logits);
                }
            }
        }
        self.stop_if_failed(stop);
    }

    fn save(&mut self, stop: &AtomicBool) {
        for writer in &mut self.writers {
            if self.failed.is_ok() {
                self.failed = writer.save();
            }
        }
        self.stop_if_failed(stop);
    }

    fn stop_if_failed(&self, stop: &AtomicBool) {
        if self.failed.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
    }
}

/// What all consumers of a run share.
struct Context<'a> {
    set: &'a ImageSet,
    labels: &'a Labels,
    /// With [`OnBadImage::Fail`], the number of the first batch with a bad image. The images of later batches are only
    /// read; those of earlier ones are evaluated, so that the error does not depend on which batch is ready first.
    failed: Option<AtomicUsize>,
}

impl Context<'_> {
    /// Runs all models on a batch and computes the outcomes.
    fn evaluate(
        &self,
        models: &mut [(&ModelScorer, &mut SessionWorker)],
        batch: &Batch,
    ) -> Result<EvaluatedBatch, EvaluationError> {
        if let Some(error) = &batch.wrong_size {
            return Err(error.clone().into());
        }
        let mut evaluated = EvaluatedBatch {
            indices: batch.indices.clone(),
            errors: batch.errors.clone(),
            invalid: Vec::new(),
            scores: None,
            preparation: batch.preparation,
        };
        if evaluated.errors.iter().any(Option::is_some) {
            self.fail(batch.number);
        }
        if self.ends_before(batch.number) {
            return Ok(evaluated);
        }
        let image = |index: usize| (&self.set.samples()[index].name, &self.labels[index]);
        let scores = models
            .iter_mut()
            .map(|(scorer, worker)| scorer.score(worker, batch, image));
        let mut scores: Vec<BatchScores> = scores.collect::<Result<_, _>>()?;
        evaluated.invalid = scores
            .iter_mut()
            .flat_map(|scores| scores.invalid.drain(..))
            .collect();
        for (at, _) in &evaluated.invalid {
            // An image counts for all models or for none, so that they can be compared.
            for scores in &mut scores {
                scores.outcomes[*at] = None;
                scores.logits[*at] = None;
            }
        }
        if !evaluated.invalid.is_empty() {
            self.fail(batch.number);
        }
        evaluated.scores = Some(scores);
        Ok(evaluated)
    }

    /// Records a bad image in a batch.
    fn fail(&self, batch: usize) {
        if let Some(failed) = &self.failed {
            failed.fetch_min(batch, Ordering::Relaxed);
        }
    }

    /// Whether this batch is not evaluated, because it or one before it has a bad image.
    fn ends_before(&self, batch: usize) -> bool {
        let failed = self.failed.as_ref();
        failed.is_some_and(|failed| failed.load(Ordering::Relaxed) <= batch)
    }
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
        let (subset, decision) = options.subset(set);
        let mut evaluation = Self {
            set,
            labels: Arc::new(labels.clone()),
            options,
            subset,
            classes: ClassAssignment::default(),
            decisions: decision.into_iter().collect(),
            runtime: runtime.clone(),
            models: Vec::new(),
            transforms: Vec::new(),
            images_per_batch: 0,
            logits: Vec::new(),
        };
        let resolved = models
            .iter()
            .map(|model| ResolvedTransform::new(model, &options.overrides));
        let resolved = resolved.collect::<Result<Vec<_>, _>>()?;
        let runs = resolved.iter().zip(&models);
        let runs: Vec<_> = runs
            .map(|(resolved, model)| (resolved.transform.crops(), model.batch()))
            .collect();
        evaluation.images_per_batch = images_per_batch(options.batch_size, &runs);
        for (mut model, resolved) in models.into_iter().zip(resolved) {
            model.add_note(resolved.note());
            let preset = resolved.preset.map(|preset| preset.name);
            evaluation.add(model, resolved.transform, preset)?;
        }
        Ok(evaluation)
    }

    fn add(
        &mut self,
        mut model: Model,
        transform: InputTransform,
        preset: Option<String>,
    ) -> Result<(), EvaluationError> {
        model.set_run_size(self.images_per_batch * transform.crops());
        model.prepare(transform.size, self.set, self.labels.as_slice())?;
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
        let assignment = self.assign(&model)?;
        let classes = assignment.classes;
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
        let best = self.options.topk.last().copied().unwrap_or(1).min(MAX_BEST);
        let (kind, precision) = model.output_kind();
        let scorer = self.settings().scorer(classes).map(|scorer| {
            scorer
                .with_best(best)
                .with_crops(transform.crops())
                .with_kind(kind, precision)
        });
        let scorer = scorer.map_err(|error| EvaluationError::Score {
            model: model.path().display().to_string(),
            error,
        })?;
        self.models.push(ModelRun {
            scorer: ModelScorer {
                path: model.path().to_owned(),
                transform: index,
                scorer,
                classes,
                outputs: assignment.outputs,
                label_offset: model.label_offset(),
                averaging: crop_averaging(&model, &transform, self.options.crop_averaging),
                keeps_logits: false,
            },
            model,
            preset,
        });
        Ok(())
    }

    /// What results do with images that cannot be evaluated.
    pub(crate) fn failure_policy(&self) -> FailurePolicy {
        match self.options.on_bad_image {
            OnBadImage::Fail | OnBadImage::CountWrong => FailurePolicy::CountWrong,
            OnBadImage::Skip => FailurePolicy::Skip,
        }
    }

    /// The classes of a model, which must be those of the first model.
    fn assign(&mut self, model: &Model) -> Result<ClassAssignment, EvaluationError> {
        let assignment = assign_classes(model, self.set, self.options)?;
        let path = model.path().display().to_string();
        if let Some(decision) = &assignment.decision {
            let file = model.path().file_name().unwrap_or_default();
            self.decisions
                .push(format!("{}: {decision}", file.to_string_lossy()));
        }
        let Some(first) = self.models.first() else {
            if let Some(map) = &assignment.labels {
                let class = |label: &u32| *map.get(*label as usize)?;
                let of_image = |labels: &Vec<u32>| labels.iter().filter_map(class).collect();
                self.labels = Arc::new(self.labels.iter().map(of_image).collect());
            }
            self.classes = assignment.clone();
            return Ok(assignment);
        };
        if assignment.labels != self.classes.labels {
            return Err(EvaluationError::ClassOrders {
                first: first.model.path().display().to_string(),
                second: path,
            });
        }
        Ok(assignment)
    }

    /// Keeps the logits of the images that are evaluated from now on: with a writer for each model.
    ///
    /// # Panics
    /// If the number of writers is not that of the models.
    pub fn keep_logits(&mut self, writers: Vec<LogitsWriter>) {
        assert_eq!(writers.len(), self.models.len(), "a writer for each model");
        self.logits = writers;
        for run in &mut self.models {
            run.scorer.keeps_logits = true;
        }
    }

    /// The writers of [`keep_logits`](Self::keep_logits).
    pub fn kept_logits(&mut self) -> &mut [LogitsWriter] {
        &mut self.logits
    }

    /// Ends the files of [`keep_logits`](Self::keep_logits), and returns the logits of each model.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn finish_logits(&mut self) -> Result<Vec<Logits>, LogitsError> {
        let writers = mem::take(&mut self.logits);
        writers.into_iter().map(LogitsWriter::finish).collect()
    }

    /// The library that runs the models.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// What was decided about the data and its classes: one line each.
    pub(crate) fn decisions(&self) -> Vec<String> {
        let of_data = &self.options.data.decisions;
        of_data.iter().chain(&self.decisions).cloned().collect()
    }

    fn settings(&self) -> Settings {
        Settings {
            topk: self.options.topk.clone(),
            failures: self.failure_policy(),
            loss: self.options.loss,
            valid_classes: self.valid_classes(),
        }
    }

    /// Classes in results that may be predicted, ascending; `None` for all.
    fn valid_classes(&self) -> Option<Vec<u32>> {
        let valid = self.options.valid_classes.as_ref()?;
        // With class indices, they are those of the models already.
        let map = self
            .classes
            .labels
            .as_ref()
            .filter(|_| self.options.class_indices.is_none());
        let mut valid: Vec<u32> = match map {
            Some(map) => valid
                .iter()
                .filter_map(|&class| *map.get(class as usize)?)
                .collect(),
            None => valid.clone(),
        };
        valid.sort_unstable();
        valid.dedup();
        Some(valid)
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

    /// Indices of the images to evaluate, ascending.
    pub fn indices(&self) -> Vec<usize> {
        self.options.indices(self.set, self.subset.as_ref())
    }

    /// Checks that results belong to this run, and returns the differences that do not matter; see
    /// [`Results::check_same_run`].
    ///
    /// # Errors
    /// With the first difference that matters.
    pub fn check_same_run(&self, results: &Results) -> Result<Vec<String>, MergeError> {
        self.measurements().finish()?.check_same_run(results)
    }

    /// Evaluates all models on the images with these indices, and calls `progress` after each batch.
    ///
    /// Stops after the current batch once `stop` is set, with the results so far.
    ///
    /// # Errors
    /// If a model fails, or an image cannot be read or its scores are invalid and [`OnBadImage::Fail`] is set.
    pub fn run(
        &mut self,
        indices: &[usize],
        stop: &AtomicBool,
        progress: impl FnMut(&Progress),
    ) -> Result<Results, EvaluationError> {
        self.run_saving(indices, stop, progress, Duration::MAX, |_, _| ())
    }

    /// As [`run`](Self::run), and calls `save` with the results so far, and the writers of the logits of their images, at
    /// this interval, and before an error is returned. They may be merged with those of a later run on the remaining
    /// images.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn run_saving(
        &mut self,
        indices: &[usize],
        stop: &AtomicBool,
        mut progress: impl FnMut(&Progress),
        interval: Duration,
        mut save: impl FnMut(Results, &mut [LogitsWriter]),
    ) -> Result<Results, EvaluationError> {
        let start = Instant::now();
        let run = self.measurements();
        let mut collected = Collected::new(self.models.len());
        let (set, labels, options) = (self.set, Arc::clone(&self.labels), self.options);
        let mut shown = Progress::new(&options.topk);
        let mut saved = Instant::now();
        let mut logits = KeptLogits {
            writers: mem::take(&mut self.logits),
            failed: Ok(()),
        };
        let ended = self.consume(indices, stop, |batch| {
            shown.add(&batch);
            logits.add(&batch, stop);
            collected.add(batch, set, &labels, options);
            progress(&shown);
            if saved.elapsed() >= interval && collected.bad_images.is_empty() {
                // Before the results, which must not have images whose logits are lost.
                logits.save(stop);
                if let Ok(results) = collected.clone().into_results(run.clone(), start.elapsed()) {
                    save(results, &mut logits.writers);
                }
                saved = Instant::now();
            }
        });
        let bad_images = mem::take(&mut collected.bad_images);
        if interval < Duration::MAX {
            logits.save(stop);
        }
        self.logits = logits.writers;
        let ended = ended.and(logits.failed.map_err(EvaluationError::from));
        let ended = ended.and(match bad_images.is_empty() {
            true => Ok(()),
            false => Err(EvaluationError::BadImages(BadImages { images: bad_images })),
        });
        let some = !collected.images.is_empty();
        let results = collected.into_results(run, start.elapsed());
        if let Err(error) = ended {
            if let Ok(results) = results
                && some
            {
                save(results, &mut self.logits);
            }
            return Err(error);
        }
        Ok(results?)
    }

    /// Runs all models; `collect` gets each batch, in order.
    fn consume(
        &mut self,
        indices: &[usize],
        stop: &AtomicBool,
        collect: impl FnMut(EvaluatedBatch),
    ) -> Result<(), EvaluationError> {
        let pipeline = Pipeline::new(self.set, &self.transforms, self.options.limits)?;
        // Inputs are allocated by the first model that reads them.
        let allocators = (0..self.transforms.len()).map(|transform| {
            let mut models = self.models.iter();
            let model = models.find(|run| run.scorer.transform == transform);
            model
                .expect("each transform belongs to a model")
                .model
                .allocator()
        });
        let memory = BatchMemory {
            images: self.images_per_batch,
            full: self.models.iter().any(|run| run.model.is_bound()),
            allocators: allocators.collect::<Result<_, _>>()?,
        };
        let context = &Context {
            set: self.set,
            labels: &self.labels,
            failed: match self.options.on_bad_image {
                OnBadImage::Fail => Some(AtomicUsize::new(usize::MAX)),
                OnBadImage::CountWrong | OnBadImage::Skip => None,
            },
        };
        // Each consumer has one worker of each model.
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
            consumers.push(move |batch: &Batch| context.evaluate(&mut workers, batch));
        }
        pipeline.run(indices, memory, stop, consumers, collect)
    }

    /// The data, the models and how they are run, without images.
    pub(crate) fn measurements(&self) -> Measurements {
        let classes = self
            .models
            .first()
            .map_or(self.set.classes().len(), |run| run.scorer.classes);
        let models = self.models.iter().map(|run| ModelMeasurements {
            model: run.info(self.transform(run), self.options),
            threads: run.model.execution().all_threads(),
            sessions: run.model.execution().sessions.unwrap_or(1),
            elapsed: Duration::ZERO,
            decode: Duration::ZERO,
            inference: Duration::ZERO,
            outcomes: Vec::new(),
        });
        let mut data = self.options.data.clone();
        data.classes = classes;
        data.labels_sha256 = Some(sha256(&self.labels));
        data.decisions = self.decisions();
        Measurements {
            topk_eval: env!("CARGO_PKG_VERSION").to_owned(),
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            subset: self.subset.clone(),
            shard: self.options.shard,
            data,
            settings: self.settings(),
            environment: environment(
                &self.runtime,
                &self.models.iter().map(|run| &run.model).collect::<Vec<_>>(),
            ),
            class_names: self.classes.names.clone(),
            wnids: self.classes.wnids.clone(),
            images: Vec::new(),
            failures: Vec::new(),
            models: models.collect(),
        }
    }
}

/// The machine that models run on.
pub(crate) fn environment(runtime: &Runtime, models: &[&Model]) -> Environment {
    let no_gpu = models.iter().find_map(|model| model.no_gpu());
    Environment {
        onnxruntime: runtime.version().to_owned(),
        cpu: topk_native::processor(),
        cores: processors(),
        os: topk_native::platform(),
        gpu: models.iter().find_map(|model| model.gpu()).cloned(),
        no_gpu: no_gpu.map(str::to_owned),
    }
}

/// SHA-256 of the labels of all images, in hexadecimal.
fn sha256(labels: &Labels) -> String {
    let mut hash = Hasher::default();
    for labels in labels {
        hash.update((labels.len() as u64).to_le_bytes());
        for label in labels {
            hash.update(label.to_le_bytes());
        }
    }
    hash.finish()
}
