//! Images and scores as arrays of `ndarray`.

mod batches;
mod logits;

use std::fmt::Debug;

use half::{bf16, f16};
use ort::value::{PrimitiveTensorElementType, Tensor};

pub use self::batches::{Batches, ImageBatch, UNLABELLED};
use crate::input::{Element, SliceMut, ValuesView};

/// The types of the elements of images: those of [`Element`].
pub trait InputElement: sealed::Elements {
    /// The type as a value.
    const ELEMENT: Element;
}

mod sealed {
    use super::*;

    /// Elements of the tensors that models are run with.
    pub trait Elements:
        PrimitiveTensorElementType + Copy + Debug + Default + Send + Sync + 'static
    {
        fn slice_mut(values: &mut [Self]) -> SliceMut<'_>;

        fn view(tensor: &Tensor<Self>) -> ValuesView<'_>;
    }
}

macro_rules! elements {
    ($($element:ty: $variant:ident),*) => {$(
        impl InputElement for $element {
            const ELEMENT: Element = Element::$variant;
        }

        impl sealed::Elements for $element {
            fn slice_mut(values: &mut [Self]) -> SliceMut<'_> {
                SliceMut::$variant(values)
            }

            fn view(tensor: &Tensor<Self>) -> ValuesView<'_> {
                ValuesView::$variant(tensor)
            }
        }
    )*};
}

elements!(f32: F32, f16: F16, bf16: Bf16, f64: F64, u8: U8);
