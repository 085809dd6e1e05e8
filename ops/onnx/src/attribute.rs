//! Attributes of nodes.

use crate::proto::{AttributeProto, AttributeType};

/// An attribute that is a number.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        f: Some(value),
        r#type: AttributeType::Float.into(),
        ..Default::default()
    }
}

/// An attribute that is an integer.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i: Some(value),
        r#type: AttributeType::Int.into(),
        ..Default::default()
    }
}

/// An attribute that is a list of integers.
pub fn ints(name: &str, values: impl Into<Vec<i64>>) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: values.into(),
        r#type: AttributeType::Ints.into(),
        ..Default::default()
    }
}
