//! A model that has a function of the operator's name, for runtimes without the operators.

use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::TensorElementType::{Float32, Int64};
use prost::Message;
use topk_onnx::proto::{FunctionProto, NodeProto, OperatorSetIdProto};
use topk_onnx::{OPSET, attribute};
use topk_ops::operator::{DOMAIN, LossOperator};

use crate::case::{Case, batch, builder, environment};

/// The loss that the function returns; a real loss is never negative.
const CONSTANT: f64 = -7.0;

/// A function that gives the constant for the loss.
fn function() -> FunctionProto {
    let value = attribute::float("value_float", CONSTANT as f32);
    FunctionProto {
        name: LossOperator::SmoothTopkSvm.name().to_owned(),
        input: vec!["scores".to_owned(), "labels".to_owned()],
        output: vec!["loss".to_owned()],
        attribute: vec!["k".to_owned()],
        node: vec![NodeProto::new("Constant", &[], &["loss"], [value])],
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        }],
        domain: DOMAIN.to_owned(),
        ..Default::default()
    }
}

fn case() -> Case {
    let (scores, labels) = batch(Float32, Int64, 4, 6);
    let mut case = Case::new(LossOperator::SmoothTopkSvm, 2, scores, labels);
    case.outputs = [true, false, false];
    case
}

fn loss(builder: SessionBuilder) -> f64 {
    let mut model = case().model();
    model.functions.push(function());
    let model = model.encode_to_vec();
    let mut session = { builder }.commit_from_memory(&model).unwrap();
    case().run_in(&mut session).unwrap()[0].elements[0]
}

#[test]
fn without_the_operators_the_function_runs() {
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
