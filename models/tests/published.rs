//! Published weights: their preprocessing, and the names of their tensors.

use std::collections::BTreeMap;

use serde_json::Value;
use topk_models::{Classifier, architecture, architectures, images};
use topk_weights::{StateDict, Tensor};

const CLASSES: usize = 7;

#[test]
fn images_match_those_of_published_weights() {
    let published: BTreeMap<String, Value> =
        serde_json::from_str(include_str!("data/transforms.json")).unwrap();
    let floats = |value: &Value| -> Vec<f32> { serde_json::from_value(value.clone()).unwrap() };
    for (name, expected) in &published {
        let images = images(name).unwrap();
        assert_eq!(
            images.size[1..],
            [expected["crop"].as_u64().unwrap() as usize; 2],
            "{name}"
        );
        let resize = serde_json::to_value(images.resize.unwrap()).unwrap();
        assert_eq!(resize["shorter_side"], expected["resize"], "{name}");
        assert_eq!(resize["interpolation"], expected["interpolation"], "{name}");
        assert_eq!(
            images.normalization.mean[..],
            floats(&expected["mean"]),
            "{name}"
        );
        assert_eq!(
            images.normalization.std[..],
            floats(&expected["std"]),
            "{name}"
        );
    }
    for built in architectures() {
        let of_imagenet = built.classes() == 1000;
        assert_eq!(
            published.contains_key(built.name()),
            of_imagenet,
            "{}",
            built.name()
        );
    }
}

/// A file of zeros for a network, whose names are changed.
fn file_of(name: &str, rename: impl Fn(&str) -> String) -> StateDict {
    let built = architecture(name, images(name).unwrap().size, CLASSES).unwrap();
    let tensors = built.parameter_shapes().into_iter().map(|(name, shape)| {
        let zeros = vec![0.0; shape.iter().product()];
        (rename(&name), Tensor::from_f32(&shape, &zeros).unwrap())
    });
    StateDict {
        tensors: tensors.collect(),
        ..StateDict::default()
    }
}

#[test]
fn names_in_older_files_are_updated() {
    for (name, new, old) in [
        ("densenet121", "denselayer1.norm1.", "denselayer1.norm.1."),
        ("densenet121", "denselayer16.conv2.", "denselayer16.conv.2."),
        ("vit_b_16", "mlp.0.", "mlp.linear_1."),
        ("vit_b_16", "mlp.3.", "mlp.linear_2."),
    ] {
        let built = architecture(name, images(name).unwrap().size, CLASSES).unwrap();
        let older = file_of(name, |name| name.replace(new, old));
        let today = file_of(name, str::to_owned);
        assert_ne!(older, today, "{old}");
        let matched = built.matched(older, Classifier::Keep).unwrap();
        assert_eq!(matched.tensors, today.tensors, "{old}");
    }
}

#[test]
fn the_classifier_is_the_last_layer() {
    for (name, expected) in [
        ("resnet18", "fc"),
        ("squeezenet1_1", "classifier.1"),
        ("vgg11", "classifier.6"),
        ("densenet121", "classifier"),
        ("vit_b_16", "heads.head"),
        ("inception_v3", "fc"),
    ] {
        let built = architecture(name, images(name).unwrap().size, CLASSES).unwrap();
        let names = ["weight", "bias"].map(|tensor| format!("{expected}.{tensor}"));
        assert_eq!(built.classifier(), names);
        let headless = file_of(name, |name| name.replace(&format!("{expected}."), "old."));
        assert!(
            built.matched(headless, Classifier::New).is_err(),
            "old tensors are unexpected"
        );
    }
    for built in architectures() {
        let shapes: BTreeMap<_, _> = built.parameter_shapes().into_iter().collect();
        for name in built.classifier() {
            assert_eq!(
                shapes[&name][0],
                built.classes(),
                "{}: {name}",
                built.name()
            );
        }
    }
}
