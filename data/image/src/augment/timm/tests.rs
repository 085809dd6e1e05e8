//! Magnitudes, tables, names and draws, compared with timm's from `make_timm.py`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::augment::statistics::{assert_equally_likely, generator};
use crate::augment::{ErasingValue, RandomErasing};

fn timm(key: &str) -> Value {
    let numbers = include_str!("../../../tests/data/timm.json");
    let mut numbers: Value = serde_json::from_str(numbers).unwrap();
    numbers[key].take()
}

/// The operation with this name, of all that policies have.
fn op(name: &str) -> LevelOp {
    use LevelOp::*;
    let all = [
        AutoContrast,
        Equalize,
        Invert,
        Rotate,
        Posterize,
        PosterizeIncreasing,
        PosterizeOriginal,
        Solarize,
        SolarizeIncreasing,
        SolarizeAdd,
        Color,
        ColorIncreasing,
        Contrast,
        ContrastIncreasing,
        Brightness,
        BrightnessIncreasing,
        Sharpness,
        SharpnessIncreasing,
        ShearX,
        ShearY,
        TranslateXRel,
        TranslateYRel,
        Desaturate,
        GaussianBlur,
        GaussianBlurRand,
    ];
    let found = all.into_iter().find(|op| format!("{op:?}") == name);
    found.unwrap_or_else(|| panic!("{name}"))
}

/// All numbers of a value, and the value without them.
fn numbers(value: &Value, out: &mut Vec<f64>) -> Value {
    match value {
        Value::Number(number) => {
            out.push(number.as_f64().unwrap());
            Value::Null
        }
        Value::Array(values) => values.iter().map(|value| numbers(value, out)).collect(),
        Value::Object(map) => {
            let map = map.iter();
            map.map(|(key, value)| (key.clone(), numbers(value, out)))
                .collect()
        }
        other => other.clone(),
    }
}

#[test]
fn magnitudes_are_those_of_timm() {
    let size: [u32; 2] = serde_json::from_value(timm("size")).unwrap();
    let mut largest: f64 = 0.0;
    let cases = timm("levels");
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 25 * 24 * 2);
    for case in cases {
        let op = op(case["op"].as_str().unwrap());
        let drawn = case["drawn"].as_f64().unwrap();
        let level = Level {
            magnitude: case["magnitude"].as_f64().unwrap(),
            negative: op.is_signed() && drawn > 0.5,
            translate: 0.45,
            blur: drawn,
        };
        let found = level.operation(op, size, Interpolation::Bicubic, IMAGENET_FILL);
        let found = serde_json::to_value(found).unwrap();
        let (mut of_found, mut of_expected) = (Vec::new(), Vec::new());
        assert_eq!(
            numbers(&found, &mut of_found),
            numbers(&case["operation"], &mut of_expected),
            "{case}"
        );
        assert_eq!(of_found.len(), of_expected.len(), "{case}: {found}");
        for (found, expected) in of_found.iter().zip(&of_expected) {
            largest = largest.max((found - expected).abs() / expected.abs().max(1.0));
        }
    }
    println!("largest difference of a parameter: {largest:e}");
    // Of reading the file.
    assert!(largest < 1e-15, "{largest}");
}

#[test]
fn policies_have_the_operations_of_timm() {
    let policies = timm("policies");
    for (policy, name) in AutoPolicy::ALL {
        let sub_policies: Vec<Vec<_>> = policy
            .sub_policies()
            .into_iter()
            .map(|sub| {
                let ops = sub.into_iter().flatten();
                ops.map(|(op, p, m)| (format!("{op:?}"), p, m)).collect()
            })
            .collect();
        let expected: Vec<Vec<(String, f64, f64)>> =
            serde_json::from_value(policies["auto"][name].clone()).unwrap();
        assert_eq!(sub_policies, expected, "{name}");
    }
    let named = |ops: &[LevelOp]| ops.iter().map(|op| format!("{op:?}")).collect::<Vec<_>>();
    let expected = |value: &Value| serde_json::from_value::<Vec<String>>(value.clone()).unwrap();
    let rand = &policies["rand"];
    for (set, increasing, name) in [
        (RandSet::All, false, "all"),
        (RandSet::All, true, "increasing"),
        (RandSet::ThreeAugment, false, "3a"),
    ] {
        assert_eq!(named(set.equal(increasing)), expected(&rand[name]));
    }
    for (set, name) in [
        (RandSet::Weights, "weights"),
        (RandSet::ThreeAugmentWeighted, "3aw"),
    ] {
        let weights = set.weights().unwrap().iter();
        let found: Vec<_> = weights
            .map(|(op, weight)| (format!("{op:?}"), *weight))
            .collect();
        let expected: Vec<(String, f64)> = serde_json::from_value(rand[name].clone()).unwrap();
        assert_eq!(found, expected);
    }
    assert_eq!(named(&tables::AUGMIX), expected(&policies["augmix"]));
}

#[test]
fn texts_mean_what_they_mean_to_timm() {
    let finite = |std: f64| std.min(1e9);
    for case in timm("names").as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let policy: TimmPolicy = text.parse().unwrap();
        let again: TimmPolicy = policy.to_string().parse().unwrap();
        assert_eq!(again, policy, "{text}");
        let number = |key: &str| case[key].as_f64().unwrap();
        let ops = || serde_json::from_value::<Vec<String>>(case["ops"].clone()).unwrap();
        match policy {
            TimmPolicy::Auto { std, .. } => assert_eq!(std, number("std")),
            TimmPolicy::Rand {
                magnitude,
                layers,
                probability,
                std,
                largest,
                increasing,
                set,
            } => {
                let found = [magnitude.into(), layers.into(), probability, finite(std)];
                let expected = ["magnitude", "layers", "probability", "std"].map(number);
                assert_eq!(found, expected, "{text}");
                assert_eq!(
                    f64::from(largest.unwrap_or(10)),
                    number("largest"),
                    "{text}"
                );
                let (found, weights): (Vec<LevelOp>, Vec<f64>) = match set.weights() {
                    None => (set.equal(increasing).to_vec(), Vec::new()),
                    Some(weights) => weights.iter().copied().unzip(),
                };
                let found: Vec<String> = found.iter().map(|op| format!("{op:?}")).collect();
                assert_eq!(found, ops(), "{text}");
                let sum: f64 = weights.iter().sum();
                let expected: Option<Vec<f64>> =
                    serde_json::from_value(case["weights"].clone()).unwrap();
                for (weight, expected) in weights.iter().zip(expected.unwrap_or_default()) {
                    assert!((weight / sum - expected).abs() < 1e-12);
                }
            }
            TimmPolicy::AugMix {
                magnitude,
                width,
                depth,
                alpha,
                blended,
                std,
            } => {
                let depth = depth.map_or(-1.0, f64::from);
                let found = [magnitude.into(), width.into(), depth, alpha, finite(std)];
                let expected = ["magnitude", "width", "depth", "alpha", "std"].map(number);
                assert_eq!(found, expected, "{text}");
                assert_eq!(case["blended"], blended, "{text}");
            }
        }
    }
}

#[test]
fn chains_are_blended_with_the_weights_of_timm() {
    #[derive(serde::Deserialize)]
    struct Mixture {
        weights: Vec<f32>,
        part: f32,
        blended: Vec<f32>,
    }
    let lines = include_str!("../../../tests/data/timm.jsonl");
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let mixtures: Vec<Mixture> = serde_json::from_value(first["mixtures"].clone()).unwrap();
    assert_eq!(mixtures.len(), 6);
    for mixture in mixtures {
        let found = blended_weights(&mixture.weights, mixture.part);
        assert_eq!(found, mixture.blended);
    }
    // All of the image, and none of it.
    assert_eq!(blended_weights(&[0.5, 0.5], 0.0), [0.0, 0.0]);
    assert_eq!(blended_weights(&[0.0, 1.0], 1.0), [0.0, 1.0]);
}

#[test]
fn unknown_policies_and_sections_are_errors() {
    for (text, expected) in [
        (
            "v1",
            "unknown name \"v1\": expected one of original, originalr, v0, v0r, 3a, rand and augmix",
        ),
        (
            "rand-x3",
            "rand-x3: \"x3\" is not a section of this policy: expected m, n, p, mstd, mmax, inc, t",
        ),
        ("rand-m9.5", "\"m9.5\" is not a section"),
        ("augmix-b", "\"b\" is not a section"),
        ("original-m3", "\"m3\" is not a section"),
        ("rand-tall", "\"tall\" is not a section"),
    ] {
        let error = text.parse::<TimmPolicy>().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let check = |text: &str| TimmAugment::new(text.parse().unwrap()).check();
    assert!(check("rand-n0").is_err() && check("rand-p1.5").is_err());
    assert!(check("rand-n15-t3aw").is_err() && check("rand-n14-t3aw").is_ok());
    assert!(check("augmix-w0").is_err() && check("augmix-d0").is_err());
}

fn drawn(text: &str, images: usize) -> Vec<Vec<Operation>> {
    let augment = TimmAugment::new(text.parse().unwrap());
    let mut generator = generator();
    let draw = |_| {
        let mut out = Vec::new();
        augment.draw([40, 30], &mut generator, &mut out);
        out
    };
    (0..images).map(draw).collect()
}

#[test]
fn operations_are_equally_likely_unless_weighted() {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let name = |operation: &Operation| {
        let text = format!("{operation:?}");
        let end = text.find(|c: char| !c.is_ascii_alphabetic());
        text[..end.unwrap_or(text.len())].to_owned()
    };
    for operations in drawn("rand-n2-p1", 15_000) {
        assert_eq!(operations.len(), 2);
        operations
            .iter()
            .for_each(|operation| *counts.entry(name(operation)).or_default() += 1);
    }
    // Two shears and two translations are affine.
    *counts.get_mut("Affine").unwrap() /= 4;
    assert_eq!(counts.len(), 12);
    assert_equally_likely(&counts.into_values().collect::<Vec<_>>());
    let applied: usize = drawn("rand-n4-p0.25", 10_000).iter().map(Vec::len).sum();
    assert!(applied.abs_diff(10_000) < 400, "{applied}");
    // Weighted operations are drawn without replacement.
    for operations in drawn("rand-n14-p1-t3aw", 100) {
        assert_eq!(operations.len(), 14);
    }
    let first = drawn("rand-n1-p1-t3aw", 8000);
    let blurred = first
        .iter()
        .filter(|operations| matches!(operations[0], Operation::GaussianBlur(_)));
    // 6 of 33.
    assert!(blurred.count().abs_diff(1455) < 220);
}

#[test]
fn magnitudes_vary_around_their_mean() {
    let degrees = |text: &str| {
        let operations = drawn(text, 40_000).into_iter().flatten();
        let magnitudes = operations.filter_map(|operation| match operation {
            Operation::RotateFilled { degrees, .. } => Some(degrees.abs() / 3.0),
            _ => None,
        });
        let magnitudes: Vec<f64> = magnitudes.collect();
        let count = magnitudes.len() as f64;
        let mean = magnitudes.iter().sum::<f64>() / count;
        let square = magnitudes.iter().map(|m| (m - mean).powi(2)).sum::<f64>();
        [mean, (square / count).sqrt()]
    };
    for (text, mean, std) in [
        ("rand-m6", 6.0, 0.0),
        ("rand-m6-mstd0.5", 6.0, 0.5),
        // Uniform from 0 to 6.
        ("rand-m6-mstd101", 3.0, 3.0 / 3f64.sqrt()),
    ] {
        let found = degrees(text);
        assert!(
            (found[0] - mean).abs() < 0.1 && (found[1] - std).abs() < 0.05,
            "{text}: {found:?}"
        );
    }
}

#[test]
fn augmix_adds_chains_whose_weights_sum_to_1() {
    let mut depths = [0; 3];
    for operations in drawn("augmix-w4", 3000) {
        assert_eq!(operations[0], Operation::BeginMix);
        let mut sum = 0.0;
        let mut depth = 0;
        for operation in &operations[1..] {
            match operation {
                Operation::AddToMix(weight) => {
                    sum += weight;
                    // Posterisation to 8 bits, which is left out, is rare.
                    if depth > 0 {
                        depths[depth - 1] += 1;
                    }
                    depth = 0;
                }
                Operation::EndMix(part) => assert!((0.0..=1.0).contains(part)),
                _ => depth += 1,
            }
        }
        assert!((sum - 1.0f32).abs() < 1e-6, "{sum}");
        assert!(matches!(
            operations[operations.len() - 1],
            Operation::EndMix(_)
        ));
    }
    assert_equally_likely(&depths);
}

#[test]
fn blended_chains_end_with_the_image() {
    for operations in drawn("augmix-w4-b1", 100) {
        let blends = operations
            .iter()
            .filter(|operation| matches!(operation, Operation::BlendIntoMix(_)));
        assert_eq!(blends.count(), 4);
        assert_eq!(operations.last(), Some(&Operation::EndBlendedMix));
    }
    let policy: TimmPolicy = "augmix-b1".parse().unwrap();
    assert_eq!(policy.to_string(), "augmix-m3-w3-a1-b1");
}

#[test]
fn a_sub_policy_is_drawn_for_each_image() {
    let mut counts = [0; 3];
    for operations in drawn("3a", 6000) {
        counts[match operations[..] {
            [Operation::Solarize(128.0)] => 0,
            [Operation::Saturation(0.0)] => 1,
            [Operation::GaussianBlur(std)] => {
                assert!((0.1..=2.0).contains(&std));
                2
            }
            ref others => panic!("{others:?}"),
        }] += 1;
    }
    assert_equally_likely(&counts);
}

/// Number of erased values, of equal neighbours among them, and of images with any.
#[test]
fn rectangles_are_erased_as_by_timm() {
    let mut generator = generator();
    for case in timm("erased").as_array().unwrap() {
        let read = |key: &str| serde_json::from_value::<Vec<f64>>(case[key].clone()).unwrap();
        let size = read("size");
        let [width, height] = [size[0] as usize, size[1] as usize];
        let erasing = RandomErasing {
            p: case["p"].as_f64().unwrap(),
            scale: [0.02, 1.0 / 3.0],
            ratio: [0.3, 1.0 / 0.3],
            value: match case["mode"].as_str().unwrap() {
                "const" => ErasingValue::Zero,
                "rand" => ErasingValue::Color,
                _ => ErasingValue::Random,
            },
            count: case["count"].as_u64().unwrap() as u32,
        };
        let draws = case["draws"].as_u64().unwrap();
        let mut sums = [0.0; 3];
        for _ in 0..draws {
            let mut values = vec![9.0; 3 * width * height];
            erasing.apply([width as u32, height as u32], &mut generator, &mut values);
            let rows = values[..width * height].chunks(width);
            let gone = values[..width * height]
                .iter()
                .filter(|&&value| value != 9.0);
            let gone = gone.count() as f64;
            let same = rows.flat_map(|row| row.windows(2));
            let same = same.filter(|pair| pair[0] == pair[1] && pair[0] != 9.0);
            sums[0] += gone;
            sums[1] += same.count() as f64;
            sums[2] += f64::from(u8::from(gone > 0.0));
        }
        let (mean, std) = (read("mean"), read("std"));
        for (i, sum) in sums.iter().enumerate() {
            // Five standard errors of the difference.
            let limit = 5.0 * std[i] * (2.0 / draws as f64).sqrt() + 1e-9;
            let found = sum / draws as f64;
            assert!((found - mean[i]).abs() <= limit, "{i}: {found}, {case}");
        }
    }
}
