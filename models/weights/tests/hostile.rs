//! Malicious and inconsistent files are rejected with a clear error, in little memory and time.

mod memory;

use std::io::{Cursor, Write};

use topk_weights::{Loaded, Note, ReadOptions, StateDict};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// Limits for the memory that reading a file allocates: a constant, plus bytes per byte of the file, up to a
/// maximum.
const FREE_BYTES: usize = 1 << 20;
const BYTES_PER_BYTE: usize = 48;
const MAX_BYTES: usize = 40 << 20;

/// The beginning of a pickle.
const PROTO: &[u8] = b"\x80\x02";

/// The dictionary of an empty state_dict.
const ORDERED_DICT: &[u8] = b"ccollections\nOrderedDict\n)R";

/// A zip file of PyTorch.
fn zip(entries: &[(&str, &[u8])], compression: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(compression);
    for (name, bytes) in entries {
        zip.start_file(format!("archive/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn stored(pickle: &[u8]) -> Vec<u8> {
    let floats: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let entries = [("data.pkl", pickle), ("data/0", &floats)];
    zip(&entries, CompressionMethod::Stored)
}

/// The same pickle in the format before PyTorch 1.6.
fn legacy(pickle: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    bytes.extend(b"\x80\x02M\xe9\x03.");
    bytes.extend(b"\x80\x02}(U\x0dlittle_endian\x88u.");
    bytes.extend(pickle);
    bytes.extend(b"\x80\x02]U\x010a.");
    bytes.extend(6u64.to_le_bytes());
    bytes.extend((0..6).flat_map(|i| (i as f32).to_le_bytes()));
    bytes
}

/// The error of a file.
fn error(bytes: &[u8]) -> String {
    let (result, peak) = memory::peak(|| StateDict::from_bytes(bytes));
    let message = result.expect_err("it should fail").to_string();
    let limit = FREE_BYTES + BYTES_PER_BYTE * bytes.len();
    assert!(peak < limit.min(MAX_BYTES), "{peak} bytes: {message}");
    assert!(message.len() < 1000, "{message}");
    message
}

/// The error of a pickle, in both formats.
fn pickle_error(pickle: &[u8]) -> String {
    let message = error(&stored(pickle));
    assert_eq!(error(&legacy(pickle)), message);
    message
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = vec![b'X'];
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.bytes());
    bytes
}

fn int(value: i64) -> Vec<u8> {
    let mut bytes = vec![0x8a, 8];
    bytes.extend(value.to_le_bytes());
    bytes
}

fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", items.concat().as_slice(), b"t"].concat()
}

/// The persistent id of a storage.
fn storage(storage_type: &str, key: &str, elements: i64) -> Vec<u8> {
    let storage_type = format!("ctorch\n{storage_type}\n").into_bytes();
    let parts = [
        text("storage"),
        storage_type,
        text(key),
        text("cpu"),
        int(elements),
    ];
    [tuple(&parts).as_slice(), b"Q"].concat()
}

fn tensor(storage: Vec<u8>, offset: i64, sizes: &[i64], strides: &[i64]) -> Vec<u8> {
    let ints = |values: &[i64]| tuple(&values.iter().map(|&value| int(value)).collect::<Vec<_>>());
    let arguments = [
        storage,
        int(offset),
        ints(sizes),
        ints(strides),
        vec![0x89],
        ORDERED_DICT.to_vec(),
    ];
    let function = b"ctorch._utils\n_rebuild_tensor_v2\n".as_slice();
    [function, &tuple(&arguments), b"R"].concat()
}

/// A state_dict of these tensors.
fn state_dict(tensors: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut pickle = [PROTO, ORDERED_DICT].concat();
    for (name, tensor) in tensors {
        pickle.extend(text(name));
        pickle.extend(tensor);
        pickle.push(b's');
    }
    pickle.push(b'.');
    pickle
}

#[test]
fn the_generated_files_are_otherwise_valid() {
    let float = tensor(storage("FloatStorage", "0", 6), 1, &[2, 2], &[2, 1]);
    let pickle = state_dict(&[("a", float)]);
    for file in [stored(&pickle), legacy(&pickle)] {
        let weights = StateDict::from_bytes(&file).unwrap();
        let values = weights.tensors["a"].to_f32().unwrap();
        assert_eq!(values, [1.0, 2.0, 3.0, 4.0]);
    }
}

#[test]
fn only_globals_of_tensors_are_allowed() {
    let ask = |module: &str, name: &str| {
        let global = format!("c{module}\n{name}\n").into_bytes();
        let stack_global = [text(module), text(name), vec![0x93]].concat();
        for global in [global, stack_global] {
            let pickle = [PROTO, &global, &text("id"), b"\x85R."].concat();
            let message = pickle_error(&pickle);
            let expected = format!(
                "its pickle refers to {module}.{name}, which is not allowed in a state_dict; no code \
                 was executed"
            );
            assert!(message.starts_with(&expected), "{message}");
        }
    };
    ask("os", "system");
    ask("posix", "system");
    ask("nt", "system");
    ask("builtins", "eval");
    ask("__builtin__", "eval");
    ask("builtins", "getattr");
    ask("subprocess", "Popen");
    ask("collections", "OrderedDict.update");
    ask("torch", "load");
    ask("torch", "hub.load");
    ask("torch", "float8_e4m3fn");
    ask("torch._utils", "_rebuild_sparse_tensor");
    ask("torch.serialization", "load");
    ask("numpy.core.multiarray", "_reconstruct");
    ask("__main__", "Net");

    let name = "x".repeat(10_000);
    let pickle = [PROTO, &text(&name), &text(&name), b"\x93."].concat();
    assert!(pickle_error(&pickle).contains("more than 256 bytes in the name of a global"));
    let pickle = [PROTO, b"c", name.as_bytes(), b"\nsystem\n."].concat();
    assert!(pickle_error(&pickle).contains("more than 256 bytes in the name of a global"));
    let pickle = [PROTO, b"c\x1b[2Jos\nsystem\n."].concat();
    assert!(pickle_error(&pickle).contains("refers to \\u{1b}[2Jos.system"));
}

#[test]
fn only_plain_objects_are_allowed() {
    let refuse = |rest: &[u8], expected: &str| {
        let message = pickle_error(&[PROTO, rest].concat());
        assert!(message.contains(expected), "{rest:?}: {message}");
    };
    let opcode = "which is not allowed in a state_dict";
    refuse(b"(ios\nsystem\n.", opcode); // INST
    refuse(b"(K\x01K\x02o.", opcode); // OBJ
    refuse(b"ccollections\nOrderedDict\n)\x81.", opcode); // NEWOBJ
    refuse(b"\x82\x01.", opcode); // EXT1
    refuse(b"Pos.system\n.", opcode); // PERSID
    refuse(b"\x97.", opcode); // NEXT_BUFFER
    refuse(
        b"\x8f.",
        "it holds a large integer or a set, not a dictionary of tensors",
    );
    refuse(b"](N\x90.", "has a list, expected a set");
    refuse(b"S'os'\n.", opcode); // STRING
    refuse(b"K\x01)R.", "has the number 1, expected a function");
    refuse(b"X\x02\0\0\0os)R.", "has a string, expected a function");
    refuse(
        b"ctorch\nFloatStorage\n)R.",
        "expected the arguments of a function",
    );
    refuse(
        b"ctorch\nSize\n}b.",
        "has a function or type, expected an object that may have attributes",
    );
    refuse(
        b"]}b.",
        "has a list, expected an object that may have attributes",
    );
    refuse(
        b"}K\x01b.",
        "has the number 1, expected a dictionary of attributes",
    );
    refuse(
        b"X\x02\0\0\0osQ.",
        "has a string, expected the persistent id of a storage",
    );
    refuse(
        b"K\x01\x85Q.",
        "has another tuple, expected the persistent id of a storage",
    );
    let module = [
        text("module"),
        text("Net"),
        text("net.py"),
        text("import os"),
    ];
    refuse(
        &[&tuple(&module), b"Q.".as_slice()].concat(),
        "the persistent id of a storage",
    );
    refuse(b".", "has nothing, expected an object on the stack");
    refuse(b"(0.", "has nothing, expected an object on the stack");
    refuse(b"t.", "has none, expected a mark");
    refuse(
        b"}(K\x01u.",
        "has a key without a value, expected keys and values",
    );
    refuse(b"h\x01.", "has nothing, expected a memoized object");
    let message = pickle_error(b"\x80\x06N.");
    assert!(
        message.contains("uses protocol 6, expected 2 to 5"),
        "{message}"
    );
}

/// A checkpoint with a state_dict of one tensor, and an entry that is built by these operations.
fn checkpoint(entry: &[u8]) -> Vec<u8> {
    let float = tensor(storage("FloatStorage", "0", 6), 1, &[2, 2], &[2, 1]);
    let inner = [b"}".as_slice(), &text("a"), &float, b"s"].concat();
    let parts = [
        PROTO,
        b"}",
        &text("args"),
        entry,
        b"s",
        &text("state_dict"),
        &inner,
        b"s.",
    ];
    parts.concat()
}

#[test]
fn objects_beside_the_weights_are_skipped_without_being_built() {
    for (entry, skipped) in [
        // NEWOBJ and BUILD; NEWOBJ_EX; OBJ; REDUCE, with an argument that is not a tuple.
        (
            b"cargparse\nNamespace\n)\x81}X\x02\0\0\0lrK\x01sb".as_slice(),
            "argparse.Namespace",
        ),
        (b"ca\nB\n)}\x92", "a.B"),
        (b"(ca\nB\nK\x01K\x02o", "a.B"),
        (b"ca\nB\nNR", "a.B"),
        // Items that would be added to it, one by one and together.
        (b"ca\nB\n)R(K\x01K\x02eK\x03a(NNuNNs(N\x90", "a.B"),
        // An argument of another, and a tensor that is made with it.
        (b"ca\nB\nca\nC\n)R\x85R", "a.B, a.C"),
        (b"ctorch._utils\n_rebuild_parameter\nca\nB\n)R\x85R", "a.B"),
        // Values that need no note: a set, a frozen set, a bytearray, a string with a lone surrogate.
        (b"\x8f(K\x01K\x02\x90", ""),
        (b"(K\x01\x91", ""),
        (b"\x96\x02\0\0\0\0\0\0\0ab", ""),
        (b"X\x03\0\0\0\xed\xa0\x80", ""),
        (b"ctorch\ndevice\nX\x03\0\0\0cpu\x85R", ""),
    ] {
        let pickle = checkpoint(entry);
        for file in [stored(&pickle), legacy(&pickle)] {
            let (loaded, peak) =
                memory::peak(|| Loaded::from_bytes(&file, ReadOptions::default()).unwrap());
            assert!(peak < FREE_BYTES + BYTES_PER_BYTE * file.len());
            assert_eq!(loaded.weights.tensors.len(), 1, "{entry:?}");
            let notes: Vec<_> = loaded.notes.iter().map(Note::to_string).collect();
            let expected =
                format!("skipped objects of {skipped} beside the weights, without building them");
            let expected: &[_] = if skipped.is_empty() { &[] } else { &[expected] };
            assert_eq!(notes, expected, "{entry:?}");
        }
    }
}

#[test]
fn what_runs_commands_is_refused_even_beside_the_weights() {
    for global in [
        "os\nsystem",
        "posix\nsystem",
        "builtins\neval",
        "__builtin__\nexecfile",
        "subprocess\nPopen",
        "importlib.util\nfind_spec",
        "shutil\nrmtree",
    ] {
        let entry = format!("c{global}\nX\x02\0\0\0id\u{1}").into_bytes();
        let entry = [&entry[..entry.len() - 1], b"\x85R"].concat();
        let message = pickle_error(&checkpoint(&entry));
        let name = global.replace('\n', ".");
        let expected = format!("its pickle refers to {name}, which is not allowed in a state_dict");
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn objects_among_the_weights_are_refused() {
    let object = b"ca\nB\n)R".to_vec();
    let message = pickle_error(&state_dict(&[
        ("a", tensor(storage("FloatStorage", "0", 6), 0, &[2], &[1])),
        ("b", object.clone()),
    ]));
    assert!(
        message.starts_with("its pickle refers to a.B, which is not allowed in a state_dict"),
        "{message}"
    );
    // The whole network instead of its weights, and a tensor of its own kind.
    let whole = [PROTO, b"}", &text("model"), &object, b"s."].concat();
    assert!(pickle_error(&whole).starts_with("its pickle refers to a.B"));
    // Averaged weights that are requested.
    let mut ema = checkpoint(&object);
    let at = ema.windows(4).position(|name| name == b"args").unwrap();
    ema.splice(at - 4..at + 4, *b"\x03\0\0\0ema");
    let error_of = |use_ema| Loaded::from_bytes(&stored(&ema), ReadOptions { use_ema });
    assert!(error_of(false).is_ok());
    let message = error_of(true).unwrap_err().to_string();
    assert!(message.starts_with("its pickle refers to a.B"), "{message}");
    let complex = tensor(storage("ComplexFloatStorage", "0", 3), 0, &[3], &[1]);
    let message = error(&stored(&state_dict(&[("a", complex)])));
    assert!(
        message.starts_with("a has type complex64: weights must be"),
        "{message}"
    );
}

#[test]
fn a_search_visits_each_dictionary_once() {
    // Eight dictionaries under every known key of every other, and 60,000 names in each.
    let keys = [
        "state_dict",
        "model",
        "net",
        "weights",
        "module",
        "params",
        "ema",
    ];
    let mut pickle = PROTO.to_vec();
    for dict in 0..8u8 {
        pickle.extend([b'}', b'q', dict]);
        pickle.push(b'(');
        for name in 0..7_000u32 {
            pickle.extend([b'U', 5]);
            pickle.extend(format!("{name:05}").bytes());
            pickle.push(b'N');
        }
        pickle.push(b'u');
    }
    for dict in 0..8u8 {
        for (other, key) in keys.iter().enumerate() {
            pickle.extend([b'h', dict]);
            pickle.extend(text(key));
            pickle.extend([b'h', other as u8, b's', b'0']);
        }
    }
    pickle.extend(b"h\x00.");
    let started = std::time::Instant::now();
    assert!(error(&stored(&pickle)).contains("without tensors"));
    assert!(started.elapsed().as_secs() < 10);

    let mut names = PROTO.to_vec();
    for name in 0..2_000 {
        names.extend(format!("ca\n{name}\n0").bytes());
    }
    names.extend(b"N.");
    assert!(pickle_error(&names).contains("more than 1024 different functions and types"));
}

#[test]
fn sizes_are_capped_before_anything_is_allocated() {
    let refuse = |rest: &[u8], expected: &str| {
        let message = pickle_error(&[PROTO, rest].concat());
        assert!(message.contains(expected), "{rest:?}: {message}");
    };
    refuse(
        b"\x8b\xff\xff\xff\x7f\x01.",
        "more than 1048576 bytes in a number",
    );
    refuse(
        b"\x8b\xff\xff\xff\xff\x01.",
        "more than 1048576 bytes in a number",
    );
    refuse(
        b"X\xff\xff\xff\xffx.",
        "more than 16777216 bytes in a string",
    );
    refuse(
        b"T\xff\xff\xff\xffx.",
        "more than 16777216 bytes in a string",
    );
    refuse(
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffx.",
        "more than 16777216 bytes in a string",
    );
    refuse(
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffx.",
        "more than 16777216 bytes in a string",
    );
    let message = error(&stored(b"\x80\x02X\xff\xff\x0f\x00x."));
    assert!(
        message.contains("its pickle ends in the middle"),
        "{message}"
    );

    refuse(
        &b"N".repeat(100_000),
        "more than 65536 objects on the stack",
    );
    refuse(
        &b"(".repeat(100_000),
        "more than 65536 objects on the stack",
    );
    // A million lists, a list of a million objects, a million operations that make nothing, and a million
    // entries in the memo.
    let lists = [b"]Na0".repeat(1 << 19).as_slice(), b"N."].concat();
    refuse(&lists, "more than 262144 tuples, lists and dictionaries");
    let batch = [b"(", b"N".repeat(60_000).as_slice(), b"e"].concat();
    let list = [b"]", batch.repeat(20).as_slice(), b"."].concat();
    refuse(
        &list,
        "more than 1048576 objects in tuples, lists and dictionaries",
    );
    refuse(&b"N0".repeat((1 << 21) + 1), "more than 4194304 operations");
    let mut memo = b"N".to_vec();
    for key in 0u32..1 << 18 {
        memo.push(b'r');
        memo.extend((key * 1_000).to_le_bytes());
    }
    memo.extend(b"q\x01.");
    refuse(&memo, "more than 262144 memoized objects");
    let again = [b"q\x00".as_slice(), &b"h\x00Q0".repeat(100_000)].concat();
    let id = storage("FloatStorage", "0", 6);
    let id = &id[..id.len() - 1];
    refuse(&[id, &again].concat(), "more than 65536 uses of storages");
}

#[test]
fn nesting_costs_nothing() {
    // A list in a list and so on; the same ten times in each of a tower of tuples; a list in itself.
    let deep = [b"]".repeat(60_000), b"a".repeat(59_999)].concat();
    let mut laughs = b"]q\x00".to_vec();
    for key in 1u8..100 {
        laughs.push(b'(');
        laughs.extend([b'h', key - 1].repeat(10));
        laughs.extend([b't', b'q', key]);
    }
    for pickle in [deep, laughs, b"]q\x00h\x00a".to_vec()] {
        let pickle = [PROTO, &pickle, b"."].concat();
        let message = error(&stored(&pickle));
        assert!(message.contains("not a dictionary of tensors"), "{message}");
    }
    // A dictionary that contains itself, in the search for a state_dict.
    let own = [PROTO, b"}q\x00", &text("model"), b"h\x00s."].concat();
    let message = error(&stored(&own));
    assert!(message.contains("its keys are `model`"), "{message}");
    // One empty tensor under many names.
    let one = tensor(storage("FloatStorage", "0", 6), 0, &[0; 16], &[0; 16]);
    let mut pickle = [PROTO, &one, b"q\x000}"].concat();
    for i in 0..70_000 {
        pickle.extend(text(&i.to_string()));
        pickle.extend(b"h\x00s");
    }
    pickle.push(b'.');
    let message = error(&stored(&pickle));
    assert!(
        message.contains("it has 70000 entries in a dictionary"),
        "{message}"
    );
    // One string as the value of many entries.
    let mut pickle = [PROTO, b"}", &text(&"x".repeat(100_000)), b"q\x000"].concat();
    for i in 0..20 {
        pickle.extend(text(&i.to_string()));
        pickle.extend(b"h\x00s");
    }
    pickle.push(b'.');
    let message = error(&stored(&pickle));
    assert!(
        message.contains("it holds a dictionary without tensors"),
        "{message}"
    );
}

#[test]
fn a_tensor_must_be_within_its_storage() {
    let refuse = |tensor: Vec<u8>, expected: &str| {
        let message = pickle_error(&state_dict(&[("a", tensor)]));
        assert!(message.contains(expected), "{message}");
    };
    let float = || storage("FloatStorage", "0", 6);
    let outside = "that exceeds its storage";
    refuse(tensor(float(), 0, &[7], &[1]), outside);
    refuse(tensor(float(), 1, &[2, 3], &[3, 1]), outside);
    refuse(tensor(float(), i64::MAX, &[2], &[1]), outside);
    refuse(tensor(float(), 6, &[], &[]), outside);
    refuse(tensor(float(), 0, &[i64::MAX; 4], &[i64::MAX; 4]), outside);
    refuse(tensor(float(), 5, &[2], &[i64::MAX]), outside);
    refuse(
        tensor(float(), -1, &[2], &[1]),
        "expected the offset of a tensor",
    );
    refuse(
        tensor(float(), 0, &[-2], &[1]),
        "expected a size of a tensor",
    );
    refuse(
        tensor(float(), 5, &[2], &[-1]),
        "expected a stride of a tensor",
    );
    refuse(
        tensor(float(), 0, &[2], &[1, 1]),
        "of 1 sizes and 2 strides",
    );
    refuse(tensor(float(), 0, &[1; 17], &[1; 17]), "at most 16");
    refuse(
        tensor(storage("UntypedStorage", "0", 24), 0, &[6], &[1]),
        "of a storage without a type",
    );

    // One number, four thousand million times; and no number, of a size that does not fit memory.
    let claimed = "but its tensors need more than 4 times that";
    refuse(tensor(float(), 0, &[1 << 16, 1 << 16], &[0, 0]), claimed);
    refuse(
        tensor(float(), 0, &[i64::MAX, i64::MAX, 0], &[0, 0, 0]),
        claimed,
    );
    let names: Vec<String> = (0..200).map(|i| i.to_string()).collect();
    let tensors = names
        .iter()
        .map(|name| (name.as_str(), tensor(float(), 0, &[6], &[1])));
    let message = pickle_error(&state_dict(&tensors.collect::<Vec<_>>()));
    assert!(message.contains(claimed), "{message}");

    let pickle = state_dict(&[
        ("a", tensor(float(), 0, &[6], &[1])),
        ("b", tensor(storage("IntStorage", "0", 6), 0, &[6], &[1])),
    ]);
    let message = error(&stored(&pickle));
    assert!(
        message.contains("storage 0 is used with different types or sizes"),
        "{message}"
    );
}

#[test]
fn names_must_be_printable() {
    let float = |key: &str| tensor(storage("FloatStorage", key, 6), 0, &[6], &[1]);
    let refuse = |name: &str, key: &str, expected: &str| {
        let message = pickle_error(&state_dict(&[(name, float(key))]));
        assert!(message.contains(expected), "{message}");
    };
    refuse("\x1b[2J", "0", "`\\u{1b}[2J` is not a valid name");
    let long = "x".repeat(1025);
    refuse(
        &long,
        "0",
        &format!("`{}…` is not a valid name", &long[..40]),
    );
    let header = format!(r#"{{"{long}":{{"dtype":"U8","shape":[],"data_offsets":[0,1]}}}}"#);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.push(0);
    assert!(error(&file).contains("is not a valid name"));
    for key in ["\x1b", &long] {
        let message = error(&stored(&state_dict(&[("a", float(key))])));
        assert!(
            message.contains("expected the key of a storage"),
            "{message}"
        );
    }
}

#[test]
fn a_storage_must_match_its_pickle() {
    let file = |storage_type, key, elements| {
        let storage = storage(storage_type, key, elements);
        state_dict(&[("a", tensor(storage, 0, &[2], &[1]))])
    };
    let zip = |storage_type, key, elements| error(&stored(&file(storage_type, key, elements)));
    let old = |storage_type, key, elements| error(&legacy(&file(storage_type, key, elements)));
    let check = |message: String, expected: &str| assert!(message.contains(expected), "{message}");

    check(
        zip("FloatStorage", "0", 5),
        "entry archive/data/0 has 24 bytes, expected at most 20",
    );
    check(
        zip("FloatStorage", "0", 7),
        "entry archive/data/0 has 24 bytes, expected 28",
    );
    check(
        zip("FloatStorage", "0", i64::MAX),
        "its storage 0 cannot have 92233720368547758",
    );
    check(
        zip("FloatStorage", "1", 6),
        "entry archive/data/1 is missing",
    );
    check(
        zip("FloatStorage", "../data.pkl", 6),
        "entry archive/data/../data.pkl is missing",
    );

    check(
        old("FloatStorage", "0", 5),
        "its storage 0 has 6 elements, expected 5",
    );
    check(
        old("FloatStorage", "0", 7),
        "it ends in the middle of storage 0",
    );
    check(
        old("FloatStorage", "0", i64::MAX),
        "its storage 0 cannot have 92233720368547758",
    );
    check(
        old("FloatStorage", "1", 6),
        "its storage 0 is not used by its pickle",
    );
}

#[test]
fn a_zip_bomb_is_rejected() {
    let check = |bytes: &[u8], expected: &str| {
        let message = error(bytes);
        assert!(message.contains(expected), "{message}");
    };
    let zeros = vec![0; 32 << 20];
    let elements = zeros.len() as i64 / 4;
    let pickle = state_dict(&[(
        "a",
        tensor(storage("FloatStorage", "0", elements), 0, &[elements], &[1]),
    )]);
    let deflated = CompressionMethod::Deflated;
    let bomb = zip(&[("data.pkl", &pickle), ("data/0", &zeros)], deflated);
    assert!(bomb.len() < 100_000);
    check(&bomb, "rejected as a zip bomb");
    check(
        &zip(&[("data.pkl", &zeros)], deflated),
        "expected at most 16777216",
    );
    check(
        &zip(&[("data.pkl", &zeros[..1 << 20])], deflated),
        "rejected as a zip bomb",
    );
    check(
        &zip(&[("data.pkl", b"N."), ("byteorder", &zeros)], deflated),
        "expected at most 16",
    );

    // A size in the directory that is not that of what is unpacked.
    let mut small = zip(&[("data.pkl", &zeros[..1000])], deflated);
    for at in 0..small.len() - 4 {
        if small[at..at + 4] == 1000u32.to_le_bytes() {
            small[at..at + 4].copy_from_slice(&10u32.to_le_bytes());
        }
    }
    check(&small, "archive/data.pkl cannot be decompressed");

    // The same values as many storages: entries of the directory that point to the same offset in the file.
    let values = vec![0; 10_000];
    let mut entries: Vec<(String, &[u8])> = Vec::new();
    let mut tensors = Vec::new();
    let names: Vec<String> = (0..100).map(|i| format!("{i:02}")).collect();
    for name in &names {
        let values: &[u8] = if entries.is_empty() { &values } else { &[] };
        entries.push((format!("data/{name}"), values));
        let storage = storage("FloatStorage", name, 2_500);
        tensors.push((name.as_str(), tensor(storage, 0, &[2_500], &[1])));
    }
    let pickle = state_dict(&tensors);
    let mut entries: Vec<_> = entries
        .iter()
        .map(|(name, bytes)| (name.as_str(), *bytes))
        .collect();
    entries.push(("data.pkl", &pickle));
    let mut overlapping = zip(&entries, CompressionMethod::Stored);
    overlap(&mut overlapping);
    check(&overlapping, "rejected as a zip bomb");
}

/// Makes every empty entry share the contents of the first.
fn overlap(zip: &mut [u8]) {
    let headers: Vec<usize> = (0..zip.len() - 4)
        .filter(|&at| zip[at..].starts_with(b"PK\x01\x02"))
        .collect();
    let first = headers[0];
    for &at in &headers[1..] {
        let sizes = at + 20..at + 28;
        if zip[sizes.clone()] == [0; 8] {
            zip.copy_within(first + 16..first + 28, at + 16); // checksum and sizes
            zip.copy_within(first + 42..first + 46, at + 42); // where it is
        }
    }
}

#[test]
fn other_zip_files_are_rejected() {
    let check = |bytes: &[u8], expected: &str| {
        let message = error(bytes);
        assert!(message.contains(expected), "{message}");
    };
    let plain = CompressionMethod::Stored;
    check(
        &zip(&[("weights", b"")], plain),
        "data.pkl is missing: torch.save did not write this zip file",
    );
    check(
        &zip(&[("a/b/data.pkl", b"N.")], plain),
        "data.pkl is missing",
    );
    check(
        &zip(&[("data.pkl", b"N."), ("byteorder", b"big")], plain),
        "archive/byteorder is not `little`",
    );
    let pickle = state_dict(&[("a", tensor(storage("FloatStorage", "0", 6), 0, &[6], &[1]))]);
    let mut damaged = stored(&pickle);
    let at = damaged
        .windows(4)
        .position(|four| four == 5f32.to_le_bytes())
        .unwrap();
    damaged[at] ^= 1;
    check(&damaged, "archive/data/0 cannot be decompressed");
    check(b"PK\x03\x04", "it is a damaged zip archive of PyTorch");
}

#[test]
fn there_must_be_a_state_dict() {
    let refuse = |rest: &[u8], expected: &str| {
        let message = error(&stored(&[PROTO, rest, b"."].concat()));
        assert!(message.contains(expected), "{message}");
    };
    refuse(
        b"N",
        "it holds None, not a dictionary of tensors; save model.state_dict() alone",
    );
    refuse(b"}", "it holds an empty dictionary");
    let opt = [
        b"}".as_slice(),
        &text("opt"),
        b"}s",
        &text("epoch"),
        b"K\x01s",
    ]
    .concat();
    refuse(
        &opt,
        "it holds a dictionary without tensors under a key that is known to hold a state_dict; its keys are \
         `epoch`, `opt`; save model.state_dict() alone",
    );
    let nameless = tensor(storage("FloatStorage", "0", 6), 0, &[6], &[1]);
    refuse(
        &[b"}K\x01", nameless.as_slice(), b"s"].concat(),
        "expected the name of a tensor",
    );
    for bytes in [b"\x80\x02}.".as_slice(), b"hello, world"] {
        assert!(error(bytes).starts_with("it is neither a safetensors file"));
    }
    for (bytes, expected) in [
        (b"".as_slice(), "it is empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n",
            "it is a Git LFS pointer",
        ),
        (b"<!doctype html><html>{}</html>", "it is an HTML page"),
        (&[0; 100], "it is filled with zeros"),
    ] {
        assert!(error(bytes).starts_with(expected), "{}", error(bytes));
    }
}

#[test]
fn a_wrong_safetensors_header_is_rejected() {
    let file = |header: &str, values: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.resize(bytes.len() + values, 0);
        bytes
    };
    let check = |bytes: &[u8], expected: &str| {
        let message = error(bytes);
        assert!(message.contains(expected), "{message}");
    };
    let tensor = |dtype: &str, shape: &str, start: u64, end: u64| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}}}"#)
    };
    let sound = file(&tensor("F32", "[2]", 0, 8), 8);
    assert!(StateDict::from_bytes(&sound).is_ok());
    for len in 0..sound.len() {
        error(&sound[..len]);
    }
    let damaged = "it is a damaged safetensors file";
    check(&file(&tensor("F32", "[2]", 0, 8), 9), damaged);
    check(&file(&tensor("F32", "[3]", 0, 8), 8), damaged);
    check(&file(&tensor("F32", "[2]", 8, 16), 16), damaged);
    check(&file(&tensor("F32", "[2]", 8, 0), 8), damaged);
    check(&file(&tensor("F32", "[2]", 0, u64::MAX), 8), damaged);
    check(
        &file(&tensor("F32", "[4294967296,4294967296]", 0, 8), 8),
        damaged,
    );
    check(
        &file(&tensor("F32", "[18446744073709551616]", 0, 8), 8),
        damaged,
    );
    check(
        &file(&tensor("F8_E4M3", "[8]", 0, 8), 8),
        "a has type F8_E4M3: weights must be",
    );
    check(
        &file(&tensor("F99", "[8]", 0, 8), 8),
        "a has type F99: weights must be",
    );
    check(&file("{", 0), damaged);
    check(&file(&"{\"a\":".repeat(100_000), 0), damaged);
    let two = r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},
                  "b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#;
    check(&file(two, 3), damaged);

    let twice = r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},
                    "a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#;
    check(&file(twice, 0), "a appears twice");
    let empty = |i: usize| format!(r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#);
    let empty: Vec<String> = (0..=1 << 16).map(empty).collect();
    let empty = format!("{{{}}}", empty.join(","));
    check(&file(&empty, 0), "more than 65536 entries");
    let strings: Vec<String> = (0..300_000).map(|i| format!(r#""{i:x}":"""#)).collect();
    let strings = format!(r#"{{"__metadata__":{{{}}}}}"#, strings.join(","));
    check(&file(&strings, 0), "more than 65536 entries");
    check(&file(r#"{"__metadata__":{"a":1}}"#, 0), "expected a string");

    // Sizes that each fit, but not their sum with the length of the header.
    let most = (1u64 << 61) - 1;
    let tensors = (0..8).map(|i| {
        let (start, end) = (i * most, (i + 1) * most);
        format!(r#""{i}":{{"dtype":"U8","shape":[{most}],"data_offsets":[{start},{end}]}}"#)
    });
    let tensors = tensors.collect::<Vec<_>>().join(",");
    check(&file(&format!("{{{tensors}}}"), 8), damaged);
    let one = format!(
        r#"{{"a":{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}}}}"#,
        u64::MAX
    );
    check(&file(&one, 8), damaged);

    let mut long = b"\xff\xff\xff\xff\xff\xff\xff\x7f{".to_vec();
    check(
        &long,
        "it has 9223372036854775807 bytes of safetensors header; the limit is 4194304",
    );
    long[..8].copy_from_slice(&1000u64.to_le_bytes());
    check(&long, "it ends in the middle of the safetensors header");
}
