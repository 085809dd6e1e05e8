//! Reports as self-contained HTML files.

mod calibration;
mod chart;
mod comparison;
mod groups;
mod leaderboard;
mod model;
mod overview;
mod page;
mod risk;
mod run;
mod shifts;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::compare::Comparison;
use crate::schema::Results;

/// Number of confident mistakes shown for each model.
const MISTAKES: usize = 12;
/// Maximum number of table rows.
const MAX_ROWS: usize = 1000;
/// The largest thumbnail in a report, in bytes.
const MAX_THUMBNAIL: usize = 256 << 10;

/// A report that cannot be created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A thumbnail has an unsupported format.
    #[error("the thumbnail of image {index} is neither PNG nor JPEG")]
    ThumbnailFormat {
        /// Index of the image in the data set.
        index: usize,
    },
    /// A thumbnail is too large.
    #[error(
        "the thumbnail of image {index} has {bytes} bytes, more than the limit of {MAX_THUMBNAIL}"
    )]
    ThumbnailSize {
        /// Index of the image in the data set.
        index: usize,
        /// Size of the thumbnail.
        bytes: usize,
    },
}

impl Results {
    /// Indices of the images whose thumbnails a report shows, ascending: the most confident mistakes of each
    /// model.
    pub fn thumbnail_indices(&self) -> Vec<usize> {
        let models = 0..self.models.len();
        let mistakes = models.flat_map(|model| self.confident_mistakes(model, MISTAKES));
        let mut indices: Vec<usize> = mistakes.map(|counted| counted.image.index).collect();
        indices.sort_unstable();
        indices.dedup();
        indices
    }

    /// A report as a self-contained HTML file, with a section for each comparison.
    ///
    /// `thumbnail` returns a small version of the image with an index from [`Results::thumbnail_indices`] as
    /// PNG or JPEG; without one, only the name of the image is shown.
    ///
    /// # Errors
    /// If a thumbnail has another format, or is larger than 256 KiB.
    pub fn to_html(
        &self,
        comparisons: &[Comparison],
        mut thumbnail: impl FnMut(usize) -> Option<Vec<u8>>,
    ) -> Result<String, ReportError> {
        page::report(self, comparisons, &mut |index| {
            thumbnail(index)
                .map(|bytes| data_uri(index, &bytes))
                .transpose()
        })
    }
}

impl Comparison {
    /// The comparison as a self-contained HTML file.
    pub fn to_html(&self) -> String {
        page::comparison(self)
    }
}

/// An image as a data URI.
fn data_uri(index: usize, bytes: &[u8]) -> Result<String, ReportError> {
    let format = match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => "png",
        [0xff, 0xd8, 0xff, ..] => "jpeg",
        _ => return Err(ReportError::ThumbnailFormat { index }),
    };
    if bytes.len() > MAX_THUMBNAIL {
        return Err(ReportError::ThumbnailSize {
            index,
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
            "the thumbnail of image 7 is neither PNG nor JPEG"
        );
        let mut large = vec![0; MAX_THUMBNAIL + 1];
        large[..3].copy_from_slice(&[0xff, 0xd8, 0xff]);
        assert!(message(&large).ends_with("has 262145 bytes, more than the limit of 262144"));
        let uri = data_uri(0, &[0xff, 0xd8, 0xff, 0xe0]).unwrap();
        assert_eq!(uri, "data:image/jpeg;base64,/9j/4A==");
    }
}
