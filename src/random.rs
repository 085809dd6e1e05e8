//! All randomness of a run but the splits, the label noise and the initial weights: one generator for
//! each purpose, so that nothing depends on the order in which threads get to work, and nothing has to
//! be saved to go on from any batch.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What random numbers are for. Epochs count from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Order of the images in an epoch.
    Order { epoch: usize },
    /// Augmentation of the image at a place in the order of an epoch.
    Augment { epoch: usize, place: usize },
    /// How the images of a batch are mixed.
    Mix { epoch: usize, batch: usize },
    /// What the network and the loss draw in a batch.
    Batch { epoch: usize, batch: usize },
}

/// The generator for a purpose.
pub(crate) fn generator(seed: u32, purpose: Purpose) -> ChaCha8Rng {
    let (kind, epoch, place) = match purpose {
        Purpose::Order { epoch } => (0, epoch, 0),
        Purpose::Augment { epoch, place } => (1, epoch, place),
        Purpose::Mix { epoch, batch } => (2, epoch, batch),
        Purpose::Batch { epoch, batch } => (3, epoch, batch),
    };
    let mut generator = ChaCha8Rng::seed_from_u64(seed.into());
    generator.set_stream(kind << 62 | (epoch as u64) << 40 | place as u64);
    generator
}
