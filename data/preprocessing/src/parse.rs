//! Values of `--mean`, `--std` and `--input-size`.

use thiserror::Error;

/// A text that is not one number per channel.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("expected three numbers, such as 0.5,0.4,0.3, or one for all channels")]
pub struct ParseChannelsError;

/// Parses one number each for red, green and blue, separated by commas, or one for all channels.
///
/// # Errors
/// If there are neither three nor one, or one is not a number.
pub fn parse_channels(text: &str) -> Result<[f32; 3], ParseChannelsError> {
    let numbers: Option<Vec<f32>> = text
        .split(',')
        .map(|number| number.trim().parse().ok())
        .collect();
    match numbers.as_deref() {
        Some(&[number]) => Ok([number; 3]),
        Some(&[red, green, blue]) => Ok([red, green, blue]),
        _ => Err(ParseChannelsError),
    }
}

/// A text that is not an input size.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("expected a side such as 224, or height x width such as 192x256")]
pub struct ParseInputSizeError;

/// Parses an input size in pixels: the side of a square, such as `224`, or height x width, such as
/// `192x256`. Returns the height and the width.
///
/// # Errors
/// If the text is neither, or a side is 0.
pub fn parse_input_size(text: &str) -> Result<[usize; 2], ParseInputSizeError> {
    let side = |side: &str| side.parse().ok().filter(|&side| side > 0);
    let size = match text.split_once('x') {
        Some((height, width)) => side(height).zip(side(width)).map(|(h, w)| [h, w]),
        None => side(text).map(|side| [side; 2]),
    };
    size.ok_or(ParseInputSizeError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_three_numbers_or_one() {
        assert_eq!(parse_channels("0.5, 0.4,0.3"), Ok([0.5, 0.4, 0.3]));
        assert_eq!(parse_channels("0.1307"), Ok([0.1307; 3]));
        for text in ["0.5,0.4", "a,b,c", "", "1,2,3,4"] {
            assert_eq!(parse_channels(text), Err(ParseChannelsError), "{text}");
        }
    }

    #[test]
    fn input_sizes_are_a_side_or_height_x_width() {
        assert_eq!(parse_input_size("224"), Ok([224, 224]));
        assert_eq!(parse_input_size("192x256"), Ok([192, 256]));
        for text in ["", "0", "192x0", "192x", "x256", "-1", "224 px", "1x2x3"] {
            assert_eq!(parse_input_size(text), Err(ParseInputSizeError), "{text}");
        }
    }
}
