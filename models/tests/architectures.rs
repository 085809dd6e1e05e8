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
    for made in architectures() {
        let family = made.name().split('-').next().unwrap();
        assert!(
            originals.iter().any(|original| original.name == made.name()
                || family == "basic" && original.name.starts_with(family)),
            "nothing is known of {}",
            made.name()
        );
    }
}

#[test]
fn as_large_as_torchvision_says() {
    let made: BTreeMap<_, _> = architectures()
        .into_iter()
        .map(|made| (made.name().to_owned(), made))
        .collect();
    for original in originals() {
        if let Some((parameters, giga)) = original.published {
            let made = &made[&original.name];
            if let Some(parameters) = parameters {
                assert_eq!(made.trainable_len(), parameters, "{}", original.name);
            }
            let found = made.multiply_adds() as f64 / 1e9;
            assert!(
                (found - giga).abs() < 0.001,
                "{}: {found} {giga}",
                original.name
            );
        }
    }
    // Those of AuxLogits are not here; torchvision states 27,161,264.
    assert_eq!(made["inception_v3"].trainable_len(), 23_834_568);
    // As timm 1.0 builds it.
    assert_eq!(made["tf_efficientnet_lite0"].trainable_len(), 4_652_008);
}

#[test]
fn images_that_no_network_takes_are_named() {
    let message = |name, size| architecture(name, size, CLASSES).unwrap_err().to_string();
    assert_eq!(
        message("inception_v3", [3, 32, 32]),
        "images of 3×32×32 are too small for inception_v3: nothing is left of them at Mixed_6a.branch3x3.conv"
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
fn parameters_that_may_be_left_out_are_known() {
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
fn stages_are_as_fine_as_is_asked_for() {
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
        let multiply_adds: usize = stages.iter().map(|stage| stage.multiply_adds).sum();
        assert_eq!(parameters, resnet.trainable_len());
        assert_eq!(multiply_adds, resnet.multiply_adds());
    }
    let layer2 = &resnet.stages(0)[5];
    // torchvision's children().
    assert_eq!(
        (&layer2.shape[..], layer2.trainable_len),
        (&[128, 28, 28][..], 525_568)
    );
}
