//! Inputs that are made up to run a model whose data nobody has at hand.

use half::{bf16, f16};
use ort::session::SessionInputValue;
use ort::value::{Outlet, Tensor, TensorElementType, ValueType};
use topk_onnx::proto::DataType;

/// Sizes that are tried for what a model leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Number of samples.
    pub(super) batch: usize,
    /// Height and width of images.
    pub(super) side: usize,
}

impl Sizes {
    /// From the likely to the less likely.
    pub(super) const ALL: [Self; 6] = [
        Self::new(2, 224),
        Self::new(2, 32),
        Self::new(1, 224),
        Self::new(1, 32),
        Self::new(2, 299),
        Self::new(1, 299),
    ];

    const fn new(batch: usize, side: usize) -> Self {
        Self { batch, side }
    }
}

/// Length of sequences of tokens, and other open dimensions.
const LENGTH: usize = 16;

/// Noise for an input: numbers from 0 to 1, bytes, and integers that are likely to be tokens or masks.
///
/// # Errors
/// A message, if its type is not supported.
pub(super) fn noise(input: &Outlet, sizes: Sizes) -> Result<SessionInputValue<'static>, String> {
    let ValueType::Tensor { ty, shape, .. } = input.dtype() else {
        return Err(format!("its input `{}` is not a tensor", input.name()));
    };
    let is_image = shape.len() == 4;
    let dims = shape.iter().enumerate().map(|(at, &size)| match size {
        0.. => size as usize,
        _ if at == 0 => sizes.batch,
        _ if is_image => sizes.side,
        _ => LENGTH,
    });
    let dims: Vec<usize> = dims.collect();
    let count: usize = dims.iter().product();
    let fractions = || fractions(count);
    let value = match ty {
        TensorElementType::Float32 => floats(DataType::Float, dims, fractions()),
        TensorElementType::Float64 => floats(DataType::Double, dims, fractions()),
        TensorElementType::Float16 => floats(DataType::Float16, dims, fractions()),
        TensorElementType::Bfloat16 => floats(DataType::Bfloat16, dims, fractions()),
        TensorElementType::Uint8 => {
            let bytes = fractions().into_iter().map(|value| (value * 255.0) as u8);
            tensor(dims, bytes.collect::<Vec<_>>())
        }
        TensorElementType::Int64 => tensor(dims, vec![1i64; count]),
        TensorElementType::Int32 => tensor(dims, vec![1i32; count]),
        TensorElementType::Bool => tensor(dims, vec![true; count]),
        other => return Err(format!("its input `{}` has type {other}", input.name())),
    };
    value.map_err(|error| error.to_string())
}

/// Numbers from 0 to 1 in no order.
pub(super) fn fractions(count: usize) -> Vec<f32> {
    let numbers = (0..count as u32).map(|i| i.wrapping_mul(2_654_435_761) >> 8);
    numbers
        .map(|number| number as f32 / (1 << 24) as f32)
        .collect()
}

/// A tensor of this floating-point type.
pub(super) fn floats(
    data_type: DataType,
    dims: Vec<usize>,
    values: Vec<f32>,
) -> ort::Result<SessionInputValue<'static>> {
    let values = values.into_iter();
    match data_type {
        DataType::Double => tensor(dims, values.map(f64::from).collect::<Vec<_>>()),
        DataType::Float16 => tensor(dims, values.map(f16::from_f32).collect::<Vec<_>>()),
        DataType::Bfloat16 => tensor(dims, values.map(bf16::from_f32).collect::<Vec<_>>()),
        _ => tensor(dims, values.collect::<Vec<_>>()),
    }
}

/// Labels of this integer type.
pub(super) fn labels(
    data_type: DataType,
    labels: &[i64],
) -> ort::Result<SessionInputValue<'static>> {
    let dims = vec![labels.len()];
    match data_type {
        DataType::Int32 => tensor(dims, labels.iter().map(|&label| label as i32).collect()),
        _ => tensor(dims, labels.to_vec()),
    }
}

fn tensor<T>(dims: Vec<usize>, values: Vec<T>) -> ort::Result<SessionInputValue<'static>>
where
    T: ort::value::PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    Ok(Tensor::from_array((dims, values))?.into())
}
