use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use crate::error::{FormatError, WeightsError};
use crate::loaded::{Loaded, ReadOptions};
use crate::tensor::Tensor;
use crate::{pytorch, safetensors};

/// Maximum number of tensors in a file, and of entries in a dictionary.
pub(crate) const MAX_TENSORS: usize = 1 << 16;

/// Maximum length of a name in bytes.
const MAX_NAME: usize = 1024;

/// Number of characters of an untrusted name that messages show.
const MAX_SHOWN: usize = 40;

/// Rejects names that are too long, or that messages cannot show.
pub(crate) fn check_name(name: &str) -> Result<(), FormatError> {
    if name.len() <= MAX_NAME && !name.contains(char::is_control) {
        Ok(())
    } else {
        Err(FormatError::Name(shown(name)))
    }
}

/// The start of a name, escaped for messages.
pub(crate) fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(MAX_SHOWN).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}

/// Metadata beside the tensors, such as an epoch.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    missing_docs,
    reason = "the names of the variants are their documentation"
)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// Named tensors.
///
/// After reading, all floating-point numbers are finite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    /// The tensors, by PyTorch's names of parameters and buffers.
    pub tensors: BTreeMap<String, Tensor>,
    /// Metadata: the strings of a safetensors file, or the numbers and strings in the dictionaries of a
    /// PyTorch file.
    pub metadata: BTreeMap<String, Value>,
}

impl StateDict {
    /// Reads a safetensors file or a file of `torch.save`. The format is detected from the contents.
    ///
    /// In a PyTorch file the state_dict is the object itself, or is under one of the usual keys of a
    /// dictionary, such as `state_dict`, `model_state_dict`, `model`, `net` or `weights`, or under the only key
    /// that has tensors, within four levels; tensors beside it, such as an accuracy, are left out. Averaged
    /// weights, under a key such as `model_ema`, are taken only if the file has no others; [`Loaded`] gives the choice.
    ///
    /// Names of modules that DataParallel, AveragedModel, torch.compile and others wrap around a network, such
    /// as `module.`, are removed from the names of tensors.
    ///
    /// # Errors
    /// If the file cannot be read, has another format, is damaged or larger than 16 GiB, has weights that
    /// are not finite, or a pickle has anything in the state_dict that is not needed there. Other objects in a
    /// pickle are skipped without being built, and no code in it is executed.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        Ok(Loaded::read_all(path, ReadOptions::default())?.weights)
    }

    /// Reads the contents of a file, as [`read`](Self::read) does.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        Ok(Loaded::all_from_bytes(bytes, ReadOptions::default())?.weights)
    }

    /// Writes a file atomically, in the format of its extension: `.safetensors`, with the metadata as
    /// strings, or `.pth` or `.pt`, the state_dict alone, which
    /// `torch.load(path, weights_only=True)` reads. The same tensors always give the same bytes.
    ///
    /// # Errors
    /// If the extension is another one, or the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), WeightsError> {
        type Writer = fn(&StateDict, &mut BufWriter<topk_files::OutputFile>) -> io::Result<()>;
        let extension = path.extension().and_then(|extension| extension.to_str());
        let write: Writer = match extension {
            Some("safetensors") => |weights, to| weights.write_safetensors(to),
            Some("pth" | "pt") => |weights, to| weights.write_pth(to),
            _ => {
                return Err(WeightsError::Extension {
                    path: path.to_owned(),
                });
            }
        };
        topk_files::write_with(path, |file| write(self, file)).map_err(|error| {
            WeightsError::Write {
                path: path.to_owned(),
                error,
            }
        })
    }

    /// Writes the contents of a safetensors file; see [`save`](Self::save).
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_safetensors(&self, to: &mut impl Write) -> io::Result<()> {
        safetensors::write(self, to)
    }

    /// Writes the contents of a PyTorch file; see [`save`](Self::save).
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_pth(&self, to: &mut (impl Write + Seek)) -> io::Result<()> {
        pytorch::write(self, to)
    }
}
