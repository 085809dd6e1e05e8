//! The zip files of PyTorch 1.6 and later.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| topk_weights_fuzz::read(file));
