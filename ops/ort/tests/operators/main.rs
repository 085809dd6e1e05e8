//! The operators in ONNX Runtime, beside the losses called from Rust.

mod case;
mod errors;
mod function;
mod fuzz;
mod golden;
mod losses;
mod python;
mod sessions;
