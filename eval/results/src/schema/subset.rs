use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A random part of a data set, with about the same share of the images of each class.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Subset {
    /// Number of its images.
    pub images: usize,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Indices of its images in the data set, ascending.
    pub indices: Vec<usize>,
}

/// What random numbers are drawn for.
#[derive(Clone, Copy)]
enum Purpose {
    /// Which classes have one image more.
    Class,
    /// Which images of a class are taken.
    Image,
}

impl Subset {
    /// Draws this number of images of a data set with these classes; none if it has no more. Images without a class are a
    /// class of their own.
    ///
    /// Of n of N images, a class with m has n × m / N, rounded up or down; which classes are rounded up follows from the
    /// remainders, and where they are equal from random numbers. The same arguments give the same subset on every machine,
    /// whatever the numbers of the classes are.
    pub fn draw(
        classes: impl IntoIterator<Item = Option<u32>>,
        images: usize,
        seed: u64,
    ) -> Option<Self> {
        let mut of_classes: BTreeMap<Option<u32>, Vec<usize>> = BTreeMap::new();
        let mut all = 0;
        for (index, class) in classes.into_iter().enumerate() {
            of_classes.entry(class).or_default().push(index);
            all += 1;
        }
        if images >= all {
            return None;
        }
        let key = |purpose, index| random(seed, purpose, index);
        // For each class: what is left after division, a random number, its share, and its images.
        let mut shares: Vec<_> = of_classes
            .into_values()
            .map(|indices| {
                let product = images as u128 * indices.len() as u128;
                let (share, left) = (product / all as u128, product % all as u128);
                (
                    left,
                    key(Purpose::Class, indices[0]),
                    share as usize,
                    indices,
                )
            })
            .collect();
        shares.sort_unstable_by(|a, b| (b.0, b.1, b.3[0]).cmp(&(a.0, a.1, a.3[0])));
        let rounded_up = images - shares.iter().map(|(.., share, _)| share).sum::<usize>();
        let mut drawn = Vec::with_capacity(images);
        for (at, (.., share, mut indices)) in shares.into_iter().enumerate() {
            indices.sort_by_cached_key(|&index| (key(Purpose::Image, index), index));
            indices.truncate(share + usize::from(at < rounded_up));
            drawn.append(&mut indices);
        }
        drawn.sort_unstable();
        Some(Self {
            images,
            seed,
            indices: drawn,
        })
    }
}

/// A random number that depends on its arguments alone: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014), applied
/// to each.
fn random(seed: u64, purpose: Purpose, index: usize) -> u64 {
    let mix = |state: u64| {
        let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^ (state >> 31)
    };
    mix(mix(mix(seed) ^ purpose as u64) ^ index as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Classes of 60 images: 30, 20 and 10, mixed.
    fn classes() -> impl Iterator<Item = Option<u32>> + Clone {
        (0..60).map(|index| Some([0, 1, 0, 2, 1, 0][index % 6]))
    }

    fn counts(subset: &Subset) -> [usize; 3] {
        let classes: Vec<_> = classes().collect();
        [0, 1, 2].map(|class| {
            let mut indices = subset.indices.clone();
            indices.retain(|&index| classes[index] == Some(class));
            indices.len()
        })
    }

    #[test]
    fn classes_keep_their_shares() {
        for seed in 0..20 {
            let draw = |images| Subset::draw(classes(), images, seed).unwrap();
            assert_eq!(counts(&draw(6)), [3, 2, 1]);
            assert_eq!(counts(&draw(30)), [15, 10, 5]);
            // 3.5, 2.33 and 1.17.
            assert_eq!(counts(&draw(7)), [4, 2, 1]);
            for images in 0..60 {
                let subset = draw(images);
                assert_eq!(subset.indices.len(), images);
                assert!(subset.indices.is_sorted_by(|a, b| a < b));
                for (count, all) in counts(&subset).into_iter().zip([30, 20, 10]) {
                    assert!((images * all / 60..=(images * all).div_ceil(60)).contains(&count));
                }
            }
        }
        assert_eq!(Subset::draw(classes(), 60, 0), None);
    }

    #[test]
    fn fewer_images_than_classes_are_of_random_classes() {
        let classes = || (0..1000).map(|index| Some(index / 10));
        let of_seed = |seed| Subset::draw(classes(), 20, seed).unwrap().indices;
        let mut drawn: Vec<usize> = of_seed(3).iter().map(|index| index / 10).collect();
        drawn.dedup();
        assert_eq!(drawn.len(), 20);
        assert_ne!(of_seed(3), of_seed(4));
        // Later classes have the same chance.
        let late = (0..100).flat_map(of_seed).filter(|&index| index >= 500);
        assert!((850..1150).contains(&late.count()));
    }

    #[test]
    fn a_subset_is_the_same_everywhere() {
        let subset = Subset::draw(classes(), 8, 1).unwrap();
        assert_eq!(subset.indices, [8, 16, 18, 26, 38, 40, 45, 58]);
        // Whatever the numbers of the classes.
        let renumbered = classes().map(|class| class.map(|class| 7 - class));
        assert_eq!(Subset::draw(renumbered, 8, 1).unwrap(), subset);
        let unlabelled = (0..10).map(|_| None);
        assert_eq!(Subset::draw(unlabelled, 4, 0).unwrap().indices.len(), 4);
    }

    #[test]
    fn every_image_has_the_same_chance() {
        let mut drawn = [0; 60];
        for seed in 0..3000 {
            for index in Subset::draw(classes(), 12, seed).unwrap().indices {
                drawn[index] += 1;
            }
        }
        // 600 each; the standard deviation is 22.
        assert!(
            drawn.iter().all(|count| (500..700).contains(count)),
            "{drawn:?}"
        );
    }
}
