//! Random nodes: either an error, or what the losses called from Rust give.

use std::cell::Cell;

use ort::value::TensorElementType::{self, Bfloat16, Float16, Float32, Float64, Int32, Int64};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngSeed, TestRunner};
use topk_onnx::attribute;
use topk_onnx::proto::AttributeProto;
use topk_ops::operator::LossOperator;

use crate::case::{Array, Case, Stated};

fn float() -> impl Strategy<Value = f32> {
    prop_oneof![
        40 => 0.01f32..3.0,
        1 => any::<f32>(),
        1 => select(vec![0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40, 1e-30, 1e30, f32::MAX]),
    ]
}

fn int() -> impl Strategy<Value = i64> {
    prop_oneof![
        40 => 1i64..5,
        1 => any::<i64>(),
        1 => select(vec![0, -1, -100, 7, i64::MAX, i64::MIN, 1 << 32]),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        40 => select(vec!["none", "sum", "mean"]).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => select(vec!["", "Mean", "none\0", "meanmeanmean"]).prop_map(str::to_owned),
    ]
}

/// An attribute of a type of the strategy's choice, else of any.
fn attribute(
    name: &'static str,
    right: impl Strategy<Value = AttributeProto>,
) -> impl Strategy<Value = AttributeProto> {
    prop_oneof![
        200 => right,
        1 => float().prop_map(move |value| attribute::float(name, value)),
        1 => int().prop_map(move |value| attribute::int(name, value)),
        1 => text().prop_map(move |value| attribute::string(name, &value)),
        1 => vec(int(), 0..3).prop_map(move |values| attribute::ints(name, values)),
    ]
}

fn attributes() -> impl Strategy<Value = Vec<AttributeProto>> {
    let float = |name| attribute(name, float().prop_map(move |x| attribute::float(name, x)));
    let int = |name| attribute(name, int().prop_map(move |x| attribute::int(name, x)));
    let text = |name| attribute(name, text().prop_map(move |x| attribute::string(name, &x)));
    let all = (
        weighted(0.98, int("k")),
        weighted(0.3, float("tau")),
        weighted(0.3, float("alpha")),
        weighted(0.7, text("reduction")),
        weighted(0.3, int("ignore_index")),
    );
    all.prop_map(|(k, tau, alpha, reduction, ignore_index)| {
        let all = [k, tau, alpha, reduction, ignore_index];
        all.into_iter().flatten().collect()
    })
}

/// An array whose shape is `likely`, or seldom any.
fn array(
    kind: impl Strategy<Value = TensorElementType>,
    likely: Vec<i64>,
    element: impl Strategy<Value = f64> + Clone,
) -> impl Strategy<Value = Array> {
    let shape = prop_oneof![60 => Just(likely), 1 => vec(0i64..8, 0..=3)];
    (kind, shape).prop_flat_map(move |(kind, shape)| {
        let length = shape.iter().product::<i64>() as usize;
        vec(element.clone(), length).prop_map(move |elements| Array::new(kind, &shape, &elements))
    })
}

fn score() -> impl Strategy<Value = f64> + Clone {
    prop_oneof![
        4000 => -5.0..5.0,
        120 => select(vec![0.0, -0.0, 1.0, -1e4, 1e4, 1e30, -1e30, 1e300]),
        1 => select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let kinds = || {
        prop_oneof![
            40 => select(vec![Float32, Float64, Float16, Bfloat16]),
            1 => select(vec![Int64, Int32]),
        ]
    };
    let sizes = (
        0i64..6,
        prop_oneof![9 => 5i64..16, 1 => 0i64..5],
        kinds(),
        attributes(),
    );
    sizes.prop_flat_map(move |(samples, classes, kind, attributes)| {
        let label = prop_oneof![
            200 => (0..classes.max(1)).prop_map(|label| label as f64),
            1 => select(vec![-1.0, -100.0, 7.0, 12.0, 2147483647.0, -2147483648.0]),
        ];
        let weight = prop_oneof![
            200 => 0.0..2.0,
            1 => select(vec![-1.0, f64::NAN, f64::INFINITY, 0.0, 1e-300]),
        ];
        let label_kind = prop_oneof![20 => Just(Int64), 20 => Just(Int32), 1 => Just(Float32)];
        let weight_kind = prop_oneof![40 => Just(kind), 1 => kinds()];
        (
            select(LossOperator::ALL.to_vec()),
            array(Just(kind), vec![samples, classes], score()),
            array(label_kind, vec![samples], label),
            weighted(0.4, array(weight_kind, vec![classes], weight)),
            any::<[bool; 3]>(),
            select(vec![Stated::Sizes, Stated::Names, Stated::Nothing]),
        )
            .prop_map(
                move |(operator, scores, labels, weights, mut outputs, stated)| {
                    let mut attributes = attributes.clone();
                    // Half of the nodes without a k.
                    attributes.retain(|a| operator.has_k() || outputs[2] || a.name != "k");
                    outputs[2] &= operator.has_prob();
                    outputs[0] |= outputs == [false; 3];
                    Case {
                        operator,
                        attributes,
                        scores,
                        labels,
                        weights,
                        outputs,
                        stated,
                    }
                },
            )
    })
}

/// Whether the operator supports the types. `Case::expected` checks the values.
fn is_typed(case: &Case) -> bool {
    let get = |name: &str| case.attributes.iter().find(|a| a.name == name);
    let number = |name, may| get(name).is_none_or(|a| may && a.f.is_some());
    let reductions: [&[u8]; 3] = [b"none", b"sum", b"mean"];
    let reduction =
        get("reduction").is_none_or(|a| a.s.as_deref().is_some_and(|s| reductions.contains(&s)));
    let kind = case.scores.kind;
    let k = match case.operator.has_k() {
        true => get("k").is_some_and(|a| a.i.is_some()),
        false => get("k").is_none(),
    };
    k && number("tau", case.operator.has_tau())
        && number("alpha", case.operator.has_alpha())
        && reduction
        && get("ignore_index").is_none_or(|a| a.i.is_some())
        && [Float32, Float64, Float16, Bfloat16].contains(&kind)
        && [Int64, Int32].contains(&case.labels.kind)
        && case
            .weights
            .as_ref()
            .is_none_or(|weights| weights.kind == kind)
}

#[test]
fn a_node_is_rejected_or_gives_the_results_of_rust() {
    let config = ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1802_07595),
        ..ProptestConfig::default()
    };
    let (computed, refused) = (Cell::new(0), Cell::new(0));
    let result = TestRunner::new(config).run(&case(), |case| {
        let found = case.run();
        let expected = if is_typed(&case) {
            case.expected().ok().flatten()
        } else {
            None
        };
        match (found, expected) {
            (Ok(found), Some(expected)) => {
                computed.update(|count| count + 1);
                prop_assert_eq!(found, expected);
            }
            (Err(_), None) => refused.update(|count| count + 1),
            (Ok(found), None) => prop_assert!(false, "gave {:?}", found),
            (Err(error), Some(_)) => prop_assert!(false, "{}", error),
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let (computed, refused) = (computed.get(), refused.get());
    println!("{computed} nodes computed, {refused} refused");
    assert!(
        4 * computed.min(refused) > computed + refused,
        "both happen"
    );
}
