//! The time to prepare images.

use std::time::Duration;

use topk_results::bench::Preparation;

use super::BenchError;
use crate::error::EvaluationError;
use crate::input::InputTensor;
use crate::model::Model;
use crate::pipeline::{ImageError, MemoryError, Pipeline};

/// Indices of at most `most` of `images` images, spread evenly: neighbours may be of the same class or size.
pub(super) fn spread(images: usize, most: usize) -> Vec<usize> {
    let count = images.min(most).max(1);
    (0..count).map(|at| at * images / count).collect()
}

/// The mean times of these images on one thread, for a model with inputs of this height and width. They are prepared
/// once before, so that their files are in the system's cache.
pub(super) fn time(
    model: &Model,
    pipeline: &Pipeline<'_>,
    indices: &[usize],
    size: [usize; 2],
) -> Result<Preparation, BenchError> {
    let allocator = model.allocator()?;
    let memory = |error: ort::Error| EvaluationError::from(MemoryError(error.to_string()));
    let mut input = InputTensor::zeros(&allocator, model.kind(), 1, size).map_err(memory)?;
    let mut sums = [Duration::ZERO; 4];
    for counts in [false, true] {
        for &index in indices {
            let slot = input.groups_mut(1).pop().expect("there is one image");
            let times = pipeline.time_image(index, slot);
            let times = times.map_err(|error| failed(pipeline, index, error))?;
            if counts {
                sums.iter_mut()
                    .zip(times)
                    .for_each(|(sum, time)| *sum += time);
            }
        }
    }
    let [read, decode, resize, normalize] =
        sums.map(|sum| sum.as_secs_f64() / indices.len() as f64);
    Ok(Preparation {
        images: indices.len(),
        read_seconds: read,
        decode_seconds: decode,
        resize_seconds: resize,
        normalize_seconds: normalize,
    })
}

/// The error of an image of a pipeline.
pub(super) fn failed(pipeline: &Pipeline<'_>, index: usize, error: ImageError) -> BenchError {
    match error {
        ImageError::Unreadable(reason) => BenchError::Image {
            name: pipeline.set().samples()[index].name.clone(),
            reason,
        },
        ImageError::Size(error) => EvaluationError::from(error).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_spread_over_the_data() {
        assert_eq!(spread(10, 4), [0, 2, 5, 7]);
        assert_eq!(spread(3, 64), [0, 1, 2]);
        assert_eq!(spread(3, 0), [0]);
    }
}
