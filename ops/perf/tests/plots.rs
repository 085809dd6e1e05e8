//! The plots of made-up measurements.

use topk_perf::{
    Algorithm, Machine, Measurement, Type, plot_errors_by_tau, plot_time_by_classes, plot_time_by_k,
};

fn machine() -> Machine {
    Machine {
        cpu: "A & B <fast>".to_owned(),
        platform: "linux x86_64".to_owned(),
        threads: 4,
        instructions: "AVX2".to_owned(),
    }
}

fn row(algorithm: Algorithm, i: usize) -> Measurement {
    let x = i as f64;
    Measurement {
        algorithm,
        dtype: Type::F32,
        batch: 64,
        classes: 100 * (i + 1),
        k: i + 1,
        tau: 10f64.powf(x - 3.0),
        alpha: 1.0,
        scale: 1.0,
        forward_ms: Some(1.0 + x),
        forward_backward_ms: Some(2.0 + x),
        repeats: 5,
        peak_bytes: None,
        loss_error: Some([0.0, 1e-8, f64::NAN, 1e-3, f64::INFINITY, 1e-7][i]),
        grad_error: Some(1e-9 * (1.0 + x)),
        error_samples: 8,
        note: None,
    }
}

fn rows() -> Vec<Measurement> {
    Algorithm::ALL
        .into_iter()
        .flat_map(|algorithm| (0..6).map(move |i| row(algorithm, i)))
        .collect()
}

/// Asserts that tags are closed in order, and returns the texts between them.
fn texts(svg: &str) -> Vec<String> {
    let mut open = Vec::new();
    let mut texts = Vec::new();
    let mut parts = svg.split('<');
    assert_eq!(parts.next(), Some(""));
    for part in parts {
        let (tag, text) = part.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "{text}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap());
        }
        if !text.trim().is_empty() {
            texts.push(text.trim().to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(!svg.contains("href") && !svg.contains("NaN,") && !svg.contains("inf"));
    texts
}

#[test]
fn plots_are_well_formed_and_labelled() {
    let plots = [
        (
            plot_time_by_classes(&rows(), &machine()).unwrap(),
            vec![
                "Time of the smooth top-k SVM by number of classes",
                "time per sample (µs)",
                "number of classes",
                "loss and gradient, f32, k = 1, τ = 0.001, batches of 64; A &amp; B &lt;fast&gt;, 4 threads",
            ],
        ),
        (
            plot_time_by_k(&rows(), &machine()).unwrap(),
            vec!["Time of the smooth top-k SVM by k", "k", "100"],
        ),
        (
            plot_errors_by_tau(&rows()).unwrap(),
            vec![
                "Errors of the smooth top-k SVM by temperature",
                "temperature τ (in units of the scores)",
                "error of the loss / max(1, loss)",
                "error of the gradient (absolute)",
                "0.001",
                "10⁻⁹",
                "0",
                "NaN or ∞",
            ],
        ),
    ];
    for (svg, expected) in plots {
        let texts = texts(&svg);
        let names = Algorithm::ALL.map(Algorithm::name);
        for expected in expected.into_iter().chain(names) {
            assert!(
                texts.iter().any(|text| text == expected),
                "{expected}: {texts:?}"
            );
        }
    }
}

#[test]
fn nothing_to_show_is_no_failure() {
    for svg in [
        plot_time_by_classes(&[], &machine()).unwrap(),
        plot_errors_by_tau(&[]).unwrap(),
    ] {
        texts(&svg);
    }
}
