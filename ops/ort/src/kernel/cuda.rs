//! The operators on a GPU, tested with tensors of the CPU: through a driver whose device is the CPU, and a kernel
//! context with ONNX Runtime's own tensors.

use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_NOW};
use ort::AsPointer;
use ort::value::Tensor;
use ort_sys::{OrtAllocator, OrtApi, OrtKernelContext, OrtMemoryInfo, OrtStatusPtr, OrtValue};
use topk_ops::operator::LossOperator;
use topk_ops::{Criterion, Reduction};
use topk_testing::Emulation;

use super::Kernel;
use crate::ffi::tests::table;
use crate::ffi::{Api, context};

/// Loads the emulated driver; `false` if the test should be skipped.
fn has_driver() -> bool {
    // It stays loaded, so that the driver is found by its name.
    static LOADED: OnceLock<Option<Library>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| {
        let file = Emulation::Driver.build()?;
        // SAFETY: its initialisers only set up its own state.
        Some(unsafe { Library::open(Some(file), RTLD_NOW) }.unwrap())
    });
    loaded.is_some()
}

/// The tensors of a call, and the scratch memory that is allocated.
#[derive(Default)]
struct Call {
    inputs: Vec<*const OrtValue>,
    outputs: Vec<*mut OrtValue>,
    scratch: RefCell<Vec<usize>>,
    releases: RefCell<usize>,
}

/// # Safety
/// The context is a [`Call`].
unsafe fn call_of<'a>(context: *const OrtKernelContext) -> &'a Call {
    // SAFETY: the caller's promise.
    unsafe { &*context.cast() }
}

thread_local! {
    static CURRENT: RefCell<*const OrtKernelContext> = const { RefCell::new(ptr::null()) };
}

// SAFETY of the functions: contexts are of type `Call`, and the other pointers are places to write to.

unsafe extern "system" fn input_count(
    context: *const OrtKernelContext,
    count: *mut usize,
) -> OrtStatusPtr {
    // SAFETY: see above.
    unsafe { count.write(call_of(context).inputs.len()) };
    OrtStatusPtr::default()
}

unsafe extern "system" fn input(
    context: *const OrtKernelContext,
    index: usize,
    value: *mut *const OrtValue,
) -> OrtStatusPtr {
    // SAFETY: see above.
    unsafe { value.write(call_of(context).inputs[index]) };
    OrtStatusPtr::default()
}

unsafe extern "system" fn output_count(
    context: *const OrtKernelContext,
    count: *mut usize,
) -> OrtStatusPtr {
    // SAFETY: see above.
    unsafe { count.write(call_of(context).outputs.len()) };
    OrtStatusPtr::default()
}

unsafe extern "system" fn output(
    context: *mut OrtKernelContext,
    index: usize,
    _: *const i64,
    _: usize,
    value: *mut *mut OrtValue,
) -> OrtStatusPtr {
    // SAFETY: see above.
    unsafe { value.write(call_of(context).outputs[index]) };
    OrtStatusPtr::default()
}

unsafe extern "system" fn stream(
    _: *const OrtKernelContext,
    stream: *mut *mut c_void,
) -> OrtStatusPtr {
    // SAFETY: see above.
    unsafe { stream.write(ptr::null_mut()) };
    OrtStatusPtr::default()
}

unsafe extern "system" fn allocator(
    context: *const OrtKernelContext,
    _: *const OrtMemoryInfo,
    allocator: *mut *mut OrtAllocator,
) -> OrtStatusPtr {
    CURRENT.set(context);
    // SAFETY: see above.
    unsafe { (table().GetAllocatorWithDefaultOptions)(allocator) }
}

unsafe extern "system" fn scratch(
    context: *const OrtKernelContext,
    _: *const OrtMemoryInfo,
    bytes: usize,
    memory: *mut *mut c_void,
) -> OrtStatusPtr {
    let mut allocator = ptr::null_mut();
    // SAFETY: see above; ONNX Runtime's default allocator has the function.
    unsafe {
        call_of(context).scratch.borrow_mut().push(bytes);
        let status = (table().GetAllocatorWithDefaultOptions)(&raw mut allocator);
        assert!(status.0.is_null());
        memory.write((*allocator).Alloc.unwrap()(allocator, bytes));
    }
    OrtStatusPtr::default()
}

unsafe extern "system" fn release(_: *mut OrtAllocator) {
    // SAFETY: `allocator` was called before, in the same call.
    unsafe {
        *call_of(CURRENT.with_borrow(|context| *context))
            .releases
            .borrow_mut() += 1
    };
}

fn api() -> (Api, Box<OrtApi>) {
    let table = Box::new(OrtApi {
        KernelContext_GetInputCount: input_count,
        KernelContext_GetInput: input,
        KernelContext_GetOutputCount: output_count,
        KernelContext_GetOutput: output,
        KernelContext_GetGPUComputeStream: stream,
        KernelContext_GetAllocator: allocator,
        KernelContext_GetScratchBuffer: scratch,
        ReleaseAllocator: release,
        ..table().clone()
    });
    (Api(NonNull::from(&*table)), table)
}

fn numbers(tensor: &Tensor<f32>) -> Vec<f32> {
    tensor.extract_tensor().1.to_vec()
}

fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs() / expected.abs().max(1.0);
        assert!(error < 1e-6, "{found} {expected}");
    }
}

#[test]
fn all_outputs_are_computed_from_device_memory() {
    if !has_driver() {
        return;
    }
    let (samples, classes) = (600, 12);
    let scores: Vec<f32> = (0..samples * classes)
        .map(|i| (i as f32 * 0.7).sin() * 3.0)
        .collect();
    let labels: Vec<i64> = (0..samples as i64)
        .map(|i| i * 5 % classes as i64)
        .collect();
    let weights: Vec<f32> = (0..classes).map(|class| (class % 3) as f32).collect();
    let losses = LossOperator::ALL.into_iter();
    for operator in losses.filter(|&operator| super::has_cuda_kernel(operator)) {
        for (reduction, length) in [
            (Reduction::None, samples),
            (Reduction::Sum, 1),
            (Reduction::Mean, 1),
        ] {
            let kernel = Kernel {
                loss: operator.loss(3, 0.5, 1.0).unwrap(),
                reduction,
                ignore_index: Some(4),
            };
            kernel.check_cuda().unwrap();
            let shape = [samples, classes];
            let tensor = |shape: &[usize]| {
                let zeros = vec![0f32; shape.iter().product()];
                Tensor::from_array((shape.to_vec(), zeros)).unwrap()
            };
            let score_tensor = Tensor::from_array((shape, scores.clone())).unwrap();
            let label_tensor = Tensor::from_array(([samples], labels.clone())).unwrap();
            let weight_tensor = Tensor::from_array(([classes], weights.clone())).unwrap();
            let mut outputs = [tensor(&[length]), tensor(&shape), tensor(&[samples])];
            let call = Call {
                inputs: vec![score_tensor.ptr(), label_tensor.ptr(), weight_tensor.ptr()],
                outputs: outputs.iter_mut().map(AsPointer::ptr_mut).collect(),
                ..Call::default()
            };
            let (api, _table) = api();
            let kernel_context = (&raw const call).cast_mut().cast();
            // SAFETY: the functions of the table take a `Call` as context.
            let (inputs, mut taken, threads) = unsafe { context(api, kernel_context) };
            kernel
                .compute_on_cuda(&inputs, &mut taken, &threads)
                .unwrap();

            let mut criterion = Criterion::new(kernel.loss.as_loss())
                .with_reduction(reduction)
                .with_ignore_index(4)
                .with_weight(weights.iter().map(|&weight| weight.into()).collect())
                .unwrap();
            let (mut values, mut grad) = (vec![0f32; length], vec![0f32; scores.len()]);
            criterion
                .forward_backward(&scores, &labels, &mut values, &mut grad)
                .unwrap();
            close(&numbers(&outputs[0]), &values);
            close(&numbers(&outputs[1]), &grad);
            if let Some(tau) = kernel.loss.tau() {
                criterion = Criterion::new(kernel.loss.as_loss())
                    .with_reduction(Reduction::None)
                    .with_ignore_index(4);
                let mut losses = vec![0f32; samples];
                criterion.forward(&scores, &labels, &mut losses).unwrap();
                let expected: Vec<f32> = losses
                    .iter()
                    .map(|&loss| -f64::exp_m1(-f64::from(loss) / tau) as f32)
                    .collect();
                close(&numbers(&outputs[2]), &expected);
            }
            // What is allocated is released.
            let bytes = match reduction {
                Reduction::None => None,
                Reduction::Sum => Some(4 * samples),
                Reduction::Mean => Some(4 * samples + 512),
            };
            assert_eq!(
                *call.scratch.borrow(),
                bytes.into_iter().collect::<Vec<_>>()
            );
            assert_eq!(*call.releases.borrow(), usize::from(bytes.is_some()));
        }
    }
}

#[test]
fn shapes_are_checked_and_a_large_k_is_an_error() {
    let kernel = |k| Kernel {
        loss: LossOperator::SmoothTopkSvm.loss(k, 1.0, 1.0).unwrap(),
        reduction: Reduction::Mean,
        ignore_index: None,
    };
    assert_eq!(
        kernel(129).check_cuda().unwrap_err().to_string(),
        "the CUDA kernels of this loss support k up to 128, got 129. Use the CPU provider for this model"
    );
    let scores = Tensor::from_array(([2usize, 5], vec![0f32; 10])).unwrap();
    let labels = Tensor::from_array(([3usize], vec![0i64; 3])).unwrap();
    let call = Call {
        inputs: vec![scores.ptr(), labels.ptr()],
        ..Call::default()
    };
    let (api, _table) = api();
    let kernel_context = (&raw const call).cast_mut().cast();
    // SAFETY: the functions of the table take a `Call` as context.
    let (inputs, mut outputs, threads) = unsafe { context(api, kernel_context) };
    let error = kernel(2).compute_on_cuda(&inputs, &mut outputs, &threads);
    assert_eq!(
        error.unwrap_err().to_string(),
        "labels have shape [3] for scores of shape [2, 5]: expected [2]"
    );
}
