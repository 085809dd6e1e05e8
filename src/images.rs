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

/// Normalized images and their labels, in host memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Batch {
    /// `[labels.len(), channels, height, width]`.
    pub(crate) images: Vec<f32>,
    pub(crate) labels: Vec<i64>,
    /// If images are mixed: the label of each image's partner, and the weight of its own label.
    pub(crate) mixed: Option<(Vec<i64>, f64)>,
    /// Images that could not be read.
    pub(crate) skipped: usize,
}

/// An image cannot be used.
#[derive(Clone, Debug, Error)]
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

    /// Batches in an epoch.
    pub(crate) fn batches(&self, batch_size: usize) -> usize {
        self.indices.len().div_ceil(batch_size)
    }

    /// The batches of an epoch, from 1, starting with the batch of index `first`: each image once, in an
    /// order and with augmentations that depend only on seed and epoch. Rayon's threads prepare them while
    /// the caller works on earlier batches; the last batch may be smaller.
    pub(crate) fn epoch(
        self: &Arc<Self>,
        epoch: usize,
        batch_size: usize,
        first: usize,
    ) -> Prefetch<Result<Batch, BadImage>> {
        let mut order: Vec<usize> = (0..self.indices.len()).collect();
        order.shuffle(&mut generator(self.seed, Purpose::Order { epoch }));
        self.ahead(order, epoch, batch_size, first)
    }

    /// All images in their order.
    pub(crate) fn in_order(
        self: &Arc<Self>,
        batch_size: usize,
    ) -> Prefetch<Result<Batch, BadImage>> {
        self.ahead((0..self.indices.len()).collect(), 0, batch_size, 0)
    }

    fn ahead(
        self: &Arc<Self>,
        order: Vec<usize>,
        epoch: usize,
        batch_size: usize,
        first: usize,
    ) -> Prefetch<Result<Batch, BadImage>> {
        let images = Arc::clone(self);
        let starts = (0..order.len()).step_by(batch_size).skip(first);
        let mut failed = false;
        let batches = starts.map_while(move |start| {
            // An error is the last item.
            if failed {
                return None;
            }
            let positions = start..order.len().min(start + batch_size);
            let batch = images.batch(epoch, start / batch_size, &order, positions);
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
        for ((row, position), prepared) in positions.clone().enumerate().zip(prepared) {
            match prepared {
                Ok(()) => {
                    if labels.len() < row {
                        images.copy_within(row * len..(row + 1) * len, labels.len() * len);
                    }
                    labels.push(self.labels[order[position]]);
                }
                Err(error) if self.on_bad == ErrorPolicy::Fail => return Err(error),
                Err(_) => {}
            }
        }
        images.truncate(labels.len() * len);
        let mut batch = Batch {
            skipped: positions.len() - labels.len(),
            images,
            labels,
            mixed: None,
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
