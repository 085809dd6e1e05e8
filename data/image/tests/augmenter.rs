//! Tests of the augmenter, and of the text form of augmentations.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use topk_image::augment::{
    Augmentation, Augmenter, Canvas, Operation, RandomErasing, RandomResizedCrop, Rect, Step,
};
use topk_image::{ImageError, Limits, NormalizationTable, RgbImage, decode};
use topk_preprocessing::{Interpolation, Normalization, Pillow};

fn augmenter(text: &str) -> Augmenter {
    let augmentation: Augmentation = text.parse().unwrap();
    Augmenter::new(augmentation, Limits::default()).unwrap()
}

/// Noise in planes.
fn planes(height: usize, width: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..3 * height * width).map(next).collect()
}

fn photograph() -> Vec<u8> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/images");
    fs::read(data.join("large.jpg")).unwrap()
}

/// Bit patterns of values, for exact comparisons.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn planes_and_interleaved_pixels_give_the_same_values() {
    let table = NormalizationTable::new(&Normalization::IMAGENET);
    for text in [
        "none",
        "crop:4,flip",
        "crop:9,flip,flip:1",
        "crop:size=9x5,flip",
        "crop:70:size=40x30,flip",
        "flip:1",
        "flip,crop:2",
        "crop:2,color-jitter:0.4:0.4:0.4:0.1",
        "crop:4,flip,random-erasing:0.7:value=random",
        "rand-augment:2:9,flip",
        "resized-crop:24:interpolation=bicubic",
    ] {
        for shape @ [_, height, width] in [[3, 32, 32], [3, 17, 40], [3, 5, 9]] {
            let planes = planes(height, width, 3);
            let image = RgbImage::of_planes(shape, &planes);
            let [mut of_planes, mut of_image] = [augmenter(text), augmenter(text)];
            let size = [width as u32, height as u32];
            let len = of_image.augmentation().size(size);
            let len = 3 * len[0] as usize * len[1] as usize;
            for seed in 0..60 {
                let [mut a, mut b] = [seed; 2].map(ChaCha8Rng::seed_from_u64);
                let [mut found, mut expected] = [vec![f32::NAN; len], vec![f32::NAN; len]];
                of_planes
                    .normalize_planes(shape, &planes, &table, &mut a, &mut found)
                    .unwrap();
                let augmented = of_image.apply_to(&image, &mut b).unwrap();
                augmented.normalize(&table, &mut b, &mut expected);
                assert_eq!(bits(&found), bits(&expected), "{text}, {shape:?}, {seed}");
                assert_eq!(a, b, "{text}: other random numbers are drawn");
            }
        }
    }
}

/// For a device that crops and flips by itself.
#[test]
fn drawn_crops_and_flips_are_those_that_are_applied() {
    let image = RgbImage::of_planes([3, 12, 15], &planes(12, 15, 5));
    for (text, is_crop_and_flip) in [
        ("none", true),
        ("crop:4,flip", true),
        ("flip:0.3,flip", true),
        ("crop:3:size=9x5", true),
        ("flip,crop:2", false),
        ("crop:2,random-erasing:0.5", false),
        ("crop:2,color-jitter:0.4", false),
        ("resized-crop:9", false),
    ] {
        let [mut draws, mut applies] = [augmenter(text), augmenter(text)];
        let augmentation = draws.augmentation();
        assert_eq!(augmentation.is_crop_and_flip(), is_crop_and_flip, "{text}");
        for seed in 0..40 {
            let [mut a, mut b] = [seed; 2].map(ChaCha8Rng::seed_from_u64);
            let shown = draws.draw_shown([15, 12], &mut a).unwrap();
            let applied = applies.apply_to(&image, &mut b).unwrap();
            assert_eq!(a, b, "{text}: other random numbers are drawn");
            let Some(shown) = shown else {
                assert!(!is_crop_and_flip, "{text}");
                continue;
            };
            assert_eq!(shown.size, [applied.width(), applied.height()]);
            for (i, found) in applied.pixels().chunks(3).enumerate() {
                let [width, _] = shown.size.map(i64::from);
                let [column, row] = [i as i64 % width, i as i64 / width];
                let column = if shown.mirrored {
                    width - 1 - column
                } else {
                    column
                };
                let [x, y] = [shown.at[0] + column, shown.at[1] + row];
                let inside = (0..15).contains(&x) && (0..12).contains(&y);
                let expected = match inside {
                    true => &image.pixels[3 * (y * 15 + x) as usize..][..3],
                    false => &[0; 3],
                };
                assert_eq!(found, expected, "{text}, {seed}");
            }
        }
    }
}

#[test]
fn encoded_images_get_the_drawn_operations() {
    let encoded = photograph();
    let image = decode(&encoded, &Limits::default()).unwrap();
    let text = "resized-crop:96x64,flip,color-jitter:0.4:0.4:0.4:0.1,rand-augment:2:14";
    let mut augmenter = augmenter(text);
    let mut canvas = Canvas::new(Pillow::V13, Limits::default());
    for seed in 0..20 {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let augmented = augmenter.apply(&encoded, &mut generator).unwrap();
        assert_eq!([augmented.width(), augmented.height()], [96, 64]);
        let expected = canvas.apply(augmented.operations(), &image).unwrap();
        assert_eq!(augmented.pixels(), expected.pixels, "{seed}");
    }
}

#[test]
fn pixels_do_not_depend_on_previous_images() {
    let encoded = photograph();
    let text = "resized-crop:32,rand-augment:3:20,flip";
    let pixels = |augmenter: &mut Augmenter, seed| {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let augmented = augmenter.apply(&encoded, &mut generator).unwrap();
        augmented.pixels().to_vec()
    };
    let mut used = augmenter(text);
    for seed in 0..10 {
        let fresh = pixels(&mut augmenter(text), seed);
        assert_eq!(pixels(&mut used, seed), fresh, "{seed}");
    }
}

#[test]
fn the_text_form_is_parsed_again() {
    for text in [
        "none",
        "crop:4,flip",
        "crop:padding=0:size=224",
        "resized-crop:224,flip:0.3,color-jitter:0.4:0.4:0.4:0.1,random-erasing:0.25",
        "resized-crop:320x240:scale=0.2..1:ratio=0.5..2:interpolation=lanczos",
        "color-jitter:brightness=0.5..2:hue=-0.1..0.3,rand-augment:3:5:11,trivial-augment:5",
        "random-erasing:1:scale=0..1:ratio=1..1:value=random",
    ] {
        let augmentation: Augmentation = text.parse().unwrap();
        let written = augmentation.to_string();
        assert_eq!(
            written.parse(),
            Ok(augmentation.clone()),
            "{text}: {written}"
        );
        let json = serde_json::to_string(&augmentation).unwrap();
        let read: Augmentation = serde_json::from_str(&json).unwrap();
        assert_eq!(read, augmentation, "{json}");
    }
    let augmentation: Augmentation = "resized-crop:224:interpolation=bicubic".parse().unwrap();
    let crop = RandomResizedCrop {
        interpolation: Interpolation::Bicubic,
        ..RandomResizedCrop::new([224, 224])
    };
    assert_eq!(augmentation.steps, [Step::ResizedCrop(crop)]);
    assert_eq!(
        augmentation.to_string(),
        "resized-crop:size=224x224:scale=0.08..1:ratio=0.75..1.3333333333333333:interpolation=bicubic"
    );
    let json = r#"{"steps":[{"crop":{"padding":4}},{"flip":{"p":0.5}}]}"#;
    let read: Augmentation = serde_json::from_str(json).unwrap();
    assert_eq!(read, "crop:4,flip".parse().unwrap());
}

#[test]
fn invalid_augmentations_are_errors() {
    for (text, expected) in [
        ("", "unknown name \"\": expected one of crop, flip,"),
        ("crop:4,mirror", "unknown name \"mirror\""),
        (
            "crop:-1",
            "padding of crop must be a whole number, at least 0, got \"-1\"",
        ),
        (
            "crop:70000",
            "the padding of crop must be at most 65536 pixels, got 70000",
        ),
        (
            "crop:4:0",
            "the size of crop must be from 1 to 65536 pixels, got 0",
        ),
        (
            "crop:4:32:7",
            "crop has too many values: \"7\": its options are padding, size, as in crop:4",
        ),
        ("crop:pad=4", "crop has no option \"pad\""),
        ("crop:4:padding=4", "crop sets padding twice"),
        ("flip:1.5", "p of flip must be from 0 to 1, got 1.5"),
        ("flip:nan", "p of flip must be from 0 to 1, got NaN"),
        ("resized-crop", "resized-crop needs size"),
        (
            "resized-crop:224x",
            "must be a size, such as 224 or 320x240",
        ),
        ("resized-crop:99999", "from 1 to 65536 pixels"),
        ("resized-crop:224:scale=0.5", "such as 0.5..1"),
        (
            "resized-crop:224:scale=0..1",
            "the scale of resized-crop must be a range above 0 and up to 1, got 0..1",
        ),
        (
            "resized-crop:224:scale=0.9..0.1",
            "the scale of resized-crop must be a range above 0 and up to 1, got 0.9..0.1",
        ),
        (
            "resized-crop:224:ratio=0..1",
            "the ratio of resized-crop must be a range from 0.001 to 1000, got 0..1",
        ),
        (
            "resized-crop:224:interpolation=nearest",
            "bicubic or lanczos",
        ),
        ("color-jitter:-1", "brightness of color-jitter"),
        (
            "color-jitter:hue=0.6",
            "a range from -0.5 to 0.5, got -0.6..0.6",
        ),
        ("color-jitter:a", "a distance, or a range"),
        (
            "rand-augment:0",
            "ops of rand-augment must be from 1 to 100, got 0",
        ),
        (
            "rand-augment:2:31",
            "magnitude of rand-augment must be less than the number of bins, got 31",
        ),
        (
            "rand-augment:2:0:1",
            "bins of rand-augment must be from 2 to 65536, got 1",
        ),
        (
            "trivial-augment:1",
            "bins of trivial-augment must be from 2 to 65536, got 1",
        ),
        (
            "random-erasing,flip",
            "random-erasing must be the last step",
        ),
        (
            "random-erasing:2",
            "p of random-erasing must be from 0 to 1, got 2",
        ),
        ("random-erasing:value=grey", "zero, random or color"),
    ] {
        let error = text.parse::<Augmentation>().unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let augmentation = Augmentation {
        erasing: Some(RandomErasing {
            p: f64::NAN,
            ..RandomErasing::default()
        }),
        ..Augmentation::default()
    };
    assert!(Augmenter::new(augmentation, Limits::default()).is_err());
}

#[test]
fn images_that_cannot_be_augmented_are_errors() {
    let mut generator = ChaCha8Rng::seed_from_u64(1);
    let image = RgbImage::of_planes([3, 8, 8], &planes(8, 8, 1));
    let error = augmenter("crop:size=9")
        .apply_to(&image, &mut generator)
        .err();
    assert!(
        matches!(error, Some(ImageError::RandomCrop { .. })),
        "{error:?}"
    );

    let error = augmenter("none")
        .apply_to(&RgbImage::default(), &mut generator)
        .err();
    assert!(
        matches!(error, Some(ImageError::NoPixels { .. })),
        "{error:?}"
    );
    let table = NormalizationTable::new(&Normalization::IMAGENET);
    let error = augmenter("flip").normalize_planes([3, 0, 5], &[], &table, &mut generator, &mut []);
    assert!(
        matches!(error, Err(ImageError::NoPixels { .. })),
        "{error:?}"
    );

    let error = augmenter("flip")
        .apply(b"not an image", &mut generator)
        .err();
    assert!(
        matches!(error, Some(ImageError::UnknownFormat(_))),
        "{error:?}"
    );
}

#[test]
fn memory_is_limited() {
    let limits = Limits {
        max_bytes: 1 << 20,
        ..Limits::default()
    };
    let image = RgbImage::of_planes([3, 8, 8], &planes(8, 8, 1));
    for text in ["resized-crop:65536", "crop:65536:size=65536"] {
        let mut augmenter = Augmenter::new(text.parse().unwrap(), limits).unwrap();
        let error = augmenter.apply_to(&image, &mut ChaCha8Rng::seed_from_u64(1));
        assert!(
            matches!(error, Err(ImageError::TooLarge { .. })),
            "{error:?}"
        );
    }
    let crop = Operation::ResizedCrop {
        part: Rect {
            x: 0,
            y: 0,
            width: 8,
            height: 8,
        },
        size: [u32::MAX; 2],
        interpolation: Interpolation::Bilinear,
    };
    let error = Canvas::new(Pillow::V13, limits)
        .apply(&[crop], &image)
        .unwrap_err();
    assert!(
        error.to_string().starts_with("augmenting the image needs"),
        "{error}"
    );
}

#[test]
#[should_panic(expected = "width: 8")]
fn a_part_outside_of_the_image_is_not_resized() {
    let image = RgbImage::of_planes([3, 8, 8], &planes(8, 8, 1));
    let crop = Operation::ResizedCrop {
        part: Rect {
            x: 1,
            y: 0,
            width: 8,
            height: 7,
        },
        size: [4; 2],
        interpolation: Interpolation::Bilinear,
    };
    let _ = Canvas::new(Pillow::V13, Limits::default()).apply(&[crop], &image);
}

/// A step with options that are valid, invalid or another step's.
fn step() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "crop",
        "flip",
        "resized-crop",
        "color-jitter",
        "vflip",
        "grey",
        "aa:augmix-m9-w2",
        "aa:rand-m9-n3-p1-mstd0.5-inc1-t3aw",
        "aa:v0r",
        "rand-augment",
        "trivial-augment",
        "random-erasing",
        "none",
        "",
    ]);
    let option = prop::sample::select(vec![
        "4",
        "0",
        "0.5",
        "1e3",
        "-1",
        "17",
        "12x9",
        "size=7",
        "size=40x3",
        "padding=3",
        "p=1",
        "scale=0.1..0.9",
        "ratio=0.001..1000",
        "interpolation=lanczos",
        "hue=-0.5..0.5",
        "contrast=0..100",
        "bins=31",
        "magnitude=30",
        "value=random",
        "value=color",
        "count=3",
        "interpolation=random",
        "fill=1-2-3",
        "=",
        "..",
    ]);
    let options = prop::collection::vec(option, 0..4);
    (name, options).prop_map(|(name, options)| {
        let options: String = options.iter().map(|option| format!(":{option}")).collect();
        name.to_owned() + &options
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_read_can_be_done(
        steps in prop::collection::vec(step(), 1..4),
        (width, height) in (1u32..40, 1u32..40),
        seed: u64,
    ) {
        let Ok(augmentation) = steps.join(",").parse::<Augmentation>() else {
            return Ok(());
        };
        prop_assert_eq!(augmentation.to_string().parse(), Ok(augmentation.clone()));
        let limits = Limits { max_bytes: 4 << 20, ..Limits::default() };
        let size = augmentation.size([width, height]);
        let mut augmenter = Augmenter::new(augmentation, limits).unwrap();
        let planes = planes(height as usize, width as usize, seed as u32);
        let image = RgbImage::of_planes([3, height as usize, width as usize], &planes);
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        match augmenter.apply_to(&image, &mut generator) {
            Ok(augmented) => {
                prop_assert_eq!([augmented.width(), augmented.height()], size);
                let mut out = vec![f32::NAN; augmented.pixels().len()];
                let table = NormalizationTable::new(&Normalization::IMAGENET);
                augmented.normalize(&table, &mut generator, &mut out);
                prop_assert!(out.iter().all(|value| value.is_finite()));
            }
            Err(ImageError::RandomCrop { .. } | ImageError::TooLarge { .. }) => {}
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
