//! Time of augmentation: `cargo bench --package topk-image --bench augmentation`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use topk_image::augment::{Augmenter, Canvas, Operation, Rect};
use topk_image::{Limits, NormalizationTable, decode};
use topk_preprocessing::{Interpolation, Normalization, Pillow};

fn benchmark(criterion: &mut Criterion) {
    let limits = Limits::default();
    let encoded = include_bytes!("../tests/data/images/large.jpg");
    let photograph = decode(encoded, &limits).expect("it is a JPEG");
    let mut generator = ChaCha8Rng::seed_from_u64(0);
    for text in [
        "resized-crop:224,flip",
        "resized-crop:224,flip,color-jitter:0.4:0.4:0.4:0.1",
        "resized-crop:224,flip,rand-augment",
    ] {
        let augmentation = text.parse().expect("it is good");
        let mut augmenter = Augmenter::new(augmentation, limits).expect("it is good");
        criterion.bench_function(text, |bencher| {
            bencher.iter(|| {
                let augmented = augmenter.apply_to(&photograph, &mut generator);
                black_box(augmented.expect("it is done").pixels());
            });
        });
    }

    let mut canvas = Canvas::new(Pillow::V13, limits);
    let part = Rect {
        x: 0,
        y: 0,
        width: photograph.width,
        height: photograph.height,
    };
    let resized = Operation::ResizedCrop {
        part,
        size: [224; 2],
        interpolation: Interpolation::Bilinear,
    };
    let image = canvas.apply(&[resized], &photograph);
    let image = image.expect("it is done").clone();
    for (name, operation) in [
        ("contrast", Operation::Contrast(1.2)),
        ("saturation", Operation::Saturation(1.2)),
        ("hue", Operation::Hue(0.05)),
        ("sharpness", Operation::Sharpness(1.2)),
        ("rotation", Operation::Rotate(9.0)),
        ("equalisation", Operation::Equalize),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let changed = canvas.apply(&[operation], &image);
                black_box(changed.expect("it is done"));
            });
        });
    }

    let augmentation = "crop:4,flip".parse().expect("it is good");
    let mut augmenter = Augmenter::new(augmentation, limits).expect("it is good");
    let table = NormalizationTable::new(&Normalization::IMAGENET);
    let planes: Vec<u8> = (0..3072).map(|value| value as u8).collect();
    let mut out = vec![0.0; planes.len()];
    criterion.bench_function("crop:4,flip of planes of 32 x 32", |bencher| {
        bencher.iter(|| {
            let shape = [3, 32, 32];
            let done = augmenter.normalize_planes(shape, &planes, &table, &mut generator, &mut out);
            done.expect("it is done");
            black_box(&mut out);
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .measurement_time(Duration::from_secs(2));
    targets = benchmark
}
criterion_main!(benches);
