use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ImageError;
use crate::resize::Region;

/// Which parts of the resized image are taken, with torchvision's rounding.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Crop {
    /// All of it, as large as it is.
    None,
    /// The centre, as `CenterCrop` takes it.
    Center {
        /// Columns and rows.
        size: [u32; 2],
        /// The colour around an image that is smaller.
        #[serde(default)]
        fill: [u8; 3],
    },
    /// The corners, upper left and right, lower left and right, then the centre, as `FiveCrop` takes
    /// them.
    Five {
        /// Columns and rows.
        size: [u32; 2],
    },
    /// Those five, then those of the mirrored image, as `TenCrop` takes them.
    Ten {
        /// Columns and rows.
        size: [u32; 2],
    },
}

impl Crop {
    /// Number of crops of an image.
    pub fn count(self) -> usize {
        match self {
            Self::None | Self::Center { .. } => 1,
            Self::Five { .. } => 5,
            Self::Ten { .. } => 10,
        }
    }

    /// Columns and rows of each crop, where they do not depend on the image.
    pub fn size(self) -> Option<[u32; 2]> {
        match self {
            Self::None => None,
            Self::Center { size, .. } | Self::Five { size } | Self::Ten { size } => Some(size),
        }
    }

    /// Where the crops lie in a resized image of so many columns and rows.
    pub(crate) fn windows(self, image: [u32; 2]) -> Result<Vec<Window>, ImageError> {
        let center = |crop: [u32; 2]| [0, 1].map(|axis| center(image[axis], crop[axis]));
        let window = |[x, y]: [i64; 2], mirrored| Window { x, y, mirrored };
        let corners = |crop: [u32; 2]| {
            if crop[0] > image[0] || crop[1] > image[1] {
                return Err(ImageError::Crop {
                    crop_width: crop[0],
                    crop_height: crop[1],
                    width: image[0],
                    height: image[1],
                });
            }
            let [right, bottom] = [0, 1].map(|axis| i64::from(image[axis] - crop[axis]));
            Ok([
                [0, 0],
                [right, 0],
                [0, bottom],
                [right, bottom],
                center(crop),
            ])
        };
        Ok(match self {
            Self::None => vec![window([0, 0], false)],
            Self::Center { size, .. } => vec![window(center(size), false)],
            Self::Five { size } => corners(size)?.map(|at| window(at, false)).into(),
            Self::Ten { size } => {
                let corners = corners(size)?;
                let right = i64::from(image[0] - size[0]);
                let plain = corners.map(|at| window(at, false));
                // The same places in the mirrored image; its centre may be another by one column.
                let mirrored = corners.map(|[x, y]| window([right - x, y], true));
                [plain, mirrored].concat()
            }
        })
    }
}

impl fmt::Display for Crop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, [width, height]) = match *self {
            Self::None => return f.write_str("no crop"),
            Self::Center { size, .. } => ("centre crop", size),
            Self::Five { size } => ("five crops", size),
            Self::Ten { size } => ("ten crops", size),
        };
        write!(f, "{name} of {width}x{height}")
    }
}

/// A crop's place in the resized image; it may begin or end outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Window {
    x: i64,
    y: i64,
    /// Whether it is mirrored left to right after it was taken.
    pub(crate) mirrored: bool,
}

impl Window {
    /// What of the image is in a window of `size`, and at which column and row of the window.
    pub(crate) fn visible(self, size: [u32; 2], image: [u32; 2]) -> (Region, [usize; 2]) {
        let clip = |at: i64, axis: usize| {
            let first = at.max(0);
            let end = (at + i64::from(size[axis])).min(i64::from(image[axis]));
            (first as u32..end.max(first) as u32, (first - at) as usize)
        };
        let (columns, left) = clip(self.x, 0);
        let (rows, top) = clip(self.y, 1);
        (Region { columns, rows }, [left, top])
    }
}

/// Where a crop of one axis begins. The padding of smaller images has its larger part behind.
fn center(image: u32, crop: u32) -> i64 {
    let room = i64::from(image) - i64::from(crop);
    if room < 0 {
        return -(-room / 2);
    }
    // Python rounds halves to even numbers.
    room / 2 + (room % 4 == 3) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_to_even_columns() {
        let begins: Vec<i64> = (4..12).map(|image| center(image, 4)).collect();
        assert_eq!(begins, [0, 0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn smaller_images_have_more_padding_behind() {
        assert_eq!([3, 2, 1].map(|image| center(image, 4)), [0, -1, -1]);
    }

    #[test]
    fn the_mirrored_centre_is_that_of_the_mirrored_image() {
        let windows = Crop::Ten { size: [4, 4] }.windows([7, 4]).unwrap();
        assert_eq!((windows[4].x, windows[9].x), (2, 1));
        assert_eq!((windows[0].x, windows[5].x), (0, 3));
        assert!(windows[9].mirrored);
    }

    #[test]
    fn corners_must_fit() {
        let error = Crop::Five { size: [4, 4] }.windows([4, 3]).unwrap_err();
        assert!(error.to_string().contains("4 x 4"), "{error}");
    }
}
