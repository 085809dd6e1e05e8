use thiserror::Error;
use topk_files::Placeholder;
use topk_preprocessing::ResizeError;

/// Why an image cannot be decoded or preprocessed.
///
/// Messages do not name the file, which this crate does not know.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[non_exhaustive]
pub enum ImageError {
    /// The file was not downloaded: it is empty, a pointer, or a page.
    #[error("the file is {0}")]
    Placeholder(Placeholder),
    /// A format that is known, but not read.
    #[error("{0} files are not supported; convert the images to PNG")]
    UnsupportedFormat(&'static str),
    /// The first bytes are not those of a supported format.
    #[error(
        "unknown image format (first bytes {}); supported are JPEG, PNG, WebP, GIF, BMP, TIFF and PNM",
        hex(.0)
    )]
    UnknownFormat(Vec<u8>),
    /// This variant of the format is not supported.
    #[error("unsupported {format} file: it {reason}; convert it to 8-bit RGB")]
    Unsupported {
        /// Name of the format.
        format: &'static str,
        /// The unsupported property.
        reason: String,
    },
    /// The data ends before the image is complete.
    #[error("the {format} data is truncated; download or copy the file again")]
    Truncated {
        /// Name of the format.
        format: &'static str,
    },
    /// The data is invalid.
    #[error("the {format} data is damaged: {reason}")]
    Corrupt {
        /// Name of the format.
        format: &'static str,
        /// The error of the decoder.
        reason: String,
    },
    /// The width or height is 0.
    #[error("the image has no pixels ({width} x {height})")]
    NoPixels {
        /// Width.
        width: u32,
        /// Height.
        height: u32,
    },
    /// The image has too many pixels.
    #[error("the image has {width} x {height} pixels; the limit is {limit} pixels")]
    TooManyPixels {
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
        /// The limit on their product.
        limit: u64,
    },
    /// The image needs too much memory.
    #[error("{what} needs {bytes} bytes; the limit is {limit} bytes")]
    TooLarge {
        /// What takes the memory.
        what: &'static str,
        /// The required memory in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Nothing remains of the image without its outermost pixels.
    #[error(
        "{trim} pixels cannot be removed from each side of an image of {width} x {height} pixels"
    )]
    Trim {
        /// Width.
        width: u32,
        /// Height.
        height: u32,
        /// Number of pixels to remove from each side.
        trim: u32,
    },
    /// The resized image would be empty or too large.
    #[error(transparent)]
    Resize(#[from] ResizeError),
    /// Five or ten crops do not fit into the resized image.
    #[error(
        "a crop of {crop_width} x {crop_height} pixels does not fit into the resized image of \
         {width} x {height}: resize to at least the size of the crop, or use a centre crop, which is padded"
    )]
    Crop {
        /// Width of the crop.
        crop_width: u32,
        /// Height of the crop.
        crop_height: u32,
        /// Width of the resized image.
        width: u32,
        /// Height of the resized image.
        height: u32,
    },
    /// A random crop does not fit into the padded image.
    #[error(
        "a crop of {} x {} pixels does not fit into the image of {} x {} with {padding} pixels of \
         padding: use a smaller crop, more padding, or resized-crop",
        .size[0], .size[1], .image[0], .image[1]
    )]
    RandomCrop {
        /// Width and height of the crop.
        size: [u32; 2],
        /// Width and height of the image.
        image: [u32; 2],
        /// Pixels added on each side.
        padding: u32,
    },
}

impl ImageError {
    pub(crate) fn unsupported(format: &'static str, reason: String) -> Self {
        Self::Unsupported { format, reason }
    }

    pub(crate) fn truncated(format: &'static str) -> Self {
        Self::Truncated { format }
    }

    pub(crate) fn corrupt(format: &'static str, reason: String) -> Self {
        Self::Corrupt { format, reason }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(" ")
}
