//! Prepares the images of a data set for models: reads, decodes, resizes, crops and normalizes them in parallel, ahead of
//! the models.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ort::memory::Allocator;
use rayon::prelude::*;
use thiserror::Error;
use topk_data::ImageSet;
use topk_image::{CropPixels, Limits, NormalizationTable, Preprocessor};
use topk_loader::Workers;
use topk_preprocessing::{Normalization, PreprocessingError};

use crate::input::{InputTensor, ValuesMut};
use crate::transform::InputTransform;

/// Number of images after a batch that are read ahead from a server.
const READ_AHEAD: usize = 1024;

/// Why an image cannot be prepared.
pub(crate) enum ImageError {
    /// It cannot be read.
    Unreadable(String),
    /// After preprocessing, it does not have the size of a model's input.
    Size(SizeError),
}

impl From<String> for ImageError {
    fn from(reason: String) -> Self {
        Self::Unreadable(reason)
    }
}

/// A preprocessed image does not have the size of a model's input.
#[derive(Clone, Debug, Error)]
#[error(
    "{image} has {}x{} pixels (height x width) after preprocessing, but the model takes {}x{}: pass \
     --resize or --preset",
    found[0], found[1], expected[0], expected[1]
)]
pub struct SizeError {
    /// The image.
    pub image: String,
    /// Its height and width.
    pub found: [usize; 2],
    /// Height and width of the model's input.
    pub expected: [usize; 2],
}

/// The memory for a batch of images cannot be allocated.
#[derive(Clone, Debug, Error)]
#[error("cannot allocate memory for a batch of images: {0}. Use a smaller --batch-size")]
pub struct MemoryError(pub(crate) String);

/// Images that are evaluated together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Number of images that `inputs` have memory for.
    images: usize,
    /// Its position among the batches of the run.
    pub(crate) number: usize,
    /// Indices of the images in the data set.
    pub(crate) indices: Vec<usize>,
    /// For each transform, the crops of these images; undefined for images that could not be read.
    pub(crate) inputs: Vec<InputTensor>,
    /// For each image, the error if it could not be read.
    pub(crate) errors: Vec<Option<String>>,
    /// The first image that could be read but has another size than a model's input.
    pub(crate) wrong_size: Option<SizeError>,
    /// Time for the preparation, summed over threads.
    pub(crate) preparation: Duration,
}

/// The size of batches, and their memory.
pub(crate) struct BatchMemory {
    /// Number of images of a batch; the last one may have fewer.
    pub(crate) images: usize,
    /// Whether the last batch has memory for as many images as the others, for consumers that run on a GPU.
    pub(crate) full: bool,
    /// For each transform, what allocates its input tensors.
    pub(crate) allocators: Vec<Allocator>,
}

/// Prepares images for several models at once; each image is read and decoded once.
pub(crate) struct Pipeline<'a> {
    set: &'a ImageSet,
    transforms: Vec<InputTransform>,
    tables: Vec<NormalizationTable>,
    /// For each thread, one preprocessor per transform.
    preprocessors: Workers<Vec<Preprocessor>>,
    limits: Limits,
}

impl<'a> Pipeline<'a> {
    /// A pipeline for the images of a data set.
    ///
    /// # Errors
    /// If a transform has sizes that are out of range.
    pub(crate) fn new(
        set: &'a ImageSet,
        transforms: &[InputTransform],
        limits: Limits,
    ) -> Result<Self, PreprocessingError> {
        let preprocessors = || {
            transforms
                .iter()
                .map(|transform| Preprocessor::new(transform.preprocessing, limits))
                .collect()
        };
        Ok(Self {
            set,
            tables: transforms.iter().map(table).collect(),
            preprocessors: Workers::new(preprocessors)?,
            transforms: transforms.to_vec(),
            limits,
        })
    }

    /// The images.
    pub(crate) fn set(&self) -> &ImageSet {
        self.set
    }

    /// Prepares the images of these indices in batches. Each batch goes to one of the `consumers`, which run
    /// concurrently while the next batches are prepared; their results go to `collect`, in order.
    ///
    /// As many batches are prepared at the same time as there are threads for, and for consumers that run on a GPU one
    /// more: no thread is idle while the last images of a batch are prepared. On the CPU, inference takes those threads.
    ///
    /// Ends early, after whole batches, once `stop` is set.
    ///
    /// # Errors
    /// The error of a consumer, or if the memory for a batch cannot be allocated.
    pub(crate) fn run<T: Send, E: Send + From<MemoryError>>(
        &self,
        indices: &[usize],
        memory: BatchMemory,
        stop: &AtomicBool,
        consumers: Vec<impl FnMut(&Batch) -> Result<T, E> + Send>,
        collect: impl FnMut(T),
    ) -> Result<(), E> {
        let BatchMemory {
            images: batch_size,
            full,
            allocators,
        } = memory;
        // An allocator serves one thread at a time.
        let allocators = Mutex::new(allocators);
        let prepare = move |(number, indices): (usize, &[usize]), batch: &mut Batch| {
            batch.number = number;
            let images = if full { batch_size } else { indices.len() };
            self.allocate(batch, images, &allocators)
                .map_err(|error| MemoryError(error.to_string()))?;
            self.prepare(indices, batch);
            Ok(())
        };
        let ahead = rayon::current_num_threads().div_ceil(batch_size) + usize::from(full);
        // Images of a server are on their way before their batch is prepared.
        let batches = indices.chunks(batch_size).enumerate();
        let batches = batches.inspect(|(number, batch)| {
            let soon = indices[number * batch_size..].iter();
            self.set
                .read_ahead(soon.take(batch.len() + READ_AHEAD).copied());
        });
        topk_loader::process(
            batches,
            prepare,
            NonZeroUsize::new(ahead).unwrap_or(NonZeroUsize::MIN),
            stop,
            consumers,
            collect,
        )
    }

    /// Allocates tensors for this many images, unless the batch already has them.
    fn allocate(
        &self,
        batch: &mut Batch,
        images: usize,
        allocators: &Mutex<Vec<Allocator>>,
    ) -> ort::Result<()> {
        if batch.images != images || batch.inputs.is_empty() {
            let allocators = allocators.lock().unwrap_or_else(PoisonError::into_inner);
            let tensors = self.transforms.iter().zip(&*allocators);
            let tensors = tensors.map(|(transform, allocator)| {
                InputTensor::zeros(
                    allocator,
                    transform.kind,
                    images * transform.crops(),
                    transform.size,
                )
            });
            batch.inputs = tensors.collect::<ort::Result<_>>()?;
            batch.images = images;
        }
        Ok(())
    }

    /// Prepares the images of these indices in the memory of a batch.
    fn prepare(&self, indices: &[usize], batch: &mut Batch) {
        // For each image, its part of each input tensor.
        let mut slots: Vec<Vec<ValuesMut>> = (0..indices.len()).map(|_| Vec::new()).collect();
        for (input, transform) in batch.inputs.iter_mut().zip(&self.transforms) {
            let crops = transform.crops();
            input.set_count(indices.len() * crops);
            let mut parts = input.groups_mut(crops).into_iter();
            for (slots, part) in slots.iter_mut().zip(parts.by_ref()) {
                slots.push(part);
            }
            parts.for_each(ValuesMut::clear);
        }
        let (results, preparation) = self.fill(indices, slots);
        batch.preparation = preparation;
        batch.indices.clear();
        batch.indices.extend(indices);
        batch.errors.clear();
        for result in results {
            batch.errors.push(match result {
                Ok(()) => None,
                Err(ImageError::Unreadable(reason)) => Some(reason),
                Err(ImageError::Size(error)) => {
                    batch.wrong_size.get_or_insert(error);
                    None
                }
            });
        }
    }

    /// Prepares the images of these indices, each in its parts of the transforms' input tensors. Returns the time for
    /// it, summed over threads.
    pub(crate) fn fill(
        &self,
        indices: &[usize],
        slots: Vec<Vec<ValuesMut>>,
    ) -> (Vec<Result<(), ImageError>>, Duration) {
        let nanoseconds = AtomicU64::new(0);
        let results = indices
            .par_iter()
            .zip(slots)
            .map(|(&index, slots)| {
                let start = Instant::now();
                let result = topk_loader::contained(|| self.prepare_image(index, slots));
                let time = start.elapsed().as_nanos() as u64;
                nanoseconds.fetch_add(time, Ordering::Relaxed);
                result
            })
            .collect();
        (results, Duration::from_nanos(nanoseconds.into_inner()))
    }

    fn prepare_image(&self, index: usize, slots: Vec<ValuesMut>) -> Result<(), ImageError> {
        let image = self.set.read(index).map_err(unreadable)?;
        self.preprocessors.with(|preprocessors| {
            if let [preprocessor] = &mut preprocessors[..] {
                // Reuses the previous image's memory, and may decode large JPEGs at reduced size.
                let crops = topk_loader::crops(preprocessor, &image).map_err(unreadable)?;
                let mut slots = slots.into_iter().enumerate();
                return slots
                    .try_for_each(|(transform, slot)| self.put(index, transform, &crops, slot));
            }
            let image = topk_loader::decoded(&image, &self.limits).map_err(unreadable)?;
            for (transform, slot) in slots.into_iter().enumerate() {
                let crops = preprocessors[transform]
                    .crops_of(&image)
                    .map_err(unreadable)?;
                self.put(index, transform, &crops, slot)?;
            }
            Ok(())
        })
    }

    /// Prepares an image for the first transform as for several models, and returns the times for reading, decoding,
    /// resizing and cropping, and normalizing.
    pub(crate) fn time_image(
        &self,
        index: usize,
        slot: ValuesMut,
    ) -> Result<[Duration; 4], ImageError> {
        let mut start = Instant::now();
        let mut lap = || {
            let end = Instant::now();
            end - std::mem::replace(&mut start, end)
        };
        let image = self.set.read(index).map_err(unreadable)?;
        let read = lap();
        let image = topk_loader::decoded(&image, &self.limits).map_err(unreadable)?;
        let decode = lap();
        self.preprocessors.with(|preprocessors| {
            let crops = preprocessors[0].crops_of(&image).map_err(unreadable)?;
            let resize = lap();
            self.put(index, 0, &crops, slot)?;
            Ok([read, decode, resize, lap()])
        })
    }

    /// Writes the crops of an image to its part of a transform's input tensor.
    fn put(
        &self,
        index: usize,
        transform: usize,
        crops: &CropPixels<'_>,
        slot: ValuesMut,
    ) -> Result<(), ImageError> {
        let expected = self.transforms[transform].size;
        let found = [crops.height() as usize, crops.width() as usize];
        if found != expected {
            return Err(ImageError::Size(SizeError {
                image: self.set.samples()[index].name.clone(),
                found,
                expected,
            }));
        }
        let order = self.transforms[transform].channel_order;
        slot.fill(crops, &self.tables[transform], order);
        Ok(())
    }
}

fn unreadable(error: impl ToString) -> ImageError {
    ImageError::Unreadable(error.to_string())
}

/// The normalised values of pixels; unused if the model takes raw pixels.
fn table(transform: &InputTransform) -> NormalizationTable {
    let normalization = transform.normalization.unwrap_or(Normalization::IMAGENET);
    NormalizationTable::in_range(&normalization, transform.pixel_range).in_mode(transform.kind.mode)
}
