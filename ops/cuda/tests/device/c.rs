//! The C interface, against the Rust one.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use topk_ops::SmoothTopkSvm;

use crate::{Rows, bytes, device, numbers, scores};

/// `topk_cuda_batch` in `include/topk_cuda.h`.
#[repr(C)]
struct CBatch {
    scores: *const c_void,
    scores_stride: i64,
    labels: *const i64,
    class_weights: *const f32,
    samples: i64,
    classes: i64,
    ignore_index: i64,
    has_ignore_index: i32,
    loss: i32,
    score_type: i32,
    reduction: i32,
    tau: f64,
    alpha: f64,
    k: i32,
}

unsafe extern "C" {
    fn topk_cuda_error() -> *const c_char;
    fn topk_cuda_workspace_bytes(batch: *const CBatch, bytes: *mut usize) -> c_int;
    fn topk_cuda_loss_and_gradient(
        batch: *const CBatch,
        loss: *mut f32,
        gradient: *mut c_void,
        gradient_stride: i64,
        workspace: *mut c_void,
        stream: *mut c_void,
    ) -> c_int;
    fn topk_cuda_gradient(
        batch: *const CBatch,
        upstream: *const f32,
        upstream_per_sample: i32,
        skip_if_one: i32,
        gradient: *mut c_void,
        gradient_stride: i64,
        workspace: *mut c_void,
        stream: *mut c_void,
    ) -> c_int;
}

#[test]
fn the_c_interface_gives_the_same_bits_on_device() {
    let Some(device) = device() else { return };
    let classes = 50;
    let rows = Rows::<f32>::new(&scores(classes), &[3, 49, 0]);
    let loss = SmoothTopkSvm::new(5, 0.5, 1.0).unwrap();
    let (expected_values, expected_gradient) = rows.on_device(&device, loss.into());

    let labels: Vec<u8> = rows.labels.iter().flat_map(|l| l.to_ne_bytes()).collect();
    let [scores, labels] = [bytes(&rows.scores), labels].map(|bytes| device.array(&bytes));
    let values = device.array(&[0xff; 12]);
    let gradient = device.array(&vec![0xff; 12 * classes]);
    let upstream = device.array(&bytes(&[1f32, -2.0, 0.5]));
    let mut batch = CBatch {
        scores: scores.pointer(),
        scores_stride: classes as i64,
        labels: labels.pointer(),
        class_weights: ptr::null(),
        samples: 3,
        classes: classes as i64,
        ignore_index: 0,
        has_ignore_index: 0,
        loss: 0,
        score_type: 0,
        reduction: 0,
        tau: 0.5,
        alpha: 1.0,
        k: 5,
    };
    let mut workspace = 1;
    // SAFETY: all arrays are on the device, have the documented sizes, and live until they have been read.
    unsafe {
        assert_eq!(
            topk_cuda_workspace_bytes(&raw const batch, &raw mut workspace),
            0
        );
        let done = topk_cuda_loss_and_gradient(
            &raw const batch,
            values.pointer(),
            gradient.pointer(),
            classes as i64,
            ptr::null_mut(),
            ptr::null_mut(),
        );
        assert_eq!(done, 0, "{:?}", CStr::from_ptr(topk_cuda_error()));
    }
    assert_eq!(workspace, 0);
    assert_eq!(numbers::<f32>(&values.read()), expected_values);
    assert_eq!(numbers::<f32>(&gradient.read()), expected_gradient);

    // SAFETY: as above; the second call fails before it uses them.
    let (done, failed) = unsafe {
        let gradient = |batch: &CBatch| {
            topk_cuda_gradient(
                &raw const *batch,
                upstream.pointer(),
                1,
                1,
                gradient.pointer(),
                batch.classes,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        let done = gradient(&batch);
        batch.k = 200;
        (batch.classes, batch.scores_stride) = (201, 201);
        (done, gradient(&batch))
    };
    assert_eq!(done, 0);
    let found = numbers::<f32>(&gradient.read());
    assert_eq!(found[..classes], expected_gradient[..classes]);
    for (i, (found, expected)) in found.iter().zip(&expected_gradient).enumerate() {
        let expected = expected * [1.0, -2.0, 0.5][i / classes];
        assert!((found - expected).abs() <= 1e-7, "{i}");
    }
    // TOPK_CUDA_UNSUPPORTED
    assert_eq!(failed, 2);
    // SAFETY: the text is valid until the next call.
    let error = unsafe { CStr::from_ptr(topk_cuda_error()) };
    assert!(error.to_string_lossy().contains("k up to 128"), "{error:?}");
}
