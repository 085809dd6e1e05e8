//! The architectures: one file per family, and the table of all.

mod alexnet;
mod basic;
mod blocks;
mod convnext;
mod densenet;
mod densenet_cifar;
mod efficientnet;
mod efficientnet_lite;
mod inception;
mod mobilenet_v2;
mod mobilenet_v3;
mod resnet;
mod squeezenet;
mod vgg;
mod vit;

use topk_onnx::CardResize;
use topk_preprocessing::{Interpolation, Normalization};
use topk_weights::StateDict;

use crate::architecture::{Architecture, ArchitectureError};
use crate::builder::Builder;
use crate::op::Value;

/// The families, in the order of `topk-train --list-models`.
const FAMILIES: &[&[Definition]] = &[
    basic::NETWORKS,
    densenet_cifar::NETWORKS,
    resnet::CIFAR,
    alexnet::NETWORKS,
    vgg::NETWORKS,
    squeezenet::NETWORKS,
    inception::NETWORKS,
    resnet::NETWORKS,
    densenet::NETWORKS,
    mobilenet_v2::NETWORKS,
    mobilenet_v3::NETWORKS,
    efficientnet::NETWORKS,
    efficientnet_lite::NETWORKS,
    convnext::NETWORKS,
    vit::NETWORKS,
];

/// Maps pixels to the range -1 to 1.
const HALF: Normalization = Normalization {
    mean: [0.5; 3],
    std: [0.5; 3],
};

/// The images that a network was designed for, and that its published weights were evaluated on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Images {
    /// Channels, height and width.
    pub size: [usize; 3],
    /// How images of other sizes are resized before the crop.
    pub resize: Option<CardResize>,
    /// The normalisation.
    pub normalization: Normalization,
}

/// The definition of an architecture.
struct Definition {
    /// Name; words in capitals between hyphens are placeholders for positive numbers.
    name: &'static str,
    /// Numbers for the example in the list of architectures.
    example: &'static [usize],
    /// The images that it was designed for.
    images: Images,
    /// Number of classes that it was designed for.
    classes: usize,
    /// Adds the nodes, given the numbers in the name, and returns the scores.
    build: fn(&mut Builder, &[usize]) -> Value,
}

impl Definition {
    /// A network for ImageNet.
    const fn imagenet(name: &'static str, build: fn(&mut Builder, &[usize]) -> Value) -> Self {
        Self {
            name,
            example: &[],
            images: Images {
                size: [3, 224, 224],
                resize: Some(CardResize {
                    shorter_side: 256,
                    cover: None,
                    interpolation: Interpolation::Bilinear,
                }),
                normalization: Normalization::IMAGENET,
            },
            classes: 1000,
            build,
        }
    }

    /// A network for CIFAR-100.
    const fn cifar(
        name: &'static str,
        example: &'static [usize],
        build: fn(&mut Builder, &[usize]) -> Value,
    ) -> Self {
        Self {
            name,
            example,
            images: Images {
                size: [3, 32, 32],
                resize: None,
                normalization: Normalization::CIFAR100,
            },
            classes: 100,
            build,
        }
    }

    /// Sets the side of the images, and the length that the shorter side is resized to before the centre crop.
    const fn images(mut self, crop: usize, resize: usize) -> Self {
        self.images.size = [3, crop, crop];
        self.images.resize = Some(CardResize {
            shorter_side: resize,
            cover: None,
            interpolation: Interpolation::Bilinear,
        });
        self
    }

    /// Sets the bicubic filter for resizing.
    const fn bicubic(mut self) -> Self {
        if let Some(resize) = &mut self.images.resize {
            resize.interpolation = Interpolation::Bicubic;
        }
        self
    }

    /// Sets the normalisation.
    const fn normalized(mut self, normalization: Normalization) -> Self {
        self.images.normalization = normalization;
        self
    }

    /// The numbers in `name`, if it matches this definition.
    fn numbers(&self, name: &str) -> Option<Vec<usize>> {
        let mut numbers = Vec::new();
        let (mut words, mut found) = (self.name.split('-'), name.split('-'));
        loop {
            match (words.next(), found.next()) {
                (None, None) => return Some(numbers),
                (Some(word), Some(found)) if is_number(word) => {
                    let number: u16 = found.parse().ok().filter(|&number| number > 0)?;
                    numbers.push(number.into());
                }
                (Some(word), Some(found)) if word == found => {}
                _ => return None,
            }
        }
    }

    fn build(
        &self,
        name: &str,
        numbers: &[usize],
        input_size: [usize; 3],
        classes: usize,
    ) -> Result<Architecture, ArchitectureError> {
        let mut builder = Builder::new(name, input_size, classes);
        let scores = (self.build)(&mut builder, numbers);
        builder.finish(scores)
    }
}

/// Whether a word of a name is a placeholder for a number.
fn is_number(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_uppercase())
}

fn definitions() -> impl Iterator<Item = &'static Definition> {
    FAMILIES.iter().copied().flatten()
}

/// All names, for messages.
pub(crate) fn names() -> String {
    definitions()
        .map(|definition| definition.name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The architecture of this name, for images of `input_size` (channels, height, width).
///
/// Names and structure are torchvision's, and timm's for `tf_efficientnet_lite0`. In addition:
///
/// | name | network |
/// | --- | --- |
/// | `basic-N` | the small convolutional network of the authors' code: six 3×3 convolutions of N, N, 2N, 2N, 4N, 4N channels with batch norm, for 32×32 images |
/// | `densenet-DEPTH-GROWTH` | the DenseNet-BC of the authors' code, for 32×32 images |
/// | `resnet18-cifar` and so on | a ResNet for small images: the stem is a 3×3 convolution of stride 1 without pooling |
///
/// # Errors
/// If there is none, or it does not support this size or number of classes.
pub fn architecture(
    name: &str,
    input_size: [usize; 3],
    classes: usize,
) -> Result<Architecture, ArchitectureError> {
    if classes == 0 {
        return Err(ArchitectureError::NoClasses);
    }
    let (definition, numbers) = definition(name)?;
    definition.build(name, &numbers, input_size, classes)
}

/// The images that the architecture of this name was designed for.
///
/// # Errors
/// If the architecture is unknown.
pub fn images(name: &str) -> Result<Images, ArchitectureError> {
    definition(name).map(|(definition, _)| definition.images)
}

/// The architecture of this name, with the number of classes of these weights. If they lack the classifier,
/// it has the number of classes that it was designed for.
///
/// # Errors
/// As [`architecture`].
pub fn architecture_of(
    weights: &StateDict,
    name: &str,
    input_size: [usize; 3],
) -> Result<Architecture, ArchitectureError> {
    let (definition, _) = definition(name)?;
    let built = architecture(name, input_size, definition.classes)?;
    let scores = |tensor: &String| weights.tensors.get(tensor)?.shape().first().copied();
    match built.classifier().iter().find_map(scores) {
        Some(classes) if classes != definition.classes => architecture(name, input_size, classes),
        _ => Ok(built),
    }
}

/// The definition of this name, and the numbers in the name.
fn definition(name: &str) -> Result<(&'static Definition, Vec<usize>), ArchitectureError> {
    definitions()
        .find_map(|definition| Some((definition, definition.numbers(name)?)))
        .ok_or_else(|| ArchitectureError::Unknown(name.to_owned()))
}

/// Every architecture, for the images and the number of classes that it was designed for; where a name has
/// numbers, an example.
pub fn architectures() -> Vec<Architecture> {
    definitions()
        .map(|definition| {
            let mut numbers = definition.example.iter();
            let name = definition
                .name
                .split('-')
                .map(|word| match is_number(word) {
                    true => numbers
                        .next()
                        .expect("an example has all numbers")
                        .to_string(),
                    false => word.to_owned(),
                })
                .collect::<Vec<_>>()
                .join("-");
            definition
                .build(
                    &name,
                    definition.example,
                    definition.images.size,
                    definition.classes,
                )
                .expect("an architecture supports the images that it was designed for")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_errors() {
        for name in [
            "basic",
            "basic-",
            "basic-0",
            "basic--3",
            "basic-N",
            "basic-99999999",
            "basic-8-8",
            "resnet",
            "resnet18-",
        ] {
            let error = architecture(name, [3, 32, 32], 10).unwrap_err();
            assert_eq!(error, ArchitectureError::Unknown(name.to_owned()));
        }
        let message = ArchitectureError::Unknown("a".to_owned()).to_string();
        assert!(message.contains(" basic-N, "), "{message}");
        assert!(message.contains(" resnet18, "), "{message}");
    }

    #[test]
    fn unsupported_sizes_are_errors() {
        assert!(matches!(
            architecture("basic-8", [3, 224, 224], 10),
            Err(ArchitectureError::InputSize {
                expected: [3, 32, 32],
                ..
            })
        ));
        assert_eq!(
            architecture("basic-8", [3, 32, 32], 0),
            Err(ArchitectureError::NoClasses)
        );
    }

    #[test]
    fn names_are_unique() {
        for built in architectures() {
            let found = definitions().filter(|d| d.numbers(built.name()).is_some());
            assert_eq!(found.count(), 1, "{}", built.name());
            let again = architecture(built.name(), built.input_size(), built.classes());
            assert_eq!(again.as_ref(), Ok(&built));
        }
    }
}
