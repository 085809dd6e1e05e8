//! The library in Python's ONNX Runtime.

use topk_ops::{Reduction, SmoothTopkSvm};
use topk_ops_node_test::{Case, Engine, run_cases};
use topk_ops_onnx::{Form, OnnxLoss};
use topk_testing::{Environment, golden, python};

use crate::sessions::library;

#[test]
fn golden_values_in_python_agree_with_rust() {
    let mut cases: Vec<Case> = Case::golden(&golden())
        .unwrap()
        .into_iter()
        .map(|case| Case::new(case.loss, case.classes, case.scores, case.labels, None))
        .collect();
    // k is larger than a portable function may have.
    let loss = OnnxLoss {
        loss: SmoothTopkSvm::new(200, 0.1, 1.0).unwrap().into(),
        reduction: Reduction::Mean,
        ignore_index: Some(-1),
    };
    let scores = (0..900).map(|i| (i * 7919 % 1009) as f32 / 256.0).collect();
    let weights = (0..300).map(|i| i as f32).collect();
    cases.push(Case::new(
        loss,
        300,
        scores,
        vec![7, -1, 299],
        Some(weights),
    ));

    let folder = tempfile::tempdir().unwrap();
    let folders: Vec<_> = (0..cases.len())
        .map(|i| folder.path().join(i.to_string()))
        .collect();
    for (case, folder) in cases.iter().zip(&folders) {
        case.write(folder, Form::Native);
    }
    for environment in [Environment::OnnxRuntime, Environment::OnnxRuntimeNewest] {
        let Some(mut python) = python(environment) else {
            continue;
        };
        let engine = Engine::OnnxRuntimeWith(&library());
        let errors = run_cases(&mut python, engine, &folders);
        for (folder, errors) in folders.iter().zip(errors) {
            let [loss, grad, prob] = errors[..] else {
                panic!("three outputs were requested")
            };
            // What is expected of p comes from the gradient in f64, not from the loss.
            assert!(
                loss == 0.0 && grad == 0.0 && prob < 1e-7,
                "{folder:?}: {errors:?}"
            );
        }
    }
}
