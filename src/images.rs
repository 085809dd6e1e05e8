use std::ops::Range;
use std::sync::Arc;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use thiserror::Error;
use topk_data::{Image, ImageSet};
use topk_image::augment::{Augmentation, Augmenter, Mixing};
use topk_image::{Limits, NormalizationTable, Preprocessor, RgbImage};
use topk_loader::{Prefetch, Workers, prefetch};
use topk_preprocessing::Preprocessing;

use crate::config::ErrorPolicy;
use crate::random::{Purpose, generator};

/// Number of batches prepared ahead of the network.
const AHEAD: usize = 4;

/// How images are divided into batches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Batching {
    /// Images per batch, at least 1.
    pub(crate) size: usize,
    pub(crate) last: LastBatch,
}

/// What to do with the images that do not fill the last batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LastBatch {
    /// They are a smaller batch.
    Smaller,
    /// They are a smaller batch, but a single image joins the batch before it: batch normalisation needs more than one
    /// value per channel.
    NeverSingle,
    /// They are left out.
    Dropped,
}

impl Batching {
    /// Number of batches of this many images.
    pub(crate) fn batches(self, images: usize) -> usize {
        let (full, rest) = (images / self.size, images % self.size);
        let joins = self.last == LastBatch::NeverSingle && rest == 1 && full > 0;
        let left_out = rest == 0 || joins || self.last == LastBatch::Dropped;
        if left_out { full } else { full + 1 }
    }

    /// Positions of the images of a batch, counted from 0, in the order of the epoch.
    pub(crate) fn positions(self, images: usize, batch: usize) -> Range<usize> {
        let start = batch * self.size;
        let last = batch + 1 == self.batches(images);
        let end = match self.last {
            LastBatch::Smaller | LastBatch::NeverSingle if last => images,
            _ => start + self.size,
        };
        start..end
    }

    /// What the user should know about the last batch of this many images, as a clause.
    pub(crate) fn decision(self, images: usize) -> Option<String> {
        let (size, rest) = (self.size, images % self.size);
        match self.last {
            LastBatch::NeverSingle if rest == 1 && images > size => Some(format!(
                "the last batch of each epoch has {} images, because a single one would be left",
                size + 1
            )),
            LastBatch::Dropped if rest > 0 => Some(format!(
                "{rest} of {images} training images are left out of each epoch (--drop-last)"
            )),
            _ => None,
        }
    }

    /// Checks at the start of a run that there are batches, and that `layer` can normalise them: the layer of the
    /// network, if there is one, that computes the statistics of a channel from a single value per image.
    ///
    /// # Errors
    /// If no batch remains, or if every batch has a single image.
    pub(crate) fn check(
        self,
        images: usize,
        model: &str,
        layer: Option<&str>,
    ) -> Result<(), BatchingError> {
        if self.batches(images) == 0 {
            let size = self.size;
            return Err(BatchingError::NoBatch { images, size });
        }
        if let Some(layer) = layer
            && self.size.min(images) == 1
        {
            let (cause, remedy) = match (self.size, images) {
                (1, 1) => (
                    "the only training image is one",
                    "Train on at least 2 images (see --train-size and --val-size) with --batch-size 2 or more",
                ),
                (1, _) => ("--batch-size is 1", "Use --batch-size 2 or more"),
                _ => (
                    "there is one training image",
                    "Train on at least 2 images: give more, a larger --train-size, or a smaller --val-size",
                ),
            };
            return Err(BatchingError::Single {
                cause,
                remedy,
                model: model.to_owned(),
                layer: layer.to_owned(),
            });
        }
        Ok(())
    }
}

/// The training images cannot be divided into usable batches.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum BatchingError {
    /// The only batch is left out.
    #[error(
        "--drop-last leaves out the only batch: {images} training images do not fill a batch of --batch-size {size}. \
         Use a smaller --batch-size, or omit --drop-last"
    )]
    NoBatch {
        /// Number of training images.
        images: usize,
        /// Batch size.
        size: usize,
    },
    /// Batch normalisation does not work with batches of one image.
    #[error(
        "each training batch would have a single image ({cause}), for which batch normalisation is undefined at the \
         layer {layer} of {model}: it would compute a variance from one value per channel. {remedy}, or choose another \
         --model"
    )]
    Single {
        /// Why.
        cause: &'static str,
        /// What to do.
        remedy: &'static str,
        /// The network.
        model: String,
        /// Its layer.
        layer: String,
    },
}

/// Normalized images and their labels, in host memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Batch {
    /// `[labels.len(), channels, height, width]`.
    pub(crate) images: Vec<f32>,
    pub(crate) labels: Vec<i64>,
    /// If images are mixed: the label of each image's partner, and the weight of its own label.
    pub(crate) mixed: Option<(Vec<i64>, f64)>,
    /// Number of images that are left out because they could not be read.
    pub(crate) skipped: usize,
    /// The first of them.
    pub(crate) first_bad: Option<BadImage>,
}

/// An image cannot be used.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(
    "cannot use the image {name} of {}: {reason}. Use --on-bad-image skip to skip such images",
    set.display()
)]
pub struct BadImage {
    /// The data set.
    pub set: std::path::PathBuf,
    /// The image.
    pub name: String,
    /// The error.
    pub reason: String,
}

/// How an image is prepared for the network.
#[derive(Clone, Debug)]
pub(crate) enum Preparation {
    /// Training: optionally resized, augmented, and optionally mixed with others.
    Augment {
        resize: Option<Preprocessing>,
        augmentation: Augmentation,
        mixing: Option<Mixing>,
    },
    /// Evaluation: resized and cropped, unless it has the input size.
    Evaluate(Option<Preprocessing>),
}

/// Images of a data set, each with its label for training or evaluation.
#[derive(Debug)]
pub(crate) struct Images {
    set: Arc<ImageSet>,
    /// Indices into the data set.
    indices: Vec<usize>,
    /// Label of each of `indices`.
    labels: Vec<i64>,
    /// Channels, height and width of the network's input.
    shape: [usize; 3],
    table: NormalizationTable,
    preparation: Preparation,
    on_bad: ErrorPolicy,
    seed: u32,
    workers: Workers<Worker>,
}

#[derive(Debug)]
struct Worker {
    augmenter: Augmenter,
    preprocessor: Option<Preprocessor>,
}

/// The images and their labels.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) set: Arc<ImageSet>,
    /// Indices into the data set.
    pub(crate) indices: Vec<usize>,
    /// Label of each of `indices`.
    pub(crate) labels: Vec<i64>,
}

/// Settings of the preparation.
#[derive(Clone, Debug)]
pub(crate) struct ImageOptions {
    /// Channels, height and width of the network's input.
    pub(crate) shape: [usize; 3],
    pub(crate) table: NormalizationTable,
    pub(crate) preparation: Preparation,
    pub(crate) on_bad: ErrorPolicy,
    pub(crate) seed: u32,
}

/// A setting of the preparation is out of range.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub struct PreparationError(String);

impl Images {
    pub(crate) fn new(source: Source, options: ImageOptions) -> Result<Self, PreparationError> {
        let ImageOptions {
            shape,
            table,
            preparation,
            on_bad,
            seed,
        } = options;
        let (augmentation, preprocessing) = match &preparation {
            Preparation::Augment {
                resize,
                augmentation,
                ..
            } => (augmentation.clone(), *resize),
            Preparation::Evaluate(preprocessing) => (Augmentation::default(), *preprocessing),
        };
        let limits = Limits::default();
        let worker = || {
            let augmenter = Augmenter::new(augmentation.clone(), limits)
                .map_err(|error| PreparationError(error.to_string()))?;
            let preprocessor = preprocessing
                .map(|preprocessing| Preprocessor::new(preprocessing, limits))
                .transpose()
                .map_err(|error| PreparationError(error.to_string()))?;
            Ok(Worker {
                augmenter,
                preprocessor,
            })
        };
        Ok(Self {
            workers: Workers::new(worker)?,
            set: source.set,
            indices: source.indices,
            labels: source.labels,
            shape,
            table,
            preparation,
            on_bad,
            seed,
        })
    }

    /// Number of images.
    pub(crate) fn len(&self) -> usize {
        self.indices.len()
    }

    /// The batches of an epoch, from 1, starting with the batch of index `first`: the images in an
    /// order and with augmentations that depend only on seed and epoch. Rayon's threads prepare them while
    /// the caller works on earlier batches.
    pub(crate) fn epoch(
        self: &Arc<Self>,
        epoch: usize,
        batching: Batching,
        first: usize,
    ) -> Prefetch<Result<Batch, BadImage>> {
        let mut order: Vec<usize> = (0..self.indices.len()).collect();
        order.shuffle(&mut generator(self.seed, Purpose::Order { epoch }));
        self.ahead(order, epoch, batching, first)
    }

    /// All images in their order.
    pub(crate) fn in_order(self: &Arc<Self>, size: usize) -> Prefetch<Result<Batch, BadImage>> {
        let last = LastBatch::Smaller;
        let order = (0..self.indices.len()).collect();
        self.ahead(order, 0, Batching { size, last }, 0)
    }

    fn ahead(
        self: &Arc<Self>,
        order: Vec<usize>,
        epoch: usize,
        batching: Batching,
        first: usize,
    ) -> Prefetch<Result<Batch, BadImage>> {
        let images = Arc::clone(self);
        let mut failed = false;
        let batches = (first..batching.batches(order.len())).map_while(move |number| {
            // An error is the last item.
            if failed {
                return None;
            }
            let positions = batching.positions(order.len(), number);
            let batch = images.batch(epoch, number, &order, positions);
            failed = batch.is_err();
            Some(batch)
        });
        prefetch(AHEAD, batches)
    }

    fn batch(
        &self,
        epoch: usize,
        number: usize,
        order: &[usize],
        positions: Range<usize>,
    ) -> Result<Batch, BadImage> {
        let len = self.shape.iter().product();
        let mut images = vec![0.0; positions.len() * len];
        let prepared: Vec<Result<(), BadImage>> = images
            .par_chunks_exact_mut(len)
            .zip(positions.clone())
            .map(|(out, position)| {
                let index = self.indices[order[position]];
                topk_loader::contained(|| self.prepare(index, epoch, position, out)).map_err(
                    |reason| BadImage {
                        set: self.set.description().path,
                        name: self.set.samples()[index].name.clone(),
                        reason,
                    },
                )
            })
            .collect();
        let mut labels = Vec::with_capacity(positions.len());
        let mut first_bad = None;
        for ((row, position), prepared) in positions.clone().enumerate().zip(prepared) {
            match prepared {
                Ok(()) => {
                    if labels.len() < row {
                        images.copy_within(row * len..(row + 1) * len, labels.len() * len);
                    }
                    labels.push(self.labels[order[position]]);
                }
                Err(error) if self.on_bad == ErrorPolicy::Fail => return Err(error),
                Err(error) => {
                    first_bad.get_or_insert(error);
                }
            }
        }
        images.truncate(labels.len() * len);
        let mut batch = Batch {
            skipped: positions.len() - labels.len(),
            images,
            labels,
            mixed: None,
            first_bad,
        };
        if let Preparation::Augment {
            mixing: Some(mixing),
            ..
        } = &self.preparation
            && !batch.labels.is_empty()
        {
            let purpose = Purpose::Mix {
                epoch,
                batch: number,
            };
            self.mix(mixing, &mut batch, purpose);
        }
        Ok(batch)
    }

    fn mix(&self, mixing: &Mixing, batch: &mut Batch, purpose: Purpose) {
        let [_, height, width] = self.shape;
        let len: usize = self.shape.iter().product();
        let mut generator = generator(self.seed, purpose);
        let size = [width as u32, height as u32];
        let mix = mixing.draw(batch.labels.len(), size, &mut generator);
        let mut mixed = vec![0.0; batch.images.len()];
        mixed
            .par_chunks_exact_mut(len)
            .enumerate()
            .for_each(|(i, out)| mix.write(i, &batch.images, width, out));
        batch.images = mixed;
        let partners = mix.partners().iter().map(|&i| batch.labels[i]);
        batch.mixed = Some((partners.collect(), mix.lambda()));
    }

    /// Writes the values of an image. The error is a message.
    fn prepare(
        &self,
        index: usize,
        epoch: usize,
        position: usize,
        out: &mut [f32],
    ) -> Result<(), String> {
        fn message(error: impl ToString) -> String {
            error.to_string()
        }
        let image = self.set.read(index).map_err(message)?;
        let purpose = Purpose::Augment {
            epoch,
            index: position,
        };
        let generator = &mut generator(self.seed, purpose);
        self.workers
            .with(|worker| self.prepare_with(worker, image, generator, out))
    }

    fn prepare_with(
        &self,
        worker: &mut Worker,
        image: Image,
        generator: &mut ChaCha8Rng,
        out: &mut [f32],
    ) -> Result<(), String> {
        fn message(error: impl ToString) -> String {
            error.to_string()
        }
        let Worker {
            augmenter,
            preprocessor,
        } = worker;
        let augment = matches!(self.preparation, Preparation::Augment { .. });
        // Stored pixels need no copy if nothing is resized.
        if let (Image::Pixels { shape, pixels }, None) = (&image, &preprocessor) {
            let [_, height, width] = *shape;
            let size = augmenter.augmentation().size([width as u32, height as u32]);
            self.check_size(size)?;
            if augment {
                let table = &self.table;
                return augmenter
                    .normalize_planes(*shape, pixels, table, generator, out)
                    .map_err(message);
            }
            self.table.normalize(pixels, out);
            return Ok(());
        }
        let resized = match (&image, preprocessor) {
            (Image::Encoded(bytes), None) => {
                let image = augmenter.apply(bytes, generator).map_err(message)?;
                self.check_size([image.width(), image.height()])?;
                image.normalize(&self.table, generator, out);
                return Ok(());
            }
            (image, Some(preprocessor)) => {
                topk_loader::crops(preprocessor, image).map_err(message)?
            }
            (Image::Pixels { .. }, None) => unreachable!("handled above"),
        };
        if !augment {
            self.check_size([resized.width(), resized.height()])?;
            resized.normalize(&self.table, out);
            return Ok(());
        }
        let resized = RgbImage {
            width: resized.width(),
            height: resized.height(),
            pixels: resized.pixels().to_vec(),
        };
        let image = augmenter.apply_to(&resized, generator).map_err(message)?;
        self.check_size([image.width(), image.height()])?;
        image.normalize(&self.table, generator, out);
        Ok(())
    }

    fn check_size(&self, [width, height]: [u32; 2]) -> Result<(), String> {
        let [_, rows, columns] = self.shape;
        if [height as usize, width as usize] == [rows, columns] {
            return Ok(());
        }
        Err(format!(
            "it has {height}x{width} pixels (height x width) after preprocessing, but the network takes \
             {rows}x{columns}; set --augment and --train-resize for training, or --val-resize"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_last_image_joins_the_batch_before_it() {
        let sizes = |images: usize, size: usize, last: LastBatch| -> Vec<usize> {
            let batching = Batching { size, last };
            let all: Vec<_> = (0..batching.batches(images))
                .map(|batch| batching.positions(images, batch))
                .collect();
            let starts = all.iter().map(|positions| positions.start);
            let ends = [0]
                .into_iter()
                .chain(all.iter().map(|positions| positions.end));
            assert!(starts.zip(ends).all(|(start, end)| start == end));
            all.into_iter().map(|positions| positions.len()).collect()
        };
        use LastBatch::{Dropped, NeverSingle, Smaller};
        for (images, size, smaller, never_single, dropped) in [
            (9, 4, vec![4, 4, 1], vec![4, 5], vec![4, 4]),
            (10, 4, vec![4, 4, 2], vec![4, 4, 2], vec![4, 4]),
            (8, 4, vec![4, 4], vec![4, 4], vec![4, 4]),
            (3, 4, vec![3], vec![3], vec![]),
            (1, 4, vec![1], vec![1], vec![]),
            (3, 2, vec![2, 1], vec![3], vec![2]),
            (3, 1, vec![1; 3], vec![1; 3], vec![1; 3]),
        ] {
            assert_eq!(sizes(images, size, Smaller), smaller);
            assert_eq!(sizes(images, size, NeverSingle), never_single);
            assert_eq!(sizes(images, size, Dropped), dropped);
        }
    }
}
