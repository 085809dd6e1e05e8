use half::f16;
use ort::memory::Allocator;
use ort::session::SessionInputValue;
use ort::value::{PrimitiveTensorElementType, Tensor};
use std::fmt::Debug;

/// Channels of an image: red, green, blue.
pub(crate) const CHANNELS: usize = 3;

/// Type and layout of the input of a model.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum InputKind {
    /// Normalised, `f32` `[batch, channels, height, width]`.
    F32,
    /// Normalised, `f16` `[batch, channels, height, width]`.
    F16,
    /// Raw pixels, `u8` `[batch, height, width, channels]`.
    U8,
}

/// A batch of images in the type and layout of a model, in memory of ONNX Runtime.
#[derive(Debug)]
pub struct InputTensor {
    count: usize,
    size: [usize; 2],
    values: Values,
}

#[derive(Debug)]
enum Values {
    F32(Tensor<f32>),
    F16(Tensor<f16>),
    U8(Tensor<u8>),
}

/// The values of some images of a tensor.
#[derive(Debug)]
pub(crate) enum ValuesMut<'a> {
    F32(&'a mut [f32]),
    F16(&'a mut [f16]),
    U8(&'a mut [u8]),
}

impl InputTensor {
    /// Images `[count, 3, height, width]`, normalised.
    ///
    /// # Panics
    /// If the length of `images` is not a multiple of the image size, or an image has no pixels.
    pub fn f32(images: Vec<f32>, size: [usize; 2]) -> Self {
        let len = CHANNELS * size[0] * size[1];
        assert!(len > 0 && images.len().is_multiple_of(len));
        let count = images.len() / len;
        let tensor = Tensor::from_array((InputKind::F32.shape(count, size), images));
        Self {
            count,
            size,
            values: Values::F32(tensor.expect("the shape fits the values")),
        }
    }

    /// A batch of zeros in memory of this allocator.
    pub(crate) fn zeros(
        allocator: &Allocator,
        kind: InputKind,
        count: usize,
        size: [usize; 2],
    ) -> ort::Result<Self> {
        fn zeros<T: PrimitiveTensorElementType + Debug + Copy>(
            allocator: &Allocator,
            shape: [usize; 4],
            zero: T,
        ) -> ort::Result<Tensor<T>> {
            let mut tensor = Tensor::new(allocator, shape)?;
            tensor.extract_tensor_mut().1.fill(zero);
            Ok(tensor)
        }
        let shape = kind.shape(count, size);
        let values = match kind {
            InputKind::F32 => Values::F32(zeros(allocator, shape, 0.0)?),
            InputKind::F16 => Values::F16(zeros(allocator, shape, f16::ZERO)?),
            InputKind::U8 => Values::U8(zeros(allocator, shape, 0)?),
        };
        Ok(Self {
            count,
            size,
            values,
        })
    }

    /// Number of images.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Height and width of the images.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Type and layout.
    pub fn kind(&self) -> InputKind {
        match self.values {
            Values::F32(_) => InputKind::F32,
            Values::F16(_) => InputKind::F16,
            Values::U8(_) => InputKind::U8,
        }
    }

    /// The tensor, for a run.
    pub(crate) fn value(&self) -> SessionInputValue<'_> {
        match &self.values {
            Values::F32(tensor) => tensor.into(),
            Values::F16(tensor) => tensor.into(),
            Values::U8(tensor) => tensor.into(),
        }
    }

    /// The values in groups of `images` images.
    pub(crate) fn groups_mut(&mut self, images: usize) -> Vec<ValuesMut<'_>> {
        let len = images * CHANNELS * self.size[0] * self.size[1];
        match &mut self.values {
            Values::F32(tensor) => parts(tensor, len).map(ValuesMut::F32).collect(),
            Values::F16(tensor) => parts(tensor, len).map(ValuesMut::F16).collect(),
            Values::U8(tensor) => parts(tensor, len).map(ValuesMut::U8).collect(),
        }
    }

    /// `count` images from index `start`, padded with zeros to `batch` images.
    pub(crate) fn padded(&self, start: usize, count: usize, batch: usize) -> ort::Result<Self> {
        let allocator = Allocator::default();
        let mut padded = Self::zeros(&allocator, self.kind(), batch, self.size)?;
        let image = CHANNELS * self.size[0] * self.size[1];
        let range = start * image..(start + count) * image;
        match (&self.values, &mut padded.values) {
            (Values::F32(from), Values::F32(to)) => copy(from, range, to),
            (Values::F16(from), Values::F16(to)) => copy(from, range, to),
            (Values::U8(from), Values::U8(to)) => copy(from, range, to),
            _ => unreachable!("both have the same kind"),
        }
        Ok(padded)
    }
}

impl InputKind {
    fn shape(self, count: usize, [height, width]: [usize; 2]) -> [usize; 4] {
        match self {
            Self::F32 | Self::F16 => [count, CHANNELS, height, width],
            Self::U8 => [count, height, width, CHANNELS],
        }
    }
}

fn parts<T: PrimitiveTensorElementType + Debug>(
    tensor: &mut Tensor<T>,
    len: usize,
) -> std::slice::ChunksExactMut<'_, T> {
    tensor.extract_tensor_mut().1.chunks_exact_mut(len)
}

fn copy<T: PrimitiveTensorElementType + Debug + Copy>(
    from: &Tensor<T>,
    range: std::ops::Range<usize>,
    to: &mut Tensor<T>,
) {
    let values = &from.extract_tensor().1[range];
    to.extract_tensor_mut().1[..values.len()].copy_from_slice(values);
}
