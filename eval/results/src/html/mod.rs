//! Reports as one HTML file that needs nothing else: no network, no other file.

mod chart;
mod comparison;
mod model;
mod overview;
mod page;
mod run;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::compare::Comparison;
use crate::results::Results;

/// Confident mistakes shown for each model.
const MISTAKES: usize = 12;
/// The longest tables.
const MAX_ROWS: usize = 1000;
/// The largest thumbnail that goes into a report.
const MAX_THUMBNAIL: usize = 256 << 10;

/// Why a report cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A thumbnail is not an image that every browser shows.
    #[error("the thumbnail of the image at place {place} is neither PNG nor JPEG")]
    ThumbnailFormat {
        /// Place of the image in the data set.
        place: usize,
    },
    /// A thumbnail would make the report too large.
    #[error(
        "the thumbnail of the image at place {place} has {bytes} bytes, more than {MAX_THUMBNAIL}: \
         make it smaller"
    )]
    ThumbnailSize {
        /// Place of the image in the data set.
        place: usize,
        /// Its size.
        bytes: usize,
    },
}

impl Results {
    /// Places of the images whose thumbnails a report shows: what each model gets wrong and is most sure of.
    /// Ascending.
    pub fn thumbnail_places(&self) -> Vec<usize> {
        let models = 0..self.models.len();
        let mistakes = models.flat_map(|model| self.confident_mistakes(model, MISTAKES));
        let mut places: Vec<usize> = mistakes.map(|counted| counted.image.place).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// A report as one HTML file, with sections for comparisons that were made.
    ///
    /// `thumbnail` gives the PNG or JPEG bytes of a small version of the image at a place, of those that
    /// [`Results::thumbnail_places`] names; where there is none, the image is named only.
    ///
    /// # Errors
    /// If a thumbnail is of another format, or larger than 256 KiB.
    pub fn to_html(
        &self,
        comparisons: &[Comparison],
        mut thumbnail: impl FnMut(usize) -> Option<Vec<u8>>,
    ) -> Result<String, ReportError> {
        page::report(self, comparisons, &mut |place| {
            thumbnail(place)
                .map(|bytes| data_uri(place, &bytes))
                .transpose()
        })
    }
}

impl Comparison {
    /// The comparison as one HTML file.
    pub fn to_html(&self) -> String {
        page::comparison(self)
    }
}

/// An image as an address.
fn data_uri(place: usize, bytes: &[u8]) -> Result<String, ReportError> {
    let format = match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => "png",
        [0xff, 0xd8, 0xff, ..] => "jpeg",
        _ => return Err(ReportError::ThumbnailFormat { place }),
    };
    if bytes.len() > MAX_THUMBNAIL {
        return Err(ReportError::ThumbnailSize {
            place,
            bytes: bytes.len(),
        });
    }
    Ok(format!(
        "data:image/{format};base64,{}",
        STANDARD.encode(bytes)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbnails_are_checked() {
        let message = |bytes: &[u8]| data_uri(7, bytes).unwrap_err().to_string();
        assert_eq!(
            message(b"<svg onload=alert(1)>"),
            "the thumbnail of the image at place 7 is neither PNG nor JPEG"
        );
        let mut large = vec![0; MAX_THUMBNAIL + 1];
        large[..3].copy_from_slice(&[0xff, 0xd8, 0xff]);
        assert!(message(&large).ends_with("has 262145 bytes, more than 262144: make it smaller"));
        let uri = data_uri(0, &[0xff, 0xd8, 0xff, 0xe0]).unwrap();
        assert_eq!(uri, "data:image/jpeg;base64,/9j/4A==");
    }
}
