use std::io::{self, Seek, Write};

use zip::write::{SimpleFileOptions, ZipWriter};
use zip::{CompressionMethod, DateTime};

use crate::state_dict::StateDict;
use crate::tensor::{Dtype, Tensor};

/// The folder of the entries.
const ROOT: &str = "archive";

/// Values begin at multiples of this, as in files of PyTorch.
const ALIGNMENT: u16 = 64;

/// Writes the tensors as `torch.save` does. The same tensors always give the same bytes.
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

/// Opcodes of pickle protocol 2, under the names of Python's `pickletools`.
mod opcode {
    pub(super) const PROTO: u8 = 0x80;
    pub(super) const GLOBAL: u8 = b'c';
    pub(super) const MARK: u8 = b'(';
    pub(super) const TUPLE: u8 = b't';
    pub(super) const EMPTY_TUPLE: u8 = b')';
    pub(super) const REDUCE: u8 = b'R';
    pub(super) const BINPERSID: u8 = b'Q';
    pub(super) const SETITEM: u8 = b's';
    pub(super) const BINUNICODE: u8 = b'X';
    pub(super) const BININT: u8 = b'J';
    pub(super) const LONG1: u8 = 0x8a;
    pub(super) const NEWFALSE: u8 = 0x89;
    pub(super) const STOP: u8 = b'.';
}

/// The `OrderedDict` of the tensors, each in a storage of its own.
fn pickle(state_dict: &StateDict) -> Vec<u8> {
    let mut pickle = vec![opcode::PROTO, 2];
    ordered_dict(&mut pickle);
    for (key, (name, tensor)) in state_dict.tensors.iter().enumerate() {
        text(&mut pickle, name);
        global(&mut pickle, "torch._utils", "_rebuild_tensor_v2");
        pickle.push(opcode::MARK);

        pickle.push(opcode::MARK);
        text(&mut pickle, "storage");
        let storage = format!("{}Storage", storage_type(tensor.dtype()));
        global(&mut pickle, "torch", &storage);
        text(&mut pickle, &key.to_string());
        text(&mut pickle, "cpu");
        int(&mut pickle, tensor.elements());
        pickle.extend([opcode::TUPLE, opcode::BINPERSID]);

        int(&mut pickle, 0); // storage_offset
        tuple(&mut pickle, tensor.shape());
        tuple(&mut pickle, &strides(tensor));
        pickle.push(opcode::NEWFALSE); // requires_grad
        ordered_dict(&mut pickle); // backward_hooks
        pickle.extend([opcode::TUPLE, opcode::REDUCE, opcode::SETITEM]);
    }
    pickle.push(opcode::STOP);
    pickle
}

/// `collections.OrderedDict()`.
fn ordered_dict(pickle: &mut Vec<u8>) {
    global(pickle, "collections", "OrderedDict");
    pickle.extend([opcode::EMPTY_TUPLE, opcode::REDUCE]);
}

fn global(pickle: &mut Vec<u8>, module: &str, name: &str) {
    pickle.push(opcode::GLOBAL);
    pickle.extend(format!("{module}\n{name}\n").bytes());
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(opcode::BINUNICODE);
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.bytes());
}

fn int(pickle: &mut Vec<u8>, value: usize) {
    match i32::try_from(value) {
        Ok(value) => {
            pickle.push(opcode::BININT);
            pickle.extend(value.to_le_bytes());
        }
        Err(_) => {
            pickle.extend([opcode::LONG1, 8]);
            pickle.extend((value as u64).to_le_bytes());
        }
    }
}

fn tuple(pickle: &mut Vec<u8>, values: &[usize]) {
    pickle.push(opcode::MARK);
    for &value in values {
        int(pickle, value);
    }
    pickle.push(opcode::TUPLE);
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
