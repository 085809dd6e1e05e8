use serde::{Deserialize, Serialize};
use topk_preprocessing::ImageMode;

/// A number for each channel of an input image. In files it is a list of three numbers, or of one for grey images.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(
    untagged,
    expecting = "expected a list of three numbers, or of one for grey images"
)]
pub enum ChannelValues {
    /// Of red, green and blue.
    Rgb([f32; 3]),
    /// Of grey images.
    L([f32; 1]),
}

impl ChannelValues {
    /// The values of images of this mode; of grey images, the first one.
    pub fn new(values: [f32; 3], mode: ImageMode) -> Self {
        match mode {
            ImageMode::Rgb => Self::Rgb(values),
            ImageMode::L => Self::L([values[0]]),
        }
    }

    /// The same value for all channels.
    pub fn all(value: f32, mode: ImageMode) -> Self {
        Self::new([value; 3], mode)
    }

    /// The mode of images that have these channels.
    pub fn mode(&self) -> ImageMode {
        match self {
            Self::Rgb(_) => ImageMode::Rgb,
            Self::L(_) => ImageMode::L,
        }
    }

    /// The values for red, green and blue; that of grey images three times.
    pub fn rgb(&self) -> [f32; 3] {
        match *self {
            Self::Rgb(values) => values,
            Self::L([value]) => [value; 3],
        }
    }

    /// One value for each channel.
    pub fn as_slice(&self) -> &[f32] {
        match self {
            Self::Rgb(values) => values,
            Self::L(values) => values,
        }
    }
}

impl From<[f32; 3]> for ChannelValues {
    fn from(values: [f32; 3]) -> Self {
        Self::Rgb(values)
    }
}
