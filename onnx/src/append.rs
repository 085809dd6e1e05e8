//! Additions to a model file, which otherwise stays as it is.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::proto::ModelProto;
use crate::write::{GRAPH, MAX_FILE};

/// Copies a model file with additions: the nodes, inputs, outputs and so on of the `addition`'s graph follow those of
/// the file, and so do its operator sets, functions and metadata. Single values of the `addition`, such as the version
/// of the format, must have their defaults.
///
/// Everything else is copied byte by byte, also what [`ModelProto`] does not describe, and never as a whole in memory.
///
/// # Errors
/// If a file cannot be read or written, if `source` is not an ONNX file, or if the result would be larger than the
/// 2 GiB that an ONNX file can have.
pub fn append(
    source: &mut (impl Read + Seek),
    addition: &ModelProto,
    out: &mut impl Write,
) -> io::Result<()> {
    let graph = match &addition.graph {
        Some(graph) => graph.encode_to_vec(),
        None => Vec::new(),
    };
    let rest = ModelProto {
        graph: None,
        ..addition.clone()
    }
    .encode_to_vec();

    let mut source = BufReader::new(source);
    let found = Field::last(&mut source, GRAPH)?;
    let mut head = Vec::new();
    encode_key(GRAPH, WireType::LengthDelimited, &mut head);
    encode_varint(found.length + graph.len() as u64, &mut head);
    let file = source.seek(SeekFrom::End(0))?;
    let size =
        file - (found.contents - found.start) + (head.len() + graph.len() + rest.len()) as u64;
    if size > MAX_FILE as u64 {
        return Err(io::Error::other(
            "the model would be larger than 2 GiB: save its weights in a second file first, as \
             onnx.save(…, save_as_external_data=True) does",
        ));
    }
    source.rewind()?;
    copy(&mut source, found.start, out)?;
    out.write_all(&head)?;
    source.seek(SeekFrom::Start(found.contents))?;
    copy(&mut source, found.length, out)?;
    out.write_all(&graph)?;
    let after = found.contents + found.length;
    copy(&mut source, file - after, out)?;
    out.write_all(&rest)
}

/// Where a field of bytes is.
struct Field {
    /// Its first byte.
    start: u64,
    /// The first byte of its contents.
    contents: u64,
    /// Number of bytes of its contents.
    length: u64,
}

impl Field {
    /// The last field of this number in a message from the beginning to the end of `source`.
    fn last(source: &mut (impl BufRead + Seek), number: u32) -> io::Result<Self> {
        let mut found = None;
        let mut start = 0;
        source.rewind()?;
        while !source.fill_buf()?.is_empty() {
            let key = varint(source)?;
            let length = match key & 7 {
                // Fields are numbered from 1.
                _ if key < 8 => return Err(not_a_model()),
                0 => {
                    varint(source)?;
                    0
                }
                1 => 8,
                2 => varint(source)?,
                5 => 4,
                _ => return Err(not_a_model()),
            };
            let contents = source.stream_position()?;
            if key == u64::from(number) << 3 | 2 {
                found = Some(Self {
                    start,
                    contents,
                    length,
                });
            }
            let skipped = i64::try_from(length).map_err(|_| not_a_model())?;
            source.seek_relative(skipped)?;
            start = contents + length;
        }
        // A seek beyond the end is not an error.
        if start != source.seek(SeekFrom::End(0))? {
            return Err(not_a_model());
        }
        found.ok_or_else(not_a_model)
    }
}

fn not_a_model() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it is not an ONNX file, or a part of one",
    )
}

fn varint(source: &mut impl Read) -> io::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        source.read_exact(&mut byte)?;
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            return Ok(value);
        }
    }
    Err(not_a_model())
}

fn copy(source: &mut impl Read, bytes: u64, out: &mut impl Write) -> io::Result<()> {
    match io::copy(&mut source.take(bytes), out)? {
        copied if copied == bytes => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::proto::{DataType, FunctionProto, GraphProto, NodeProto, OperatorSetIdProto};
    use crate::{Dim, GraphBuilder, model};

    fn appended(bytes: &[u8], addition: &ModelProto) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        append(&mut Cursor::new(bytes), addition, &mut out)?;
        Ok(out)
    }

    fn small() -> ModelProto {
        let mut graph = GraphBuilder::new("test");
        graph.input("x", DataType::Float, &[Dim::Fixed(3)], "");
        graph.initializer("w", &[40], &[1.5; 40]);
        graph.node("Add", "y", &["x", "w"], []);
        model(graph.finish(), "", [("a".to_owned(), "b".to_owned())])
    }

    fn addition() -> ModelProto {
        ModelProto {
            graph: Some(GraphProto {
                node: vec![NodeProto::new("Relu", &["y"], &["z"], [])],
                ..GraphProto::default()
            }),
            opset_import: vec![OperatorSetIdProto {
                domain: "topk".to_owned(),
                version: 1,
            }],
            functions: vec![FunctionProto::default()],
            ..ModelProto::default()
        }
    }

    #[test]
    fn additions_follow_what_is_there() {
        let (mut expected, more) = (small(), addition());
        let bytes = appended(&expected.encode_to_vec(), &more).unwrap();
        let graph = expected.graph.as_mut().unwrap();
        graph.node.extend(more.graph.unwrap().node);
        expected.opset_import.extend(more.opset_import);
        expected.functions.extend(more.functions);
        assert_eq!(ModelProto::decode(&*bytes).unwrap(), expected);
    }

    #[test]
    fn unknown_fields_are_kept() {
        // Of the graph: field 100 with the bytes `ab`, and field 101 as a number.
        let unknown = [0xa2, 0x06, 2, b'a', b'b', 0xa8, 0x06, 1];
        let mut graph = small().graph.unwrap().encode_to_vec();
        graph.extend(unknown);
        let mut bytes = unknown.to_vec();
        encode_key(GRAPH, WireType::LengthDelimited, &mut bytes);
        encode_varint(graph.len() as u64, &mut bytes);
        bytes.extend(&graph);
        // A field of eight bytes, and one of four.
        bytes.extend([0xa9, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 0xad, 0x06, 1, 2, 3, 4]);
        let found = appended(&bytes, &addition()).unwrap();
        let times = found.windows(8).filter(|window| *window == unknown).count();
        assert_eq!(times, 2);
        assert_eq!(
            ModelProto::decode(&*found)
                .unwrap()
                .graph
                .unwrap()
                .node
                .len(),
            2
        );
        // Nothing but the length of the graph changes if nothing is added.
        assert_eq!(appended(&bytes, &ModelProto::default()).unwrap(), bytes);
    }

    #[test]
    fn files_of_more_than_2_gib_are_not_written() {
        let mut bytes = small().encode_to_vec();
        encode_key(100, WireType::LengthDelimited, &mut bytes);
        let hole = MAX_FILE as u64;
        encode_varint(hole, &mut bytes);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        // A hole takes no space on disk.
        file.set_len(bytes.len() as u64 + hole).unwrap();
        let mut out = Vec::new();
        let error = append(&mut file, &addition(), &mut out).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("the model would be larger than 2 GiB: "),
            "{message}"
        );
        assert!(out.is_empty());
    }

    #[test]
    fn other_files_are_errors() {
        let whole = small().encode_to_vec();
        for bytes in [
            &whole[..whole.len() - 1],
            &whole[..50],
            b"ORTM and more",
            b"",
            &[0; 20],
            &[0xff; 20],
        ] {
            assert!(appended(bytes, &addition()).is_err());
        }
    }
}
