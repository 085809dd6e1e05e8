//! The order of the training images in an epoch. It follows from the seed, the epoch and the data set, whatever the
//! number of processes.

mod draws;
mod repeats;

use std::collections::BTreeMap;

use clap::ValueEnum;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

pub(crate) use draws::ClassDraws;
pub use draws::Sampler;
pub(crate) use repeats::Repeats;

/// Images in the shuffle buffers of all streams together, unless the user chooses another number.
pub(crate) const BUFFER: usize = 4096;

/// Most streams.
const STREAMS: usize = 64;

/// How training images are shuffled.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Shuffle {
    /// All images with each other
    Full,
    /// Shards, then images within a buffer
    Shards,
}

/// Which training images an epoch has, and in which order.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// All of this many images are shuffled.
    Full(usize),
    /// Shards are shuffled.
    Shards(ShardOrder),
    /// Images are drawn by class.
    Drawn(ClassDraws),
    /// Shuffled images are repeated.
    Repeated(Repeats),
    /// This many images in the same order in each epoch.
    Fixed(usize),
}

impl Order {
    /// Number of images of an epoch.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Full(images) | Self::Fixed(images) => *images,
            Self::Shards(shards) => shards.images,
            Self::Drawn(draws) => draws.images,
            Self::Repeated(repeats) => repeats.len(),
        }
    }

    /// The order of an epoch: indices from 0.
    pub(crate) fn epoch(&self, generator: &mut ChaCha8Rng) -> Vec<usize> {
        match self {
            Self::Full(images) => shuffled(*images, generator),
            Self::Shards(shards) => shards.epoch(generator),
            Self::Drawn(draws) => draws.epoch(generator),
            Self::Repeated(repeats) => repeats.of(&shuffled(repeats.images, generator)),
            Self::Fixed(images) => (0..*images).collect(),
        }
    }
}

/// All of this many images in random order.
fn shuffled(images: usize, generator: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..images).collect();
    order.shuffle(generator);
    order
}

/// An order in which each shard is read once, from its beginning to its end.
///
/// The shards are shuffled and laid end to end. That sequence is cut into equal parts, the streams, each of which is
/// shuffled within a buffer as it is read. Position `p` of the epoch is the next image of stream `p % streams`, so that
/// images of several shards are mixed. With a number of processes that divides the number of streams, each process
/// reads its own streams only: position `p` belongs to process `p % processes`. Its streams are next to each other in
/// that sequence, so that two processes share at most the shard between them.
#[derive(Clone, Debug)]
pub(crate) struct ShardOrder {
    /// The images of each shard, in their order.
    shards: Vec<Vec<usize>>,
    images: usize,
    /// Images in the buffer of each stream.
    buffer: usize,
}

impl ShardOrder {
    /// The order of images with these shards and places within them, with this many images in all buffers together.
    pub(crate) fn new(places: impl IntoIterator<Item = (u32, usize)>, buffer: usize) -> Self {
        let mut shards: BTreeMap<u32, Vec<(usize, usize)>> = BTreeMap::new();
        let mut images = 0;
        for (index, (shard, place)) in places.into_iter().enumerate() {
            shards.entry(shard).or_default().push((place, index));
            images += 1;
        }
        let in_order = |mut images: Vec<(usize, usize)>| {
            images.sort_unstable();
            images.into_iter().map(|(_, index)| index).collect()
        };
        let shards = shards.into_values().map(in_order).collect();
        let mut order = Self {
            shards,
            images,
            buffer: 0,
        };
        order.buffer = buffer.div_ceil(order.streams()).max(1);
        order
    }

    /// Number of shards with images.
    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Number of streams: the largest power of two that is at most that of the shards, and at most 64.
    pub(crate) fn streams(&self) -> usize {
        let shards = self.shards.len().clamp(1, STREAMS);
        1 << shards.ilog2()
    }

    fn epoch(&self, generator: &mut ChaCha8Rng) -> Vec<usize> {
        let mut shards: Vec<&Vec<usize>> = self.shards.iter().collect();
        shards.shuffle(generator);
        let mut images = shards.into_iter().flatten().copied();
        let streams = self.streams();
        let mut order = vec![0; self.images];
        let mut buffer = Vec::with_capacity(self.buffer);
        for part in 0..streams {
            // So that the parts of a process, if the number of processes is a power of two, are next to each other.
            let stream = match streams.trailing_zeros() {
                0 => 0,
                bits => part.reverse_bits() >> (usize::BITS - bits),
            };
            // Those of the first streams have one more if the images cannot be divided equally.
            let length = (self.images + streams - 1 - stream) / streams;
            let mut source = images.by_ref().take(length);
            buffer.extend(source.by_ref().take(self.buffer));
            for position in (stream..self.images).step_by(streams) {
                let drawn = generator.random_range(0..buffer.len());
                order[position] = match source.next() {
                    Some(next) => std::mem::replace(&mut buffer[drawn], next),
                    None => buffer.swap_remove(drawn),
                };
            }
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, generator};
    use std::collections::BTreeSet;

    fn epoch(order: &ShardOrder, seed: u32, epoch: usize) -> Vec<usize> {
        order.epoch(&mut generator(seed, Purpose::Order { epoch }))
    }

    fn order_of(shards: &[u32], buffer: usize) -> ShardOrder {
        ShardOrder::new(shards.iter().copied().zip(0..), buffer)
    }

    /// Shards of these numbers of images.
    fn shards(lengths: &[usize]) -> Vec<u32> {
        let shards = (0..).zip(lengths);
        shards
            .flat_map(|(shard, &length)| std::iter::repeat_n(shard, length))
            .collect()
    }

    #[test]
    fn every_image_is_used_once_per_epoch() {
        for lengths in [
            vec![5],
            vec![3, 0, 9, 1],
            vec![40; 10],
            vec![17; 100],
            vec![1; 7],
        ] {
            for buffer in [0, 1, 7, 1000] {
                let shards = shards(&lengths);
                let order = order_of(&shards, buffer);
                let first = epoch(&order, 0, 1);
                let mut sorted = first.clone();
                sorted.sort_unstable();
                assert_eq!(
                    sorted,
                    (0..shards.len()).collect::<Vec<_>>(),
                    "{lengths:?} {buffer}"
                );
                assert_eq!(first, epoch(&order, 0, 1));
                if shards.len() > 30 {
                    assert_ne!(first, epoch(&order, 0, 2));
                    assert_ne!(first, epoch(&order, 1, 1));
                }
            }
        }
    }

    #[test]
    fn streams_are_a_power_of_two() {
        for (shards, streams) in [(1, 1), (2, 2), (3, 2), (9, 8), (64, 64), (2000, 64)] {
            let order = order_of(&Vec::from_iter(0..shards), 10);
            assert_eq!(
                (order.shards(), order.streams()),
                (shards as usize, streams)
            );
        }
        assert_eq!(order_of(&[], 10).streams(), 1);
    }

    /// The rule for the positions of a process is that of the batches: `p % processes`.
    #[test]
    fn a_process_reads_its_own_shards() {
        const SHARDS: usize = 48;
        let of = shards(&[101; SHARDS]);
        let order = order_of(&of, 256);
        assert_eq!(order.streams(), 32);
        let epoch = epoch(&order, 3, 1);
        for processes in [2, 4, 8, 16, 32] {
            let read: Vec<BTreeSet<u32>> = (0..processes)
                .map(|process| {
                    epoch
                        .iter()
                        .skip(process)
                        .step_by(processes)
                        .map(|&i| of[i])
                        .collect()
                })
                .collect();
            // The first and the last may be shared.
            let most = SHARDS.div_ceil(processes) + 1;
            assert!(
                read.iter().all(|shards| shards.len() <= most),
                "{processes}"
            );
            let total: usize = read.iter().map(BTreeSet::len).sum();
            assert!(
                total < SHARDS + processes,
                "{processes} processes read {total} shards"
            );
        }
    }

    /// A run that resumes does not need shards again that were finished.
    #[test]
    fn later_positions_need_fewer_shards() {
        const SHARDS: usize = 7;
        let of = shards(&[500; SHARDS]);
        let order = order_of(&of, 16);
        assert_eq!(order.streams(), 4);
        let epoch = epoch(&order, 1, 1);
        let needed = |from: usize| {
            let shards: BTreeSet<u32> = epoch[from..].iter().map(|&image| of[image]).collect();
            shards.len()
        };
        assert_eq!(needed(0), SHARDS);
        // Of each stream, its last shard is left.
        assert!(needed(3200) <= 4, "{}", needed(3200));
    }

    /// Number of classes among each 256 consecutive images, on average, if each shard has the images of one class.
    fn classes_per_batch(buffer: usize) -> f64 {
        const SHARDS: usize = 512;
        let of = shards(&[100; SHARDS]);
        let order = order_of(&of, buffer);
        let epoch = epoch(&order, 5, 1);
        let batches: Vec<usize> = epoch
            .chunks_exact(256)
            .map(|batch| {
                batch
                    .iter()
                    .map(|&i| of[i])
                    .collect::<BTreeSet<u32>>()
                    .len()
            })
            .collect();
        batches.iter().sum::<usize>() as f64 / batches.len() as f64
    }

    /// A full shuffle has 201.6 of 512 classes in 256 images on average: 512·(1 − (1 − 1/512)²⁵⁶).
    #[test]
    fn sorted_shards_are_mixed_the_better_the_larger_the_buffer() {
        let classes = [1, 1024, 4096, 16_384].map(classes_per_batch);
        let expected = [(64.0, 70.0), (80.0, 110.0), (120.0, 175.0), (165.0, 202.0)];
        for (classes, (least, most)) in classes.iter().zip(expected) {
            assert!(
                (least..most).contains(classes),
                "{classes} classes, expected {least} to {most}"
            );
        }
        assert!(classes.is_sorted());
    }
}
