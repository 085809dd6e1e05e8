use image::ImageEncoder;
use image::codecs::png::PngEncoder;
use topk_data::{Image, ImageSet};
use topk_image::{Limits, Preprocessor, RgbImage, decode};
use topk_preprocessing::{Crop, Halves, ImageMode, Interpolation, Pillow, Preprocessing, Resize};

/// Side of a thumbnail, in pixels.
const SIDE: u32 = 112;

/// A thumbnail of the centre of an image as PNG; none if the image cannot be read.
pub(crate) fn thumbnail(set: &ImageSet, index: usize, limits: &Limits) -> Option<Vec<u8>> {
    let image = match set.read(index).ok()? {
        Image::Encoded(bytes) => decode(&bytes, limits).ok()?,
        Image::Pixels { shape, pixels } => RgbImage::of_planes(shape, &pixels),
    };
    let shorter = image.width.min(image.height);
    // The browser enlarges smaller thumbnails.
    let side = SIDE.min(shorter);
    let preprocessing = Preprocessing {
        mode: ImageMode::Rgb,
        trim: 0,
        resize: Resize::ShorterSide(side),
        interpolation: Interpolation::Bilinear,
        crop: Crop::Center {
            size: [side; 2],
            fill: [0; 3],
            halves: Halves::Even,
        },
        pillow: Pillow::default(),
        fast: false,
    };
    let mut preprocessor = Preprocessor::new(preprocessing, *limits).ok()?;
    let crops = preprocessor.crops_of(&image).ok()?;
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(crops.pixels(), side, side, image::ExtendedColorType::Rgb8)
        .ok()?;
    Some(png)
}
