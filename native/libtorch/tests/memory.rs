//! The caching allocator, in its own test binary because it affects the whole process.
#![cfg(target_os = "linux")]

use std::thread;

use tch::{Device, Kind, Tensor};
use topk_libtorch::{empty_cache, use_caching_allocator};
use topk_testing::resident;

/// Size in bytes of a tensor with [`LEN`] elements.
const SIZE: usize = 256 << 20;
const LEN: i64 = SIZE as i64 / 4;

fn full(value: f64, len: i64) -> Tensor {
    Tensor::full([len], value, (Kind::Float, Device::Cpu))
}

/// Whether all elements have this value; allocates no memory.
fn is(tensor: &Tensor, value: f64) -> bool {
    tensor.min().double_value(&[]) == value && tensor.max().double_value(&[]) == value
}

#[test]
fn memory_of_freed_tensors_is_kept_until_the_cache_is_emptied() {
    let before = full(0.5, LEN);
    use_caching_allocator();
    use_caching_allocator();
    assert!(is(&before, 0.5));
    drop(before);

    let at_start = resident();
    let taken = || resident().saturating_sub(at_start);
    let tensor = full(1.0, LEN);
    let address = tensor.data_ptr();
    assert!(taken() > SIZE / 4 * 3);
    drop(tensor);
    assert!(taken() > SIZE / 4 * 3);

    // Freed by another thread than the one that allocated it.
    let tensor = full(2.0, LEN);
    assert_eq!(tensor.data_ptr(), address);
    thread::spawn(move || assert!(is(&tensor, 2.0)))
        .join()
        .unwrap();
    assert!(taken() > SIZE / 4 * 3);

    let mut grown = full(3.0, LEN / 2);
    assert_eq!(grown.data_ptr(), address);
    let _ = grown.resize_([LEN]);
    assert!(is(&grown.narrow(0, 0, LEN / 2), 3.0));
    drop(grown);

    // Empty and small tensors, which the C library handles.
    drop(full(4.0, 0));
    assert!(is(&full(4.0, 100), 4.0));

    let error = Tensor::f_empty([1 << 60], (Kind::Float, Device::Cpu)).unwrap_err();
    assert!(error.to_string().contains("memory"), "{error}");

    empty_cache();
    assert!(taken() < SIZE / 4);
    assert!(is(&full(5.0, LEN), 5.0));
}
