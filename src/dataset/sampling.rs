//! Which of the training and validation images a run uses, and in which order.

use rand::seq::SliceRandom;
use topk_data::{Holdout, ImageSet};

use super::{DatasetError, name};
use crate::config::Config;
use crate::order::{self, ClassDraws, Order, Repeats, Sampler, ShardOrder, Shuffle};
use crate::random::{Purpose, generator};

/// Leaves only the images of --overfit-batches, in a random order, and a line about them.
pub(super) fn overfit(split: &mut Holdout, config: &Config) -> Option<String> {
    let batches = config.sampling.overfit_batches?;
    let all = split.train.len();
    split
        .train
        .shuffle(&mut generator(config.seed, Purpose::Order { epoch: 0 }));
    split
        .train
        .truncate(batches.saturating_mul(config.batch_size));
    split.validation.clone_from(&split.train);
    let kept = split.train.len();
    Some(format!(
        "--overfit-batches {batches}: {kept} of {all} training images, the same batches in each epoch, and validation on \
         these images"
    ))
}

/// The order of training images with these labels, how they are shuffled, and lines about it.
pub(super) fn order(
    config: &Config,
    set: &ImageSet,
    training: &[usize],
    labels: &[i64],
) -> Result<(Shuffle, Order, Vec<String>), DatasetError> {
    let mut lines = Vec::new();
    let order = if config.sampling.overfit_batches.is_some() {
        Order::Fixed(training.len())
    } else if let Some(draws) = ClassDraws::new(config.sampling.sampler, labels) {
        lines.push(draws_decision(
            config.sampling.sampler,
            &draws,
            labels.len(),
        ));
        Order::Drawn(draws)
    } else if let Some(repeats) = config.sampling.repeats() {
        let images = training.len();
        let repeats = Repeats { images, repeats };
        let order = Order::Repeated(repeats);
        lines.push(format!(
            "--aug-repeats {}: an epoch has {} images, {} of {images} repeated",
            repeats.repeats,
            order.len(),
            repeats.distinct()
        ));
        order
    } else {
        shuffled(config, set, training)?
    };
    let shuffle = match &order {
        Order::Shards(order) => {
            lines.push(shards_decision(config, order));
            Shuffle::Shards
        }
        _ => Shuffle::Full,
    };
    let reads_at_random = !matches!(order, Order::Shards(_) | Order::Full(_));
    if reads_at_random && set.is_remote() {
        lines.push(
            "training images are read from a server in random order, each time anew; a copy on this machine is faster"
                .to_owned(),
        );
    }
    Ok((shuffle, order, lines))
}

/// The line about images that are drawn by class.
fn draws_decision(sampler: Sampler, draws: &ClassDraws, images: usize) -> String {
    let expected = draws.probabilities().map(|p| p * images as f64);
    let (fewest, most) = expected.fold((f64::INFINITY, 0.0), |(low, high), images| {
        (images.min(low), images.max(high))
    });
    let (fewest, most) = (fewest.round(), most.round());
    let range = match fewest == most {
        true => format!("{fewest}"),
        false => format!("{fewest} to {most}"),
    };
    format!(
        "--sampler {sampler}: an epoch draws {images} images with replacement, on average {range} of each class"
    )
}

/// Training images of which each is used once per epoch: those of a server are shuffled by shard, so that it sends each
/// shard once.
fn shuffled(config: &Config, set: &ImageSet, training: &[usize]) -> Result<Order, DatasetError> {
    let full = Ok(Order::Full(training.len()));
    let runs = match config.shuffle {
        Some(Shuffle::Full) => return full,
        None if !set.is_remote() => return full,
        _ => set.runs(),
    };
    match (runs, config.shuffle) {
        (Some(runs), _) => {
            let places = training.iter().map(|&index| (runs[index], index));
            let order = ShardOrder::new(places, config.shuffle_buffer.unwrap_or(order::BUFFER));
            Ok(Order::Shards(order))
        }
        (None, Some(_)) => Err(DatasetError::NoShards { set: name(set) }),
        (None, None) => full,
    }
}

/// The line about training images that are shuffled by shard.
fn shards_decision(config: &Config, order: &ShardOrder) -> String {
    let why = match config.shuffle {
        Some(_) => "",
        None => ", because they are read from a server (--shuffle full mixes all)",
    };
    format!(
        "training images: shuffled by shard{why}: {} shards in {} streams, {} images in buffers",
        order.shards(),
        order.streams(),
        config.shuffle_buffer.unwrap_or(order::BUFFER)
    )
}

/// Leaves the validation images of --limit-batches, evenly spaced so that all classes are among them, and a line about
/// them.
pub(super) fn limit_validation(
    indices: &mut Vec<usize>,
    labels: &mut Vec<i64>,
    config: &Config,
) -> Option<String> {
    let batches = config.sampling.limit_batches?;
    let all = indices.len();
    let kept = batches.saturating_mul(config.validation_batch_size);
    if kept >= all {
        return None;
    }
    // Products do not overflow: both are numbers of images.
    let is_kept = |index: usize| (index * kept) / all != ((index + 1) * kept) / all;
    let mut index = 0..;
    indices.retain(|_| index.next().is_some_and(is_kept));
    let mut index = 0..;
    labels.retain(|_| index.next().is_some_and(is_kept));
    Some(format!(
        "--limit-batches {batches}: validation on {kept} of {all} images, evenly spaced"
    ))
}
