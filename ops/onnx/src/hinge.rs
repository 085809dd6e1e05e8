//! The hinge losses and the truncated entropy, which select a few scores.

use crate::batch::{Batch, Values};

/// The hard top-k SVM.
pub(super) fn max_topk_svm(k: usize, batch: &mut Batch) -> Values {
    let wrong = batch.wrong();
    let (kth, class) = nth(batch, &wrong, k);
    let body = &mut batch.body;
    let k = body.float(k as f32);
    let ahead = body.op("ahead", "Sub", &[&kth, &batch.label_score]);
    let ahead = body.op("ahead", "Div", &[&ahead, &k]);
    let alpha = body.float_attribute("alpha");
    let hinge = body.op("hinge", "Add", &[&ahead, &alpha]);
    let active = batch.positive(&hinge);
    let share = batch.body.op("share", "Div", &[&active, &k]);
    pair(batch, &hinge, &share, &class)
}

/// The top-k calibrated hinge loss ψ₅.
pub(super) fn psi5(k: usize, batch: &mut Batch) -> Values {
    let scores = batch.scores.clone();
    let (next, class) = nth(batch, &scores, k + 1);
    let hinge = batch.excess(&next);
    let active = batch.positive(&hinge);
    let body = &mut batch.body;
    let zero = body.float(0.0);
    let is_label = body.op("is_label", "Equal", &[&class, &batch.label]);
    let share = body.op("share", "Where", &[&is_label, &zero, &active]);
    pair(batch, &hinge, &share, &class)
}

/// The top-k hinge loss α.
pub(super) fn topk_hinge_alpha(k: usize, batch: &mut Batch) -> Values {
    // The label takes part in the ranking with 0.
    let scores = batch.scores.clone();
    let excess = batch.excess(&scores);
    let zero = batch.body.filled("zero", &batch.label, 0.0);
    let excess = batch.scatter("excess", &excess, &batch.label.clone(), &zero);
    let [highest, classes] = batch.top(&excess, k);
    let sum = batch.body.sum("sum", &highest, 1);
    let active = batch.positive(&sum);
    let body = &mut batch.body;
    let is_label = body.op("is_label", "Equal", &[&classes, &batch.label]);
    let zero = body.float(0.0);
    let chosen = body.op("chosen", "Where", &[&is_label, &zero, &active]);
    mean(k, batch, &sum, &chosen, &classes)
}

/// The top-k hinge loss β.
pub(super) fn topk_hinge_beta(k: usize, batch: &mut Batch) -> Values {
    let wrong = batch.wrong();
    let [highest, classes] = batch.top(&wrong, k);
    let excess = batch.excess(&highest);
    let chosen = batch.positive(&excess);
    let excess = batch.body.op("hinges", "Relu", &[&excess]);
    let sum = batch.body.sum("sum", &excess, 1);
    mean(k, batch, &sum, &chosen, &classes)
}

/// The truncated top-k entropy loss.
pub(super) fn truncated_topk_entropy(k: usize, batch: &mut Batch) -> Values {
    let wrong = batch.wrong();
    let [highest, classes] = batch.top(&wrong, k);
    let body = &mut batch.body;
    let kth = body.slice("kth", &highest, 1, k - 1, k);
    let below = body.op("below_kth", "Sub", &[&wrong, &kth]);
    let mut weights = body.op("weights", "Exp", &[&below]);
    if k > 1 {
        let higher = body.slice("higher", &classes, 1, 0, k - 1);
        let nothing = body.filled("nothing", &higher, 0.0);
        weights = batch.scatter("weights", &weights, &higher, &nothing);
    }
    let body = &mut batch.body;
    let sum = body.sum("sum_of_weights", &weights, 1);
    let log = body.op("log_sum", "Log", &[&sum]);
    let ahead = body.op("ahead", "Sub", &[&kth, &batch.label_score]);
    let u = body.op("u", "Add", &[&ahead, &log]);
    let softplus = batch.softplus(&u);
    let body = &mut batch.body;
    let hinge = body.op("hinge", "Relu", &[&u]);
    let losses = body.op("losses", "Add", &[&hinge, &softplus.rest]);
    let grad = batch.log_sum_grad(&weights, &sum, &softplus.derivative);
    Values {
        losses,
        grad,
        prob: None,
    }
}

/// The n-th highest score of each row and its class.
fn nth(batch: &mut Batch, scores: &str, n: usize) -> (String, String) {
    let [highest, classes] = batch.top(scores, n);
    let body = &mut batch.body;
    let score = body.slice("nth", &highest, 1, n - 1, n);
    let class = body.slice("nth_class", &classes, 1, n - 1, n);
    (score, class)
}

/// max(0, `hinge`), whose derivative is `share` for `class` and −`share` for the label.
fn pair(batch: &mut Batch, hinge: &str, share: &str, class: &str) -> Values {
    let share = batch.weighted(share);
    let grad = batch.zeros();
    let grad = batch.scatter("wrong_grad", &grad, class, &share);
    let grad = batch.with_label(&grad, &share);
    let losses = batch.body.op("losses", "Relu", &[hinge]);
    Values {
        losses,
        grad,
        prob: None,
    }
}

/// max(0, `sum`)/k, whose derivatives are 1/k for each of the `classes` that is `chosen`, and minus their
/// sum for the label.
fn mean(k: usize, batch: &mut Batch, sum: &str, chosen: &str, classes: &str) -> Values {
    let body = &mut batch.body;
    let k = body.float(k as f32);
    let hinge = body.op("hinge", "Relu", &[sum]);
    let losses = body.op("losses", "Div", &[&hinge, &k]);
    let shares = body.op("shares", "Div", &[chosen, &k]);
    let shares = batch.weighted(&shares);
    let all = batch.body.sum("all_shares", &shares, 1);
    let grad = batch.zeros();
    let grad = batch.scatter("wrong_grad", &grad, classes, &shares);
    let grad = batch.with_label(&grad, &all);
    Values {
        losses,
        grad,
        prob: None,
    }
}
