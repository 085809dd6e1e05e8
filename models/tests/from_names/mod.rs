//! Weights and images generated from their names, with the same values as in `data/make_architectures.py`.

use std::collections::BTreeMap;

use topk_weights::{StateDict, Tensor};

/// Weights of these shapes; the bounds of their values are proportional to the gain.
pub fn weights(shapes: &BTreeMap<String, Vec<usize>>, gain: f64) -> StateDict {
    let weight = |(name, shape): (&String, &Vec<usize>)| {
        let (low, high) = bounds(name, shape, gain);
        let values = values(name, shape.iter().product(), low, high);
        (name.clone(), Tensor::from_f32(shape, &values).unwrap())
    };
    StateDict {
        tensors: shapes.iter().map(weight).collect(),
        ..StateDict::default()
    }
}

/// The range of the values of a parameter.
fn bounds(name: &str, shape: &[usize], gain: f64) -> (f64, f64) {
    if name.ends_with("running_var") {
        (0.5, 2.0)
    } else if name.ends_with("layer_scale") || (shape.len() == 1 && name.ends_with("weight")) {
        (0.75, 1.25)
    } else if shape.len() == 1 {
        (-0.125, 0.125)
    } else {
        let bound = gain * (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt();
        (-bound, bound)
    }
}

/// Pseudorandom numbers between low and high: SplitMix64, seeded with the FNV-1a hash of the name.
pub fn values(name: &str, count: usize, low: f64, high: f64) -> Vec<f32> {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, |seed: u64, byte| {
        (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let range = (high - low) as f32;
    (1..=count as u64)
        .map(|i| {
            let z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let z = z ^ (z >> 31);
            // 24 bits are exact in f32; the product and the sum are rounded once each.
            low as f32 + (z >> 40) as f32 * (1.0 / (1 << 24) as f32) * range
        })
        .collect()
}
