//! Time of decoding and preprocessing: `cargo bench --package topk-image`.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use topk_image::{Limits, NormalizationTable, Preprocessor, decode};
use topk_preprocessing::{Crop, Interpolation, Normalization, Preprocessing};

/// Photographs: those of ImageNet beside the repository, else the small ones of the tests.
fn photographs() -> (&'static str, Vec<Vec<u8>>) {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sample = package.join("../../../shared/data/imagenet-sample");
    let (name, folder) = if sample.is_dir() {
        ("imagenet-sample", sample)
    } else {
        ("fixtures", package.join("tests/data"))
    };
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder is there")
        .filter_map(|entry| fs::read_dir(entry.ok()?.path()).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "JPEG" || extension == "jpg")
        })
        .collect();
    files.sort();
    let read = files.iter().map(|file| fs::read(file).expect("it is read"));
    (name, read.collect())
}

fn benchmark(criterion: &mut Criterion) {
    let (name, photographs) = photographs();
    let limits = Limits::default();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(photographs.len() as u64));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            for encoded in &photographs {
                black_box(decode(encoded, &limits).expect("it is a JPEG"));
            }
        });
    });
    let bilinear = Preprocessing::torchvision(256, 224);
    let bicubic = Preprocessing {
        interpolation: Interpolation::Bicubic,
        ..bilinear
    };
    let ten_crops = Preprocessing {
        crop: Crop::Ten { size: [224; 2] },
        ..bilinear
    };
    let fast = Preprocessing {
        fast: true,
        ..bilinear
    };
    for (name, preprocessing) in [
        ("bilinear", bilinear),
        ("bicubic", bicubic),
        ("ten crops", ten_crops),
        ("fast", fast),
    ] {
        let mut preprocessor = Preprocessor::new(preprocessing, limits).expect("it is good");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for encoded in &photographs {
                    black_box(preprocessor.crops(encoded).expect("it is a JPEG"));
                }
            });
        });
    }
    group.finish();

    let normalization = Normalization {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };
    let table = NormalizationTable::new(&normalization);
    let mut preprocessor = Preprocessor::new(bilinear, limits).expect("it is good");
    let crops = preprocessor.crops(&photographs[0]).expect("it is a JPEG");
    let mut out = vec![0.0; crops.pixels().len()];
    criterion.bench_function("normalize", |bencher| {
        bencher.iter(|| crops.normalize(&table, black_box(&mut out)));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .measurement_time(Duration::from_secs(6));
    targets = benchmark
}
criterion_main!(benches);
