//! Random numbers for everything except the splits and the label noise.
//!
//! Each purpose has its own generator, seeded by the run's seed, the epoch and an index. So results do not depend
//! on the order in which threads run, and resuming at any batch needs no saved generator state. libtorch draws the
//! initial weights and dropout from a generator of its own, which is seeded anew for the weights and for each batch.

use std::sync::{Mutex, PoisonError};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What random numbers are used for. Epochs count from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Order of the images in an epoch.
    Order { epoch: usize },
    /// Augmentation of the image at an index in the order of an epoch.
    Augment { epoch: usize, index: usize },
    /// Mixup and CutMix of a batch.
    Mix { epoch: usize, batch: usize },
    /// Random numbers of the network (dropout) and the loss in a batch.
    Batch { epoch: usize, batch: usize },
}

/// The generator for a purpose.
pub(crate) fn generator(seed: u32, purpose: Purpose) -> ChaCha8Rng {
    let (kind, epoch, index) = match purpose {
        Purpose::Order { epoch } => (0, epoch, 0),
        Purpose::Augment { epoch, index } => (1, epoch, index),
        Purpose::Mix { epoch, batch } => (2, epoch, batch),
        Purpose::Batch { epoch, batch } => (3, epoch, batch),
    };
    let mut generator = ChaCha8Rng::seed_from_u64(seed.into());
    generator.set_stream(kind << 62 | (epoch as u64) << 40 | index as u64);
    generator
}
/// Seeds libtorch's random numbers, and draws some. All threads of the process share them: runs side by side, such as tests,
/// wait here for each other.
pub(crate) fn with_torch_seed<T>(seed: i64, draw: impl FnOnce() -> T) -> T {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let _guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(seed);
    draw()
}
