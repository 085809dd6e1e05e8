//! Numbers in files.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use half::f16;

/// Type of the numbers of an array, in little-endian order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dtype {
    F16,
    F32,
    F64,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
}

/// Each type with its names in NumPy and safetensors, and its size in bytes.
const DTYPES: [(Dtype, &str, &str, usize); 11] = [
    (Dtype::F16, "<f2", "F16", 2),
    (Dtype::F32, "<f4", "F32", 4),
    (Dtype::F64, "<f8", "F64", 8),
    (Dtype::I8, "|i1", "I8", 1),
    (Dtype::U8, "|u1", "U8", 1),
    (Dtype::I16, "<i2", "I16", 2),
    (Dtype::U16, "<u2", "U16", 2),
    (Dtype::I32, "<i4", "I32", 4),
    (Dtype::U32, "<u4", "U32", 4),
    (Dtype::I64, "<i8", "I64", 8),
    (Dtype::U64, "<u8", "U64", 8),
];

impl Dtype {
    fn entry(self) -> (&'static str, &'static str, usize) {
        let entry = DTYPES.iter().find(|(dtype, ..)| *dtype == self);
        let (_, numpy, safetensors, size) = entry.expect("every type is listed");
        (numpy, safetensors, *size)
    }

    pub(crate) fn numpy(self) -> &'static str {
        self.entry().0
    }

    pub(crate) fn safetensors(self) -> &'static str {
        self.entry().1
    }

    pub(crate) fn size(self) -> usize {
        self.entry().2
    }

    pub(crate) fn from_numpy(name: &str) -> Option<Self> {
        let entry = DTYPES.iter().find(|(_, numpy, ..)| *numpy == name)?;
        Some(entry.0)
    }

    pub(crate) fn from_safetensors(name: &str) -> Option<Self> {
        let entry = DTYPES
            .iter()
            .find(|(_, _, safetensors, _)| *safetensors == name)?;
        Some(entry.0)
    }

    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::F32 | Self::F64)
    }

    /// A number from its bytes; `None` if it is a float where an integer is expected.
    fn integer(self, bytes: &[u8]) -> Option<i128> {
        macro_rules! read {
            ($type:ty) => {
                <$type>::from_le_bytes(bytes.try_into().ok()?).into()
            };
        }
        Some(match self {
            Self::F16 | Self::F32 | Self::F64 => return None,
            Self::I8 => read!(i8),
            Self::U8 => read!(u8),
            Self::I16 => read!(i16),
            Self::U16 => read!(u16),
            Self::I32 => read!(i32),
            Self::U32 => read!(u32),
            Self::I64 => read!(i64),
            Self::U64 => read!(u64),
        })
    }

    /// Appends numbers as `f32`, rounded if they are `f64`.
    fn floats(self, bytes: &[u8], to: &mut Vec<f32>) {
        let (twos, _) = bytes.as_chunks::<2>();
        let (fours, _) = bytes.as_chunks::<4>();
        let (eights, _) = bytes.as_chunks::<8>();
        match self {
            Self::F16 => to.extend(twos.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32())),
            Self::F32 => to.extend(fours.iter().map(|&bytes| f32::from_le_bytes(bytes))),
            Self::F64 => to.extend(eights.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32)),
            _ => unreachable!("integers are refused when an array is opened"),
        }
    }
}

/// Rows of floats at equal distances in a file.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) file: File,
    /// Position of the first row, in bytes.
    pub(crate) first: u64,
    /// Bytes from one row to the next.
    pub(crate) stride: u64,
    pub(crate) dtype: Dtype,
    /// Length of a row.
    pub(crate) classes: usize,
}

impl Rows {
    /// Replaces the contents of `to` with `count` rows from `row` on.
    pub(crate) fn read(&self, row: usize, count: usize, to: &mut Vec<f32>) -> io::Result<()> {
        to.clear();
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.first + row as u64 * self.stride))?;
        let length = self.classes * self.dtype.size();
        let mut bytes = vec![0; self.stride as usize * (count - 1) + length];
        file.read_exact(&mut bytes)?;
        for row in bytes.chunks(self.stride as usize) {
            self.dtype.floats(&row[..length], to);
        }
        Ok(())
    }
}

/// Reads `count` integers from a position of a file. The inner error is the position and value of the first that is
/// not in 0..`end`.
pub(crate) fn integers(
    file: &File,
    first: u64,
    dtype: Dtype,
    count: usize,
    end: u64,
) -> io::Result<Result<Vec<u64>, (usize, i128)>> {
    let mut file = io::BufReader::new(file);
    file.seek(SeekFrom::Start(first))?;
    let mut bytes = vec![0; dtype.size()];
    let mut integers = Vec::new();
    for at in 0..count {
        file.read_exact(&mut bytes)?;
        let value = dtype.integer(&bytes).unwrap_or(-1);
        match u64::try_from(value) {
            Ok(value) if value < end => integers.push(value),
            _ => return Ok(Err((at, value))),
        }
    }
    Ok(Ok(integers))
}
