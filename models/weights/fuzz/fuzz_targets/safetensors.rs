//! safetensors files, after the length of the header: the input is the header, a line feed, and the
//! values.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|rest: &[u8]| {
    let mut parts = rest.splitn(2, |&byte| byte == b'\n');
    let header = parts.next().unwrap_or_default();
    let values = parts.next().unwrap_or_default();
    let length = (header.len() as u64).to_le_bytes();
    topk_weights_fuzz::read(&[&length, header, values].concat());
});
