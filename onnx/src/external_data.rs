use std::collections::BTreeMap;

use crate::proto::{DataLocation, ModelProto};
use crate::visit;

/// A file beside a model that has some of its weights.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalFile {
    /// Where it is, relative to the model's folder, as the model spells it.
    pub location: String,
    /// The least size in bytes of which it has all tensors that the model describes.
    pub size: u64,
}

/// The files with weights outside the model's own: those of initializers, of constants in nodes, branches and
/// functions, and of sparse tensors. Each location appears once, in alphabetical order.
pub fn external_files(model: &ModelProto) -> Vec<ExternalFile> {
    let mut files = BTreeMap::<&str, u64>::new();
    visit::tensors(model, &mut |tensor, _| {
        if tensor.data_location != DataLocation::External as i32 {
            return;
        }
        let entry = |key: &str| {
            let mut entries = tensor.external_data.iter();
            entries.find(|entry| entry.key == key)
        };
        let number = |key: &str| entry(key).and_then(|entry| entry.value.parse::<u64>().ok());
        let Some(location) = entry("location") else {
            return;
        };
        let end = number("offset")
            .unwrap_or(0)
            .saturating_add(number("length").unwrap_or(0));
        let size = files.entry(&location.value).or_default();
        *size = end.max(*size);
    });
    let files = files.into_iter();
    files
        .map(|(location, size)| ExternalFile {
            location: location.to_owned(),
            size,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{
        AttributeProto, FunctionProto, GraphProto, NodeProto, SparseTensorProto,
        StringStringEntryProto, TensorProto,
    };
    use crate::{attribute, model};

    fn outside(entries: &[(&str, &str)]) -> TensorProto {
        let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        TensorProto {
            external_data: entries.iter().map(entry).collect(),
            data_location: DataLocation::External.into(),
            ..TensorProto::default()
        }
    }

    fn at(location: &str) -> TensorProto {
        outside(&[("location", location)])
    }

    fn node(attribute: AttributeProto) -> NodeProto {
        NodeProto {
            attribute: vec![attribute],
            ..NodeProto::default()
        }
    }

    #[test]
    fn weights_are_found_wherever_a_model_may_have_them() {
        let sparse = |values: &str, indices: &str| SparseTensorProto {
            values: Some(at(values)),
            indices: Some(at(indices)),
            ..SparseTensorProto::default()
        };
        let branch = GraphProto {
            initializer: vec![at("branch")],
            node: vec![node(attribute::tensor("value", at("branch constant")))],
            ..GraphProto::default()
        };
        let graph = GraphProto {
            initializer: vec![at("initializer"), at("initializer")],
            sparse_initializer: vec![sparse("sparse", "sparse indices")],
            node: vec![
                node(attribute::tensor("value", at("constant"))),
                node(AttributeProto {
                    g: Some(Box::new(branch.clone())),
                    ..AttributeProto::default()
                }),
                node(AttributeProto {
                    tensors: vec![at("list")],
                    sparse_tensor: Some(sparse("sparse constant", "its indices")),
                    sparse_tensors: vec![sparse("sparse list", "its indices")],
                    ..AttributeProto::default()
                }),
            ],
            ..GraphProto::default()
        };
        let mut model = model(graph, "", []);
        model.functions.push(FunctionProto {
            node: vec![node(attribute::tensor("value", at("function")))],
            ..FunctionProto::default()
        });
        let found = external_files(&model);
        let locations: Vec<&str> = found.iter().map(|file| &*file.location).collect();
        let expected = [
            "branch",
            "branch constant",
            "constant",
            "function",
            "initializer",
            "its indices",
            "list",
            "sparse",
            "sparse constant",
            "sparse indices",
            "sparse list",
        ];
        assert_eq!(locations, expected);
    }

    #[test]
    fn the_size_is_that_of_the_last_tensor() {
        let graph = GraphProto {
            initializer: vec![
                outside(&[("location", "w"), ("offset", "4096"), ("length", "100")]),
                outside(&[("location", "w"), ("length", "4000")]),
                outside(&[("location", "all")]),
                // Not used, since the elements are in the tensor itself.
                TensorProto {
                    data_location: DataLocation::Default.into(),
                    ..at("unused")
                },
            ],
            ..GraphProto::default()
        };
        let found = external_files(&model(graph, "", []));
        let file = |location: &str, size| ExternalFile {
            location: location.to_owned(),
            size,
        };
        assert_eq!(found, [file("all", 0), file("w", 4196)]);
    }
}
