//! The other losses against values computed with 100 digits, by `tests/data/make_family.py`.

use std::path::Path;

use serde::Deserialize;
use topk_ops::{
    BalancedNoisedTopk, BinaryCrossEntropy, DfTopk, DifferentiableTopkCrossEntropy, LapSum, LdrKl,
    Lml, Loss, LossError, Psi5, Score, TopkHingeAlpha, TopkHingeBeta, TruncatedTopkEntropy,
};

#[derive(Deserialize)]
struct Case {
    #[serde(flatten)]
    parameters: Parameters,
    scores: Vec<f64>,
    y: i64,
    loss: f64,
    grad: Vec<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "name")]
enum Parameters {
    TopkHingeAlpha {
        k: usize,
        alpha: f64,
    },
    TopkHingeBeta {
        k: usize,
        alpha: f64,
    },
    TruncatedTopkEntropy {
        k: usize,
    },
    Psi5 {
        k: usize,
        alpha: f64,
    },
    BalancedNoisedTopk {
        k: usize,
        epsilon: f64,
        draws: usize,
        alpha: f64,
        seed: u64,
        margins: Option<Vec<f64>>,
    },
    Lml {
        k: usize,
    },
    DifferentiableTopkCrossEntropy {
        weights: Vec<f64>,
        tau: f64,
    },
    LapSum {
        k: usize,
        tau: f64,
    },
    DfTopk {
        k: usize,
        tau: f64,
    },
    LdrKl {
        tau: f64,
        alpha: f64,
    },
    BinaryCrossEntropy {
        is_sum: bool,
    },
}

impl Parameters {
    fn loss(&self) -> Result<Box<dyn Loss>, LossError> {
        Ok(match *self {
            Self::TopkHingeAlpha { k, alpha } => Box::new(TopkHingeAlpha::new(k, alpha)?),
            Self::TopkHingeBeta { k, alpha } => Box::new(TopkHingeBeta::new(k, alpha)?),
            Self::TruncatedTopkEntropy { k } => Box::new(TruncatedTopkEntropy::new(k)?),
            Self::Psi5 { k, alpha } => Box::new(Psi5::new(k, alpha)?),
            Self::BalancedNoisedTopk {
                k,
                epsilon,
                draws,
                alpha,
                seed,
                ref margins,
            } => {
                let loss = BalancedNoisedTopk::new(k, epsilon, draws, alpha, seed)?;
                match margins {
                    Some(margins) => Box::new(loss.with_margins(margins.clone())?),
                    None => Box::new(loss),
                }
            }
            Self::Lml { k } => Box::new(Lml::new(k)?),
            Self::DifferentiableTopkCrossEntropy { ref weights, tau } => {
                Box::new(DifferentiableTopkCrossEntropy::new(weights.clone(), tau)?)
            }
            Self::LapSum { k, tau } => Box::new(LapSum::new(k, tau)?),
            Self::DfTopk { k, tau } => Box::new(DfTopk::new(k, tau)?),
            Self::LdrKl { tau, alpha } => Box::new(LdrKl::new(tau, alpha)?),
            Self::BinaryCrossEntropy { is_sum: true } => Box::new(BinaryCrossEntropy::sum()),
            Self::BinaryCrossEntropy { is_sum: false } => Box::new(BinaryCrossEntropy::mean()),
        })
    }
}

fn check<T: Score>(value_bar: f64, grad_bar: f64) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/family.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().count(), 88);
    for line in text.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let scores: Vec<T> = case.scores.iter().copied().map(T::from_f64).collect();
        let mut value = [T::default()];
        let mut grad = vec![T::default(); scores.len()];
        let loss = case.parameters.loss().unwrap();
        loss.forward_backward(&scores, &[case.y], &mut value, &mut grad)
            .unwrap();

        let context = format!("{:?}, {} classes", case.parameters, scores.len());
        let error =
            |found: T, expected: f64| (found.into() - expected).abs() / expected.abs().max(1.0);
        let (found, expected) = (value[0], case.loss);
        assert!(
            error(found, expected) <= value_bar,
            "{context}: loss {found:?} is not {expected}"
        );
        assert_eq!(grad.len(), case.grad.len());
        for (class, (&found, &expected)) in grad.iter().zip(&case.grad).enumerate() {
            assert!(
                error(found, expected) <= grad_bar,
                "{context}: gradient {found:?} of class {class} is not {expected}"
            );
        }
    }
}

#[test]
fn double_precision() {
    check::<f64>(1e-12, 1e-12);
}

#[test]
fn single_precision() {
    check::<f32>(2e-7, 1e-6);
}
