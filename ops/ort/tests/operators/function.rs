//! A model that has a function of the operator's name, for runtimes without the operators.

use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::TensorElementType::{Float32, Int64};
use prost::Message;
use topk_onnx::proto::{AttributeProto, NodeProto, OperatorSetIdProto};
use topk_onnx::{DOMAIN, LossOperator, OPSET, attribute};

use crate::case::{Case, batch, builder, environment};

/// The field of `ModelProto` for functions.
#[derive(Clone, PartialEq, Message)]
struct Functions {
    #[prost(message, repeated, tag = "25")]
    functions: Vec<FunctionProto>,
}

#[derive(Clone, PartialEq, Message)]
struct FunctionProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "4")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    output: Vec<String>,
    #[prost(string, repeated, tag = "6")]
    attribute: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    node: Vec<NodeProto>,
    #[prost(message, repeated, tag = "9")]
    opset_import: Vec<OperatorSetIdProto>,
    #[prost(string, tag = "10")]
    domain: String,
}

/// What the function says the loss is; no loss is negative.
const CONSTANT: f64 = -7.0;

/// A function that gives the constant for the loss.
fn function() -> FunctionProto {
    let value = AttributeProto {
        name: "value_float".to_owned(),
        ..attribute::float("", CONSTANT as f32)
    };
    FunctionProto {
        name: LossOperator::SmoothTopkSvm.name().to_owned(),
        input: vec!["scores".to_owned(), "labels".to_owned()],
        output: vec!["loss".to_owned()],
        attribute: vec!["k".to_owned()],
        node: vec![NodeProto {
            output: vec!["loss".to_owned()],
            op_type: "Constant".to_owned(),
            attribute: vec![value],
            ..Default::default()
        }],
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        }],
        domain: DOMAIN.to_owned(),
    }
}

fn case() -> Case {
    let (scores, labels) = batch(Float32, Int64, 4, 6);
    let mut case = Case::new(LossOperator::SmoothTopkSvm, 2, scores, labels);
    case.outputs = [true, false, false];
    case
}

fn loss(builder: SessionBuilder) -> f64 {
    let functions = vec![function()];
    let mut model = case().model().encode_to_vec();
    model.extend(Functions { functions }.encode_to_vec());
    let mut session = { builder }.commit_from_memory(&model).unwrap();
    case().run_in(&mut session).unwrap()[0].elements[0]
}

#[test]
fn the_function_is_for_runtimes_without_the_operators() {
    let plain = Session::builder(environment()).unwrap();
    assert_eq!(loss(plain), CONSTANT);
}

#[test]
fn the_operators_take_precedence_over_the_function() {
    let expected = case().check()[0].elements[0];
    assert_eq!(loss(builder()), expected);
    for inlining in [false, true] {
        for level in [GraphOptimizationLevel::Disable, GraphOptimizationLevel::All] {
            let builder = builder().with_optimization_level(level).unwrap();
            let builder = builder.with_aot_inlining(inlining).unwrap();
            assert_eq!(loss(builder), expected);
        }
    }
}
