mod memory;

use std::ops::Range;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use tch::TchError;
use thiserror::Error;
use topk_data::{Image, ImageSet};
use topk_image::augment::{Augmentation, Augmented, Augmenter, Mix, Mixing};
use topk_image::{Limits, NormalizationTable, Preprocessor, RgbImage};
use topk_loader::{Prefetch, Workers, prefetch};
use topk_preprocessing::{ImageMode, Preprocessing};

use crate::batching::{Batching, LastBatch, Part};
use crate::config::ErrorPolicy;
use crate::delivery::{Delivery, HostBatch, HostImages, UploadedImages};
use crate::order::Order;
use crate::random::{Purpose, generator};
use memory::{Memory, Out};

/// Number of batches prepared ahead of the network.
const AHEAD: usize = 4;

/// Number of images after a batch that are read ahead from a server.
const READ_AHEAD: usize = 1024;

/// The images of a batch that this process trains on or validates, and their labels.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) images: Pixels,
    pub(crate) labels: Vec<i64>,
    /// If images are mixed: the label of each image's partner, and the weight of its own label.
    pub(crate) mixed: Option<(Vec<i64>, f64)>,
    /// Number of images that are left out because they could not be read.
    pub(crate) skipped: usize,
    /// The first of them.
    pub(crate) first_bad: Option<BadImage>,
}

/// The images of a batch.
#[derive(Debug)]
pub(crate) enum Pixels {
    /// Normalised, in host memory: `[images, channels, height, width]`.
    Normalized(Vec<f32>),
    /// On their way to the device, which prepares the rest.
    Uploaded(UploadedImages),
}

impl Default for Pixels {
    fn default() -> Self {
        Self::Normalized(Vec::new())
    }
}

/// A batch cannot be loaded.
#[derive(Debug)]
pub(crate) enum BatchError {
    BadImage(BadImage),
    /// It cannot be copied to the device.
    Tch(TchError),
}

impl From<BadImage> for BatchError {
    fn from(error: BadImage) -> Self {
        Self::BadImage(error)
    }
}

impl From<TchError> for BatchError {
    fn from(error: TchError) -> Self {
        Self::Tch(error)
    }
}

/// The next batches.
pub(crate) type Batches = Prefetch<Result<Batch, BatchError>>;

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
    mode: ImageMode,
    table: NormalizationTable,
    preparation: Preparation,
    /// How batches get to the device; `None` if that is the CPU.
    delivery: Option<Arc<Delivery>>,
    on_bad: ErrorPolicy,
    seed: u32,
    order: Order,
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
    /// What images are converted to.
    pub(crate) mode: ImageMode,
    pub(crate) table: NormalizationTable,
    pub(crate) preparation: Preparation,
    pub(crate) delivery: Option<Arc<Delivery>>,
    pub(crate) on_bad: ErrorPolicy,
    pub(crate) seed: u32,
    pub(crate) order: Order,
}

/// A setting of the preparation is out of range.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub struct PreparationError(String);

impl Images {
    pub(crate) fn new(source: Source, options: ImageOptions) -> Result<Self, PreparationError> {
        let ImageOptions {
            shape,
            mode,
            table,
            preparation,
            delivery,
            on_bad,
            seed,
            order,
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
                .map_err(|error| PreparationError(error.to_string()))?
                .with_mode(mode);
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
            mode,
            table,
            preparation,
            delivery,
            on_bad,
            seed,
            order,
        })
    }

    /// Number of images.
    pub(crate) fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether images are resized before they are augmented or cropped.
    pub(crate) fn is_resized(&self) -> bool {
        matches!(
            self.preparation,
            Preparation::Augment {
                resize: Some(_),
                ..
            } | Preparation::Evaluate(Some(_))
        )
    }

    /// Number of images of an epoch, in which an image may appear more than once.
    pub(crate) fn per_epoch(&self) -> usize {
        self.order.len()
    }

    /// A part of the batches of an epoch, from 1, starting with the batch of index `first`: the images in an
    /// order and with augmentations that depend only on seed and epoch. Rayon's threads prepare them while
    /// the caller works on earlier batches.
    pub(crate) fn epoch(
        self: &Arc<Self>,
        epoch: usize,
        batching: Batching,
        first: usize,
        part: Part,
    ) -> Batches {
        let order = self
            .order
            .epoch(&mut generator(self.seed, Purpose::Order { epoch }));
        self.ahead(order, epoch, batching, first, part)
    }

    /// All images of a part, in their order, in batches of up to `size`.
    pub(crate) fn in_order(self: &Arc<Self>, size: usize, part: Part) -> Batches {
        let batching = Batching {
            size: size * part.world_size,
            last: LastBatch::Smaller,
            limit: None,
        };
        let order = (0..self.indices.len()).collect();
        self.ahead(order, 0, batching, 0, part)
    }

    fn ahead(
        self: &Arc<Self>,
        order: Vec<usize>,
        epoch: usize,
        batching: Batching,
        first: usize,
        part: Part,
    ) -> Batches {
        let images = Arc::clone(self);
        let mut failed = false;
        let batches = (first..batching.batches(order.len())).map_while(move |number| {
            // An error is the last item.
            if failed {
                return None;
            }
            images.read_ahead(&order, batching, number, part);
            let positions = batching.positions(order.len(), number);
            let batch = images.batch(epoch, number, &order, positions, part);
            failed = batch.is_err();
            Some(batch)
        });
        prefetch(AHEAD, batches)
    }

    /// Begins to read the images of a batch and of the next ones that are not on this machine.
    fn read_ahead(&self, order: &[usize], batching: Batching, batch: usize, part: Part) {
        let batches = batch..batching.batches(order.len());
        let positions = batches.flat_map(|batch| part.of(batching.positions(order.len(), batch)));
        let ahead = positions.take(READ_AHEAD + batching.size);
        let indices = ahead.map(|position| self.indices[order[position]]);
        self.set.read_ahead(indices);
    }

    fn batch(
        &self,
        epoch: usize,
        number: usize,
        order: &[usize],
        positions: Range<usize>,
        part: Part,
    ) -> Result<Batch, BatchError> {
        let len = self.shape.iter().product();
        let prepare = |position: usize, out: Out<'_>| {
            let index = self.indices[order[position]];
            topk_loader::contained(|| self.prepare(index, epoch, position, out)).map_err(|reason| {
                BadImage {
                    set: self.set.description().path,
                    name: self.set.samples()[index].name.clone(),
                    reason,
                }
            })
        };
        let (start, total) = (positions.start, positions.len());
        let mut positions: Vec<usize> = part.of(positions).collect();
        let own = positions.len();
        // Images are mixed with those of other processes, too.
        let mut mix = None;
        if part.world_size > 1
            && let Some(drawn) = self.draw_mix(epoch, number, total)
        {
            let rows: Vec<usize> = positions.iter().map(|position| position - start).collect();
            let (of_part, others) = drawn.part(&rows);
            positions.extend(others.iter().map(|row| start + row));
            mix = Some(of_part);
        }
        let count = positions.len();
        let normalizes = |delivery: &Arc<Delivery>| delivery.normalizes();
        let mut memory = match self.delivery.as_ref().is_some_and(normalizes) {
            false => Memory::Normalized(vec![0.0; count * len]),
            true => Memory::Raw(vec![0; count * len], vec![None; count]),
        };
        let prepared: Vec<Result<(), BadImage>> = match &mut memory {
            Memory::Normalized(values) => values
                .par_chunks_exact_mut(len)
                .zip(&positions)
                .map(|(out, &position)| prepare(position, Out::Normalized(out)))
                .collect(),
            Memory::Raw(pixels, shown) => pixels
                .par_chunks_exact_mut(len)
                .zip(shown)
                .zip(&positions)
                .map(|((out, shown), &position)| prepare(position, Out::Raw(out, shown)))
                .collect(),
        };
        let mut labels = Vec::with_capacity(count);
        let mut first_bad = None;
        for ((row, position), prepared) in positions.into_iter().enumerate().zip(prepared) {
            match prepared {
                Ok(()) => {
                    memory.move_row(row, labels.len(), len);
                    labels.push(self.labels[order[position]]);
                }
                Err(error) if self.on_bad == ErrorPolicy::Fail => return Err(error.into()),
                Err(error) => {
                    first_bad.get_or_insert(error);
                }
            }
        }
        memory.truncate(labels.len(), len);
        if part.world_size == 1 {
            mix = self.draw_mix(epoch, number, labels.len());
        }
        let mixed = mix.as_ref().map(|mix| {
            let partners = mix.partners().iter().map(|&i| labels[i]);
            (partners.collect(), mix.lambda())
        });
        if let (Memory::Normalized(values), Some(mix)) = (&mut memory, &mix) {
            *values = self.mixed(mix, values);
        }
        let images = match (&self.delivery, memory) {
            (Some(delivery), memory) if !labels.is_empty() => {
                let images = match &memory {
                    Memory::Normalized(values) => HostImages::Normalized(values),
                    Memory::Raw(pixels, shown) => HostImages::Pixels(pixels, shown),
                };
                Pixels::Uploaded(delivery.upload(HostBatch {
                    images,
                    labels: &labels,
                    mix,
                })?)
            }
            (None, Memory::Normalized(values)) => Pixels::Normalized(values),
            _ => Pixels::default(),
        };
        let skipped = count - labels.len();
        labels.truncate(own);
        Ok(Batch {
            skipped,
            images,
            labels,
            mixed,
            first_bad,
        })
    }

    /// How a batch of this many images is mixed, if images are mixed.
    fn draw_mix(&self, epoch: usize, batch: usize, images: usize) -> Option<Mix> {
        let Preparation::Augment {
            mixing: Some(mixing),
            ..
        } = &self.preparation
        else {
            return None;
        };
        if images == 0 {
            return None;
        }
        let [_, height, width] = self.shape;
        let mut generator = generator(self.seed, Purpose::Mix { epoch, batch });
        Some(mixing.draw(images, [width as u32, height as u32], &mut generator))
    }

    fn mixed(&self, mix: &Mix, images: &[f32]) -> Vec<f32> {
        let [_, height, width] = self.shape;
        let len: usize = self.shape.iter().product();
        let mut mixed = vec![0.0; mix.partners().len() * len];
        mixed
            .par_chunks_exact_mut(len)
            .enumerate()
            .for_each(|(i, out)| mix.write(i, images, [width, height], out));
        mixed
    }

    /// Prepares an image. The error is a message.
    fn prepare(
        &self,
        index: usize,
        epoch: usize,
        position: usize,
        out: Out<'_>,
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
        out: Out<'_>,
    ) -> Result<(), String> {
        fn message(error: impl ToString) -> String {
            error.to_string()
        }
        let Worker {
            augmenter,
            preprocessor,
        } = worker;
        let augment = matches!(self.preparation, Preparation::Augment { .. });
        let delivery = self.delivery.as_ref();
        let on_device = augment && delivery.is_some_and(|delivery| delivery.augments());
        let (image, out) = match (image, out) {
            // Stored pixels need no copy if nothing is resized.
            (Image::Pixels { shape, pixels }, Out::Normalized(out)) if preprocessor.is_none() => {
                let [_, height, width] = shape;
                let size = augmenter.augmentation().size([width as u32, height as u32]);
                self.check_size(size)?;
                if augment {
                    let table = &self.table;
                    return augmenter
                        .normalize_planes(shape, &pixels, table, generator, out)
                        .map_err(message);
                }
                match self.mode {
                    ImageMode::Rgb => self.table.normalize(&pixels, out),
                    mode @ ImageMode::L => {
                        let mut image = RgbImage::of_planes(shape, &pixels);
                        image.convert(mode);
                        self.table.normalize_interleaved(&image.pixels, out);
                    }
                }
                return Ok(());
            }
            (Image::Encoded(bytes), out) if preprocessor.is_none() && !on_device => {
                let image = augmenter.apply(&bytes, generator).map_err(message)?;
                return self.write(image, generator, out);
            }
            others => others,
        };
        let resized = match preprocessor {
            None => topk_loader::decoded(&image, &Limits::default()).map_err(message)?,
            Some(preprocessor) => {
                let crops = topk_loader::crops(preprocessor, &image).map_err(message)?;
                if !augment {
                    self.check_size([crops.width(), crops.height()])?;
                    match out {
                        Out::Normalized(out) => crops.normalize(&self.table, out),
                        Out::Raw(out, _) => out.copy_from_slice(crops.pixels()),
                    }
                    return Ok(());
                }
                RgbImage {
                    width: crops.width(),
                    height: crops.height(),
                    pixels: crops.pixels().to_vec(),
                }
            }
        };
        match out {
            Out::Raw(out, shown) if on_device => {
                let size = [resized.width, resized.height];
                self.check_size(size)?;
                *shown = augmenter.draw_shown(size, generator).map_err(message)?;
                out.copy_from_slice(&resized.pixels);
                Ok(())
            }
            out => {
                let image = augmenter.apply_to(&resized, generator).map_err(message)?;
                self.write(image, generator, out)
            }
        }
    }

    /// Writes an augmented image.
    fn write(
        &self,
        image: Augmented<'_>,
        generator: &mut ChaCha8Rng,
        out: Out<'_>,
    ) -> Result<(), String> {
        self.check_size([image.width(), image.height()])?;
        match out {
            Out::Normalized(out) => image.normalize(&self.table, generator, out),
            Out::Raw(out, _) => out.copy_from_slice(image.pixels()),
        }
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
