//! Images and the confusion matrix.

use super::proto::{Image, Value};
use super::{EventWriter, EventsError, step, text_value};
use crate::confusion::Confusion;

/// Pixels of red, green and blue, row by row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Picture {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// Three bytes per pixel.
    pub pixels: Vec<u8>,
}

/// An image of a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LabeledImage {
    /// As the network sees it, without normalisation.
    pub picture: Picture,
    /// The name of its class; of both classes if it is mixed.
    pub label: String,
}

/// Number of pairs of classes in the table of confusions.
const PAIRS: usize = 20;

/// Colour spaces of images in event files: red, green and blue.
const RGB: i32 = 3;

impl EventWriter {
    /// Appends training images of an epoch.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn images(&mut self, epoch: usize, images: &[LabeledImage]) -> Result<(), EventsError> {
        let width = images.len().saturating_sub(1).to_string().len();
        let values = images.iter().enumerate().map(|(number, image)| {
            let tag = format!("images/{number:0width$} {}", image.label);
            value(&tag, &image.picture)
        });
        self.file.write(vec![(step(epoch), values.collect())])
    }

    /// Appends the confusion matrix of the validation after an epoch, and a table of the pairs of classes that are
    /// confused most often.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn confusion(
        &mut self,
        epoch: usize,
        confusion: &Confusion,
        class_names: &[String],
    ) -> Result<(), EventsError> {
        let values = vec![
            value("confusion/val", &confusion.picture()),
            text_value("confusion/most", confusion.table(class_names, PAIRS)),
        ];
        self.file.write(vec![(step(epoch), values)])
    }
}

fn value(tag: &str, picture: &Picture) -> Value {
    Value {
        tag: tag.to_owned(),
        image: Some(Image {
            height: i32::try_from(picture.height).unwrap_or(i32::MAX),
            width: i32::try_from(picture.width).unwrap_or(i32::MAX),
            colorspace: RGB,
            encoded_image_string: picture.to_png(),
        }),
        ..Value::default()
    }
}

impl Picture {
    fn to_png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(&self.pixels))
            .expect("a picture has pixels, three bytes each, and memory can be written to");
        bytes
    }
}
