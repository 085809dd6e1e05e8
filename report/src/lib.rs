//! Shared parts of HTML reports: the page, charts, tables, and the formatting of numbers.
//!
//! A report is one self-contained HTML file: [`page()`] includes the style sheet and the script, and a content security
//! policy blocks everything else. Pages support light and dark colour schemes and printing. Series and models are
//! distinguished by the classes `s0` to `s5` (see [`COLORS`]) and by the shapes of their [markers](chart::marker).

pub mod cells;
pub mod chart;
mod markup;
mod page;
pub mod text;

pub use markup::{Breakable, Escaped};
pub use page::page;

/// Number of colours in the style sheet: the classes `s0`, `s1` and so on.
pub const COLORS: usize = 6;
