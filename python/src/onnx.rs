//! The losses as functions of ONNX's standard operators.

use prost::Message;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use topk_ops::operator::LossOperator;
use topk_ops_onnx::OnnxLoss;

use crate::loss::{invalid, parse_reduction};

/// The `FunctionProto` of an operator, serialized, for scores of `classes` classes and version `opset` of ONNX's
/// operators. `k`, `tau` and `alpha` are ignored if the operator does not have them.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "the settings of the operator")]
pub(crate) fn onnx_function<'py>(
    py: Python<'py>,
    operator: &str,
    k: usize,
    tau: f64,
    alpha: f64,
    reduction: &str,
    ignore_index: Option<i64>,
    opset: i64,
    classes: usize,
    weighted: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    let operator = LossOperator::ALL
        .into_iter()
        .find(|each| each.name() == operator)
        .ok_or_else(|| PyValueError::new_err(format!("{operator} is not an operator of topk")))?;
    let loss = OnnxLoss {
        loss: operator.loss(k, tau, alpha).map_err(invalid)?,
        reduction: parse_reduction(reduction)?,
        ignore_index,
    };
    let function = loss
        .function(opset, classes, weighted)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &function.encode_to_vec()))
}
