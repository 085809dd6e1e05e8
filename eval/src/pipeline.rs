//! Prepares the images of a data set for models: reads, decodes, resizes, crops and normalizes them in
//! parallel, one batch at a time, ahead of the models.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use half::f16;
use ort::memory::Allocator;
use rayon::prelude::*;
use thiserror::Error;
use topk_data::ImageSet;
use topk_image::{CropPixels, Limits, NormalizationTable, Preprocessor};
use topk_loader::Workers;
use topk_preprocessing::{Normalization, PreprocessingError};

use crate::input::{InputTensor, ValuesMut};
use crate::transform::InputTransform;

/// Why an image cannot be prepared.
enum Fault {
    /// It cannot be read.
    Image(String),
    /// It does not get the size that a model takes.
    Size(SizeError),
}

/// An image does not get the size that a model takes.
#[derive(Clone, Debug, Error)]
#[error(
    "{image} comes to {}x{} pixels (height x width), and the model takes {}x{}: say how images are \
     resized (--resize or --preset)",
    found[0], found[1], expected[0], expected[1]
)]
pub struct SizeError {
    /// The image.
    pub image: String,
    /// Its height and width.
    pub found: [usize; 2],
    /// What the model takes.
    pub expected: [usize; 2],
}

/// There is no memory for the images of a batch.
#[derive(Clone, Debug, Error)]
#[error("cannot get memory for a batch of images: {0}. Try a smaller --batch-size")]
pub struct MemoryError(String);

/// Images that were prepared together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Places of the images in the data set.
    pub(crate) places: Vec<usize>,
    /// For each recipe, the crops of these images. Those of an image that could not be read are anything.
    pub(crate) inputs: Vec<InputTensor>,
    /// For each image, why it could not be read, if so.
    pub(crate) faults: Vec<Option<String>>,
    /// The first image that could be read and has a size that is not the model's.
    pub(crate) wrong_size: Option<SizeError>,
    /// Time that all threads together took.
    pub(crate) preparation: Duration,
}

/// Prepares images for several models at once; each image is read and decoded once.
pub(crate) struct Pipeline<'a> {
    set: &'a ImageSet,
    recipes: &'a [InputTransform],
    tables: Vec<NormalizationTable>,
    /// For each thread, a preprocessor for each recipe.
    preprocessors: Workers<Vec<Preprocessor>>,
    limits: Limits,
}

impl<'a> Pipeline<'a> {
    /// For the images of a data set.
    ///
    /// # Errors
    /// If a recipe has sizes that images cannot have.
    pub(crate) fn new(
        set: &'a ImageSet,
        recipes: &'a [InputTransform],
        limits: Limits,
    ) -> Result<Self, PreprocessingError> {
        let preprocessors = || {
            recipes
                .iter()
                .map(|recipe| Preprocessor::new(recipe.preprocessing, limits))
                .collect()
        };
        Ok(Self {
            set,
            tables: recipes.iter().map(table).collect(),
            preprocessors: Workers::new(preprocessors)?,
            recipes,
            limits,
        })
    }

    /// Prepares the images of these places in batches of `batch_size`, in memory of the recipes'
    /// `allocators`. Each batch goes to one of the `consumers`, which work at the same time while the next
    /// ones are prepared; what they make of it goes to `collect`, in order. There are at most two batches
    /// in memory besides those of the consumers.
    ///
    /// Ends early, after whole batches, once `stop` is set.
    ///
    /// # Errors
    /// One of the consumers', or if there is no memory for a batch.
    pub(crate) fn run<T: Send, E: Send + From<MemoryError>>(
        &self,
        places: &[usize],
        batch_size: usize,
        allocators: Vec<Allocator>,
        stop: &AtomicBool,
        consumers: Vec<impl FnMut(&Batch) -> Result<T, E> + Send>,
        collect: impl FnMut(T),
    ) -> Result<(), E> {
        let prepare = move |places: &[usize], batch: &mut Batch| {
            self.make_room(batch, places.len(), &allocators)
                .map_err(|error| MemoryError(error.to_string()))?;
            self.prepare(places, batch);
            Ok(())
        };
        topk_loader::process(places.chunks(batch_size), prepare, stop, consumers, collect)
    }

    /// Allocates tensors for this many images, unless the batch has them.
    fn make_room(
        &self,
        batch: &mut Batch,
        images: usize,
        allocators: &[Allocator],
    ) -> ort::Result<()> {
        if batch.places.len() != images || batch.inputs.is_empty() {
            let tensors = self.recipes.iter().zip(allocators);
            let tensors = tensors.map(|(recipe, allocator)| {
                InputTensor::zeros(allocator, recipe.kind, images * recipe.crops(), recipe.size)
            });
            batch.inputs = tensors.collect::<ort::Result<_>>()?;
        }
        Ok(())
    }

    /// Prepares the images of these places in the memory of a batch.
    fn prepare(&self, places: &[usize], batch: &mut Batch) {
        let nanoseconds = AtomicU64::new(0);
        // For each image, its part of each input.
        let mut slots: Vec<Vec<ValuesMut>> = (0..places.len()).map(|_| Vec::new()).collect();
        for (input, recipe) in batch.inputs.iter_mut().zip(self.recipes) {
            for (slots, part) in slots.iter_mut().zip(input.groups_mut(recipe.crops())) {
                slots.push(part);
            }
        }
        let results: Vec<Result<(), Fault>> = places
            .par_iter()
            .zip(slots)
            .map(|(&place, slots)| {
                let start = Instant::now();
                let result = self.prepare_image(place, slots);
                let time = start.elapsed().as_nanos() as u64;
                nanoseconds.fetch_add(time, Ordering::Relaxed);
                result
            })
            .collect();
        batch.places.clear();
        batch.places.extend(places);
        batch.faults.clear();
        for result in results {
            batch.faults.push(match result {
                Ok(()) => None,
                Err(Fault::Image(reason)) => Some(reason),
                Err(Fault::Size(error)) => {
                    batch.wrong_size.get_or_insert(error);
                    None
                }
            });
        }
        batch.preparation = Duration::from_nanos(nanoseconds.into_inner());
    }

    fn prepare_image(&self, place: usize, slots: Vec<ValuesMut>) -> Result<(), Fault> {
        fn unreadable(error: impl ToString) -> Fault {
            Fault::Image(error.to_string())
        }
        let image = self.set.read(place).map_err(unreadable)?;
        self.preprocessors.with(|preprocessors| {
            if let [preprocessor] = &mut preprocessors[..] {
                // In the memory of the image before, and at a fraction of the size if that is enough.
                let crops = topk_loader::crops(preprocessor, &image).map_err(unreadable)?;
                let mut slots = slots.into_iter().enumerate();
                return slots.try_for_each(|(recipe, slot)| self.put(place, recipe, &crops, slot));
            }
            let image = topk_loader::decoded(&image, &self.limits).map_err(unreadable)?;
            for (recipe, slot) in slots.into_iter().enumerate() {
                let crops = preprocessors[recipe].crops_of(&image).map_err(unreadable)?;
                self.put(place, recipe, &crops, slot)?;
            }
            Ok(())
        })
    }

    /// Puts the crops of an image into its part of a recipe's input.
    fn put(
        &self,
        place: usize,
        recipe: usize,
        crops: &CropPixels<'_>,
        slot: ValuesMut,
    ) -> Result<(), Fault> {
        let expected = self.recipes[recipe].size;
        let found = [crops.height() as usize, crops.width() as usize];
        if found != expected {
            return Err(Fault::Size(SizeError {
                image: self.set.samples()[place].name.clone(),
                found,
                expected,
            }));
        }
        fill(slot, crops, &self.tables[recipe]);
        Ok(())
    }
}

/// What pixels become; nobody looks at it where a model takes pixels.
fn table(recipe: &InputTransform) -> NormalizationTable {
    NormalizationTable::new(&recipe.normalization.unwrap_or(Normalization::IMAGENET))
}

/// Puts crops where a model reads them.
fn fill(values: ValuesMut, crops: &CropPixels<'_>, table: &NormalizationTable) {
    match values {
        ValuesMut::F32(values) => crops.normalize(table, values),
        ValuesMut::F16(values) => {
            let mut single = vec![0.0; values.len()];
            crops.normalize(table, &mut single);
            for (value, single) in values.iter_mut().zip(single) {
                *value = f16::from_f32(single);
            }
        }
        ValuesMut::U8(values) => values.copy_from_slice(crops.pixels()),
    }
}
