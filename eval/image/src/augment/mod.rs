//! Augmentation of training images, bit for bit as torchvision on Pillow does it.
//!
//! A [`Canvas`] does [`Operation`]s; given the same numbers, its pixels are those of torchvision 0.26 on
//! x86-64.

mod canvas;
mod operation;

pub use canvas::Canvas;
pub use operation::{Operation, Rect};
