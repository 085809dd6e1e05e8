//! Images on their way from a data set to models: read, decoded, resized, cropped and normalised in
//! parallel, ahead of the models, a batch at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use half::f16;
use rayon::prelude::*;
use thiserror::Error;
use topk_data::{Image, ImageSet};
use topk_image::{
    Crops, Limits, Normalization, NormalizationTable, PreprocessingError, Preprocessor, RgbImage,
};

use crate::model::{InputKind, InputTensor};
use crate::recipe::Recipe;

/// Batches that wait for the models, besides those that are being made and used.
const WAITING: usize = 1;

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

/// Images that were prepared together.
#[derive(Debug, Default)]
pub struct Batch {
    /// Places in the data set of the images that could be read.
    pub places: Vec<usize>,
    /// For each recipe, the crops of these images.
    pub inputs: Vec<InputTensor>,
    /// Places of those that could not, and why.
    pub failures: Vec<(usize, String)>,
    /// The first image that could be read and has a size that is not the model's.
    pub wrong_size: Option<SizeError>,
    /// Time that all threads together took.
    pub preparation: Duration,
}

/// Prepares images for several models at once; each image is read and decoded once.
pub struct Pipeline<'a> {
    set: &'a ImageSet,
    recipes: Vec<Recipe>,
    tables: Vec<NormalizationTable>,
    /// For each thread, a preprocessor for each recipe.
    preprocessors: Vec<Mutex<Vec<Preprocessor>>>,
    limits: Limits,
}

impl<'a> Pipeline<'a> {
    /// For the images of a data set.
    ///
    /// # Errors
    /// If a recipe has sizes that images cannot have.
    pub fn new(
        set: &'a ImageSet,
        recipes: Vec<Recipe>,
        limits: Limits,
    ) -> Result<Self, PreprocessingError> {
        let of_thread = |_| {
            let preprocessors = recipes
                .iter()
                .map(|recipe| Preprocessor::new(recipe.preprocessing, limits));
            Ok(Mutex::new(preprocessors.collect::<Result<_, _>>()?))
        };
        let preprocessors = (0..rayon::current_num_threads()).map(of_thread);
        Ok(Self {
            set,
            tables: recipes.iter().map(table).collect(),
            preprocessors: preprocessors.collect::<Result<_, _>>()?,
            recipes,
            limits,
        })
    }

    /// The recipes, in the order of [`Batch::inputs`].
    pub fn recipes(&self) -> &[Recipe] {
        &self.recipes
    }

    /// Prepares the images of these places in batches of `batch_size`, and has `consume` use each batch, in
    /// order, while the next ones are prepared. At most three batches are in memory.
    ///
    /// Ends early, after a whole batch, once `stop` is set.
    ///
    /// # Errors
    /// The first of `consume`.
    pub fn run<E: Send>(
        &self,
        places: &[usize],
        batch_size: usize,
        stop: &AtomicBool,
        mut consume: impl FnMut(&Batch) -> Result<(), E>,
    ) -> Result<(), E> {
        thread::scope(|scope| {
            let (ready, batches) = mpsc::sync_channel(WAITING);
            let (used, spare) = mpsc::channel();
            scope.spawn(move || self.prepare_all(places, batch_size, stop, &ready, &spare));
            for batch in batches {
                consume(&batch)?;
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                // The other side has ended if it takes no more.
                let _ = used.send(batch);
            }
            Ok(())
        })
    }

    fn prepare_all(
        &self,
        places: &[usize],
        batch_size: usize,
        stop: &AtomicBool,
        ready: &SyncSender<Batch>,
        spare: &Receiver<Batch>,
    ) {
        for places in places.chunks(batch_size) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let batch = self.prepare(places, spare.try_recv().unwrap_or_default());
            if ready.send(batch).is_err() {
                return;
            }
        }
    }

    /// Prepares a batch in the memory of a used one.
    fn prepare(&self, places: &[usize], mut batch: Batch) -> Batch {
        let mut inputs = std::mem::take(&mut batch.inputs);
        inputs.resize_with(self.recipes.len(), || InputTensor::U8(Vec::new()));
        for (input, recipe) in inputs.iter_mut().zip(&self.recipes) {
            input.set_len(
                recipe.kind,
                places.len() * recipe.crops() * recipe.crop_len(),
            );
        }
        let nanoseconds = AtomicU64::new(0);
        // For each image, its part of each input.
        let mut slots: Vec<Vec<Slot>> = (0..places.len()).map(|_| Vec::new()).collect();
        for (input, recipe) in inputs.iter_mut().zip(&self.recipes) {
            let parts = input.slots(recipe.crops() * recipe.crop_len());
            for (slots, part) in slots.iter_mut().zip(parts) {
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
        batch.failures.clear();
        for (at, (&place, result)) in places.iter().zip(results).enumerate() {
            match result {
                Ok(()) => {
                    let to = batch.places.len();
                    batch.places.push(place);
                    if to < at {
                        for (input, recipe) in inputs.iter_mut().zip(&self.recipes) {
                            input.copy_within(at, to, recipe.crops() * recipe.crop_len());
                        }
                    }
                }
                Err(Fault::Image(reason)) => batch.failures.push((place, reason)),
                Err(Fault::Size(error)) => {
                    batch.wrong_size.get_or_insert(error);
                }
            }
        }
        for (input, recipe) in inputs.iter_mut().zip(&self.recipes) {
            let len = batch.places.len() * recipe.crops() * recipe.crop_len();
            input.set_len(recipe.kind, len);
        }
        batch.inputs = inputs;
        batch.preparation = Duration::from_nanos(nanoseconds.into_inner());
        batch
    }

    fn prepare_image(&self, place: usize, slots: Vec<Slot>) -> Result<(), Fault> {
        fn unreadable(error: impl ToString) -> Fault {
            Fault::Image(error.to_string())
        }
        let image = self.set.read(place).map_err(unreadable)?;
        let thread = rayon::current_thread_index().unwrap_or_default();
        let mut preprocessors = self.preprocessors[thread]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let ([preprocessor], Image::Encoded(bytes)) = (&mut **preprocessors, &image) {
            // In the memory of the image before, and at a fraction of the size if that is enough.
            let crops = preprocessor.crops(bytes).map_err(unreadable)?;
            let mut slots = slots.into_iter().enumerate();
            return slots.try_for_each(|(recipe, slot)| self.fill(place, recipe, &crops, slot));
        }
        let image = match image {
            Image::Encoded(bytes) => {
                topk_image::decode(&bytes, &self.limits).map_err(unreadable)?
            }
            Image::Pixels { shape, pixels } => RgbImage::of_planes(shape, &pixels),
        };
        for (recipe, slot) in slots.into_iter().enumerate() {
            let crops = preprocessors[recipe].crops_of(&image).map_err(unreadable)?;
            self.fill(place, recipe, &crops, slot)?;
        }
        Ok(())
    }

    /// Puts the crops of an image into its part of a recipe's input.
    fn fill(
        &self,
        place: usize,
        recipe: usize,
        crops: &Crops<'_>,
        slot: Slot,
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
        slot.fill(crops, &self.tables[recipe]);
        Ok(())
    }
}

/// What pixels become; nobody looks at it where a model takes pixels.
fn table(recipe: &Recipe) -> NormalizationTable {
    recipe
        .normalization
        .unwrap_or(Normalization::IMAGENET)
        .table()
}

/// Where the crops of an image go.
enum Slot<'a> {
    F32(&'a mut [f32]),
    F16(&'a mut [f16]),
    U8(&'a mut [u8]),
}

impl Slot<'_> {
    fn fill(self, crops: &Crops<'_>, table: &NormalizationTable) {
        match self {
            Self::F32(values) => crops.normalize(table, values),
            Self::F16(values) => {
                let mut single = vec![0.0; values.len()];
                crops.normalize(table, &mut single);
                for (value, single) in values.iter_mut().zip(single) {
                    *value = f16::from_f32(single);
                }
            }
            Self::U8(values) => values.copy_from_slice(crops.pixels()),
        }
    }
}

impl InputTensor {
    fn set_len(&mut self, kind: InputKind, len: usize) {
        match (&mut *self, kind) {
            (Self::F32(values), InputKind::F32) => values.resize(len, 0.0),
            (Self::F16(values), InputKind::F16) => values.resize(len, f16::ZERO),
            (Self::U8(values), InputKind::U8) => values.resize(len, 0),
            _ => *self = Self::zeros(kind, len),
        }
    }

    fn slots(&mut self, len: usize) -> Vec<Slot<'_>> {
        match self {
            Self::F32(values) => values.chunks_exact_mut(len).map(Slot::F32).collect(),
            Self::F16(values) => values.chunks_exact_mut(len).map(Slot::F16).collect(),
            Self::U8(values) => values.chunks_exact_mut(len).map(Slot::U8).collect(),
        }
    }

    /// Moves an image to an earlier place.
    fn copy_within(&mut self, from: usize, to: usize, len: usize) {
        let from = from * len..(from + 1) * len;
        match self {
            Self::F32(values) => values.copy_within(from, to * len),
            Self::F16(values) => values.copy_within(from, to * len),
            Self::U8(values) => values.copy_within(from, to * len),
        }
    }
}
