//! Files of either format.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use topk_files::Placeholder;

use crate::error::{FormatError, ReadError, WeightsError};
use crate::loaded::{Loaded, ReadOptions};
use crate::{pytorch, safetensors};

/// Maximum size of a file in bytes.
const MAX_FILE: u64 = 16 << 30;

/// Number of bytes from which the format is detected.
const SNIFFED: u64 = 64;

impl Loaded {
    /// Reads a file with all weights that may be averaged ones.
    pub(crate) fn read_all(path: &Path, options: ReadOptions) -> Result<Self, WeightsError> {
        read(path, options).map_err(|error| match error {
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

    /// Reads the contents of a file, as [`read_all`](Self::read_all) does.
    pub(crate) fn all_from_bytes(bytes: &[u8], options: ReadOptions) -> Result<Self, FormatError> {
        if let Some(placeholder) = Placeholder::of(bytes) {
            return Err(FormatError::Placeholder(placeholder));
        }
        let loaded = if pytorch::is_zip(bytes) {
            pytorch::read_zip(bytes, options)
        } else if pytorch::is_legacy(bytes) {
            pytorch::read_legacy(bytes, options)
        } else if safetensors::is_safetensors(bytes) {
            let size = bytes.len() as u64;
            let weights = safetensors::read(bytes, size).map_err(|error| match error {
                ReadError::Format(error) => error,
                ReadError::Io(_) => unreachable!("no more is read than there is"),
            });
            weights.map(Self::of_weights)
        } else {
            Err(FormatError::Unknown)
        }?;
        loaded.cleaned()
    }
}

fn read(path: &Path, options: ReadOptions) -> Result<Loaded, ReadError> {
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
        let weights = safetensors::read(&file, size)?;
        return Ok(Loaded::of_weights(weights).cleaned()?);
    }
    let mut bytes = Vec::new();
    bytes.reserve_exact(size as usize);
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(Loaded::all_from_bytes(&bytes, options)?)
}
