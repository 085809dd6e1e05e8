//! Memory for the images of a batch.

use topk_image::augment::Shown;

/// The images of a batch while it is prepared.
pub(super) enum Memory {
    /// `[images, channels, height, width]`.
    Normalized(Vec<f32>),
    /// `[images, height, width, channels]`, and the part of each image that the device is to show.
    Raw(Vec<u8>, Vec<Option<Shown>>),
}

impl Memory {
    /// Moves an image of `len` values over one that is left out.
    pub(super) fn move_row(&mut self, from: usize, to: usize, len: usize) {
        if from == to {
            return;
        }
        let range = from * len..(from + 1) * len;
        match self {
            Self::Normalized(values) => values.copy_within(range, to * len),
            Self::Raw(pixels, shown) => {
                pixels.copy_within(range, to * len);
                shown[to] = shown[from];
            }
        }
    }

    pub(super) fn truncate(&mut self, rows: usize, len: usize) {
        match self {
            Self::Normalized(values) => values.truncate(rows * len),
            Self::Raw(pixels, shown) => {
                pixels.truncate(rows * len);
                shown.truncate(rows);
            }
        }
    }
}

/// Where an image is written; see [`Memory`].
pub(super) enum Out<'a> {
    Normalized(&'a mut [f32]),
    Raw(&'a mut [u8], &'a mut Option<Shown>),
}
