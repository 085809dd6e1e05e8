use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use rand::seq::SliceRandom;
use rayon::prelude::*;
use topk_data::Dataset;
use topk_image::NormalizationTable;

use crate::augment::crop_and_flip;
use crate::random::{Purpose, generator};

/// Batches prepared ahead of the network.
const AHEAD: usize = 4;

/// Normalised images and their labels, in host memory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Batch {
    /// `[labels.len(), channels, height, width]`.
    pub(crate) images: Vec<f32>,
    pub(crate) labels: Vec<i64>,
}

/// Images of a data set, each with the label that it is to be trained with.
#[derive(Clone, Debug)]
pub(crate) struct TrainingImages {
    pub(crate) dataset: Arc<Dataset>,
    pub(crate) table: NormalizationTable,
    /// Indices into the data set.
    pub(crate) indices: Vec<usize>,
    /// Label of each of `indices`.
    pub(crate) labels: Vec<i64>,
    pub(crate) augment: bool,
    pub(crate) seed: u64,
}

impl TrainingImages {
    /// Batches in an epoch.
    pub(crate) fn batches(&self, batch_size: usize) -> usize {
        self.indices.len().div_ceil(batch_size)
    }

    /// All images once, in an order and with augmentations that follow from seed and epoch alone.
    /// Prepared by rayon's threads while the caller works on earlier batches; the last batch may be
    /// smaller.
    pub(crate) fn epoch(self: &Arc<Self>, epoch: usize, batch_size: usize) -> EpochBatches {
        let (sender, receiver) = sync_channel(AHEAD);
        let images = Arc::clone(self);
        let thread = thread::spawn(move || {
            let mut order: Vec<usize> = (0..images.indices.len()).collect();
            order.shuffle(&mut generator(images.seed, Purpose::Order { epoch }));
            for start in (0..order.len()).step_by(batch_size) {
                let places = start..order.len().min(start + batch_size);
                // The receiver is gone when training stops early.
                if sender.send(images.batch(epoch, &order, places)).is_err() {
                    return;
                }
            }
        });
        EpochBatches {
            receiver,
            thread: Some(thread),
        }
    }

    fn batch(&self, epoch: usize, order: &[usize], places: Range<usize>) -> Batch {
        let len = self.dataset.image_len();
        let mut images = vec![0.0; places.len() * len];
        images
            .par_chunks_exact_mut(len)
            .zip(places.clone())
            .for_each(|(out, place)| {
                let pixels = self.dataset.image(self.indices[order[place]]);
                if self.augment {
                    let mut generator = generator(self.seed, Purpose::Augment { epoch, place });
                    crop_and_flip(&self.table, self.dataset.shape, pixels, &mut generator, out);
                } else {
                    self.table.normalize(pixels, out);
                }
            });
        let labels = order[places].iter().map(|&i| self.labels[i]).collect();
        Batch { images, labels }
    }
}

/// The batches of an epoch, as they become ready.
#[derive(Debug)]
pub(crate) struct EpochBatches {
    receiver: Receiver<Batch>,
    thread: Option<JoinHandle<()>>,
}

impl Iterator for EpochBatches {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if let Ok(batch) = self.receiver.recv() {
            return Some(batch);
        }
        // The sender is gone: the epoch is over, or cut short by a panic that must not pass as its
        // end.
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        None
    }
}

/// The images of these indices in order, normalised and not augmented, with the data set's labels.
pub(crate) fn plain_batch(
    dataset: &Dataset,
    table: &NormalizationTable,
    indices: &[usize],
) -> Batch {
    let len = dataset.image_len();
    let mut images = vec![0.0; indices.len() * len];
    images
        .par_chunks_exact_mut(len)
        .zip(indices)
        .for_each(|(out, &index)| table.normalize(dataset.image(index), out));
    Batch {
        images,
        labels: indices.iter().map(|&index| dataset.labels[index]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use topk_image::Normalization;

    fn images(augment: bool) -> Arc<TrainingImages> {
        let dataset = Dataset {
            class_names: vec!["a".into(), "b".into()],
            shape: [3, 2, 2],
            pixels: (0..10 * 12).map(|i| i as u8).collect(),
            labels: vec![0; 10],
        };
        let table = Normalization {
            mean: [0.0; 3],
            std: [1.0 / 255.0; 3],
        }
        .table();
        let indices = vec![1, 3, 5, 7, 9];
        let labels = vec![10, 30, 50, 70, 90];
        let dataset = Arc::new(dataset);
        Arc::new(TrainingImages {
            dataset,
            table,
            indices,
            labels,
            augment,
            seed: 1,
        })
    }

    fn epoch(augment: bool, epoch: usize) -> Vec<Batch> {
        images(augment).epoch(epoch, 2).collect()
    }

    #[test]
    fn an_epoch_has_every_image_once_with_its_label() {
        let batches = epoch(false, 1);
        assert_eq!(
            batches.iter().map(|b| b.labels.len()).collect::<Vec<_>>(),
            [2, 2, 1]
        );
        let mut labels = Vec::new();
        for batch in &batches {
            for (image, &label) in batch.images.chunks(12).zip(&batch.labels) {
                // Image i starts with pixel 12 i and has label 10 i.
                assert!((image[0] - 1.2 * label as f32).abs() < 1e-3);
                labels.push(label);
            }
        }
        labels.sort_unstable();
        assert_eq!(labels, [10, 30, 50, 70, 90]);
    }

    #[test]
    fn epochs_differ_and_repeat_by_their_number() {
        assert_eq!(epoch(true, 1), epoch(true, 1));
        assert_ne!(epoch(true, 1), epoch(true, 2));
        let one_thread = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let order: Vec<usize> = (0..5).collect();
        let images = images(true);
        let batch = || images.batch(3, &order, 0..5);
        assert_eq!(one_thread.install(batch), batch());
    }
}
