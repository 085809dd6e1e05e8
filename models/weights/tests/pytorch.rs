//! Files of PyTorch are read; `data/make_pytorch_files.py` wrote them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use lzma_rust2::XzReader;
use serde_json::Value as Json;
use topk_weights::{FormatError, Loaded, Note, ReadOptions, StateDict, Tensor, Value};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn expected() -> BTreeMap<String, Json> {
    let json = fs::read_to_string(data("expected.json")).unwrap();
    serde_json::from_str(&json).unwrap()
}

/// The name of a type in PyTorch, the shape and the values.
fn describe(tensor: &Tensor) -> (String, Vec<usize>, Vec<f32>) {
    let name = tensor.dtype().name().to_lowercase();
    let name = match name.split_at(1) {
        ("f", bits) => format!("float{bits}"),
        ("i", bits) => format!("int{bits}"),
        ("u", bits) => format!("uint{bits}"),
        _ if name == "bf16" => "bfloat16".to_owned(),
        _ => name,
    };
    (name, tensor.shape().to_vec(), tensor.to_f32().unwrap())
}

#[test]
fn files_of_torch_save_give_their_tensors() {
    let expected = expected();
    assert_eq!(expected.len(), 18);
    for (name, expected) in expected {
        let weights = StateDict::read(&data(&format!("{name}.pth"))).unwrap();
        let tensors = expected["tensors"].as_object().unwrap();
        let names: Vec<_> = weights.tensors.keys().collect();
        let mut expected_names: Vec<_> = tensors.keys().collect();
        expected_names.sort();
        assert_eq!(names, expected_names, "{name}");
        for (key, tensor) in &weights.tensors {
            let (dtype, shape, values) = describe(tensor);
            let [expected_dtype, expected_shape, expected_values] =
                tensors[key].as_array().unwrap().as_slice()
            else {
                panic!("a tensor is type, shape and values")
            };
            assert_eq!(Json::from(dtype), *expected_dtype, "{name}: {key}");
            assert_eq!(Json::from(shape), *expected_shape, "{name}: {key}");
            let expected_values = expected_values.as_array().unwrap();
            assert_eq!(values.len(), expected_values.len(), "{name}: {key}");
            for (value, expected) in values.iter().zip(expected_values) {
                let expected = expected.as_f64().unwrap() as f32;
                assert_eq!(*value, expected, "{name}: {key}");
            }
        }
        let plain = weights.metadata.iter().map(|(key, value)| {
            let value = match value {
                Value::Bool(value) => Json::from(*value),
                Value::Int(value) => Json::from(*value),
                Value::Float(value) => Json::from(*value),
                Value::Text(value) => Json::from(value.as_str()),
            };
            (key.clone(), value)
        });
        let plain = Json::Object(plain.collect());
        assert_eq!(plain, expected["metadata"], "{name}");
    }
}

#[test]
fn decisions_about_a_checkpoint_are_notes() {
    for name in ["references.pth", "references_legacy.pth"] {
        let notes = |use_ema| {
            let loaded = Loaded::read(&data(name), ReadOptions { use_ema }).unwrap();
            assert_eq!(loaded.weights.tensors.len(), 9);
            let notes = loaded.notes.iter().map(Note::to_string);
            notes.collect::<Vec<_>>()
        };
        let skipped = "skipped objects of argparse.Namespace, pathlib.PurePosixPath, \
                       torch._utils._rebuild_sparse_tensor beside the weights, without building them";
        assert_eq!(
            notes(false),
            [
                "took the weights under `model`, not the averaged ones (EMA) under `model_ema`",
                skipped
            ]
        );
        assert_eq!(
            notes(true),
            [
                "took the averaged weights (EMA) under `model_ema`",
                skipped,
                "removed `module.` from the names of tensors"
            ]
        );
    }
}

#[test]
fn truncated_files_are_rejected() {
    for name in ["nested.pth", "nested_legacy.pth", "python2.pth"] {
        let bytes = fs::read(data(name)).unwrap();
        for len in 0..bytes.len() {
            let result = StateDict::from_bytes(&bytes[..len]);
            assert!(result.is_err(), "{name}: the first {len} bytes are enough");
        }
    }
}

#[test]
fn a_damaged_byte_never_panics() {
    for name in [
        "views.pth",
        "nested_legacy.pth",
        "python2.pth",
        "references_legacy.pth",
    ] {
        let bytes = fs::read(data(name)).unwrap();
        for at in 0..bytes.len() {
            for flip in [0xff, 0x01, 0x80] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                let _ = StateDict::from_bytes(&bytes);
            }
        }
    }
}

#[test]
fn written_files_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    for name in expected().into_keys() {
        let mut weights = StateDict::read(&data(&format!("{name}.pth"))).unwrap();
        let path = folder.path().join("a.safetensors");
        weights.save(&path).unwrap();
        let read = StateDict::read(&path).unwrap();
        assert_eq!(read.tensors, weights.tensors, "{name}");
        let text = |value: &Value| Value::Text(value.to_string());
        for (key, value) in &weights.metadata {
            assert_eq!(read.metadata[key], text(value), "{name}: {key}");
        }

        let path = folder.path().join("a.pth");
        weights.save(&path).unwrap();
        weights.metadata.clear();
        assert_eq!(StateDict::read(&path).unwrap(), weights, "{name}");
        let bytes = fs::read(&path).unwrap();
        weights.save(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes, "{name}");
    }
    let error = StateDict::default().save(&folder.path().join("a.bin"));
    let error = error.unwrap_err().to_string();
    assert!(
        error.ends_with("which must end in .safetensors, .pth or .pt"),
        "{error}"
    );
}

#[test]
fn weights_that_are_not_finite_are_rejected() {
    let mut weights = StateDict::default();
    let values = [1.0, 2.0, f32::NAN, 3.0];
    let tensor = Tensor::from_f32(&[2, 2], &values).unwrap();
    weights.tensors.insert("fc.weight".to_owned(), tensor);
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.pth", "a.safetensors"] {
        let path = folder.path().join(name);
        weights.save(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        let error = StateDict::from_bytes(&bytes).unwrap_err();
        assert!(matches!(error, FormatError::NotFinite { index: 2, .. }));
        let error = StateDict::read(&path).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        assert!(error.contains("fc.weight is NaN at element 2"), "{error}");
    }
}

#[test]
fn a_whole_resnet_is_the_same_in_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    let read = |extension: &str| {
        let packed = topk_testing::shared(&format!("models/resnet18_pqf.{extension}.xz"))?;
        let path = folder.path().join("weights");
        let mut reader = XzReader::new(BufReader::new(File::open(packed).unwrap()), false);
        io::copy(&mut reader, &mut File::create(&path).unwrap()).unwrap();
        Some(StateDict::read(&path).unwrap())
    };
    let (Some(pth), Some(safetensors)) = (read("pth"), read("safetensors")) else {
        return;
    };
    assert_eq!(pth.tensors.len(), 122);
    assert_eq!(pth.tensors["fc.weight"].shape(), [1000, 512]);
    let counter = &pth.tensors["bn1.num_batches_tracked"];
    assert!(counter.shape().is_empty() && counter.to_i64().is_ok());
    for (name, tensor) in &pth.tensors {
        assert_eq!(Some(tensor), safetensors.tensors.get(name), "{name}");
    }
}
