//! All randomness of a run but the initial weights: one generator for each purpose, so that nothing
//! depends on the order in which threads get to work.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What random numbers are for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Choice of training and validation images.
    Split,
    /// Noise on the labels.
    LabelNoise,
    /// Order of the images in an epoch.
    Order {
        /// From 1.
        epoch: usize,
    },
    /// Augmentation of the image at a place in an epoch.
    Augment {
        /// From 1.
        epoch: usize,
        /// Place in the order of the epoch.
        place: usize,
    },
}

/// The generator for a purpose.
pub(crate) fn generator(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let (kind, epoch, place) = match purpose {
        Purpose::Split => (0, 0, 0),
        Purpose::LabelNoise => (1, 0, 0),
        Purpose::Order { epoch } => (2, epoch, 0),
        Purpose::Augment { epoch, place } => (3, epoch, place),
    };
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(kind << 62 | (epoch as u64) << 40 | place as u64);
    generator
}
