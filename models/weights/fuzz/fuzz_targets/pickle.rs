//! The interpreter of pickles, in a zip file around the input.

#![no_main]

use std::io::{Cursor, Write};

use libfuzzer_sys::fuzz_target;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

fuzz_target!(|pickle: &[u8]| {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in [
        ("data.pkl", pickle),
        ("data/0", &[0; 24]),
        ("data/1", &[1; 8]),
    ] {
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    let file = zip.finish().unwrap().into_inner();
    topk_weights_fuzz::read(&file);
});
