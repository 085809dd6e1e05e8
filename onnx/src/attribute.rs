//! Attributes of nodes.

use crate::proto::{AttributeProto, AttributeType, TensorProto};

/// A number.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        f: Some(value),
        r#type: AttributeType::Float.into(),
        ..Default::default()
    }
}

/// An integer.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i: Some(value),
        r#type: AttributeType::Int.into(),
        ..Default::default()
    }
}

/// A list of integers.
pub fn ints(name: &str, values: impl Into<Vec<i64>>) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: values.into(),
        r#type: AttributeType::Ints.into(),
        ..Default::default()
    }
}

/// A list of numbers.
pub fn floats(name: &str, values: impl Into<Vec<f32>>) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        floats: values.into(),
        r#type: AttributeType::Floats.into(),
        ..Default::default()
    }
}

/// A string.
pub fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        s: Some(value.into()),
        r#type: AttributeType::String.into(),
        ..Default::default()
    }
}

/// A tensor.
pub fn tensor(name: &str, value: TensorProto) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        t: Some(value),
        r#type: AttributeType::Tensor.into(),
        ..Default::default()
    }
}

/// In a node of a function: the value of the function's attribute `of`.
pub fn reference(name: &str, r#type: AttributeType, of: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: r#type.into(),
        ref_attr_name: of.to_owned(),
        ..Default::default()
    }
}
