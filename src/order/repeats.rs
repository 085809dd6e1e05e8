//! Repeated augmentation.

/// Images of which each appears several times in a row, so that a batch has several augmentations of it. An epoch has no
/// more images than without repetition: a part of them, repeated.
///
/// The order is that of timm's `RepeatAugSampler`, which gives the image at position `p` to the process `p % processes`,
/// as [`Part`](crate::batching::Part) does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeats {
    pub(crate) images: usize,
    /// How often each image appears, at least 1.
    pub(crate) repeats: f64,
}

/// The number of images of an epoch is a multiple of this where there are so many, as in timm.
const ROUND: usize = 256;

impl Repeats {
    /// Number of images of an epoch.
    pub(super) fn len(&self) -> usize {
        match self.images {
            ROUND.. => self.images / ROUND * ROUND,
            images => images,
        }
    }

    /// Number of different images of an epoch.
    pub(crate) fn distinct(&self) -> usize {
        match self.len() {
            0 => 0,
            len => floor_quotient(len - 1, self.repeats) + 1,
        }
    }

    /// The images of an epoch, from all in random order.
    pub(super) fn of(&self, shuffled: &[usize]) -> Vec<usize> {
        let index = |position| shuffled[floor_quotient(position, self.repeats)];
        (0..self.len()).map(index).collect()
    }
}

/// Python's `position // repeats`, which is exact where a quotient would be rounded up.
fn floor_quotient(position: usize, repeats: f64) -> usize {
    let position = position as f64;
    let quotient = (position - position % repeats) / repeats;
    quotient.round() as usize
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn images_are_repeated_as_by_timm() {
        let cases = include_str!("../../tests/data/sampling.json");
        let cases: Value = serde_json::from_str(cases).unwrap();
        for case in cases["repeated"].as_array().unwrap() {
            let read = |key: &str| serde_json::from_value::<Vec<usize>>(case[key].clone()).unwrap();
            let shuffled = read("shuffled");
            let repeats = Repeats {
                images: shuffled.len(),
                repeats: case["repeats"].as_f64().unwrap(),
            };
            let order = repeats.of(&shuffled);
            assert_eq!(order.len(), repeats.len());
            let world_size = case["world_size"].as_u64().unwrap() as usize;
            for (rank, expected) in case["ranks"].as_array().unwrap().iter().enumerate() {
                let expected: Vec<usize> = serde_json::from_value(expected.clone()).unwrap();
                let found: Vec<usize> = order
                    .iter()
                    .copied()
                    .skip(rank)
                    .step_by(world_size)
                    .collect();
                assert_eq!(found, expected, "{} of {world_size}", repeats.repeats);
            }
            let mut distinct = order.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(repeats.distinct(), distinct.len());
        }
    }
}
