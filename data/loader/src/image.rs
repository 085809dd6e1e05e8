use topk_data::Image;
use topk_image::{CropPixels, ImageError, Limits, Preprocessor, RgbImage, decode};

/// Decodes an image of a data set, if it is encoded, resizes and crops it, in the memory of the
/// preprocessor.
///
/// # Errors
/// If it cannot be decoded, is over the limits, or is smaller than the crops require.
pub fn crops<'a>(
    preprocessor: &'a mut Preprocessor,
    image: &Image,
) -> Result<CropPixels<'a>, ImageError> {
    match image {
        Image::Encoded(bytes) => preprocessor.crops(bytes),
        Image::Pixels { shape, pixels } => {
            preprocessor.crops_of(&RgbImage::of_planes(*shape, pixels))
        }
    }
}

/// Decodes an image of a data set, if it is encoded, such as for several preprocessors.
///
/// # Errors
/// If it cannot be decoded, or is over the limits.
pub fn decoded(image: &Image, limits: &Limits) -> Result<RgbImage, ImageError> {
    match image {
        Image::Encoded(bytes) => decode(bytes, limits),
        Image::Pixels { shape, pixels } => Ok(RgbImage::of_planes(*shape, pixels)),
    }
}
