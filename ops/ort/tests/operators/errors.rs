//! What is wrong with a node is named.

use ort::ErrorCode;
use ort::value::TensorElementType::{Float32, Float64, Int64};
use topk_onnx::attribute;
use topk_onnx::proto::AttributeProto;
use topk_ops::operator::LossOperator;

use crate::case::{Array, Case, Stated, batch};

fn case() -> Case {
    let (scores, labels) = batch(Float32, Int64, 3, 10);
    Case::new(LossOperator::SmoothTopkSvm, 2, scores, labels)
}

#[track_caller]
fn names(case: Case, text: &str) {
    let error = case.error();
    let text = format!("{}: {text}", case.operator.name());
    assert!(error.contains(&text), "{error}\n{text}");
}

#[test]
fn invalid_attributes_are_named() {
    let mut without = case();
    without.attributes.clear();
    names(without, "attribute k is missing");
    let cases: [(AttributeProto, &str); 14] = [
        (
            attribute::float("k", 5.0),
            "attribute k must be an integer, such as 5; got a float",
        ),
        (
            attribute::ints("k", [5]),
            "attribute k must be an integer, such as 5; got a list or another type",
        ),
        (attribute::int("k", 0), "k must be at least 1, got 0"),
        (attribute::int("k", -3), "k must be at least 1, got -3"),
        (
            attribute::int("k", i64::MAX),
            "this loss needs at least 9223372036854775808 classes, got 10",
        ),
        (
            attribute::int("tau", 1),
            "attribute tau must be a float, such as 1.0; got an integer",
        ),
        (
            attribute::string("tau", "1"),
            "attribute tau must be a float, such as 1.0; got a string",
        ),
        (
            attribute::float("tau", 0.0),
            "tau (temperature) must be a finite number above 0, got 0",
        ),
        (
            attribute::float("tau", -0.1),
            "tau (temperature) must be a finite number above 0, got -0.1",
        ),
        (
            attribute::float("tau", f32::NAN),
            "tau (temperature) must be a finite number above 0, got NaN",
        ),
        (
            attribute::float("alpha", f32::INFINITY),
            "alpha (margin) must be a finite number of at least 0, got inf",
        ),
        (
            attribute::string("reduction", "avg"),
            "unknown reduction \"avg\": expected none, sum or mean",
        ),
        (
            attribute::int("reduction", 1),
            "attribute reduction must be a string, such as \"mean\"; got an integer",
        ),
        (
            attribute::float("ignore_index", -100.0),
            "attribute ignore_index must be an integer, such as 5; got a float",
        ),
    ];
    for (attribute, text) in cases {
        names(case().with(attribute), text);
    }
}

#[test]
fn attributes_of_other_operators_are_rejected() {
    let (scores, labels) = batch(Float32, Int64, 3, 10);
    let other = |operator| Case::new(operator, 2, scores.clone(), labels.clone());
    names(
        other(LossOperator::Psi5).with(attribute::float("tau", 1.0)),
        "this operator has no attribute tau",
    );
    names(
        other(LossOperator::TruncatedTopkEntropy).with(attribute::float("alpha", 1.0)),
        "this operator has no attribute alpha",
    );
}

#[test]
fn too_few_classes_are_an_error_when_the_session_is_created() {
    let mut few = case().with(attribute::int("k", 10));
    few.stated = Stated::Sizes;
    let error = few.session().unwrap_err().to_string();
    let text = "SmoothTopkSVMLoss: this loss needs at least 11 classes, got 10";
    assert!(error.contains(text), "{error}");
    few.stated = Stated::Nothing;
    few.session().unwrap();
    names(few, "this loss needs at least 11 classes, got 10");
}

#[test]
fn invalid_shapes_are_named() {
    let mut flat = case();
    flat.scores = Array::new(Float32, &[3, 4, 5], &[0.0; 60]);
    names(flat.clone(), "scores have shape [3, 4, 5], expected [N, C]");
    flat.scores = Array::new(Float32, &[], &[0.0]);
    names(flat, "scores have shape [], expected [N, C]");
    let mut labels = case();
    labels.labels = Array::new(Int64, &[7], &[0.0; 7]);
    names(
        labels.clone(),
        "labels have shape [7] for scores of shape [3, 10]: expected [3]",
    );
    labels.labels = Array::new(Int64, &[3, 1], &[0.0; 3]);
    names(
        labels,
        "labels have shape [3, 1] for scores of shape [3, 10]: expected [3]",
    );
    let mut weights = case();
    weights.weights = Some(Array::new(Float32, &[3], &[1.0; 3]));
    names(
        weights,
        "weights have shape [3] for scores of shape [3, 10]: expected [10]",
    );
    let mut none = case();
    none.scores = Array::new(Float32, &[3, 0], &[]);
    names(none, "this loss needs at least 3 classes, got 0");
}

#[test]
fn invalid_values_are_named() {
    let mut label = case();
    label.labels.elements[1] = 10.0;
    names(label.clone(), "label 10 of sample 1 is not in 0..10");
    assert_eq!(label.run().unwrap_err().code(), ErrorCode::InvalidArgument);
    let mut score = case();
    score.scores.elements[13] = f64::NAN;
    names(score, "score NaN of sample 1, class 3 is not finite");
    let mut weights = case();
    weights.weights = Some(Array::new(Float32, &[10], &[-1.0; 10]));
    names(
        weights,
        "the weight of class 0 must be a finite number of at least 0, got -1",
    );
}

#[test]
fn unsupported_types_are_rejected() {
    let mut labels = case();
    labels.labels.kind = Float32;
    assert!(labels.error().contains("tensor(float)"));
    let mut scores = case();
    scores.scores.kind = Int64;
    assert!(scores.error().contains("tensor(int64)"));
    let mut weights = case();
    weights.weights = Some(Array::new(Float64, &[10], &[1.0; 10]));
    weights.run().unwrap_err();
}
