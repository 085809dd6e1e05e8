use thiserror::Error;
use topk_preprocessing::ResizeError;

/// Why an image cannot be decoded or preprocessed.
///
/// No message names the file, which this crate does not know.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[non_exhaustive]
pub enum ImageError {
    /// There is nothing to decode.
    #[error("it is empty")]
    Empty,
    /// The first bytes are those of no format that is read.
    #[error(
        "it is neither JPEG, PNG, WebP, GIF, BMP nor TIFF (it begins with {}): convert it",
        hex(.0)
    )]
    UnknownFormat(Vec<u8>),
    /// The format is read, but not this variant of it.
    #[error("as {format} it {reason}, which is not read: convert it to 8-bit RGB")]
    Unsupported {
        /// Name of the format.
        format: &'static str,
        /// What it is or has.
        reason: String,
    },
    /// The data end before the image does.
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
        /// What the decoder says.
        reason: String,
    },
    /// It has no pixels.
    #[error("it has {width} x {height} pixels: there is nothing to see")]
    NoPixels {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// It has more pixels than are decoded.
    #[error("it has {width} x {height} pixels, at most {limit} are decoded")]
    TooManyPixels {
        /// Columns, as the header says.
        width: u32,
        /// Rows, as the header says.
        height: u32,
        /// The limit on their product.
        limit: u64,
    },
    /// It would take more memory than allowed.
    #[error("{what} would take {bytes} bytes, at most {limit} may be taken")]
    TooLarge {
        /// What takes the memory.
        what: &'static str,
        /// How much, in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A resized image has sides below 1 or beyond what can be counted.
    #[error(transparent)]
    Resize(#[from] ResizeError),
    /// Five or ten crops do not fit into the resized image.
    #[error(
        "a crop of {crop_width} x {crop_height} pixels does not fit into the resized image of \
         {width} x {height}: resize to at least the crop, or take the centre, which is padded"
    )]
    Crop {
        /// Columns of the crop.
        crop_width: u32,
        /// Rows of the crop.
        crop_height: u32,
        /// Columns of the resized image.
        width: u32,
        /// Rows of the resized image.
        height: u32,
    },
    /// A random crop does not fit into the padded image.
    #[error(
        "a crop of {} x {} pixels does not fit into the image of {} x {} with {padding} pixels of \
         padding: take a smaller crop, more padding, or a resized crop",
        .size[0], .size[1], .image[0], .image[1]
    )]
    RandomCrop {
        /// Columns and rows of the crop.
        size: [u32; 2],
        /// Columns and rows of the image.
        image: [u32; 2],
        /// Pixels added on each side.
        padding: u32,
    },
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(" ")
}
