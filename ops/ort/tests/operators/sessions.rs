//! Ways to come by the operators, and to run them.

use std::ffi::{CString, c_char};
use std::path::PathBuf;
use std::ptr;
use std::thread;

use ort::AsPointer;
use ort::session::Session;
use ort::value::Tensor;
use ort::value::TensorElementType::{Float32, Int64};
use prost::Message;
use topk_onnx::attribute;
use topk_ops::operator::LossOperator;

use crate::case::{Case, batch, builder, environment};

/// The library of operators, which cargo builds beside the tests.
pub fn library() -> PathBuf {
    let file = format!(
        "{}topk_ops_ort{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    let beside = std::env::current_exe().unwrap().with_file_name(file);
    assert!(beside.is_file(), "no {}", beside.display());
    beside
}

fn case() -> Case {
    let (scores, labels) = batch(Float32, Int64, 100, 400);
    Case::new(LossOperator::SmoothTopkSvm, 5, scores, labels)
}

#[test]
fn the_library_gives_the_results_of_registration() {
    let model = case().model().encode_to_vec();
    for _ in 0..3 {
        let builder = Session::builder(environment()).unwrap();
        let builder = builder.with_operator_library(library()).unwrap();
        let mut session = { builder }.commit_from_memory(&model).unwrap();
        assert_eq!(case().run_in(&mut session).unwrap(), case().check());
    }
}

#[test]
fn a_second_registration_is_an_error() {
    let twice = topk_ops_ort::register(builder());
    let model = case().model().encode_to_vec();
    let error = twice.unwrap().commit_from_memory(&model).unwrap_err();
    assert!(error.to_string().contains("already"), "{error}");
}

#[test]
fn without_the_operators_a_model_is_rejected() {
    let mut builder = Session::builder(environment()).unwrap();
    let model = case().model().encode_to_vec();
    let error = builder.commit_from_memory(&model).unwrap_err();
    assert!(error.to_string().contains("topk"), "{error}");
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let expected = case().check();
    let model = case().model().encode_to_vec();
    for threads in [1, 2, 3, 8] {
        let builder = builder().with_intra_threads(threads).unwrap();
        let mut session = { builder }.commit_from_memory(&model).unwrap();
        assert_eq!(case().run_in(&mut session).unwrap(), expected);
    }
}

/// An ONNX Runtime before 1.17.
static OLD: ort_sys::OrtApiBase = {
    unsafe extern "system" fn api(version: u32) -> *const ort_sys::OrtApi {
        if version <= 16 {
            ort::api()
        } else {
            ptr::null()
        }
    }
    unsafe extern "system" fn version() -> *const c_char {
        c"1.16.3".as_ptr()
    }
    ort_sys::OrtApiBase {
        GetApi: api,
        GetVersionString: version,
    }
};

#[test]
fn an_old_runtime_is_an_error() {
    environment();
    // SAFETY: no options are touched without the version, and the status is new.
    let result = unsafe {
        let status = topk_ops_ort::RegisterCustomOps(ptr::null_mut(), &OLD);
        ort::Error::result_from_status(status)
    };
    assert_eq!(
        result.unwrap_err().message(),
        "topk-ops-ort needs ONNX Runtime 1.17 or later, found 1.16.3"
    );
}

/// A session whose `Run` is called as C programs may: on several threads at once. `ort` wants it
/// exclusively.
struct Shared(*mut ort_sys::OrtSession);

// SAFETY: ONNX Runtime's `Run` may be called on any thread and several at once.
unsafe impl Sync for Shared {}

impl Shared {
    /// The loss.
    fn run(&self, scores: &[f32], labels: &[i64]) -> f32 {
        let shape = [labels.len(), scores.len() / labels.len()];
        let scores = Tensor::from_array((shape, scores.to_vec())).unwrap();
        let labels = Tensor::from_array(([shape[0]], labels.to_vec())).unwrap();
        let names = ["scores", "labels", "loss"].map(|name| CString::new(name).unwrap());
        let names: [*const c_char; 3] = [0, 1, 2].map(|i: usize| names[i].as_ptr());
        let inputs: [*const ort_sys::OrtValue; 2] = [scores.ptr(), labels.ptr()];
        let mut output = ptr::null_mut();
        // SAFETY: the arrays of names and inputs have these lengths and outlive the call; the output is a
        // tensor, whose one element is read before it is released.
        unsafe {
            let status = (ort::api().Run)(
                self.0,
                ptr::null(),
                names.as_ptr(),
                inputs.as_ptr(),
                2,
                names[2..].as_ptr(),
                1,
                &raw mut output,
            );
            ort::Error::result_from_status(status).unwrap();
            let mut data = ptr::null_mut();
            let status = (ort::api().GetTensorMutableData)(output, &raw mut data);
            ort::Error::result_from_status(status).unwrap();
            let loss = *data.cast::<f32>();
            (ort::api().ReleaseValue)(output);
            loss
        }
    }
}

#[test]
fn a_session_can_run_on_eight_threads_concurrently() {
    let mut case = case();
    case.outputs = [true, false, false];
    for threads in [1, 2] {
        let builder = builder().with_intra_threads(threads).unwrap();
        let mut session = { builder }
            .commit_from_memory(&case.model().encode_to_vec())
            .unwrap();
        let shared = &Shared(session.ptr_mut());
        thread::scope(|scope| {
            for thread in 0..8 {
                let case = case.clone().with(attribute::int("k", 5));
                scope.spawn(move || {
                    for run in 0..20 {
                        let samples = 1 + (13 * thread + 7 * run) % 90;
                        let (scores, labels) = batch(Float32, Int64, samples, 400);
                        let part = Case {
                            scores,
                            labels,
                            ..case.clone()
                        };
                        let scores: Vec<f32> =
                            part.scores.elements.iter().map(|&x| x as f32).collect();
                        let labels: Vec<i64> =
                            part.labels.elements.iter().map(|&x| x as i64).collect();
                        let expected = part.expected().unwrap().unwrap();
                        let loss = shared.run(&scores, &labels);
                        assert_eq!(f64::from(loss), expected[0].elements[0]);
                    }
                });
            }
        });
    }
}
