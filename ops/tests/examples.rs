//! The examples run, and print what the documentation shows.

#![cfg(feature = "ndarray")]

#[allow(dead_code, reason = "the example's main function")]
#[path = "../examples/linear-classifier.rs"]
mod linear_classifier;

/// The numbers of a line, each after its name.
fn numbers(line: &str) -> Vec<f64> {
    let words = line.split_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn a_linear_classifier_learns() {
    let mut out = Vec::new();
    linear_classifier::train(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<Vec<f64>> = text.lines().map(numbers).collect();
    let steps: Vec<f64> = lines.iter().map(|line| line[0]).collect();
    assert_eq!(steps, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
    // The loss falls, and the accuracies rise from chance to nearly all.
    for pair in lines.windows(2) {
        assert!(pair[1][1] < pair[0][1], "{text}");
        assert!(pair[1][3] >= pair[0][3], "{text}");
    }
    assert_eq!(lines[0][2..], [10.0, 20.0], "{text}");
    assert!(lines[5][2] > 95.0 && lines[5][3] > 99.0, "{text}");

    // The last digit may differ by machine.
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/loss-library.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, after) = page.split_once("--example linear-classifier`").unwrap();
    let block = after.split("```").nth(1).unwrap();
    let shown: Vec<Vec<f64>> = block.lines().skip(1).map(numbers).collect();
    assert_eq!(shown.len(), lines.len(), "{block}");
    for (shown, found) in shown.iter().flatten().zip(lines.iter().flatten()) {
        assert!(
            (shown - found).abs() < 5e-3 * found.max(1.0),
            "{block}{text}"
        );
    }
}
