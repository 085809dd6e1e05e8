//! NumPy's format of arrays, version 1.0 to 3.0 (numpy.lib.format).

use std::io::{self, Read, Write};

use crate::rows::Dtype;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Headers are multiples of this, so that data is aligned.
const ALIGNMENT: usize = 64;
/// Headers of plain arrays have about 100 bytes.
const MAX_HEADER: usize = 1 << 16;

/// What a header says.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Header {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
}

/// Writes the header of an array in C order.
pub(crate) fn write_header(to: &mut impl Write, dtype: Dtype, shape: &[usize]) -> io::Result<()> {
    let sides: String = shape.iter().map(|side| format!("{side}, ")).collect();
    let mut text = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}",
        dtype.numpy(),
        // A tuple of one needs its comma.
        if shape.len() == 1 {
            sides.trim_end()
        } else {
            sides.trim_end_matches(", ")
        },
    );
    let unpadded = MAGIC.len() + 4 + text.len() + 1;
    text += &" ".repeat(unpadded.next_multiple_of(ALIGNMENT) - unpadded);
    text.push('\n');
    to.write_all(MAGIC)?;
    to.write_all(&[1, 0])?;
    to.write_all(&(text.len() as u16).to_le_bytes())?;
    to.write_all(text.as_bytes())
}

/// Reads a header, and leaves the reader at the data.
///
/// # Errors
/// What is wrong, as a sentence without a subject.
pub(crate) fn read_header(from: &mut impl Read) -> Result<Header, String> {
    let mut start = [0; 8];
    let mut read = |buffer: &mut [u8]| from.read_exact(buffer).map_err(|error| error.to_string());
    read(&mut start)?;
    if start[..6] != *MAGIC {
        return Err("is not a NumPy array".to_owned());
    }
    let length = if start[6] == 1 {
        let mut length = [0; 2];
        read(&mut length)?;
        u16::from_le_bytes(length).into()
    } else {
        let mut length = [0; 4];
        read(&mut length)?;
        u32::from_le_bytes(length) as usize
    };
    if length > MAX_HEADER {
        return Err(format!("has a header of {length} bytes"));
    }
    let mut text = vec![0; length];
    read(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let unreadable = || format!("has a header that cannot be read: {}", text.trim_end());
    if !text.contains("'fortran_order': False") {
        return Err("is in Fortran order: save numpy.ascontiguousarray(…) instead".to_owned());
    }
    let descr = quoted_after(&text, "'descr':").ok_or_else(unreadable)?;
    let dtype = Dtype::from_numpy(descr).ok_or_else(|| {
        format!("has the type {descr}: expected integers or floats in little-endian order")
    })?;
    let (_, shape) = text.split_once("'shape':").ok_or_else(unreadable)?;
    let shape = shape
        .trim_start()
        .strip_prefix('(')
        .ok_or_else(unreadable)?;
    let (shape, _) = shape.split_once(')').ok_or_else(unreadable)?;
    let sides = shape
        .split(',')
        .map(str::trim)
        .filter(|side| !side.is_empty());
    let shape = sides.map(str::parse).collect::<Result<_, _>>();
    Ok(Header {
        dtype,
        shape: shape.map_err(|_| unreadable())?,
    })
}

/// The text in single quotes that follows `key`.
fn quoted_after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(key)?;
    let rest = rest.trim_start().strip_prefix('\'')?;
    Some(rest.split_once('\'')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_numpy() {
        // numpy.save of numpy.zeros((3, 4), "<f4") and numpy.zeros(5, "<i8"), without the data.
        for (dtype, shape, text) in [
            (
                Dtype::F32,
                &[3, 4][..],
                "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }",
            ),
            (
                Dtype::I64,
                &[5],
                "{'descr': '<i8', 'fortran_order': False, 'shape': (5,), }",
            ),
        ] {
            let mut bytes = Vec::new();
            write_header(&mut bytes, dtype, shape).unwrap();
            assert_eq!(bytes.len(), 128);
            assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
            assert_eq!(&bytes[10..10 + text.len()], text.as_bytes());
            assert_eq!(bytes[127], b'\n');
            let header = read_header(&mut &bytes[..]).unwrap();
            assert_eq!((header.dtype, &header.shape[..]), (dtype, shape));
        }
    }

    #[test]
    fn other_files_are_refused() {
        let read = |header: &str| {
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(header.as_bytes());
            read_header(&mut &bytes[..]).unwrap_err()
        };
        let order = read("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 4), }");
        assert!(order.starts_with("is in Fortran order"), "{order}");
        let kind = read("{'descr': '>f4', 'fortran_order': False, 'shape': (3, 4), }");
        assert!(kind.starts_with("has the type >f4"), "{kind}");
        let shape = read("{'descr': '<f4', 'fortran_order': False, 'shape': (3, x), }");
        assert!(
            shape.starts_with("has a header that cannot be read"),
            "{shape}"
        );
        assert!(read_header(&mut &b"PK\x03\x04 something"[..]).is_err());
    }
}
