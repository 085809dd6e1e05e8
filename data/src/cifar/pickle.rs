//! The pickles of the Python version: dictionaries with a numpy array, written by Python 2.

use std::ops::Range;

use topk_pickle::{Heap, PickleErrorKind, Vocabulary, parse};

use super::versions::{MAX_BYTES, MAX_NAMES, PIXELS};

type Object = topk_pickle::Object<Numpy>;
type Pickle<'a> = topk_pickle::Pickle<'a, Numpy>;

/// Largest number of arrays in a pickle; one is needed.
const MAX_ARRAYS: usize = 16;

/// The arrays in a pickle.
#[derive(Debug, Default)]
struct Numpy {
    arrays: Vec<Array>,
}

/// An array of bytes, row by row; empty until its state has been read.
#[derive(Clone, Debug, Default)]
struct Array {
    rows: usize,
    columns: usize,
    /// Range of its values in the pickle.
    values: Range<usize>,
}

/// The functions and classes of numpy that a pickle may use.
#[derive(Clone, Copy, Debug)]
enum Global {
    /// `numpy.core.multiarray._reconstruct`: an array, whose state follows.
    Reconstruct,
    /// `numpy.ndarray`.
    Ndarray,
    /// `numpy.dtype`.
    Dtype,
}

#[derive(Clone, Copy, Debug)]
enum Made {
    /// `dtype('u1')`.
    Bytes,
    /// Index of an array.
    Array(u32),
}

impl Vocabulary for Numpy {
    type Global = Global;
    type Made = Made;

    const CONTENTS: &'static str = "a CIFAR file";
    const ADVICE: &'static str = "download it again";
    const MAX_BYTES: usize = MAX_BYTES;
    const MAX_TEXT: usize = MAX_BYTES;

    fn global(module: &str, name: &str) -> Option<Global> {
        Some(match (module, name) {
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => {
                Global::Reconstruct
            }
            ("numpy", "ndarray") => Global::Ndarray,
            ("numpy", "dtype") => Global::Dtype,
            _ => return None,
        })
    }

    fn kind(made: Made) -> &'static str {
        match made {
            Made::Bytes => "a type of numbers",
            Made::Array(_) => "an array",
        }
    }

    fn call(
        &mut self,
        _: &mut Heap<Self>,
        pickle: &[u8],
        function: Global,
        arguments: &[Object],
    ) -> Result<Object, PickleErrorKind> {
        let made = match (function, arguments) {
            (Global::Reconstruct, [Object::Global(Global::Ndarray), ..]) => {
                if self.arrays.len() == MAX_ARRAYS {
                    return Err(PickleErrorKind::TooMany {
                        what: "arrays",
                        limit: MAX_ARRAYS,
                    });
                }
                self.arrays.push(Array::default());
                Made::Array(self.arrays.len() as u32 - 1)
            }
            (Global::Dtype, [Object::Text(name), ..]) if name.is(pickle, "u1") => Made::Bytes,
            (Global::Dtype, _) => {
                return Err(PickleErrorKind::Invalid(
                    "an array that is not of bytes".to_owned(),
                ));
            }
            _ => {
                return Err(PickleErrorKind::Unexpected {
                    expected: "the arguments of a function",
                    got: "other arguments".to_owned(),
                });
            }
        };
        Ok(Object::Made(made))
    }

    /// The state of an array is `(1, (rows, columns), dtype, is by columns, values)`.
    fn build(
        &mut self,
        heap: &Heap<Self>,
        _: &[u8],
        object: Object,
        state: Object,
    ) -> Result<(), PickleErrorKind> {
        let (Object::Made(made), Object::Tuple(parts)) = (object, state) else {
            return Err(object.expected("an array that has a state"));
        };
        let Made::Array(array) = made else {
            // A state would be the byte order, which single bytes do not have.
            return Ok(());
        };
        let &[
            Object::Int(1),
            Object::Tuple(shape),
            Object::Made(Made::Bytes),
            Object::Bool(false),
            values,
        ] = heap.items(parts)
        else {
            return Err(state.expected("the state of an array of bytes, row by row"));
        };
        let values = match values {
            Object::Text(text) => text.span().range(),
            Object::Bytes(span) => span.range(),
            _ => return Err(values.expected("the values of an array")),
        };
        let &[rows, columns] = heap.items(shape) else {
            return Err(PickleErrorKind::Invalid(
                "an array that does not have two dimensions".to_owned(),
            ));
        };
        let rows = rows.size("the rows of an array")?;
        let columns = columns.size("the columns of an array")?;
        if rows.checked_mul(columns) != Some(values.len()) {
            return Err(PickleErrorKind::Invalid(format!(
                "an array of {rows} rows and {columns} columns with {} values",
                values.len()
            )));
        }
        self.arrays[array as usize] = Array {
            rows,
            columns,
            values,
        };
        Ok(())
    }

    fn persistent(
        &mut self,
        _: &Heap<Self>,
        _: &[u8],
        id: Object,
    ) -> Result<Object, PickleErrorKind> {
        Err(id.expected("no object outside the pickle"))
    }
}

/// The labels of the images in a file, and the position of the pixels of the first image, which those of
/// the others follow.
pub(super) fn batch(bytes: &[u8], labels: &str) -> Result<(Vec<i64>, usize), String> {
    let pickle = parse(bytes).map_err(|error| error.to_string())?;
    let Object::Made(Made::Array(array)) = entry(&pickle, "data")? else {
        return Err("`data` is not an array".to_owned());
    };
    let Array {
        rows,
        columns,
        ref values,
    } = pickle.made.arrays[array as usize];
    let items = list(&pickle, labels)?;
    if rows != items.len() || (rows > 0 && columns != PIXELS) {
        return Err(format!(
            "`data` has {rows} rows of {columns} bytes, expected {} of {PIXELS}, one per entry of \
             `{labels}`",
            items.len()
        ));
    }
    let label = |item: &Object| match item {
        Object::Int(label) => Ok(*label),
        other => Err(format!("`{labels}` contains {}", other.kind())),
    };
    let labels: Result<_, _> = items.iter().map(label).collect();
    Ok((labels?, values.start))
}

/// The class names.
pub(super) fn class_names(bytes: &[u8], key: &str) -> Result<Vec<String>, String> {
    let pickle = parse(bytes).map_err(|error| error.to_string())?;
    let mut length = 0;
    let name = |item: &Object| {
        let Object::Text(name) = item else {
            return Err(format!("`{key}` contains {}", item.kind()));
        };
        // The same string may be listed many times.
        length += name.len();
        if length > MAX_NAMES {
            return Err(format!("`{key}` has more than {MAX_NAMES} bytes"));
        }
        Ok(name.get(pickle.bytes).into_owned())
    };
    list(&pickle, key)?.iter().map(name).collect()
}

/// The objects of a list in the dictionary of a pickle.
fn list<'a>(pickle: &'a Pickle, key: &str) -> Result<&'a [Object], String> {
    match entry(pickle, key)? {
        Object::List(list) => Ok(pickle.heap.items(list)),
        other => Err(format!("`{key}` is {}, expected a list", other.kind())),
    }
}

fn entry(pickle: &Pickle, key: &str) -> Result<Object, String> {
    let Object::Dict(dict) = pickle.root else {
        return Err(format!(
            "it contains {}, expected a dictionary",
            pickle.root.kind()
        ));
    };
    let is_key = |object: Object| match object {
        Object::Text(text) => text.is(pickle.bytes, key),
        Object::Bytes(span) => &pickle.bytes[span.range()] == key.as_bytes(),
        _ => false,
    };
    let mut entries = pickle.heap.entries(dict).filter(|&(key, _)| is_key(key));
    let (_, value) = entries
        .next()
        .ok_or_else(|| format!("`{key}` is missing"))?;
    match entries.next() {
        None => Ok(value),
        Some(_) => Err(format!("`{key}` appears more than once")),
    }
}
