//! Files of `torch.save`, from descriptions of the objects in them.

use std::io::{Cursor, Write};

use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// An object in Python.
#[derive(Clone, Debug)]
pub enum Py {
    None,
    Int(u8),
    Text(String),
    Dict(Vec<(String, Py)>),
    Set(Vec<Py>),
    /// `float32`.
    Tensor(Vec<usize>, Vec<f32>),
    /// An object of a class, with its attributes: `argparse.Namespace(lr=1)`.
    Object(&'static str, &'static str, Box<Py>),
    /// The result of a function: `numpy.dtype("f8")`.
    Call(&'static str, &'static str, Vec<Py>),
}

impl From<&str> for Py {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

pub fn dict(entries: &[(&str, Py)]) -> Py {
    let entries = entries.iter();
    Py::Dict(
        entries
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect(),
    )
}

/// The values of tensors, in the order in which they are met.
type Storages = Vec<Vec<u8>>;

impl Py {
    /// The file of PyTorch 1.6 or later.
    pub fn zip(&self) -> Vec<u8> {
        let mut storages = Vec::new();
        let pickle = self.pickled(&mut storages);
        let mut entries = vec![("data.pkl".to_owned(), pickle)];
        let named = storages.into_iter().enumerate();
        entries.extend(named.map(|(key, bytes)| (format!("data/{key:03}"), bytes)));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            zip.start_file(format!("archive/{name}"), options).unwrap();
            zip.write_all(&bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    /// The file of an older version.
    pub fn legacy(&self) -> Vec<u8> {
        let mut storages = Vec::new();
        let pickle = self.pickled(&mut storages);
        let mut file = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
        file.extend(b"\x80\x02M\xe9\x03.\x80\x02}(U\x0dlittle_endian\x88u.");
        file.extend(pickle);
        file.extend(b"\x80\x02](");
        for key in 0..storages.len() {
            add_text(&format!("{key:03}"), &mut file);
        }
        file.extend(b"e.");
        for bytes in storages {
            file.extend((bytes.len() as u64 / 4).to_le_bytes());
            file.extend(bytes);
        }
        file
    }

    fn pickled(&self, storages: &mut Storages) -> Vec<u8> {
        let mut pickle = b"\x80\x02".to_vec();
        self.add(&mut pickle, storages);
        pickle.push(b'.');
        pickle
    }

    fn add(&self, to: &mut Vec<u8>, storages: &mut Storages) {
        match self {
            Self::None => to.push(b'N'),
            Self::Int(value) => to.extend([b'K', *value]),
            Self::Text(text) => add_text(text, to),
            Self::Dict(entries) => {
                to.extend(b"}(");
                for (key, value) in entries {
                    add_text(key, to);
                    value.add(to, storages);
                }
                to.push(b'u');
            }
            Self::Set(items) => {
                to.extend(b"c__builtin__\nset\n](");
                items.iter().for_each(|item| item.add(to, storages));
                to.extend(b"e\x85R");
            }
            Self::Tensor(shape, values) => {
                let key = storages.len();
                storages.push(
                    values
                        .iter()
                        .flat_map(|value| value.to_le_bytes())
                        .collect(),
                );
                to.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
                add_text("storage", to);
                to.extend(b"ctorch\nFloatStorage\n");
                add_text(&format!("{key:03}"), to);
                add_text("cpu", to);
                add_int(values.len(), to);
                to.extend(b"tQK\x00(");
                shape.iter().for_each(|&dim| add_int(dim, to));
                to.extend(b"t(");
                for dim in 0..shape.len() {
                    add_int(shape[dim + 1..].iter().product(), to);
                }
                to.extend(b"t\x89ccollections\nOrderedDict\n)RtR");
            }
            Self::Object(module, class, attributes) => {
                to.extend(format!("c{module}\n{class}\n)").bytes());
                to.push(0x81);
                attributes.add(to, storages);
                to.push(b'b');
            }
            Self::Call(module, function, arguments) => {
                to.extend(format!("c{module}\n{function}\n(").bytes());
                arguments
                    .iter()
                    .for_each(|argument| argument.add(to, storages));
                to.extend(b"tR");
            }
        }
    }
}

fn add_text(text: &str, to: &mut Vec<u8>) {
    to.push(b'X');
    to.extend((text.len() as u32).to_le_bytes());
    to.extend(text.bytes());
}

fn add_int(value: usize, to: &mut Vec<u8>) {
    to.push(b'J');
    to.extend((value as u32).to_le_bytes());
}
