use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A part of a data set: shard `index` of `count`, counted from 1.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Shard {
    /// Number of this shard, from 1.
    pub index: usize,
    /// Number of shards.
    pub count: usize,
}

impl Shard {
    /// Indices of its images in a data set of `images` images. Shards are contiguous, and their sizes
    /// differ by at most 1.
    pub fn indices(self, images: usize) -> Range<usize> {
        let end = |shards: usize| (shards as u128 * images as u128 / self.count as u128) as usize;
        end(self.index - 1)..end(self.index)
    }

    pub(crate) fn is_valid(self) -> bool {
        (1..=self.count).contains(&self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_all_indices() {
        for (images, count) in [(10, 3), (2, 5), (0, 1), (50_000, 7)] {
            let mut next = 0;
            for index in 1..=count {
                let indices = Shard { index, count }.indices(images);
                assert_eq!(indices.start, next);
                assert!((images / count..=images.div_ceil(count)).contains(&indices.len()));
                next = indices.end;
            }
            assert_eq!(next, images);
        }
    }
}
