//! The preprocessed images of a data set as arrays.

use std::marker::PhantomData;

use ndarray::{Array1, Array4, Axis};
use topk_data::ImageSet;

use super::InputElement;
use crate::classes::assign_classes;
use crate::error::{BadImages, EvaluationError};
use crate::input::ValuesMut;
use crate::model::Model;
use crate::model_run::images_per_batch;
use crate::options::{EvalOptions, OnBadImage, labels_of};
use crate::pipeline::{ImageError, MemoryError, Pipeline};
use crate::transform::{InputTransform, ResolvedTransform, TransformError};

/// The label of images without one, which a `Criterion` ignores with `with_ignore_index(UNLABELLED)`, as PyTorch's
/// losses do by default.
pub const UNLABELLED: i64 = -100;

/// The images of a data set, preprocessed for a model: an iterator of batches, in the order of the data set.
///
/// `T` is the type of the model's input, usually `f32`. Images are decoded, resized, cropped and normalised as in an
/// [`Evaluation`](crate::Evaluation), on all threads of rayon's pool, when a batch is requested. The iterator ends
/// after an error.
///
/// ```no_run
/// use std::path::Path;
/// use topk_eval::{Batches, EvalOptions, Execution, ImageSet, Model, Runtime};
///
/// let set = ImageSet::open(Path::new("imagenet/val"), &Default::default())?;
/// let mut model = Model::open(&Runtime::load()?, Path::new("resnet18.onnx"), Execution::default())?;
/// for batch in Batches::<f32>::new(&set, &mut model, &EvalOptions::new(&set)?)? {
///     let batch = batch?;
///     let logits = model.logits(&batch.images)?;
///     println!("{} {:?}: {logits}", batch.names[0], batch.images.dim());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Batches<'a, T> {
    set: &'a ImageSet,
    pipeline: Pipeline<'a>,
    transform: InputTransform,
    /// Output of the model for each class of the data.
    outputs: Vec<i64>,
    /// Images that are left, in reverse order.
    indices: Vec<usize>,
    images_per_batch: usize,
    on_bad_image: OnBadImage,
    decisions: Vec<String>,
    element: PhantomData<T>,
}

/// Preprocessed images. N is the number of images times that of the crops, which is 1 by default; the crops of an
/// image follow each other.
#[derive(Clone, Debug)]
pub struct ImageBatch<'a, T> {
    /// `[N, 3, height, width]` or `[N, height, width, 3]`, as the model takes them; with 1 in place of 3 if it takes grey
    /// images.
    pub images: Array4<T>,
    /// For each row, the output of the model for its class, or [`UNLABELLED`].
    pub labels: Array1<i64>,
    /// For each row, the index of the image in the data set.
    pub indices: Vec<usize>,
    /// For each row, the name of the image.
    pub names: Vec<&'a str>,
    /// Name of each image that was left out because it cannot be read, and the reason.
    pub left_out: Vec<(&'a str, String)>,
}

impl<'a, T: InputElement> Batches<'a, T> {
    /// The images of a data set for a model, which is run on images of noise first, as for an
    /// [`Evaluation`](crate::Evaluation).
    ///
    /// `options` set the batch size, preprocessing, subset, shard, class names, and what to do with unreadable images, which
    /// can be left out but not be counted; those for scores have no effect.
    ///
    /// # Errors
    /// If `T` is not the type of the model's input, its preprocessing is unknown, or the classes of the model and
    /// the data do not match.
    pub fn new(
        set: &'a ImageSet,
        model: &mut Model,
        options: &EvalOptions,
    ) -> Result<Self, EvaluationError> {
        let resolved = ResolvedTransform::new(model, &options.overrides)?;
        model.add_note(resolved.note());
        let transform = resolved.transform;
        if T::ELEMENT != transform.kind.element {
            return Err(TransformError::Element {
                model: model.path().display().to_string(),
                expected: transform.kind.element,
                requested: T::ELEMENT,
            }
            .into());
        }
        let fixed = [(transform.crops(), model.batch())];
        let images_per_batch = images_per_batch(options.batch_size, &fixed);
        model.set_run_size(images_per_batch * transform.crops());
        model.prepare(transform.size, set, &labels_of(set))?;
        let assignment = assign_classes(model, set, options)?;
        // The class in results, and its output.
        let output = |class: u32| {
            let class = match &assignment.labels {
                Some(labels) => (*labels.get(class as usize)?)?,
                None => class,
            };
            let output = match &assignment.outputs {
                Some(outputs) => *outputs.get(class as usize)?,
                None => class,
            };
            Some(i64::from(output) + model.label_offset() as i64)
        };
        let outputs =
            (0..set.classes().len() as u32).map(|class| output(class).unwrap_or(UNLABELLED));
        let (subset, decision) = options.subset(set);
        let mut indices = options.indices(set, subset.as_ref());
        indices.reverse();
        let decisions = options.data.decisions.iter().chain(&decision);
        let decisions = decisions.chain(&assignment.decision);
        Ok(Self {
            set,
            pipeline: Pipeline::new(set, &[transform], options.limits)?,
            transform,
            outputs: outputs.collect(),
            indices,
            images_per_batch,
            on_bad_image: options.on_bad_image,
            decisions: decisions.chain(model.notes()).cloned().collect(),
            element: PhantomData,
        })
    }

    /// How images are preprocessed.
    pub fn transform(&self) -> &InputTransform {
        &self.transform
    }

    /// What was decided about the data, its classes and the model, one line each.
    pub fn decisions(&self) -> &[String] {
        &self.decisions
    }

    fn prepare(&self, indices: Vec<usize>) -> Result<ImageBatch<'a, T>, EvaluationError> {
        let InputTransform { size, kind, .. } = self.transform;
        let crops = self.transform.crops();
        let mut images = zeros(kind.shape(indices.len() * crops, size))?;
        let of_image = crops * kind.values(size);
        let values = images.as_slice_mut().expect("a new array is dense");
        let slots = values
            .chunks_exact_mut(of_image)
            .map(|values| vec![ValuesMut::new(kind, T::slice_mut(values))])
            .collect();
        let (results, _) = self.pipeline.fill(&indices, slots);

        let sample = |index: usize| &self.set.samples()[index];
        let (mut bad, mut good) = (Vec::new(), Vec::new());
        for (at, (&index, result)) in indices.iter().zip(results).enumerate() {
            match result {
                Ok(()) => good.push(at),
                Err(ImageError::Size(error)) => return Err(error.into()),
                Err(ImageError::Unreadable(reason)) => {
                    bad.push((sample(index).name.as_str(), reason));
                }
            }
        }
        if self.on_bad_image == OnBadImage::Fail && !bad.is_empty() {
            let images = bad
                .into_iter()
                .map(|(name, reason)| (name.to_owned(), reason));
            return Err(EvaluationError::BadImages(BadImages {
                images: images.collect(),
            }));
        }
        let rows = good.iter().flat_map(|at| at * crops..(at + 1) * crops);
        let rows: Vec<usize> = rows.collect();
        if !bad.is_empty() {
            images = images.select(Axis(0), &rows);
        }
        let indices: Vec<usize> = rows.iter().map(|row| indices[row / crops]).collect();
        let label = |&index: &usize| match sample(index).label {
            Some(class) => self.outputs[class as usize],
            None => UNLABELLED,
        };
        Ok(ImageBatch {
            images,
            labels: indices.iter().map(label).collect(),
            names: indices
                .iter()
                .map(|&index| sample(index).name.as_str())
                .collect(),
            indices,
            left_out: bad,
        })
    }
}

impl<'a, T: InputElement> Iterator for Batches<'a, T> {
    type Item = Result<ImageBatch<'a, T>, EvaluationError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.indices.is_empty() {
            return None;
        }
        let left = self.indices.len().saturating_sub(self.images_per_batch);
        let next = self.indices.drain(left..).rev().collect();
        let batch = self.prepare(next);
        if batch.is_err() {
            self.indices.clear();
        }
        Some(batch)
    }
}

fn zeros<T: InputElement>(shape: [usize; 4]) -> Result<Array4<T>, MemoryError> {
    let len = shape.iter().product();
    let mut values = Vec::new();
    values
        .try_reserve_exact(len)
        .map_err(|error| MemoryError(error.to_string()))?;
    values.resize(len, T::default());
    Array4::from_shape_vec(shape, values).map_err(|error| MemoryError(error.to_string()))
}
