//! Architectures as data: parameters, sizes and errors.

use std::collections::BTreeMap;

use topk_models::{Architecture, ArchitectureError, architecture, architectures};

mod originals;
use originals::{Original, originals};

const CLASSES: usize = 10;

fn build(original: &Original) -> Architecture {
    architecture(&original.name, original.size, CLASSES).unwrap()
}

#[test]
fn parameters_have_the_originals_names_and_shapes() {
    let originals = originals();
    for original in &originals {
        let found: BTreeMap<_, _> = build(original).parameter_shapes().into_iter().collect();
        assert_eq!(found, original.parameters, "{}", original.name);
    }
    for built in architectures() {
        let family = built.name().split('-').next().unwrap();
        assert!(
            originals
                .iter()
                .any(|original| original.name == built.name()
                    || family == "basic" && original.name.starts_with(family)),
            "no original of {} is recorded",
            built.name()
        );
    }
}

#[test]
fn sizes_match_torchvision() {
    let built: BTreeMap<_, _> = architectures()
        .into_iter()
        .map(|built| (built.name().to_owned(), built))
        .collect();
    for original in originals() {
        if let Some((parameters, giga)) = original.published {
            let built = &built[&original.name];
            if let Some(parameters) = parameters {
                assert_eq!(built.trainable_len(), parameters, "{}", original.name);
            }
            let found = built.macs() as f64 / 1e9;
            assert!(
                (found - giga).abs() < 0.001,
                "{}: {found} {giga}",
                original.name
            );
        }
    }
    // Those of AuxLogits are not here; torchvision states 27,161,264.
    assert_eq!(built["inception_v3"].trainable_len(), 23_834_568);
    // As timm 1.0 builds it.
    assert_eq!(built["tf_efficientnet_lite0"].trainable_len(), 4_652_008);
}

#[test]
fn unsupported_image_sizes_are_errors() {
    let message = |name, size| architecture(name, size, CLASSES).unwrap_err().to_string();
    assert_eq!(
        message("inception_v3", [3, 32, 32]),
        "images of 3×32×32 are too small for inception_v3 (at Mixed_6a.branch3x3.conv)"
    );
    assert_eq!(
        message("vit_b_16", [3, 224, 230]),
        "vit_b_16 takes images whose sides are multiples of 16, not 3×224×230"
    );
    assert!(message("resnet18", [3, 0, 32]).contains("too small for resnet18"));
    assert!(matches!(
        architecture("vgg11", [3, 16, 64], CLASSES),
        Err(ArchitectureError::TooSmall { .. })
    ));
}

#[test]
fn ignorable_parameters_are_known() {
    let net = architecture("inception_v3", [3, 299, 299], 1000).unwrap();
    assert!(net.is_ignorable("Mixed_5b.branch1x1.bn.num_batches_tracked"));
    assert!(net.is_ignorable("AuxLogits.fc.weight"));
    assert!(!net.is_ignorable("fc.weight"));
    assert!(!net.is_ignorable("fc.num_batches_tracked"));
    let net = architecture("resnet18", [3, 224, 224], 1000).unwrap();
    assert!(net.is_ignorable("bn1.num_batches_tracked"));
    assert!(!net.is_ignorable("AuxLogits.fc.weight"));
}

#[test]
fn stages_are_as_fine_as_requested() {
    let resnet = architecture("resnet18", [3, 224, 224], 1000).unwrap();
    let names = |most: usize| -> Vec<String> {
        let stages = resnet.stages(most).into_iter();
        stages.map(|stage| stage.name).collect()
    };
    let coarse = [
        "conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool",
        "flatten", "fc",
    ];
    assert_eq!(names(0), coarse);
    assert_eq!(names(14), coarse);
    assert_eq!(names(15).len(), 15);
    assert_eq!(names(15)[4..6], ["layer1.0", "layer1.1"]);
    for most in [0, 15, 1000] {
        let stages = resnet.stages(most);
        let parameters: usize = stages.iter().map(|stage| stage.trainable_len).sum();
        let macs: usize = stages.iter().map(|stage| stage.macs).sum();
        assert_eq!(parameters, resnet.trainable_len());
        assert_eq!(macs, resnet.macs());
    }
    let layer2 = &resnet.stages(0)[5];
    // torchvision's children().
    assert_eq!(
        (&layer2.shape[..], layer2.trainable_len),
        (&[128, 28, 28][..], 525_568)
    );
}

#[test]
fn batch_norms_of_one_value_per_channel_are_found() {
    for (name, side, layer) in [
        ("resnet18", 32, Some("layer4.0.bn1")),
        ("resnet18", 64, None),
        ("basic-4", 32, None),
        // Its last layers have 1x1 values, but layer norm needs no other images.
        ("convnext_tiny", 32, None),
    ] {
        let network = architecture(name, [3, side, side], CLASSES).unwrap();
        assert_eq!(network.single_value_norm(), layer, "{name} at {side}");
    }
}
