//! Networks for grey images, and weights of networks for colour images in them, compared with timm's.

use std::collections::BTreeMap;

use serde_json::Value;
use topk_models::{Classifier, architecture};

mod from_names;

#[test]
fn the_first_convolution_is_summed_as_by_timm() {
    let timm: Value = serde_json::from_str(include_str!("data/input_channels.json")).unwrap();
    let name = timm["name"].as_str().unwrap();
    let of_colours = architecture("basic-4", [3, 32, 32], 10).unwrap();
    let of_grey = architecture("basic-4", [1, 32, 32], 10).unwrap();
    let shapes: BTreeMap<_, _> = of_colours.parameter_shapes().into_iter().collect();
    let original = from_names::weights(&shapes, 2f64.sqrt());
    let mut weights = original.clone();
    assert_eq!(of_grey.input_channels_of(&weights), Some(3));
    let note = of_grey.adapt_input_conv(&mut weights).unwrap();
    assert_eq!(
        note.unwrap(),
        "base.0.weight of three input channels is summed over them for grey images, as by timm"
    );
    let adapted = &weights.tensors[name];
    assert_eq!(
        serde_json::to_value(adapted.shape()).unwrap(),
        timm["shape"]
    );
    let bits: Vec<u32> = adapted
        .to_f32()
        .unwrap()
        .into_iter()
        .map(f32::to_bits)
        .collect();
    assert_eq!(serde_json::to_value(bits).unwrap(), timm["bits"]);
    // The others stay, and adapted weights are left as they are.
    for (other, tensor) in original.tensors.iter().filter(|(other, _)| *other != name) {
        assert_eq!(&weights.tensors[other], tensor, "{other}");
    }
    assert_eq!(of_grey.adapt_input_conv(&mut weights).unwrap(), None);
    assert_eq!(of_grey.input_channels_of(&weights), Some(1));
    of_grey.matched(weights, Classifier::Keep).unwrap();
    // Colours need no change.
    let mut weights = original.clone();
    assert_eq!(of_colours.adapt_input_conv(&mut weights).unwrap(), None);
    assert_eq!(weights, original);
}

/// Only the weights of the convolutions of the images have another shape.
#[test]
fn every_network_exists_for_grey_images() {
    for of_colours in topk_models::architectures() {
        let [_, height, width] = of_colours.input_size();
        let name = of_colours.name();
        let of_grey = architecture(name, [1, height, width], of_colours.classes()).unwrap();
        let shapes = std::iter::zip(of_grey.parameter_shapes(), of_colours.parameter_shapes());
        let different: Vec<_> = shapes.filter(|(grey, colours)| grey != colours).collect();
        let [((grey, of_grey), (colours, of_colours))] = &different[..] else {
            panic!("{name}: {different:?}");
        };
        assert_eq!(grey, colours);
        assert_eq!((of_grey[1], of_colours[1]), (1, 3), "{name}");
    }
}
