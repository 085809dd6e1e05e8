//! The elements of tensors as slices, without copying.

use tch::kind::Element;
use tch::{Device, TchError, Tensor};

/// Checks that `tensor` is a row-major array of elements of type `T` on the host.
fn check<T: Element>(tensor: &Tensor) {
    assert_eq!(tensor.kind(), T::KIND, "the tensor has another type");
    assert_eq!(
        tensor.device(),
        Device::Cpu,
        "the tensor is on another device"
    );
    assert!(tensor.is_contiguous(), "the tensor is not contiguous");
}

/// All elements of a contiguous tensor on the CPU.
///
/// # Panics
/// If the tensor has another type, is on another device or is not contiguous.
pub(crate) fn elements<T: Element>(tensor: &Tensor) -> &[T] {
    check::<T>(tensor);
    match tensor.numel() {
        0 => &[],
        // SAFETY: a contiguous tensor of this type on the CPU is that many elements at its data
        // pointer, alive as long as `tensor`. Nothing writes to them meanwhile: tensors are not `Sync`, and
        // the callers here call nothing that writes.
        numel => unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), numel) },
    }
}

/// All elements of a tensor that does not share its memory.
///
/// # Panics
/// As for [`elements`].
pub(crate) fn elements_mut<T: Element>(tensor: &mut OwnTensor) -> &mut [T] {
    let tensor = &tensor.0;
    check::<T>(tensor);
    match tensor.numel() {
        0 => &mut [],
        // SAFETY: as above, and `OwnTensor` was made with new memory that no other tensor knows of,
        // so that the exclusive borrow of it is one of the memory. libtorch's allocator gave that
        // memory with any bits in it, and any bits are values of `T`.
        numel => unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), numel) },
    }
}

/// A new tensor on the CPU that is the only reference to its memory.
#[derive(Debug)]
pub(crate) struct OwnTensor(Tensor);

impl OwnTensor {
    /// A tensor of this shape with unspecified contents.
    pub(crate) fn empty<T: Element>(shape: &[i64]) -> Result<Self, TchError> {
        Tensor::f_empty(shape, (T::KIND, Device::Cpu)).map(Self)
    }

    /// Returns the tensor, which may be shared from then on.
    pub(crate) fn into_tensor(self) -> Tensor {
        self.0
    }
}
