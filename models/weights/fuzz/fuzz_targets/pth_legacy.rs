//! The format before PyTorch 1.6, after the number it begins with.

#![no_main]

use libfuzzer_sys::fuzz_target;

const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

fuzz_target!(|rest: &[u8]| topk_weights_fuzz::read(&[MAGIC, rest].concat()));
