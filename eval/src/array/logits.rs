//! The logits of a model for arrays of images.

use ndarray::{Array2, ArrayView4};
use ort::value::TensorRef;
use rayon::prelude::*;
use topk_results::OutputKind;

use super::InputElement;
use crate::input::{InputKind, InputView, Layout};
use crate::model::{Model, ModelError};
use crate::worker::SessionWorker;

impl Model {
    /// Logits `[N, outputs]` of images in the type and layout of the model's input ([`kind`](Self::kind)): `[N, 3,
    /// height, width]` or `[N, height, width, 3]`, normalised or raw pixels, as [`Batches`](crate::Batches) yields
    /// them. One column for each output, including those before class 0.
    ///
    /// Scores of a model that ends with a softmax or sigmoid are converted to logits, which are those before a
    /// softmax up to a constant in each row. The images are shared among the model's sessions. Dense images are not
    /// copied, except to fill up a fixed batch size.
    ///
    /// In its first call, or in that of an evaluation, the model also runs on images of noise, to determine what its
    /// outputs are; see [`notes`](Self::notes).
    ///
    /// # Errors
    /// If the type or shape of the images does not fit, the run fails or does not return one row of scores per image,
    /// or a score of a model with probabilities is not a probability.
    pub fn logits<'a, T: InputElement>(
        &mut self,
        images: impl Into<ArrayView4<'a, T>>,
    ) -> Result<Array2<f32>, ModelError> {
        let images = images.into();
        let kind = self.kind();
        let (count, size) = self.check_images::<T>(images.shape())?;
        let outputs = self.examine(size)?;
        if count == 0 {
            return Ok(Array2::zeros((0, outputs)));
        }
        let dense = images.as_standard_layout();
        let values = dense.as_slice().expect("the standard layout is dense");
        // A part for each worker, of as many images as a run takes, or a multiple.
        let run_size = self.images_per_run().unwrap_or(1);
        let workers = self.workers_mut().len();
        let part = count.div_ceil(workers).next_multiple_of(run_size);
        let image = kind.values(size);
        let parts = self.workers_mut().par_iter_mut();
        let scores: Vec<Result<_, _>> = parts
            .zip(values.par_chunks(part * image))
            .map(|(worker, values)| run(worker, kind, size, values))
            .collect();
        // Of several errors the first one counts, whichever occurs first.
        let scores: Result<Vec<_>, _> = scores.into_iter().collect();
        let logits = scores
            .and_then(|scores| {
                let array = Array2::from_shape_vec((count, outputs), scores.concat());
                array.map_err(|error| error.to_string())
            })
            .map_err(|reason| ModelError::Run {
                path: self.path().to_owned(),
                reason,
            })?;
        self.of_scores(logits)
    }

    /// Number, height and width of images of this shape.
    fn check_images<T: InputElement>(
        &self,
        shape: &[usize],
    ) -> Result<(usize, [usize; 2]), ModelError> {
        let kind = self.kind();
        let [channels, height, width] = match kind.layout {
            Layout::Nchw => [1, 2, 3],
            Layout::Nhwc => [3, 1, 2],
        };
        let size = [shape[height], shape[width]];
        let fixed = self.input_size();
        let fits =
            |side: usize| size[side] > 0 && fixed[side].is_none_or(|fixed| fixed == size[side]);
        if T::ELEMENT == kind.element
            && shape[channels] == kind.mode.channels()
            && fits(0)
            && fits(1)
        {
            return Ok((shape[0], size));
        }
        let side = |side: usize, name: &str| {
            let fixed = fixed[side].map(|fixed| fixed.to_string());
            fixed.unwrap_or_else(|| name.to_owned())
        };
        let (height, width) = (side(0, "height"), side(1, "width"));
        let channels = kind.mode.channels();
        let expected = match kind.layout {
            Layout::Nchw => format!("[batch, {channels}, {height}, {width}]"),
            Layout::Nhwc => format!("[batch, {height}, {width}, {channels}]"),
        };
        Err(ModelError::Images {
            path: self.path().to_owned(),
            expected: format!("{} {expected}", kind.element),
            found: format!("{} {shape:?}", T::ELEMENT),
        })
    }

    /// Logits from scores.
    fn of_scores(&self, mut scores: Array2<f32>) -> Result<Array2<f32>, ModelError> {
        let (kind, precision) = self.output_kind();
        if kind == OutputKind::Logits {
            return Ok(scores);
        }
        for ((image, class), score) in scores.indexed_iter_mut() {
            let logit = kind.logit(*score, precision);
            *score = logit.ok_or_else(|| ModelError::NotProbability {
                path: self.path().to_owned(),
                image,
                class,
                score: *score,
            })? as f32;
        }
        Ok(scores)
    }
}

/// Scores of some images, row-major.
fn run<T: InputElement>(
    worker: &mut SessionWorker,
    kind: InputKind,
    size: [usize; 2],
    values: &[T],
) -> Result<Vec<f32>, String> {
    let count = values.len() / kind.values(size);
    let tensor = TensorRef::from_array_view((kind.shape(count, size), values));
    let tensor = tensor.map_err(|error| error.to_string())?;
    worker.scores(InputView::new(T::view(&tensor), kind, count, size))
}
