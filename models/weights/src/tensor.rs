use std::fmt;

use half::{bf16, f16};
use thiserror::Error;

/// Type of a tensor's elements.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(
    missing_docs,
    reason = "the names of the variants are their documentation"
)]
pub enum Dtype {
    Bool,
    U8,
    I8,
    I16,
    F16,
    Bf16,
    I32,
    F32,
    F64,
    I64,
}

impl Dtype {
    /// Every type.
    pub(crate) const ALL: [Self; 10] = [
        Self::Bool,
        Self::U8,
        Self::I8,
        Self::I16,
        Self::F16,
        Self::Bf16,
        Self::I32,
        Self::F32,
        Self::F64,
        Self::I64,
    ];

    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }

    /// The name that safetensors gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::U8 => "U8",
            Self::I8 => "I8",
            Self::I16 => "I16",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::I32 => "I32",
            Self::F32 => "F32",
            Self::I64 => "I64",
            Self::F64 => "F64",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tensor cannot be created or converted.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum TensorError {
    /// The number of bytes does not match the shape.
    #[error("shape {shape:?} of {dtype} does not fit {bytes} bytes")]
    Size {
        /// The shape.
        shape: Vec<usize>,
        /// Type of the elements.
        dtype: Dtype,
        /// Bytes given.
        bytes: usize,
    },
    /// A value is too large for single precision.
    #[error("element {index}, {value:e}, is too large for single precision")]
    Range {
        /// Its index, row-major.
        index: usize,
        /// The value.
        value: f64,
    },
    /// The elements are not integers.
    #[error("the elements are {dtype}, expected integers")]
    NotIntegers {
        /// Type of the elements.
        dtype: Dtype,
    },
}

/// An array of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    dtype: Dtype,
    bytes: Vec<u8>,
}

/// Number of elements that are checked at once.
const FINITE_BLOCK: usize = 1024;

/// Number of bytes of a tensor of this shape; `None` if no memory could hold it.
pub(crate) fn byte_len(shape: &[usize], dtype: Dtype) -> Option<usize> {
    // A dimension of 0 must not hide an overflow: the product of the others is checked too.
    let most = shape.iter().filter(|&&dim| dim != 0);
    let product = most.copied().try_fold(dtype.size(), usize::checked_mul)?;
    let product = isize::try_from(product).ok()? as usize;
    Some(if shape.contains(&0) { 0 } else { product })
}

impl Tensor {
    /// A tensor of these bytes, row-major and little-endian.
    ///
    /// # Errors
    /// [`TensorError::Size`] if their number does not match the shape.
    pub fn new(shape: &[usize], dtype: Dtype, bytes: Vec<u8>) -> Result<Self, TensorError> {
        if byte_len(shape, dtype) != Some(bytes.len()) {
            return Err(TensorError::Size {
                shape: shape.to_vec(),
                dtype,
                bytes: bytes.len(),
            });
        }
        Ok(Self {
            shape: shape.to_vec(),
            dtype,
            bytes,
        })
    }

    /// A tensor of single precision; the values row-major.
    ///
    /// # Errors
    /// [`TensorError::Size`] if their number does not match the shape.
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Result<Self, TensorError> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        Self::new(shape, Dtype::F32, bytes.collect())
    }

    /// A tensor of integers; the values row-major.
    ///
    /// # Errors
    /// [`TensorError::Size`] if their number does not match the shape.
    pub fn from_i64(shape: &[usize], values: &[i64]) -> Result<Self, TensorError> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        Self::new(shape, Dtype::I64, bytes.collect())
    }

    /// Its dimensions; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Type of the elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The elements' bytes, row-major and little-endian.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The elements' bytes, row-major and little-endian.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The same tensor in single precision, rounded as [`to_f32`](Self::to_f32) does.
    ///
    /// # Errors
    /// As [`to_f32`](Self::to_f32).
    pub fn into_f32(self) -> Result<Self, TensorError> {
        if self.dtype == Dtype::F32 {
            return Ok(self);
        }
        Self::from_f32(&self.shape, &self.to_f32()?)
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// The values in single precision, row-major; doubles and integers are rounded, `true` is 1.
    ///
    /// # Errors
    /// [`TensorError::Range`] if a finite double becomes infinite.
    pub fn to_f32(&self) -> Result<Vec<f32>, TensorError> {
        Ok(match self.dtype {
            Dtype::F32 => self.map(f32::from_le_bytes),
            Dtype::F16 => self.map(|bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::Bf16 => self.map(|bytes| bf16::from_le_bytes(bytes).to_f32()),
            Dtype::F64 => {
                let doubles = self.map(f64::from_le_bytes).into_iter().enumerate();
                let singles = doubles.map(|(index, value)| {
                    let single = value as f32;
                    if single.is_finite() || !value.is_finite() {
                        Ok(single)
                    } else {
                        Err(TensorError::Range { index, value })
                    }
                });
                singles.collect::<Result<_, _>>()?
            }
            Dtype::I64 => self.map(|bytes| i64::from_le_bytes(bytes) as f32),
            Dtype::I32 => self.map(|bytes| i32::from_le_bytes(bytes) as f32),
            Dtype::I16 => self.map(|bytes| f32::from(i16::from_le_bytes(bytes))),
            Dtype::I8 => self.map(|bytes| f32::from(i8::from_le_bytes(bytes))),
            Dtype::U8 => self.map(|[byte]| f32::from(byte)),
            Dtype::Bool => self.map(|[byte]| f32::from(u8::from(byte != 0))),
        })
    }

    /// The values of an integer tensor, row-major; `true` is 1.
    ///
    /// # Errors
    /// [`TensorError::NotIntegers`] if the elements are floating-point numbers.
    pub fn to_i64(&self) -> Result<Vec<i64>, TensorError> {
        Ok(match self.dtype {
            Dtype::I64 => self.map(i64::from_le_bytes),
            Dtype::I32 => self.map(|bytes| i64::from(i32::from_le_bytes(bytes))),
            Dtype::I16 => self.map(|bytes| i64::from(i16::from_le_bytes(bytes))),
            Dtype::I8 => self.map(|bytes| i64::from(i8::from_le_bytes(bytes))),
            Dtype::U8 => self.map(|[byte]| i64::from(byte)),
            Dtype::Bool => self.map(|[byte]| i64::from(byte != 0)),
            dtype @ (Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::Bf16) => {
                return Err(TensorError::NotIntegers { dtype });
            }
        })
    }

    /// Index and value of the first element that is infinite or NaN.
    pub(crate) fn not_finite(&self) -> Option<(usize, f64)> {
        match self.dtype {
            Dtype::F64 => self.find(f64::from_le_bytes),
            Dtype::F32 => self.find(|bytes| f64::from(f32::from_le_bytes(bytes))),
            Dtype::F16 => self.find(|bytes| f16::from_le_bytes(bytes).to_f64()),
            Dtype::Bf16 => self.find(|bytes| bf16::from_le_bytes(bytes).to_f64()),
            Dtype::I64 | Dtype::I32 | Dtype::I16 | Dtype::I8 | Dtype::U8 | Dtype::Bool => None,
        }
    }

    fn find<const N: usize>(&self, value: impl Fn([u8; N]) -> f64) -> Option<(usize, f64)> {
        let (elements, _) = self.bytes.as_chunks();
        // Without a branch per element, which is several times faster.
        let all_finite = |block: &[[u8; N]]| {
            let finite = block.iter().map(|&bytes| value(bytes).is_finite());
            finite.fold(true, |all, finite| all & finite)
        };
        let mut blocks = elements.chunks(FINITE_BLOCK).enumerate();
        let (block, elements) = blocks.find(|(_, block)| !all_finite(block))?;
        let elements = elements.iter().map(|&bytes| value(bytes)).enumerate();
        let mut bad = elements.filter(|(_, value)| !value.is_finite());
        let (index, value) = bad.next()?;
        Some((block * FINITE_BLOCK + index, value))
    }

    fn map<const N: usize, T>(&self, value: impl Fn([u8; N]) -> T) -> Vec<T> {
        let elements = self.bytes.as_chunks().0.iter();
        elements.map(|&bytes| value(bytes)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_becomes_single_precision() {
        let case = |dtype, bytes: &[u8], expected: &[f32]| {
            let shape = [bytes.len() / Dtype::size(dtype)];
            let tensor = Tensor::new(&shape, dtype, bytes.to_vec()).unwrap();
            assert_eq!(tensor.to_f32().unwrap(), expected, "{dtype}");
            let single = tensor.clone().into_f32().unwrap();
            assert_eq!(single, Tensor::from_f32(&shape, expected).unwrap());
            tensor
        };
        case(Dtype::F32, &(-1.5f32).to_le_bytes(), &[-1.5]);
        case(Dtype::F64, &(0.1f64).to_le_bytes(), &[0.1]);
        case(Dtype::F16, &[0x00, 0x3e, 0x01, 0x00], &[1.5, 5.9604645e-8]);
        case(Dtype::Bf16, &[0xc0, 0x3f], &[1.5]);
        let integers = [
            case(Dtype::I64, &(-3i64).to_le_bytes(), &[-3.0]),
            case(Dtype::I32, &(-3i32).to_le_bytes(), &[-3.0]),
            case(Dtype::I16, &(-3i16).to_le_bytes(), &[-3.0]),
            case(Dtype::I8, &(-3i8).to_le_bytes(), &[-3.0]),
        ];
        for tensor in integers {
            assert_eq!(tensor.to_i64().unwrap(), [-3]);
        }
        let unsigned = case(Dtype::U8, &[255], &[255.0]);
        assert_eq!(unsigned.to_i64().unwrap(), [255]);
        let truths = case(Dtype::Bool, &[0, 1, 2], &[0.0, 1.0, 1.0]);
        assert_eq!(truths.to_i64().unwrap(), [0, 1, 1]);
    }

    #[test]
    fn errors_name_the_values() {
        let message = |error: TensorError| error.to_string();
        assert_eq!(
            message(Tensor::from_f32(&[2, 2], &[1.0]).unwrap_err()),
            "shape [2, 2] of F32 does not fit 4 bytes"
        );
        let huge = [usize::MAX, 2, 0];
        assert!(Tensor::new(&huge, Dtype::F32, vec![]).is_err());
        let doubles: Vec<u8> = [1.0f64, 1e300].map(f64::to_le_bytes).concat();
        let doubles = Tensor::new(&[2], Dtype::F64, doubles).unwrap();
        assert_eq!(
            message(doubles.to_f32().unwrap_err()),
            "element 1, 1e300, is too large for single precision"
        );
        assert_eq!(
            message(doubles.to_i64().unwrap_err()),
            "the elements are F64, expected integers"
        );
    }

    #[test]
    fn the_first_element_that_is_not_finite_is_found() {
        let tensor = |dtype, bytes: &[u8]| {
            let shape = [bytes.len() / Dtype::size(dtype)];
            Tensor::new(&shape, dtype, bytes.to_vec()).unwrap()
        };
        let singles = [1.0, f32::INFINITY, f32::NAN]
            .map(f32::to_le_bytes)
            .concat();
        assert_eq!(
            tensor(Dtype::F32, &singles).not_finite(),
            Some((1, f64::INFINITY))
        );
        let halves = tensor(Dtype::F16, &[0, 0x3c, 0, 0xfc]);
        assert_eq!(halves.not_finite(), Some((1, f64::NEG_INFINITY)));
        let (index, value) = tensor(Dtype::Bf16, &[0xc0, 0x7f]).not_finite().unwrap();
        assert!(index == 0 && value.is_nan());
        let doubles = tensor(Dtype::F64, &f64::NAN.to_le_bytes());
        assert!(doubles.not_finite().is_some());
        assert_eq!(tensor(Dtype::I64, &[255; 8]).not_finite(), None);
        for index in [0, FINITE_BLOCK - 1, FINITE_BLOCK, 2 * FINITE_BLOCK + 5] {
            let mut values = vec![1.0f32; 2 * FINITE_BLOCK + 6];
            values[index..].fill(f32::INFINITY);
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            let found = tensor(Dtype::F32, &bytes).not_finite();
            assert_eq!(found, Some((index, f64::INFINITY)));
        }
    }
}
