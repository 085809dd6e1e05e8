//! The two halves of the images.

use topk_ops::noise::uniform;

/// Rows to fit on, and rows to evaluate on, both ascending.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Halves {
    pub(crate) fit: Vec<usize>,
    pub(crate) evaluate: Vec<usize>,
}

impl Halves {
    /// Divides images at random. Which half an image is in depends on the seed and the indices of all images, not on
    /// the order of the rows.
    pub(crate) fn new(indices: &[u64], seed: u64) -> Self {
        let mut rows: Vec<usize> = (0..indices.len()).collect();
        rows.sort_by(|&a, &b| {
            let key = |row: usize| uniform(seed, indices[row], HALF);
            key(a).total_cmp(&key(b)).then(indices[a].cmp(&indices[b]))
        });
        let mut evaluate = rows.split_off(rows.len() / 2);
        rows.sort_unstable();
        evaluate.sort_unstable();
        Self {
            fit: rows,
            evaluate,
        }
    }
}

/// The draws of an image's random numbers, by purpose.
pub(crate) const HALF: u64 = 0;
pub(crate) const SETS: u64 = 1;
pub(crate) const BOOTSTRAP: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_depend_on_the_images_and_not_on_their_order() {
        let indices: Vec<u64> = (0..101).collect();
        let reversed: Vec<u64> = (0..101).rev().collect();
        let (halves, other) = (Halves::new(&indices, 3), Halves::new(&reversed, 3));
        assert_eq!((halves.fit.len(), halves.evaluate.len()), (50, 51));
        let images = |rows: &[usize]| {
            let mut images: Vec<u64> = rows.iter().map(|&row| reversed[row]).collect();
            images.sort_unstable();
            images
        };
        let expected: Vec<u64> = halves.fit.iter().map(|&row| indices[row]).collect();
        assert_eq!(images(&other.fit), expected);
        assert_ne!(Halves::new(&indices, 4), halves);
    }
}
