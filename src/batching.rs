//! How the images of an epoch are divided into batches.

use std::iter::StepBy;
use std::ops::Range;

use thiserror::Error;

/// The part of each batch that one of several processes trains on or validates.
///
/// The image at position `p` of a batch belongs to rank `p % world_size`. So the batches themselves, and their order, do
/// not depend on the number of processes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Part {
    pub(crate) rank: usize,
    pub(crate) world_size: usize,
    /// Smallest number of images that a process gets, unless it gets none: 2 where batch normalisation would compute a
    /// variance from a single value.
    pub(crate) least: usize,
}

impl Part {
    /// All images, of the only process.
    pub(crate) const WHOLE: Self = Self {
        rank: 0,
        world_size: 1,
        least: 1,
    };

    /// The position of this part's image of this index, counted over full batches.
    pub(crate) fn index_of(self, index: usize) -> usize {
        index * self.world_size + self.rank
    }

    /// The positions of the part, among those of a batch.
    pub(crate) fn of(self, batch: Range<usize>) -> StepBy<Range<usize>> {
        // A small batch is shared by fewer processes.
        let ranks = (batch.len() / self.least).clamp(1, self.world_size);
        let first = match self.rank < ranks {
            true => batch.start + self.rank,
            false => batch.end,
        };
        (first.min(batch.end)..batch.end).step_by(ranks)
    }
}

/// How images are divided into batches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Batching {
    /// Images per batch, at least 1.
    pub(crate) size: usize,
    pub(crate) last: LastBatch,
    /// Most batches.
    pub(crate) limit: Option<usize>,
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
        let all = self.unlimited(images);
        self.limit.map_or(all, |limit| all.min(limit))
    }

    /// Number of batches without the limit.
    fn unlimited(self, images: usize) -> usize {
        let (full, rest) = (images / self.size, images % self.size);
        let joins = self.last == LastBatch::NeverSingle && rest == 1 && full > 0;
        let left_out = rest == 0 || joins || self.last == LastBatch::Dropped;
        if left_out { full } else { full + 1 }
    }

    /// Positions of the images of a batch, counted from 0, in the order of the epoch.
    pub(crate) fn positions(self, images: usize, batch: usize) -> Range<usize> {
        let start = batch * self.size;
        let last = batch + 1 == self.unlimited(images);
        let end = match self.last {
            LastBatch::Smaller | LastBatch::NeverSingle if last => images,
            _ => start + self.size,
        };
        start..end
    }

    /// What the user should know about the last batch of this many images, as a clause.
    pub(crate) fn decision(self, images: usize) -> Option<String> {
        let (size, rest) = (self.size, images % self.size);
        let (batches, all) = (self.batches(images), self.unlimited(images));
        if batches < all {
            return Some(format!(
                "{batches} of {all} batches are trained on in each epoch (--limit-batches)"
            ));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_of_a_batch_belongs_to_one_rank() {
        for world_size in 1..6 {
            for least in [1, 2] {
                for batch in [0..0, 0..1, 8..10, 8..11, 8..16, 3..20] {
                    let part = |rank| Part {
                        rank,
                        world_size,
                        least,
                    };
                    let parts: Vec<Vec<usize>> = (0..world_size)
                        .map(|rank| part(rank).of(batch.clone()).collect())
                        .collect();
                    let mut all = parts.concat();
                    all.sort_unstable();
                    assert_eq!(all, batch.clone().collect::<Vec<_>>());
                    let some = parts.iter().map(Vec::len).filter(|&len| len > 0);
                    let (min, max) = (some.clone().min(), some.max());
                    assert!(max.unwrap_or(0) - min.unwrap_or(0) <= 1);
                    assert!(batch.len() < least || min >= Some(least), "{parts:?}");
                }
            }
        }
        let part = Part {
            rank: 1,
            world_size: 3,
            least: 1,
        };
        assert_eq!(part.of(10..18).collect::<Vec<_>>(), [11, 14, 17]);
        assert_eq!(Part::WHOLE.of(10..13).collect::<Vec<_>>(), [10, 11, 12]);
    }

    #[test]
    fn a_single_last_image_joins_the_batch_before_it() {
        let sizes = |images: usize, size: usize, last: LastBatch| -> Vec<usize> {
            let batching = Batching {
                size,
                last,
                limit: None,
            };
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

    #[test]
    fn a_limit_keeps_the_first_batches() {
        let batching = |limit| Batching {
            size: 4,
            last: LastBatch::NeverSingle,
            limit,
        };
        for (limit, batches, end) in [(1, 1, 4), (2, 2, 9), (3, 2, 9)] {
            let limited = batching(Some(limit));
            assert_eq!(limited.batches(9), batches);
            // The last of all batches is larger, and only that.
            assert_eq!(limited.positions(9, batches - 1).end, end);
            assert_eq!(limited.positions(9, 0), batching(None).positions(9, 0));
        }
        let line = batching(Some(1)).decision(9).unwrap();
        assert!(line.starts_with("1 of 2 batches"), "{line}");
    }
}
