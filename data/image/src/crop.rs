//! Positions of crops, with the rounding of torchvision or transformers.

use topk_preprocessing::{Crop, Halves};

use crate::ImageError;
use crate::resize::Region;

/// The windows of the crops in a resized image of this width and height.
pub(crate) fn windows(crop: Crop, image: [u32; 2]) -> Result<Vec<Window>, ImageError> {
    let halves = match crop {
        Crop::Center { halves, .. } => halves,
        _ => Halves::Even,
    };
    let center = |crop: [u32; 2]| [0, 1].map(|axis| center(image[axis], crop[axis], halves));
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
    Ok(match crop {
        Crop::None => vec![window([0, 0], false)],
        Crop::Center { size, .. } => vec![window(center(size), false)],
        Crop::Five { size } => corners(size)?.map(|at| window(at, false)).into(),
        Crop::Ten { size } => {
            let corners = corners(size)?;
            let right = i64::from(image[0] - size[0]);
            let plain = corners.map(|at| window(at, false));
            // The same positions in the mirrored image; its centre may differ by one column.
            let mirrored = corners.map(|[x, y]| window([right - x, y], true));
            [plain, mirrored].concat()
        }
    })
}

/// The position of a crop in the resized image; it may extend beyond the image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Window {
    x: i64,
    y: i64,
    /// Whether the crop is mirrored left to right.
    pub(crate) mirrored: bool,
}

impl Window {
    /// The part of the image in a window of `size`, and its column and row in the window.
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

/// Start of a centre crop along one axis. Odd padding of smaller images is larger at the end.
fn center(image: u32, crop: u32, halves: Halves) -> i64 {
    let room = i64::from(image) - i64::from(crop);
    if room < 0 {
        return -(-room / 2);
    }
    match halves {
        // As Python's `round` does.
        Halves::Even => room / 2 + (room % 4 == 3) as i64,
        Halves::Down => room / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_to_even_or_down() {
        let begins = |halves| {
            (4..12)
                .map(|image| center(image, 4, halves))
                .collect::<Vec<i64>>()
        };
        assert_eq!(begins(Halves::Even), [0, 0, 1, 2, 2, 2, 3, 4]);
        assert_eq!(begins(Halves::Down), [0, 0, 1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn odd_padding_is_larger_at_the_end() {
        assert_eq!(
            [3, 2, 1].map(|image| center(image, 4, Halves::Even)),
            [0, -1, -1]
        );
    }

    #[test]
    fn the_mirrored_centre_crop_is_from_the_mirrored_image() {
        let windows = windows(Crop::Ten { size: [4, 4] }, [7, 4]).unwrap();
        assert_eq!((windows[4].x, windows[9].x), (2, 1));
        assert_eq!((windows[0].x, windows[5].x), (0, 3));
        assert!(windows[9].mirrored);
    }

    #[test]
    fn corners_must_fit() {
        let error = windows(Crop::Five { size: [4, 4] }, [4, 3]).unwrap_err();
        assert!(error.to_string().contains("4 x 4"), "{error}");
    }
}
