//! Files have the same bytes as those of the format's own library, which can read them.

use std::collections::{BTreeMap, HashMap};

use safetensors::{Dtype, SafeTensors, serialize, tensor::TensorView};
use topk_weights::{StateDict, Tensor, Value};

fn weights() -> StateDict {
    let tensors = [
        ("z", Tensor::from_f32(&[2, 1], &[1.0, -2.5])),
        ("a.b", Tensor::from_f32(&[], &[3.0])),
        ("count", Tensor::from_i64(&[1], &[7])),
        (
            "half",
            Tensor::new(&[3], topk_weights::Dtype::F16, vec![0; 6]),
        ),
        ("é\"", Tensor::from_f32(&[0, 4], &[])),
    ];
    let tensors = tensors.map(|(name, tensor)| (name.to_owned(), tensor.unwrap()));
    StateDict {
        tensors: tensors.into(),
        metadata: BTreeMap::from([("card".to_owned(), Value::Text("{\"k\": 5}".to_owned()))]),
    }
}

#[test]
fn bytes_match_the_reference_library() {
    let weights = weights();
    let mut bytes = Vec::new();
    weights.write_safetensors(&mut bytes).unwrap();
    let views = weights.tensors.iter().map(|(name, tensor)| {
        let dtype = match tensor.dtype() {
            topk_weights::Dtype::F32 => Dtype::F32,
            topk_weights::Dtype::I64 => Dtype::I64,
            _ => Dtype::F16,
        };
        let view = TensorView::new(dtype, tensor.shape().to_vec(), tensor.bytes());
        (name, view.unwrap())
    });
    let card = HashMap::from([("card".to_owned(), "{\"k\": 5}".to_owned())]);
    assert_eq!(bytes, serialize(views, Some(card)).unwrap());
    assert_eq!(StateDict::from_bytes(&bytes).unwrap(), weights);
}

#[test]
fn many_metadata_are_always_in_the_same_order() {
    let mut weights = weights();
    for (key, value) in [("epoch", Value::Int(3)), ("lr", Value::Float(0.1))] {
        weights.metadata.insert(key.to_owned(), value);
    }
    weights
        .metadata
        .insert("done".to_owned(), Value::Bool(true));
    let mut bytes = Vec::new();
    weights.write_safetensors(&mut bytes).unwrap();
    let header = String::from_utf8_lossy(&bytes[8..]);
    let expected = r#"{"__metadata__":{"card":"{\"k\": 5}","done":"true","epoch":"3","lr":"0.1"},"#;
    assert!(header.starts_with(expected), "{header}");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["epoch"], "3");
}
