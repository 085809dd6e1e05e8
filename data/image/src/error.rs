use thiserror::Error;
use topk_preprocessing::ResizeError;

/// Why an image cannot be decoded or preprocessed.
///
/// Messages do not name the file, which this crate does not know.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[non_exhaustive]
pub enum ImageError {
    /// The file has no bytes.
    #[error("it is empty")]
    Empty,
    /// The first bytes are not those of a supported format.
    #[error(
        "it is neither JPEG, PNG, WebP, GIF, BMP nor TIFF (it begins with {}): convert it",
        hex(.0)
    )]
    UnknownFormat(Vec<u8>),
    /// This variant of the format is not supported.
    #[error("as {format} it {reason}, which is not read: convert it to 8-bit RGB")]
    Unsupported {
        /// Name of the format.
        format: &'static str,
        /// The unsupported property.
        reason: String,
    },
    /// The data end before the image is complete.
    #[error("its {format} data are cut off: fetch or copy it again")]
    Truncated {
        /// Name of the format.
        format: &'static str,
    },
    /// The data contradict the format.
    #[error("its {format} data are damaged: {reason}")]
    Corrupt {
        /// Name of the format.
        format: &'static str,
        /// The error of the decoder.
        reason: String,
    },
    /// The width or height is 0.
    #[error("it has {width} x {height} pixels: there is nothing to see")]
    NoPixels {
        /// Width.
        width: u32,
        /// Height.
        height: u32,
    },
    /// The image has too many pixels.
    #[error("it has {width} x {height} pixels, at most {limit} are decoded")]
    TooManyPixels {
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
        /// The limit on their product.
        limit: u64,
    },
    /// The image would take too much memory.
    #[error("{what} would take {bytes} bytes, at most {limit} may be taken")]
    TooLarge {
        /// What takes the memory.
        what: &'static str,
        /// The required memory in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The resized image would be empty or too large.
    #[error(transparent)]
    Resize(#[from] ResizeError),
    /// Five or ten crops do not fit into the resized image.
    #[error(
        "a crop of {crop_width} x {crop_height} pixels does not fit into the resized image of \
         {width} x {height}: resize to at least the crop, or take the centre, which is padded"
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
         padding: take a smaller crop, more padding, or a resized crop",
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

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(" ")
}
