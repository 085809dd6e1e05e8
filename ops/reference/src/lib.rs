//! References for the smooth top-k SVM of `topk-ops`: exact values, test cases, and other algorithms.
//!
//! | item | purpose |
//! | --- | --- |
//! | [`exact()`] | the exact loss and gradient of any sample, with 106 bits |
//! | [`Case`], [`read_cases`] | samples with their exact loss and gradient, from a file |
//! | [`Tolerance`], [`Errors`] | comparison of the losses with such cases |
//! | [`algorithms`] | the algorithms of the paper, to compare with |
//! | [`random_batch`] | random scores and labels |

pub mod algorithms;
mod cases;
mod double_double;
mod errors;
mod exact;
mod random;

pub use cases::{Case, ReadError, read_cases};
pub use errors::{Errors, Tolerance};
pub use exact::{BeyondRange, Exact, exact};
pub use random::random_batch;
