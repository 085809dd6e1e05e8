//! Reading a model file without its weights.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use prost::Message;
use prost::bytes::{Buf, Bytes};

use crate::proto::ModelProto;

/// The largest contents of a tensor, in bytes, that are read: enough for the scalars and shapes that say how a
/// node works.
const MAX_ELEMENT_BYTES: usize = 1 << 10;

/// Reads an ONNX file without the weights: `raw_data` of tensors larger than 1 KiB is empty. Needs memory for
/// the nodes, but not for the weights.
///
/// # Errors
/// If the file cannot be read, or is not an ONNX file.
pub fn read_without_weights(path: &Path) -> io::Result<ModelProto> {
    let mut file = MessageFile::open(path)?;
    let model = ModelProto::decode(&mut file);
    if let Some(error) = file.error {
        return Err(error);
    }
    model.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// A file from which messages are decoded in chunks; the contents of large tensors are not read.
struct MessageFile {
    file: File,
    remaining: u64,
    part: Vec<u8>,
    /// Number of bytes consumed of the part.
    taken: usize,
    /// The first read error. Bytes that could not be read are zeros, which are not a valid message.
    error: Option<io::Error>,
}

impl MessageFile {
    const PART: u64 = 1 << 13;

    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let remaining = file.metadata()?.len();
        let mut opened = Self {
            file,
            remaining,
            part: Vec::new(),
            taken: 0,
            error: None,
        };
        opened.read(0);
        Ok(opened)
    }

    /// Skips bytes, then reads the next part.
    fn read(&mut self, skipped: i64) {
        self.part.clear();
        self.part.resize(self.remaining.min(Self::PART) as usize, 0);
        self.taken = 0;
        if self.error.is_none() {
            let sought = self.file.seek(SeekFrom::Current(skipped));
            let read = sought.and_then(|_| self.file.read_exact(&mut self.part));
            self.error = read.err();
        }
    }
}

impl Buf for MessageFile {
    fn remaining(&self) -> usize {
        usize::try_from(self.remaining).unwrap_or(usize::MAX)
    }

    fn chunk(&self) -> &[u8] {
        &self.part[self.taken..]
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "prost checks `remaining`");
        self.remaining -= count as u64;
        self.taken += count;
        if self.taken >= self.part.len() {
            self.read((self.taken - self.part.len()) as i64);
        }
    }

    /// prost calls this for the contents of tensors alone.
    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        if len > MAX_ELEMENT_BYTES {
            self.advance(len);
            return Bytes::new();
        }
        let mut bytes = vec![0; len];
        self.copy_to_slice(&mut bytes);
        bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::model;
    use crate::proto::{DataType, GraphProto, TensorProto};

    fn with(initializer: Vec<TensorProto>) -> ModelProto {
        let graph = GraphProto {
            initializer,
            ..GraphProto::default()
        };
        model(graph, "", [])
    }

    #[test]
    fn small_tensors_are_read() {
        let shape = TensorProto::of_integers("shape", &[2], &[-1, 512]);
        let weights = TensorProto::of_floats("weights", &[70, 300], &vec![1.0; 21_000]);
        let mut expected = with(vec![weights.clone(), shape.clone(), weights]);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&expected.encode_to_vec()).unwrap();
        for tensor in [0, 2] {
            expected.graph.as_mut().unwrap().initializer[tensor].raw_data = Bytes::new();
        }
        assert_eq!(read_without_weights(file.path()).unwrap(), expected);
    }

    #[test]
    fn weights_are_not_read() {
        use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
        const BYTES: u64 = 1 << 36;
        let delimited = |tag, len, bytes: &mut Vec<u8>| {
            encode_key(tag, WireType::LengthDelimited, bytes);
            encode_varint(len, bytes);
        };
        let fields = TensorProto::new("weights", DataType::Bfloat16, &[0], Vec::new());
        let fields = fields.encode_to_vec();
        let mut raw = Vec::new();
        delimited(9, BYTES, &mut raw);
        let tensor = fields.len() as u64 + raw.len() as u64 + BYTES;
        let mut head = Vec::new();
        delimited(7, 1 + encoded_len_varint(tensor) as u64 + tensor, &mut head);
        delimited(5, tensor, &mut head);
        head.extend(fields);
        head.extend(raw);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&head).unwrap();
        // Concatenated messages are merged.
        let after = with(vec![TensorProto::of_integers("shape", &[1], &[3])]);
        // A hole takes no space on disk.
        file.as_file().set_len(head.len() as u64 + BYTES).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(&after.encode_to_vec()).unwrap();
        let found = read_without_weights(file.path()).unwrap();
        let tensors = found.graph.unwrap().initializer;
        assert_eq!(tensors.len(), 2);
        assert_eq!(tensors[0].data_type(), DataType::Bfloat16);
        assert!(tensors[0].raw_data.is_empty());
        assert_eq!(tensors[1].raw_data[..], 3i64.to_le_bytes());
    }

    #[test]
    fn other_files_are_errors() {
        let whole = with(vec![TensorProto::of_floats("w", &[9000], &vec![1.0; 9000])]);
        let whole = whole.encode_to_vec();
        for bytes in [&whole[..whole.len() - 1], b"ORTM and more", &[0xff; 20]] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(bytes).unwrap();
            assert!(read_without_weights(file.path()).is_err());
        }
    }
}
