use std::collections::BTreeMap;
use std::io::{self, Write};

use safetensors::{Dtype as Foreign, SafeTensorError, SafeTensors};
use serde_json::{Map, json};

use crate::error::FormatError;
use crate::state_dict::{StateDict, Value, check_name};
use crate::tensor::{Dtype, Tensor};

/// Bytes of the header; a network of 1,000 tensors takes about 100,000.
const MAX_HEADER: u64 = 16 << 20;

/// Bytes of the header's length.
const LENGTH: usize = 8;

/// Whether a file begins as a safetensors file: with the length of a JSON object, and this.
pub(crate) fn is_safetensors(bytes: &[u8]) -> bool {
    bytes.get(LENGTH) == Some(&b'{')
}

pub(crate) fn read(bytes: &[u8]) -> Result<StateDict, FormatError> {
    let (&length, rest) = bytes
        .split_first_chunk()
        .ok_or(SafeTensorError::HeaderTooSmall)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(FormatError::TooLarge {
            what: "a safetensors header",
            size: length,
            limit: MAX_HEADER,
        });
    }
    if length > rest.len() as u64 {
        return Err(FormatError::Truncated {
            what: "the safetensors header".to_owned(),
        });
    }
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let metadata = header.metadata().iter().flatten();
    let metadata = metadata.map(|(key, value)| (key.clone(), Value::Text(value.clone())));
    let mut tensors = BTreeMap::new();
    for (name, view) in SafeTensors::deserialize(bytes)?.iter() {
        check_name(name)?;
        let dtype = dtype(view.dtype()).ok_or_else(|| FormatError::Dtype {
            name: name.to_owned(),
            dtype: view.dtype().to_string(),
        })?;
        let tensor = Tensor::new(view.shape(), dtype, view.data().to_vec());
        let tensor = tensor.map_err(|error| FormatError::Tensor {
            name: name.to_owned(),
            error,
        })?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(StateDict {
        tensors,
        metadata: metadata.collect(),
    })
}

/// Writes the tensors: the largest elements first, for alignment, and by name among equals. The
/// library's own writer puts metadata in another order each time.
pub(crate) fn write(state_dict: &StateDict, to: &mut impl Write) -> io::Result<()> {
    let mut tensors: Vec<_> = state_dict.tensors.iter().collect();
    tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype()));
    let mut entries = Vec::new();
    if !state_dict.metadata.is_empty() {
        let metadata = state_dict.metadata.iter();
        let metadata: Map<_, _> = metadata
            .map(|(key, value)| (key.clone(), value.to_string().into()))
            .collect();
        entries.push(format!("\"__metadata__\":{}", json!(metadata)));
    }
    let mut offset = 0;
    for (name, tensor) in &tensors {
        let end = offset + tensor.bytes().len();
        entries.push(format!(
            "{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{offset},{end}]}}",
            json!(name),
            tensor.dtype(),
            json!(tensor.shape())
        ));
        offset = end;
    }
    let mut header = format!("{{{}}}", entries.join(",")).into_bytes();
    header.resize(header.len().next_multiple_of(LENGTH), b' ');
    to.write_all(&(header.len() as u64).to_le_bytes())?;
    to.write_all(&header)?;
    for (_, tensor) in tensors {
        to.write_all(tensor.bytes())?;
    }
    Ok(())
}

fn dtype(dtype: Foreign) -> Option<Dtype> {
    Some(match dtype {
        Foreign::F64 => Dtype::F64,
        Foreign::F32 => Dtype::F32,
        Foreign::F16 => Dtype::F16,
        Foreign::BF16 => Dtype::Bf16,
        Foreign::I64 => Dtype::I64,
        Foreign::I32 => Dtype::I32,
        Foreign::I16 => Dtype::I16,
        Foreign::I8 => Dtype::I8,
        Foreign::U8 => Dtype::U8,
        Foreign::BOOL => Dtype::Bool,
        _ => return None,
    })
}
