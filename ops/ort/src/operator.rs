//! The operators in the form that ONNX Runtime expects: tables of functions in a domain.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Mutex;

use ort_sys::{
    ONNXTensorElementDataType, OrtApi, OrtApiBase, OrtCustomOp, OrtCustomOpDomain,
    OrtCustomOpInputOutputCharacteristic, OrtErrorCode, OrtKernelContext, OrtKernelInfo,
    OrtMemType, OrtSessionOptions, OrtShapeInferContext, OrtStatusPtr,
};
use topk_ops::operator::{DOMAIN, DOMAIN_VERSION, LossOperator};
use topk_ops::{Score, bf16, f16};

use crate::ffi::{
    API_VERSION, Api, CUDA, Element, IntraOpThreads, KernelInfo, KernelInputs, KernelOutputs,
    RuntimeError, SHAPE_INFERENCE, ShapeInference, call, context,
};
use crate::kernel::{self, INPUTS, Kernel, KernelError, Label};

/// An operator for one type of scores and one of labels.
#[repr(C)]
struct Operator {
    /// The first field, so that ONNX Runtime's pointer to it is also a pointer to the operator.
    table: OrtCustomOp,
    api: Api,
    loss: LossOperator,
    name: CString,
    scores: ONNXTensorElementDataType,
    labels: ONNXTensorElementDataType,
    /// Whether the operator is for the CUDA provider, and its inputs and outputs are in device memory.
    on_cuda: bool,
    compute: Compute,
}

/// [`Kernel::compute`] for the operator's types.
type Compute = fn(
    &Kernel,
    &KernelInputs<'_>,
    &mut KernelOutputs<'_>,
    &IntraOpThreads<'_>,
) -> Result<(), KernelError>;

/// The object that ONNX Runtime keeps for a node.
struct Instance {
    operator: &'static Operator,
    kernel: Kernel,
}

// Concurrent runs share an instance.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Instance>();
};

impl Operator {
    fn new<T: Score + Element, L: Label>(runtime: Runtime, loss: LossOperator) -> Self {
        // SAFETY: the table is a number and optional functions; zeros are 0 and no functions.
        let zeros: OrtCustomOp = unsafe { MaybeUninit::zeroed().assume_init() };
        Self {
            table: OrtCustomOp {
                version: API_VERSION,
                GetName: Some(name),
                GetExecutionProviderType: Some(execution_provider),
                GetInputType: Some(input_type),
                GetInputTypeCount: Some(input_count),
                GetOutputType: Some(output_type),
                GetOutputTypeCount: Some(output_count),
                KernelDestroy: Some(destroy),
                GetInputCharacteristic: Some(input_characteristic),
                GetOutputCharacteristic: Some(output_characteristic),
                GetInputMemoryType: Some(input_memory),
                GetVariadicInputMinArity: Some(zero),
                GetVariadicInputHomogeneity: Some(zero),
                GetVariadicOutputMinArity: Some(zero),
                GetVariadicOutputHomogeneity: Some(zero),
                InferOutputShapeFn: (runtime.minor >= SHAPE_INFERENCE).then_some(infer_shapes),
                CreateKernelV2: Some(create),
                KernelComputeV2: Some(compute),
                GetStartVersion: Some(version),
                GetEndVersion: Some(version),
                ..zeros
            },
            api: runtime.api,
            loss,
            name: CString::new(loss.name()).expect("names have no NUL"),
            scores: T::TYPE,
            labels: L::TYPE,
            on_cuda: false,
            compute: Kernel::compute::<T, L>,
        }
    }

    /// The operator on a GPU. Other types are left to the CPU: ONNX Runtime copies the tensors.
    fn on_cuda(runtime: Runtime, loss: LossOperator) -> Self {
        Self {
            on_cuda: true,
            compute: Kernel::compute_on_cuda,
            ..Self::new::<f32, i64>(runtime, loss)
        }
    }

    /// The operators for all types of scores and labels.
    fn all_types(runtime: Runtime, loss: LossOperator) -> [Self; 8] {
        [
            Self::new::<f32, i64>(runtime, loss),
            Self::new::<f64, i64>(runtime, loss),
            Self::new::<f16, i64>(runtime, loss),
            Self::new::<bf16, i64>(runtime, loss),
            Self::new::<f32, i32>(runtime, loss),
            Self::new::<f64, i32>(runtime, loss),
            Self::new::<f16, i32>(runtime, loss),
            Self::new::<bf16, i32>(runtime, loss),
        ]
    }

    /// # Safety
    /// `table` must be that of an [`Operator`] that is never dropped.
    unsafe fn of(table: *const OrtCustomOp) -> &'static Self {
        // SAFETY: the table is the first field of the operator, which lives on by the promise of the
        // caller. The pointers that ONNX Runtime is given are made from ones to the whole.
        unsafe { &*table.cast() }
    }

    /// Prefixes the error message with the operator's name.
    fn describe(&self, error: KernelError) -> String {
        format!("{}: {error}", self.loss.name())
    }
}

// The functions of the table. ONNX Runtime calls them with a table of `domain`, an index below what
// `input_count` or `output_count` says, and objects of its own that are valid during the call.

unsafe extern "system" fn name(table: *const OrtCustomOp) -> *const c_char {
    // SAFETY: the table is one of `domain`.
    unsafe { Operator::of(table) }.name.as_ptr()
}

unsafe extern "system" fn execution_provider(table: *const OrtCustomOp) -> *const c_char {
    // SAFETY: the table is one of `domain`.
    if unsafe { Operator::of(table) }.on_cuda {
        c"CUDAExecutionProvider".as_ptr()
    } else {
        // The CPU.
        ptr::null()
    }
}

unsafe extern "system" fn input_type(
    table: *const OrtCustomOp,
    index: usize,
) -> ONNXTensorElementDataType {
    // SAFETY: the table is one of `domain`.
    let operator = unsafe { Operator::of(table) };
    match index {
        1 => operator.labels,
        _ => operator.scores,
    }
}

unsafe extern "system" fn input_count(_: *const OrtCustomOp) -> usize {
    INPUTS.len()
}

unsafe extern "system" fn output_type(
    table: *const OrtCustomOp,
    _: usize,
) -> ONNXTensorElementDataType {
    // SAFETY: the table is one of `domain`.
    unsafe { Operator::of(table) }.scores
}

unsafe extern "system" fn output_count(table: *const OrtCustomOp) -> usize {
    // SAFETY: the table is one of `domain`.
    unsafe { Operator::of(table) }.loss.output_names().len()
}

unsafe extern "system" fn input_characteristic(
    _: *const OrtCustomOp,
    index: usize,
) -> OrtCustomOpInputOutputCharacteristic {
    match INPUTS.get(index) {
        Some(&"weights") => OrtCustomOpInputOutputCharacteristic::INPUT_OUTPUT_OPTIONAL,
        _ => OrtCustomOpInputOutputCharacteristic::INPUT_OUTPUT_REQUIRED,
    }
}

unsafe extern "system" fn output_characteristic(
    _: *const OrtCustomOp,
    index: usize,
) -> OrtCustomOpInputOutputCharacteristic {
    match index {
        0 => OrtCustomOpInputOutputCharacteristic::INPUT_OUTPUT_REQUIRED,
        _ => OrtCustomOpInputOutputCharacteristic::INPUT_OUTPUT_OPTIONAL,
    }
}

unsafe extern "system" fn input_memory(_: *const OrtCustomOp, _: usize) -> OrtMemType {
    OrtMemType::OrtMemTypeDefault
}

unsafe extern "system" fn zero(_: *const OrtCustomOp) -> c_int {
    // No input or output is variadic.
    0
}

unsafe extern "system" fn version(_: *const OrtCustomOp) -> c_int {
    DOMAIN_VERSION as c_int
}

unsafe extern "system" fn infer_shapes(
    table: *const OrtCustomOp,
    context: *mut OrtShapeInferContext,
) -> OrtStatusPtr {
    // SAFETY: the table is one of `domain`.
    let operator = unsafe { Operator::of(table) };
    operator.api.guard(|| {
        // SAFETY: the context is valid during this call, and `Operator::new` checks the version.
        let shapes = unsafe { ShapeInference::new(operator.api, context) };
        // ONNX Runtime would neither report nor release an error.
        let _ = kernel::infer_shapes(operator.loss, &shapes);
        Ok(())
    })
}

unsafe extern "system" fn create(
    table: *const OrtCustomOp,
    _: *const OrtApi,
    info: *const OrtKernelInfo,
    instance: *mut *mut c_void,
) -> OrtStatusPtr {
    // SAFETY: the table is one of `domain`.
    let operator = unsafe { Operator::of(table) };
    operator.api.guard(|| {
        // SAFETY: ONNX Runtime's description of the node is valid during this call.
        let info = unsafe { KernelInfo::new(operator.api, info) };
        let kernel = Kernel::new(operator.loss, &info)
            .and_then(|kernel| {
                if operator.on_cuda {
                    kernel.check_cuda()?;
                }
                Ok(kernel)
            })
            .map_err(|error| operator.describe(error))?;
        let boxed = Box::new(Instance { operator, kernel });
        // SAFETY: `instance` is a place for one pointer.
        unsafe { instance.write(Box::into_raw(boxed).cast()) };
        Ok(())
    })
}

unsafe extern "system" fn compute(
    instance: *mut c_void,
    kernel_context: *mut OrtKernelContext,
) -> OrtStatusPtr {
    // SAFETY: ONNX Runtime passes a pointer from `create`, possibly on several threads at once, which
    // only read it.
    let Instance { operator, kernel } = unsafe { &*instance.cast::<Instance>() };
    operator.api.guard(|| {
        // SAFETY: the context is valid during this call, and its own.
        let (inputs, mut outputs, threads) = unsafe { context(operator.api, kernel_context) };
        (operator.compute)(kernel, &inputs, &mut outputs, &threads)
            .map_err(|error| operator.describe(error))
    })
}

unsafe extern "system" fn destroy(instance: *mut c_void) {
    // SAFETY: ONNX Runtime passes a pointer from `create`, once, after the last `compute`.
    drop(unsafe { Box::from_raw(instance.cast::<Instance>()) });
}

/// An ONNX Runtime that is loaded into the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runtime {
    pub(crate) api: Api,
    /// The minor version: x of 1.x.
    pub(crate) minor: u32,
}

/// A domain of operators, which is never released.
#[derive(Clone, Copy)]
struct Domain(*mut OrtCustomOpDomain);

// SAFETY: once it is complete, ONNX Runtime only reads it.
unsafe impl Send for Domain {}

/// The domain with all operators, created once per ONNX Runtime of the process.
fn domain(runtime: Runtime) -> Result<Domain, RuntimeError> {
    static DOMAINS: Mutex<Vec<(Api, Domain)>> = Mutex::new(Vec::new());
    let api = runtime.api;
    let mut domains = DOMAINS.lock().expect("no panic while locked");
    if let Some((_, domain)) = domains.iter().find(|(of, _)| *of == api) {
        return Ok(*domain);
    }
    let name = CString::new(DOMAIN).expect("the name has no NUL");
    let mut domain = ptr::null_mut();
    // SAFETY: the name is NUL-terminated and copied, and `domain` a place for one pointer.
    unsafe {
        api.check(call!(
            api,
            CreateCustomOpDomain(name.as_ptr(), &raw mut domain)
        ))?
    };
    let mut operators: Vec<Operator> = LossOperator::ALL
        .into_iter()
        .flat_map(|loss| Operator::all_types(runtime, loss))
        .collect();
    if runtime.minor >= CUDA {
        let losses = LossOperator::ALL.into_iter();
        let losses = losses.filter(|&loss| kernel::has_cuda_kernel(loss));
        operators.extend(losses.map(|loss| Operator::on_cuda(runtime, loss)));
    }
    for operator in operators.leak() {
        let table = (&raw const *operator).cast();
        // SAFETY: the domain is new, and the table stays for the rest of the process.
        unsafe { api.check(call!(api, CustomOpDomain_Add(domain, table)))? };
    }
    domains.push((api, Domain(domain)));
    Ok(Domain(domain))
}

/// Adds the operators to the options of a session.
///
/// # Safety
/// `options` must be valid, and belong to this ONNX Runtime.
pub(crate) unsafe fn add(
    runtime: Runtime,
    options: *mut OrtSessionOptions,
) -> Result<(), RuntimeError> {
    let api = runtime.api;
    let domain = domain(runtime)?;
    // SAFETY: the options are valid by the promise of the caller; the domain is never released.
    unsafe { api.check(call!(api, AddCustomOpDomain(options, domain.0))) }
}

/// The entry point of the operator library: adds the operators to the options of a session.
///
/// ONNX Runtime calls it when a program loads the library, with `register_custom_ops_library` in Python
/// or `RegisterCustomOpsLibrary_V2` in C.
///
/// # Safety
/// `base` must come from `OrtGetApiBase` of an ONNX Runtime, and `options` be valid and belong to
/// it.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn RegisterCustomOps(
    options: *mut OrtSessionOptions,
    base: *const OrtApiBase,
) -> OrtStatusPtr {
    // SAFETY: `base` is valid by the promise of the caller, and the version a NUL-terminated string.
    let version = unsafe { CStr::from_ptr(((*base).GetVersionString)()) }.to_string_lossy();
    let minor = version.split('.').nth(1);
    let minor = minor.and_then(|minor| minor.parse().ok());
    let minor = minor.unwrap_or(API_VERSION);
    // SAFETY: `base` is valid by the promise of the caller, and ONNX Runtime's tables are static. All of
    // them begin with the entry that creates a status.
    let table = |version| unsafe { Api::new(((*base).GetApi)(version)) };
    // An ONNX Runtime that lacks the requested table would print its own error message.
    let wanted = if minor >= CUDA { CUDA } else { API_VERSION };
    let api = (minor >= API_VERSION).then(|| table(wanted)).flatten();
    let Some(api) = api else {
        let message =
            format!("topk-ops-ort needs ONNX Runtime 1.{API_VERSION} or later, found {version}");
        return table(1).map_or_else(OrtStatusPtr::default, |api| {
            api.status(OrtErrorCode::ORT_NOT_IMPLEMENTED, &message)
        });
    };
    let runtime = Runtime { api, minor };
    // SAFETY: the options are valid by the promise of the caller.
    api.guard(|| unsafe { add(runtime, options) }.map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::tests::table;

    #[test]
    fn one_domain_for_each_runtime() {
        let domain_of = |table: *const OrtApi| {
            // SAFETY: the tables are of a later version, and stay.
            let api = unsafe { Api::new(table) }.unwrap();
            domain(Runtime { api, minor: 17 }).unwrap().0
        };
        let another: &OrtApi = Box::leak(Box::new(table().clone()));
        assert_eq!(domain_of(table()), domain_of(table()));
        assert_eq!(domain_of(another), domain_of(another));
        assert_ne!(domain_of(table()), domain_of(another));
    }
}
