//! Folders of small images, one folder per class.

use std::fs;
use std::path::Path;

/// Writes images of 32×32 pixels: the name of each class, and how many it has. Images of a class differ.
pub fn write(folder: &Path, classes: &[(impl AsRef<str>, usize)]) {
    for (class, (name, count)) in classes.iter().enumerate() {
        let folder = folder.join(name.as_ref());
        fs::create_dir_all(&folder).unwrap();
        for number in 0..*count {
            let pixel = |x: u32, y: u32| {
                let value = (x * 31 + y * 17 + number as u32 * 7) % 97;
                let mut pixel = [value as u8; 3];
                pixel[class % 3] += 40 * (1 + class as u8 % 3);
                image::Rgb(pixel)
            };
            let image = image::RgbImage::from_fn(32, 32, pixel);
            image.save(folder.join(format!("{number:05}.bmp"))).unwrap();
        }
    }
}
