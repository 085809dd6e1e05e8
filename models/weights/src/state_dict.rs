use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::Path;

use crate::error::{FormatError, ReadError, WeightsError};
use crate::tensor::Tensor;
use crate::{pytorch, safetensors};

/// Maximum size of a file in bytes.
const MAX_FILE: u64 = 16 << 30;

/// Number of bytes from which the format is detected.
const SNIFFED: u64 = 64;

/// Maximum number of tensors in a file, and of entries in a dictionary.
pub(crate) const MAX_TENSORS: usize = 1 << 16;

/// Maximum length of a name in bytes.
const MAX_NAME: usize = 1024;

/// Number of characters of an untrusted name that messages show.
const MAX_SHOWN: usize = 40;

/// Prefixes that DataParallel and torch.compile add to every name.
const PREFIXES: [&str; 2] = ["module.", "_orig_mod."];

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
    /// In a PyTorch file the state_dict is the object itself or, where that is a dictionary without
    /// tensors, under the first of these keys that holds a dictionary: `state_dict`,
    /// `model_state_dict`, `model`, `net`, `network`, `module`, `weights`, `state_dict_ema`,
    /// `ema_state_dict`, `model_ema`, `ema_model`, `ema`; the same applies within it.
    ///
    /// A prefix `module.` or `_orig_mod.` that all names share, as DataParallel and torch.compile add it, is
    /// removed.
    ///
    /// # Errors
    /// If the file cannot be read, has another format, is damaged or larger than 16 GiB, has weights that
    /// are not finite, or a pickle refers to anything that a state_dict does not need. No code in it is executed.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        Self::read_file(path).map_err(|error| match error {
            ReadError::Io(error) => WeightsError::Read {
                path: path.to_owned(),
                error,
            },
            ReadError::Format(error) => WeightsError::Format {
                path: path.to_owned(),
                error,
            },
        })
    }

    fn read_file(path: &Path) -> Result<Self, ReadError> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        if size > MAX_FILE {
            return Err(ReadError::Format(FormatError::TooLarge {
                what: "bytes",
                size,
                limit: MAX_FILE,
            }));
        }
        let mut start = Vec::new();
        (&mut file).take(SNIFFED).read_to_end(&mut start)?;
        file.rewind()?;
        if !(pytorch::is_zip(&start) || pytorch::is_legacy(&start))
            && safetensors::is_safetensors(&start)
        {
            return safetensors::read(&mut file, size)?
                .cleaned()
                .map_err(ReadError::Format);
        }
        let mut bytes = Vec::new();
        bytes.reserve_exact(size as usize);
        file.take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok(Self::from_bytes(&bytes)?)
    }

    /// Reads the contents of a file, as [`read`](Self::read) does.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let state_dict = if pytorch::is_zip(bytes) {
            pytorch::read_zip(bytes)
        } else if pytorch::is_legacy(bytes) {
            pytorch::read_legacy(bytes)
        } else if safetensors::is_safetensors(bytes) {
            let size = bytes.len() as u64;
            safetensors::read(&mut &*bytes, size).map_err(|error| match error {
                ReadError::Format(error) => error,
                ReadError::Io(_) => unreachable!("no more is read than there is"),
            })
        } else {
            Err(FormatError::Unknown)
        }?;
        state_dict.cleaned()
    }

    /// Checks that all numbers are finite, and removes prefixes that all names share.
    fn cleaned(mut self) -> Result<Self, FormatError> {
        for (name, tensor) in &self.tensors {
            if let Some((index, value)) = tensor.not_finite() {
                return Err(FormatError::NotFinite {
                    name: name.clone(),
                    index,
                    value,
                });
            }
        }
        self.remove_prefixes();
        Ok(self)
    }

    fn remove_prefixes(&mut self) {
        while let Some(prefix) = PREFIXES.iter().find(|&&prefix| {
            let starts = |name: &String| name.len() > prefix.len() && name.starts_with(prefix);
            !self.tensors.is_empty() && self.tensors.keys().all(starts)
        }) {
            let tensors = std::mem::take(&mut self.tensors).into_iter();
            let renamed = tensors.map(|(name, tensor)| (name[prefix.len()..].to_owned(), tensor));
            self.tensors = renamed.collect();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_all_names_is_removed() {
        let names = |names: &[&str]| {
            let mut weights = StateDict::default();
            for &name in names {
                let tensor = Tensor::from_f32(&[], &[0.0]).unwrap();
                weights.tensors.insert(name.to_owned(), tensor);
            }
            weights.remove_prefixes();
            weights.tensors.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(names(&["module.a", "module.b.c"]), ["a", "b.c"]);
        assert_eq!(names(&["module.a", "b"]), ["b", "module.a"]);
        assert_eq!(names(&["_orig_mod.module.a"]), ["a"]);
        assert_eq!(names(&["module.", "module.a"]), ["module.", "module.a"]);
        assert!(names(&[]).is_empty());
    }
}
