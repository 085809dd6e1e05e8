//! What the reports of several crates share, so that they look and read alike: the page around the sections,
//! parts of charts and tables, and numbers as people read them.
//!
//! A report is one HTML file that needs nothing else: [`page()`] puts the style sheet and the script into it, and
//! forbids the browser everything else. Pages have light and dark colours, and print. Series and models are told
//! apart by the classes `s0` to `s5` (see [`COLORS`]) and by the shapes of their [markers](chart::marker).

pub mod cells;
pub mod chart;
mod markup;
mod page;
pub mod text;

pub use markup::Escaped;
pub use page::page;

/// Colours of the style sheet: the classes `s0`, `s1` and so on.
pub const COLORS: usize = 6;
