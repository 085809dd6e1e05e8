//! Trains a classifier of images that are drawn in memory: `cargo run --example train-in-memory`.
//!
//! Four classes of shapes on noise, in any colour, at any place. An observer prints the validation accuracy after each
//! epoch, and stops when it is above 95 %.

use std::ops::ControlFlow;

use topk_data::{DataError, Image, ImageSet};
use topk_train::{Annealed, Config, Images, Outcome, Trainer, TrainingEvent};

const SIDE: usize = 32;
const SHAPES: [&str; 4] = ["disc", "ring", "square", "triangle"];

/// A linear congruential generator, which is enough for pictures.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

/// Whether a shape covers a point; the shape reaches from -1 to 1 on both axes.
fn covers(shape: usize, x: f64, y: f64) -> bool {
    let radius = x.hypot(y);
    match shape {
        0 => radius < 1.0,
        1 => radius < 1.0 && radius > 0.6,
        2 => x.abs() < 0.9 && y.abs() < 0.9,
        _ => y < 0.9 && y > 2.0 * x.abs() - 0.9,
    }
}

/// Red, green and blue planes of a shape on noise.
fn draw(shape: usize, random: &mut Random) -> Image {
    let colour: [u64; 3] = std::array::from_fn(|_| 100 + random.below(156));
    let radius = 6.0 + random.below(6) as f64;
    let [left, top] = [(); 2].map(|()| 12.0 + random.below(8) as f64);
    let mut pixels = vec![0; 3 * SIDE * SIDE];
    for y in 0..SIDE {
        for x in 0..SIDE {
            let inside = covers(shape, (x as f64 - left) / radius, (y as f64 - top) / radius);
            for (channel, &colour) in colour.iter().enumerate() {
                let noise = random.below(60);
                let value = if inside { colour - noise } else { noise };
                pixels[(channel * SIDE + y) * SIDE + x] = value as u8;
            }
        }
    }
    Image::Pixels {
        shape: [3, SIDE, SIDE],
        pixels,
    }
}

fn images(name: &str, count: usize, seed: u64) -> Result<ImageSet, DataError> {
    let mut random = Random(seed);
    let images = (0..count).map(|index| {
        let shape = index % SHAPES.len();
        (shape as u32, draw(shape, &mut random))
    });
    ImageSet::in_memory(name, SHAPES.map(str::to_owned).into(), images)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config {
        model: Some("basic-6".to_owned()),
        input_size: Some(vec![SIDE]),
        val_resize: Some(SIDE as u32),
        augment: Some("flip".parse()?),
        topk: Some(1),
        epochs: 10,
        batch_size: 32,
        ..Config::default()
    };
    config.schedule.lr = Some(0.01);
    config.loss.tau = Annealed::constant(0.1);
    let out = tempfile::tempdir()?;
    let observer = |event: &TrainingEvent<'_>| {
        let TrainingEvent::Epoch { epoch, .. } = event else {
            return ControlFlow::Continue(());
        };
        let accuracy = epoch.val.top1();
        println!(
            "epoch {}: loss {:.3}, validation accuracy {:.1} %",
            epoch.epoch,
            epoch.loss,
            100.0 * accuracy
        );
        match accuracy > 0.95 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let trainer = Trainer::new(config, out.path())
        .with_images(Images {
            training: images("shapes", 800, 1)?,
            validation: Some(images("shapes for validation", 200, 2)?),
            test: None,
        })
        .with_observer(observer);
    match trainer.train()? {
        Outcome::Finished(_) => println!("trained for all epochs"),
        Outcome::Interrupted => println!("good enough: stopped"),
        outcome => println!("{outcome:?}"),
    }
    Ok(())
}
