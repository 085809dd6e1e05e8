//! The native part of the Python package `topk`: the losses of `topk-ops` on the memory of tensors and arrays.
//!
//! It knows neither PyTorch nor NumPy. Python passes addresses, and the package around it (`py_src`) checks shapes
//! and types, so that one library serves every version of both.

mod cuda;
mod loss;
mod memory;
mod onnx;
mod threads;

use pyo3::prelude::*;

/// The losses on raw memory. Private: use `topk.functional` or `topk.nn`.
#[pymodule(gil_used = false)]
fn _topk(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<loss::Loss>()?;
    module.add_class::<cuda::CudaLoss>()?;
    module.add_function(wrap_pyfunction!(cuda::cuda_is_available, module)?)?;
    module.add_function(wrap_pyfunction!(loss::instructions, module)?)?;
    module.add_function(wrap_pyfunction!(onnx::onnx_function, module)?)
}
