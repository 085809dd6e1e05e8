//! All losses, settings and types against the losses called from Rust: equal, bit for bit.

use ort::value::TensorElementType::{Bfloat16, Float16, Float32, Float64, Int32, Int64};
use prost::Message;
use topk_onnx::attribute;
use topk_ops::operator::LossOperator;

use crate::case::{Array, Case, Stated, batch, builder};

#[test]
fn all_losses_and_settings_agree_with_rust() {
    for operator in LossOperator::ALL {
        for reduction in [None, Some("none"), Some("sum"), Some("mean")] {
            for weighted in [false, true] {
                for ignored in [None, Some(-100), Some(3)] {
                    let (scores, mut labels) = batch(Float32, Int64, 9, 11);
                    let mut case = Case::new(operator, 3, scores, labels.clone());
                    if operator.has_alpha() {
                        case = case.with(attribute::float("alpha", 0.7));
                    }
                    if operator.has_tau() {
                        case = case.with(attribute::float("tau", 0.1));
                    }
                    if let Some(reduction) = reduction {
                        case = case.with(attribute::string("reduction", reduction));
                    }
                    if let Some(label) = ignored {
                        labels.elements[4] = label as f64;
                        case.labels = labels;
                        case = case.with(attribute::int("ignore_index", label));
                    }
                    if weighted {
                        let weights: Vec<f64> = (0..11).map(|i| 0.3 * i as f64).collect();
                        case.weights = Some(Array::new(Float32, &[11], &weights));
                    }
                    case.check();
                }
            }
        }
    }
}

/// LDR-KL is the smooth top-1 SVM less τ ln n, with the same gradient.
#[test]
fn ldr_kl_is_the_smooth_top_1_svm_but_for_a_constant() {
    let (scores, labels) = batch(Float64, Int64, 9, 11);
    let run = |operator| {
        let case = Case::new(operator, 1, scores.clone(), labels.clone())
            .with(attribute::float("tau", 0.5))
            .with(attribute::float("alpha", 0.7))
            .with(attribute::string("reduction", "none"));
        case.check()
    };
    let svm = run(LossOperator::SmoothTopkSvm);
    let ldr_kl = run(LossOperator::LdrKl);
    assert_eq!((svm.len(), ldr_kl.len()), (3, 2));
    let constant = 0.5 * 11f64.ln();
    for (svm, ldr_kl) in svm[0].elements.iter().zip(&ldr_kl[0].elements) {
        assert!((svm - constant - ldr_kl).abs() < 1e-14);
    }
    for (svm, ldr_kl) in svm[1].elements.iter().zip(&ldr_kl[1].elements) {
        assert!((svm - ldr_kl).abs() < 1e-14);
    }
}

#[test]
fn all_types_agree_with_rust() {
    for operator in LossOperator::ALL {
        for kind in [Float32, Float64, Float16, Bfloat16] {
            for labels in [Int64, Int32] {
                let (scores, labels) = batch(kind, labels, 5, 8);
                let mut case = Case::new(operator, 2, scores, labels);
                case.check();
                case.weights = Some(Array::new(kind, &[8], &[0.7; 8]));
                case.check();
            }
        }
    }
}

#[test]
fn any_subset_of_the_outputs_can_be_requested() {
    let (scores, labels) = batch(Float32, Int64, 5, 8);
    for outputs in 1..8 {
        let mut case = Case::new(
            LossOperator::SmoothTopkSvm,
            2,
            scores.clone(),
            labels.clone(),
        );
        case.outputs = [outputs & 1 != 0, outputs & 2 != 0, outputs & 4 != 0];
        assert_eq!(
            case.check().len(),
            case.outputs.iter().filter(|&&o| o).count()
        );
    }
}

#[test]
fn an_empty_name_for_the_weights_means_no_weights() {
    let (scores, labels) = batch(Float32, Int64, 5, 8);
    let case = Case::new(LossOperator::SmoothTopkSvm, 2, scores, labels);
    let mut model = case.model();
    let graph = model.graph.as_mut().unwrap();
    graph.node[0].input.push(String::new());
    let session = builder().commit_from_memory(&model.encode_to_vec());
    assert_eq!(case.run_in(&mut session.unwrap()).unwrap(), case.check());
}

#[test]
fn probabilities_have_neither_weights_nor_reduction() {
    let (scores, labels) = batch(Float64, Int64, 4, 6);
    let case = Case::new(LossOperator::SmoothTopkSvm, 2, scores, labels)
        .with(attribute::float("tau", 0.5))
        .with(attribute::string("reduction", "none"));
    let [loss, _, prob] = &case.check()[..] else {
        panic!("three outputs");
    };
    for (loss, p) in loss.elements.iter().zip(&prob.elements) {
        assert!((p - (1.0 - f64::exp(-loss / 0.5))).abs() < 1e-15);
    }
    let mut weighted = case.with(attribute::string("reduction", "mean"));
    weighted.weights = Some(Array::new(Float64, &[6], &[0.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    assert_eq!(weighted.check()[2], *prob);
    let ignored = weighted.with(attribute::int("ignore_index", 1));
    let probs = &ignored.check()[2].elements;
    assert_eq!(probs[1], 0.0);
    assert_eq!(probs[2], prob.elements[2]);
}

#[test]
fn batches_with_many_tasks_agree_with_rust() {
    for operator in LossOperator::ALL {
        let (scores, labels) = batch(Float32, Int64, 300, 500);
        Case::new(operator, 5, scores, labels).check();
    }
}

#[test]
fn empty_batches_agree_with_rust() {
    for reduction in ["none", "sum", "mean"] {
        let (scores, labels) = batch(Float32, Int64, 0, 6);
        let case = Case::new(LossOperator::SmoothTopkSvm, 2, scores, labels);
        case.with(attribute::string("reduction", reduction)).check();
    }
}

#[test]
fn output_shapes_are_inferred() {
    let shapes = |stated, reduction| -> Vec<Vec<i64>> {
        let (scores, labels) = batch(Float16, Int32, 3, 8);
        let mut case = Case::new(LossOperator::SmoothTopkSvm, 2, scores, labels)
            .with(attribute::string("reduction", reduction));
        case.stated = stated;
        let session = case.session().unwrap();
        let shape = |output: &ort::value::Outlet| output.dtype().tensor_shape().unwrap().to_vec();
        session.outputs().iter().map(shape).collect()
    };
    assert_eq!(
        shapes(Stated::Sizes, "none"),
        [vec![3], vec![3, 8], vec![3]]
    );
    assert_eq!(
        shapes(Stated::Sizes, "mean"),
        [vec![1], vec![3, 8], vec![3]]
    );
    assert_eq!(
        shapes(Stated::Names, "sum"),
        [vec![1], vec![-1, -1], vec![-1]]
    );
    assert_eq!(shapes(Stated::Nothing, "mean")[0], [1]);
}
