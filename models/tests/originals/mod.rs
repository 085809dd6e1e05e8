//! The original networks of PyTorch, as `data/make_architectures.py` recorded them.

#![allow(dead_code, reason = "not every test reads every field")]

use std::collections::BTreeMap;

use serde_json::Value;

/// An original network and the logits it computes for random weights and images: one line of the file.
pub struct Original {
    pub name: String,
    /// Channels, height and width of the images.
    pub size: [usize; 3],
    /// Factor of the bounds that the weights are drawn from.
    pub gain: f64,
    pub logits: Vec<f32>,
    pub parameters: BTreeMap<String, Vec<usize>>,
    /// Mean and standard deviation of each parameter before training.
    pub initial: BTreeMap<String, [f64; 2]>,
    /// Number of parameters, if torchvision states it, and billions of multiply-accumulate operations, both
    /// for torchvision's own image size and number of classes.
    pub published: Option<(Option<usize>, f64)>,
}

/// All of them, with 10 classes.
pub fn originals() -> Vec<Original> {
    let text = include_str!("../data/architectures.jsonl");
    let usizes = |value: &Value| -> Vec<usize> { serde_json::from_value(value.clone()).unwrap() };
    text.lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let parameters = line["parameters"].as_array().unwrap().iter();
            let named = parameters.map(|entry| (entry[0].as_str().unwrap().to_owned(), entry));
            Original {
                name: line["name"].as_str().unwrap().to_owned(),
                size: [3, usizes(&line["size"])[0], usizes(&line["size"])[1]],
                gain: line["gain"].as_f64().unwrap(),
                logits: serde_json::from_value(line["logits"].clone()).unwrap(),
                parameters: named
                    .clone()
                    .map(|(name, entry)| (name, usizes(&entry[1])))
                    .collect(),
                initial: named
                    .map(|(name, entry)| (name, [2, 3].map(|i| entry[i].as_f64().unwrap())))
                    .collect(),
                published: line.get("published").map(|published| {
                    let parameters = published["parameters"].as_u64();
                    let giga = published["giga"].as_f64().unwrap();
                    (parameters.map(|count| count as usize), giga)
                }),
            }
        })
        .collect()
}
