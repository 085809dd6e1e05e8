//! Types of scores.

use topk_ops::{bf16, f16};

/// Types of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    F32,
    F16,
    Bf16,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The nearest number of this type.
    pub fn round(self, number: f64) -> f64 {
        match self {
            Self::F32 => (number as f32).into(),
            Self::F16 => f16::from_f64(number).into(),
            Self::Bf16 => bf16::from_f64(number).into(),
        }
    }

    pub fn to_bytes(self, number: f64) -> Vec<u8> {
        match self {
            Self::F32 => (number as f32).to_ne_bytes().to_vec(),
            Self::F16 => f16::from_f64(number).to_ne_bytes().to_vec(),
            Self::Bf16 => bf16::from_f64(number).to_ne_bytes().to_vec(),
        }
    }

    pub fn of_bytes(self, bytes: &[u8]) -> f64 {
        match self {
            Self::F32 => f32::from_ne_bytes(bytes.try_into().unwrap()).into(),
            Self::F16 => f16::from_ne_bytes(bytes.try_into().unwrap()).into(),
            Self::Bf16 => bf16::from_ne_bytes(bytes.try_into().unwrap()).into(),
        }
    }

    /// How far rounding to this type moves a number at most.
    pub fn rounding(self, number: f64) -> f64 {
        let (epsilon, smallest) = match self {
            Self::F32 => (f32::EPSILON.into(), f32::MIN_POSITIVE.into()),
            Self::F16 => (f16::EPSILON.into(), f16::MIN_POSITIVE.into()),
            Self::Bf16 => (bf16::EPSILON.into(), bf16::MIN_POSITIVE.into()),
        };
        let epsilon: f64 = epsilon;
        0.5 * epsilon * f64::max(number.abs(), smallest)
    }
}
