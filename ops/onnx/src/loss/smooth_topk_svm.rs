use super::batch::{Batch, Values};
use crate::attribute;

/// Largest sum of the tail's weights. It bounds their polynomials, which are the largest numbers here,
/// by exp(80).
const MAX_SUM: f32 = 80.0;

/// The smooth top-k SVM.
///
/// The algorithm is that of the `f32` kernel of `topk-ops`, all in `f32`: sums of positive terms for the
/// `head`, the 2k highest wrong classes, and for the `tail`, the other ones, Newton's identities, which
/// subtract, but only what the head outweighs. u near the hinge is a small difference of large numbers:
/// it is taken with the rounding errors of its terms.
pub(super) fn values(k: usize, batch: &mut Batch) -> Values {
    if k == 1 { top1(batch) } else { topk(k, batch) }
}

/// k = 1, where σ_1 is a sum and σ_0 is 1.
fn top1(batch: &mut Batch) -> Values {
    let wrong = batch.wrong();
    let axes = [attribute::ints("axes", [1])];
    let highest = batch.body.op("highest", "ReduceMax", &[&wrong], axes);
    let temperature = batch.body.float_attribute("tau");
    let body = &mut batch.body;
    let below = body.op("below", "Sub", &[&wrong, &highest], []);
    let offsets = body.op("offsets", "Div", &[&below, &temperature], []);
    let weights = body.op("weights", "Exp", &[&offsets], []);
    let sum = body.sum("sum_of_weights", &weights, 1);
    let log_ratio = body.op("log_ratio", "Log", &[&sum], []);

    let (losses, prob) = losses(batch, 1.0, &highest, &temperature, &temperature, &log_ratio);
    let scale = batch.weighted(&prob);
    let minus = batch.body.op("minus", "Neg", &[&scale], []);
    let share = batch.body.op("share", "Div", &[&scale, &sum], []);
    let wrong_grad = batch.body.op("wrong_grad", "Mul", &[&weights, &share], []);
    let grad = batch.scatter("all_grad", &wrong_grad, &batch.label.clone(), &minus);
    Values {
        losses,
        grad,
        prob: Some(prob),
    }
}

/// The classes that are not in the head.
struct Tail {
    /// Their weights, 0 for the others, `[N, C]`.
    x: String,
    /// e_k, …, e_0 of them, `[N, k + 1]`.
    polynomials: String,
    /// The logarithm of what the weights were multiplied by.
    log_scale: String,
}

fn topk(k: usize, batch: &mut Batch) -> Values {
    let size = (2 * k).min(batch.classes - 1);
    let wrong = batch.wrong();
    let [highest, head] = batch.top(&wrong, size);
    let body = &mut batch.body;
    let kth = body.slice("kth", &highest, 1, k - 1, k);
    let tau = body.float_attribute("tau");
    let k_float = body.float(k as f32);
    let temperature = body.op("k_tau", "Mul", &[&k_float, &tau], []);
    let above = body.op("above_kth", "Sub", &[&highest, &kth], []);
    let offsets = body.op("head_offsets", "Div", &[&above, &temperature], []);

    let tail =
        (size < batch.classes - 1).then(|| tail(k, batch, &wrong, &head, &kth, &temperature));
    let body = &mut batch.body;
    let log_scale = match &tail {
        Some(tail) => tail.log_scale.clone(),
        // So that the size of a random subset of equal elements is about k − ½.
        None => {
            let (chosen, left) = (k as f32 - 0.5, (size - k) as f32 + 0.5);
            body.float((chosen / left).ln())
        }
    };

    // Probabilities that each class of the head is in a random subset, and that it is not.
    let log_odds = body.op("log_odds", "Add", &[&offsets, &log_scale], []);
    let limit = body.float(80.0);
    let log_odds = body.op("log_odds", "Min", &[&log_odds, &limit], []);
    let odds = body.op("odds", "Exp", &[&log_odds], []);
    let one = body.float(1.0);
    let sum = body.op("odds_and_one", "Add", &[&odds, &one], []);
    let p = body.op("in", "Div", &[&odds, &sum], []);
    let q = body.op("out", "Reciprocal", &[&sum], []);

    // The sizes k, …, 0 of random subsets of the tail and the head's first i classes, and of its last
    // i classes alone, are made side by side.
    let none = batch.body.filled("e", &kth, 1.0);
    let none = pad(batch, &none, 2, 1, k, 0);
    let body = &mut batch.body;
    let first = tail.as_ref().map_or(&none, |tail| &tail.polynomials);
    let axis = |axis| [attribute::int("axis", axis)];
    let one_axis = body.ints(&[1]);
    let [first, last] =
        [first, &none].map(|row| body.op("row", "Unsqueeze", &[row, &one_axis], []));
    let mut state = body.op("sizes", "Concat", &[&first, &last], axis(1));
    // [N, 2, size]: the head forwards and backwards.
    let mut both = |name: &str, value: &str| {
        let (start, end, step) = (
            body.ints(&[-1]),
            body.ints(&[-(size as i64) - 1]),
            body.ints(&[-1]),
        );
        let reversed = body.op(name, "Slice", &[value, &start, &end, &one_axis, &step], []);
        let [forwards, backwards] =
            [value, &reversed].map(|value| body.op(name, "Unsqueeze", &[value, &one_axis], []));
        let both = body.op(name, "Concat", &[&forwards, &backwards], axis(1));
        body.split(name, &both, 2, size)
    };
    let (ps, qs) = (both("in", &p), both("out", &q));
    let mut states = Vec::with_capacity(size);
    for (p, q) in ps.iter().zip(&qs) {
        states.push(state.clone());
        let below = pad_shifted(batch, &state, k);
        let body = &mut batch.body;
        let stay = body.op("stay", "Mul", &[&state, q], []);
        let grow = body.op("grow", "Mul", &[&below, p], []);
        state = body.op("sizes", "Add", &[&stay, &grow], []);
    }
    let body = &mut batch.body;
    let sizes = body.slice("all_sizes", &state, 1, 0, 1);
    let sizes = body.op("all_sizes", "Squeeze", &[&sizes, &one_axis], []);
    let at = body.slice("at_k", &sizes, 1, 0, 1);
    let below = body.slice("below_k", &sizes, 1, 1, 2);
    let ratio = body.op("ratio", "Div", &[&at, &below], []);
    let log_ratio = body.op("log_ratio", "Log", &[&ratio], []);
    let log_ratio = body.op("log_ratio", "Sub", &[&log_ratio, &log_scale], []);

    let (losses, prob) = losses(batch, k as f32, &kth, &temperature, &tau, &log_ratio);
    let body = &mut batch.body;
    let over_k = body.op("p_over_k", "Div", &[&prob, &k_float], []);
    let scale = batch.weighted(&over_k);
    let body = &mut batch.body;

    // The head: sizes of subsets of the other classes, from those before each and those after it.
    let two_axis = body.ints(&[2]);
    let rows: Vec<String> = states
        .iter()
        .map(|state| body.op("step", "Unsqueeze", &[state, &two_axis], []))
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let steps = body.op("steps", "Concat", &rows, axis(2));
    // [N, size, k + 1] each.
    let [before, after] = body.ops(["before", "after"], "Split", &[&steps], axis(1));
    let [before, after] =
        [before, after].map(|steps| body.op("steps", "Squeeze", &[&steps, &one_axis], []));
    let (start, step) = (body.ints(&[-1, -1]), body.ints(&[-1, -1]));
    let end = body.ints(&[-(size as i64) - 1, -(k as i64) - 2]);
    let axes = body.ints(&[1, 2]);
    let after = body.op("after", "Slice", &[&after, &start, &end, &axes, &step], []);
    let mut others = |name: &str, j: usize, over: &str| {
        // Σ over a + b = j; `before` has degrees k, …, 0 and `after` 0, …, k.
        let before = body.slice("before", &before, 2, k - j, k + 1);
        let after = body.slice("after", &after, 2, 0, j + 1);
        let products = body.op("products", "Mul", &[&before, &after], []);
        let axis = body.ints(&[2]);
        let no_keep = [attribute::int("keepdims", 0)];
        let others = body.op("others", "ReduceSum", &[&products, &axis], no_keep);
        body.op(name, "Div", &[&others, over], [])
    };
    let with = others("with_k", k - 1, &at);
    let without = others("with_below", k - 2, &below);
    let difference = body.op("difference", "Sub", &[&with, &without], []);
    let head_grad = body.op("head_grad", "Mul", &[&difference, &p], []);
    let head_grad = body.op("head_grad", "Mul", &[&head_grad, &scale], []);
    let minus = body.op("minus", "Neg", &[&scale], []);

    let grad = match tail {
        None => batch.zeros(),
        Some(tail) => {
            // π⁽ʲ⁾ = (x e_{j−1} − x² e_{j−2} + …) / e_j.
            let ratio = |batch: &mut Batch, first: usize, over: &str| {
                let sizes = batch.body.slice("lower", &sizes, 1, first, k + 1);
                batch.body.op("over", "Div", &[&sizes, over], [])
            };
            let over_at = ratio(batch, 1, &at);
            let over_below = ratio(batch, 2, &below);
            let over_below = pad(batch, &over_below, 2, 1, 0, 1);
            let body = &mut batch.body;
            let signs: Vec<f32> = (0..k)
                .map(|l| if l % 2 == 0 { 1.0 } else { -1.0 })
                .collect();
            let signs = body.floats(&signs);
            let coefficients = body.op("coefficients", "Sub", &[&over_at, &over_below], []);
            let coefficients = body.op("coefficients", "Mul", &[&coefficients, &signs], []);
            let coefficients = body.op("coefficients", "Mul", &[&coefficients, &scale], []);
            let coefficients = body.split("coefficient", &coefficients, 1, k);
            let (highest, lower) = coefficients.split_last().expect("k is at least 2");
            let mut sum = body.op("polynomial", "Mul", &[&tail.x, highest], []);
            for coefficient in lower.iter().rev() {
                sum = body.op("polynomial", "Add", &[&sum, coefficient], []);
                sum = body.op("polynomial", "Mul", &[&sum, &tail.x], []);
            }
            sum
        }
    };
    let grad = batch.scatter("wrong_grad", &grad, &head, &head_grad);
    let grad = batch.scatter("all_grad", &grad, &batch.label.clone(), &minus);
    Values {
        losses,
        grad,
        prob: Some(prob),
    }
}

/// Puts zeros before and after the entries along an axis of a tensor of this rank.
fn pad(
    batch: &mut Batch,
    value: &str,
    rank: usize,
    axis: usize,
    before: usize,
    after: usize,
) -> String {
    let mut pads = vec![0; 2 * rank];
    pads[axis] = before as i64;
    pads[rank + axis] = after as i64;
    let pads = batch.body.ints(&pads);
    batch.body.op("padded", "Pad", &[value, &pads], [])
}

/// The polynomials of one degree less, `[N, 2, k + 1]`.
fn pad_shifted(batch: &mut Batch, state: &str, k: usize) -> String {
    let lower = batch.body.slice("lower", state, 2, 1, k + 1);
    pad(batch, &lower, 3, 2, 0, 1)
}

fn tail(
    k: usize,
    batch: &mut Batch,
    wrong: &str,
    head: &str,
    kth: &str,
    temperature: &str,
) -> Tail {
    let body = &mut batch.body;
    let (zero, one) = (body.float(0.0), body.float(1.0));
    let below = body.op("below_kth", "Sub", &[wrong, kth], []);
    let offsets = body.op("offsets", "Div", &[&below, temperature], []);
    let offsets = body.op("offsets", "Min", &[&offsets, &zero], []);
    let weights = body.op("weights", "Exp", &[&offsets], []);
    let nothing = body.filled("nothing", head, 0.0);
    let weights = batch.scatter("weights", &weights, head, &nothing);
    let body = &mut batch.body;
    let sum = body.sum("sum_of_weights", &weights, 1);
    let limit = body.float((k as f32).min(MAX_SUM));
    let scale = body.op("limit", "Div", &[&limit, &sum], []);
    let scale = body.op("limit", "Min", &[&scale, &one], []);
    let log_scale = body.op("log_limit", "Log", &[&scale], []);
    let x = body.op("x", "Mul", &[&weights, &scale], []);

    // Newton's identities: m e_m = Σ_j (−1)ʲ⁻¹ e_{m−j} Σ xʲ.
    let mut power = x.clone();
    let mut sums = vec![body.op("power_sum", "Mul", &[&sum, &scale], [])];
    for _ in 1..k {
        power = body.op("power", "Mul", &[&power, &x], []);
        sums.push(body.sum("power_sum", &power, 1));
    }
    let axis = || [attribute::int("axis", 1)];
    let sums: Vec<&str> = sums.iter().map(String::as_str).collect();
    let sums = body.op("power_sums", "Concat", &sums, axis());
    let signs: Vec<f32> = (0..k)
        .map(|j| if j % 2 == 0 { 1.0 } else { -1.0 })
        .collect();
    let signs = body.floats(&signs);
    let sums = body.op("power_sums", "Mul", &[&sums, &signs], []);
    let mut polynomials = body.filled("e", kth, 1.0);
    for m in 1..=k {
        let sums = body.slice("first_sums", &sums, 1, 0, m);
        let products = body.op("products", "Mul", &[&sums, &polynomials], []);
        let sum = body.sum("sum", &products, 1);
        let count = body.float(m as f32);
        let e = body.op("e", "Div", &[&sum, &count], []);
        polynomials = body.op("polynomials", "Concat", &[&e, &polynomials], axis());
    }
    Tail {
        x,
        polynomials,
        log_scale,
    }
}

/// The loss of each sample and its p; `log_ratio` is ln σ_k − ln σ_{k−1} relative to `kth`.
fn losses(
    batch: &mut Batch,
    k: f32,
    kth: &str,
    temperature: &str,
    tau: &str,
    log_ratio: &str,
) -> (String, String) {
    let alpha = batch.body.float_attribute("alpha");
    let body = &mut batch.body;
    let (zero, k) = (body.float(0.0), body.float(k));
    // k·hinge = kα + kth − s_y as a number and the rounding errors of its two sums.
    let k_alpha = body.op("k_alpha", "Mul", &[&k, &alpha], []);
    let minus = body.op("minus_label_score", "Neg", &[&batch.label_score], []);
    let [ahead, first] = two_sum(batch, kth, &minus);
    let [hinge, second] = two_sum(batch, &ahead, &k_alpha);
    let body = &mut batch.body;
    let error = body.op("error", "Add", &[&first, &second], []);
    let hinge = body.op("hinge", "Add", &[&hinge, &error], []);

    let u = body.op("u", "Div", &[&hinge, temperature], []);
    let u = body.op("u", "Add", &[&u, log_ratio], []);
    let hinge = body.op("hinge", "Div", &[&hinge, &k], []);
    let smooth = body.op("smooth", "Mul", &[log_ratio, tau], []);
    let hinge = body.op("hinge", "Add", &[&hinge, &smooth], []);
    let hinge = body.op("hinge", "Max", &[&hinge, &zero], []);
    let softplus = batch.softplus(&u);
    let body = &mut batch.body;
    let rest = body.op("rest", "Mul", &[&softplus.rest, tau], []);
    let losses = body.op("losses", "Add", &[&hinge, &rest], []);
    (losses, softplus.derivative)
}

/// a + b, and its rounding error.
fn two_sum(batch: &mut Batch, a: &str, b: &str) -> [String; 2] {
    let body = &mut batch.body;
    let sum = body.op("sum", "Add", &[a, b], []);
    let b_part = body.op("b_part", "Sub", &[&sum, a], []);
    let a_part = body.op("a_part", "Sub", &[&sum, &b_part], []);
    let a_error = body.op("a_error", "Sub", &[a, &a_part], []);
    let b_error = body.op("b_error", "Sub", &[b, &b_part], []);
    let error = body.op("error", "Add", &[&a_error, &b_error], []);
    [sum, error]
}
