use std::io::{self, Seek, Write};

use zip::write::{SimpleFileOptions, ZipWriter};
use zip::{CompressionMethod, DateTime};

use crate::state_dict::StateDict;
use crate::tensor::{Dtype, Tensor};

/// The folder that the entries are in.
const ROOT: &str = "archive";

/// Values begin at multiples of this, as those of PyTorch do.
const ALIGNMENT: u16 = 64;

/// Writes the tensors as `torch.save` does, in the same bytes at all times.
pub(crate) fn write<W: Write + Seek>(state_dict: &StateDict, to: W) -> io::Result<()> {
    let mut zip = ZipWriter::new(to);
    entry(&mut zip, "data.pkl", &pickle(state_dict))?;
    entry(&mut zip, "byteorder", b"little")?;
    for (key, tensor) in state_dict.tensors.values().enumerate() {
        entry(&mut zip, &format!("data/{key}"), tensor.bytes())?;
    }
    entry(&mut zip, "version", b"3\n")?;
    zip.finish()?;
    Ok(())
}

fn entry<W: Write + Seek>(zip: &mut ZipWriter<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .with_alignment(ALIGNMENT)
        .large_file(u32::try_from(bytes.len()).is_err());
    zip.start_file(format!("{ROOT}/{name}"), options)?;
    zip.write_all(bytes)
}

/// The `OrderedDict` of the tensors, each in a storage of its own.
fn pickle(state_dict: &StateDict) -> Vec<u8> {
    let mut pickle = b"\x80\x02".to_vec();
    pickle.extend(ORDERED_DICT);
    for (key, (name, tensor)) in state_dict.tensors.iter().enumerate() {
        text(&mut pickle, name);
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n(");

        pickle.push(b'(');
        text(&mut pickle, "storage");
        pickle.extend(format!("ctorch\n{}Storage\n", storage_type(tensor.dtype())).bytes());
        text(&mut pickle, &key.to_string());
        text(&mut pickle, "cpu");
        int(&mut pickle, tensor.elements());
        pickle.extend(b"tQ");

        int(&mut pickle, 0);
        tuple(&mut pickle, tensor.shape());
        tuple(&mut pickle, &strides(tensor));
        pickle.push(0x89); // requires_grad: False
        pickle.extend(ORDERED_DICT); // no hooks
        pickle.extend(b"tRs");
    }
    pickle.push(b'.');
    pickle
}

/// `collections.OrderedDict()`.
const ORDERED_DICT: &[u8] = b"ccollections\nOrderedDict\n)R";

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.bytes());
}

fn int(pickle: &mut Vec<u8>, value: usize) {
    match i32::try_from(value) {
        Ok(value) => {
            pickle.push(b'J');
            pickle.extend(value.to_le_bytes());
        }
        Err(_) => {
            pickle.extend([0x8a, 8]);
            pickle.extend((value as u64).to_le_bytes());
        }
    }
}

fn tuple(pickle: &mut Vec<u8>, values: &[usize]) {
    pickle.push(b'(');
    for &value in values {
        int(pickle, value);
    }
    pickle.push(b't');
}

fn strides(tensor: &Tensor) -> Vec<usize> {
    let mut strides = vec![1; tensor.shape().len()];
    for dim in (1..strides.len()).rev() {
        strides[dim - 1] = strides[dim] * tensor.shape()[dim].max(1);
    }
    strides
}

fn storage_type(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F64 => "Double",
        Dtype::F32 => "Float",
        Dtype::F16 => "Half",
        Dtype::Bf16 => "BFloat16",
        Dtype::I64 => "Long",
        Dtype::I32 => "Int",
        Dtype::I16 => "Short",
        Dtype::I8 => "Char",
        Dtype::U8 => "Byte",
        Dtype::Bool => "Bool",
    }
}
