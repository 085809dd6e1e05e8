//! Files of named tensors: safetensors, and what `torch.save` writes.
//!
//! [`StateDict::read`] reads the weights of a classifier from safetensors files and from PyTorch's
//! `.pth` and `.pt` files, both the zip archives of PyTorch 1.6 and later and the older format. A
//! pickle is never executed: an interpreter of its own builds plain containers and tensors. Anything else
//! that a file refers to is skipped beside the weights, and is an error among them. Untrusted files are safe to
//! read: sizes are capped, and the sizes that a file declares must be consistent with its own length.
//! [`Loaded`] also says what was decided in reading the file of another program.
//!
//! ```
//! use topk_weights::{StateDict, Tensor};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("linear.pth");
//! let mut weights = StateDict::default();
//! let values: Vec<f32> = (0..6).map(|i| i as f32).collect();
//! weights.tensors.insert("fc.weight".to_owned(), Tensor::from_f32(&[2, 3], &values)?);
//! weights.save(&path)?; // or .safetensors; torch.load(path, weights_only=True) reads this one
//!
//! let weights = StateDict::read(&path)?;
//! assert_eq!(weights.tensors["fc.weight"].to_f32()?, values);
//!
//! // For a network of five classes instead of two:
//! let matched = weights.matched([("fc.weight", [5, 3].as_slice())], &["fc.weight"])?;
//! assert_eq!(matched.new, ["fc.weight"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod file;
mod loaded;
mod matching;
mod pickle;
mod pytorch;
mod safetensors;
mod state_dict;
mod tensor;

pub use error::{FormatError, WeightsError};
pub use loaded::{Loaded, Note, ReadOptions, STATE_EMA, STATE_WEIGHTS, TRAINING_STATE};
pub use matching::{Matched, Mismatch};
pub use state_dict::{StateDict, Value};
pub use tensor::{Dtype, Tensor, TensorError};
pub use topk_pickle::PickleErrorKind;
