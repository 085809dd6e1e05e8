use tch::{Device, Kind, TchError, Tensor};
use topk_history::{LabeledImage, Picture};
use topk_preprocessing::Normalization;

use crate::delivery::Inputs;

/// The first images of a batch as pictures, with the names of their classes.
pub(crate) fn labeled_images(
    inputs: &Inputs,
    count: usize,
    normalization: &Normalization,
    class_names: &[String],
) -> Result<Vec<LabeledImage>, TchError> {
    let Inputs {
        images,
        labels,
        mixed,
    } = inputs;
    let count = (count as i64).min(images.size()[0]);
    let pixels = pixels(&images.f_narrow(0, 0, count)?, normalization)?;
    let [height, width] = [1, 2].map(|dim| pixels.size()[dim] as usize);
    let pixels: Vec<u8> = Vec::try_from(pixels.view(-1)).expect("bytes are a vector of bytes");
    let name = |labels: &Tensor, at: i64| {
        let class = usize::try_from(labels.int64_value(&[at])).ok();
        let name = class.and_then(|class| class_names.get(class));
        name.cloned().unwrap_or_default()
    };
    let pictures = pixels.chunks_exact((3 * height * width).max(1)).zip(0..);
    let labeled = pictures.map(|(pixels, at)| LabeledImage {
        picture: Picture {
            width,
            height,
            pixels: pixels.to_vec(),
        },
        label: match mixed {
            None => name(labels, at),
            Some((partners, lambda)) => format!(
                "{lambda:.2} {} + {:.2} {}",
                name(labels, at),
                1.0 - lambda,
                name(partners, at)
            ),
        },
    });
    Ok(labeled.collect())
}

/// Images of normalised values as bytes: `[images, height, width, 3]`, in host memory.
fn pixels(images: &Tensor, normalization: &Normalization) -> Result<Tensor, TchError> {
    let images = images.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
    let channels = images.size()[1];
    let per_channel = |values: [f32; 3]| {
        let values = Tensor::from_slice(&values);
        values
            .f_narrow(0, 0, channels.min(3))?
            .f_view([1, -1, 1, 1])
    };
    // Of more than three channels, the first three are shown; a single one is grey.
    let shown = images.f_narrow(1, 0, channels.min(3))?;
    let shown =
        (shown * per_channel(normalization.std)? + per_channel(normalization.mean)?) * 255.0;
    let shown = match channels {
        1 => shown.f_expand([-1, 3, -1, -1], false)?,
        2 => shown.f_narrow(1, 0, 1)?.f_expand([-1, 3, -1, -1], false)?,
        _ => shown,
    };
    let bytes = shown
        .f_round()?
        .f_clamp(0.0, 255.0)?
        .f_to_kind(Kind::Uint8)?;
    bytes.f_permute([0, 2, 3, 1])?.f_contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_the_pixels_before_normalisation() {
        let normalization = Normalization {
            mean: [0.5, 0.25, 0.125],
            std: [0.5, 0.25, 2.0],
        };
        // Two images of 1x2 pixels.
        let pixels: Vec<u8> = (0..12).map(|i| (i * 23) as u8).collect();
        let planes = |image: usize, channel: usize, x: usize| {
            let value = f32::from(pixels[6 * image + 3 * x + channel]) / 255.0;
            (value - normalization.mean[channel]) / normalization.std[channel]
        };
        let mut values = Vec::new();
        for image in 0..2 {
            for channel in 0..3 {
                values.extend([0, 1].map(|x| planes(image, channel, x)));
            }
        }
        let images = Tensor::from_slice(&values).view([2, 3, 1, 2]);
        let names = ["a", "b"].map(str::to_owned);
        let inputs = |mixed| Inputs {
            images: images.shallow_clone(),
            labels: Tensor::from_slice(&[1i64, 0]),
            mixed,
        };
        let found = labeled_images(&inputs(None), 5, &normalization, &names).unwrap();
        let labels: Vec<&str> = found.iter().map(|image| &*image.label).collect();
        assert_eq!(labels, ["b", "a"]);
        let found: Vec<u8> = found
            .iter()
            .flat_map(|image| image.picture.pixels.clone())
            .collect();
        assert_eq!(found, pixels);
        let mixed = inputs(Some((Tensor::from_slice(&[0i64, 0]), 0.75)));
        let found = labeled_images(&mixed, 1, &normalization, &names).unwrap();
        assert_eq!((found.len(), &*found[0].label), (1, "0.75 b + 0.25 a"));
    }
}
