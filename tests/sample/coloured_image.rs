//! Images of noise on a colour.

use std::path::Path;

/// Writes an image of this width and height. Its pixels are `colour` plus 0 to 96 in each channel; images of other
/// numbers differ.
pub fn write(path: &Path, number: u32, [width, height]: [u32; 2], colour: [u8; 3]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = image::RgbImage::from_fn(width, height, |x, y| {
        let noise = ((x * 31 + y * 17 + number * 7) % 97) as u8;
        image::Rgb(colour.map(|value| value + noise))
    });
    image.save(path).unwrap();
}
