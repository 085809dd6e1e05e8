//! Folders of small images, one folder per class.

use std::fs;
use std::path::Path;

use crate::coloured_image;

/// Writes images of 32×32 pixels: the name of each class, and how many it has. Images of a class differ.
pub fn write(folder: &Path, classes: &[(impl AsRef<str>, usize)]) {
    for (class, (name, count)) in classes.iter().enumerate() {
        let folder = folder.join(name.as_ref());
        fs::create_dir_all(&folder).unwrap();
        for number in 0..*count {
            let mut colour = [0; 3];
            colour[class % 3] = 40 * (1 + class as u8 % 3);
            let path = folder.join(format!("{number:05}.bmp"));
            coloured_image::write(&path, number as u32, [32, 32], colour);
        }
    }
}
