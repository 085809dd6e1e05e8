use crate::batch::{Batch, Values};
use crate::body::Body;

/// Limit on the sum of the tail's weights. It bounds their polynomials, the largest numbers here, by
/// exp(80).
const MAX_SUM: f32 = 80.0;

/// Limit on the log-odds of a class of the head: above it, the probability rounds to 1.
const MAX_LOG_ODDS: f32 = 80.0;

/// The smooth top-k SVM.
///
/// The algorithm is that of the `f32` kernel of `topk-ops`, entirely in `f32`: sums of positive terms for
/// the `head`, the 2k highest wrong classes, and Newton's identities for the `tail`, the other classes.
/// The identities subtract, but the head dominates the result. Near the hinge, u is a small difference of
/// large numbers: its terms are summed with error compensation.
pub(super) fn values(k: usize, batch: &mut Batch) -> Values {
    if k == 1 { top1(batch) } else { topk(k, batch) }
}

/// k = 1, where e_1 is a sum and e_0 is 1.
fn top1(batch: &mut Batch) -> Values {
    let wrong = batch.wrong();
    let body = &mut batch.body;
    let tau = body.float_attribute("tau");
    let scale = Scale {
        kth: body.max("highest", &wrong, 1),
        temperature: tau.clone(),
        tau,
    };
    let offsets = scale.offsets(body, &wrong);
    let weights = body.op("weights", "Exp", &[&offsets]);
    let sum = body.sum("sum_of_weights", &weights, 1);
    let log_ratio = body.op("log_ratio", "Log", &[&sum]);
    let (losses, prob) = losses(1, batch, &scale, &log_ratio);

    let grad = batch.log_sum_grad(&weights, &sum, &prob);
    Values {
        losses,
        grad,
        prob: Some(prob),
    }
}

fn topk(k: usize, batch: &mut Batch) -> Values {
    let size = (2 * k).min(batch.classes - 1);
    let wrong = batch.wrong();
    let [highest, classes] = batch.top(&wrong, size);
    let body = &mut batch.body;
    let kth = body.slice("kth", &highest, 1, k - 1, k);
    let tau = body.float_attribute("tau");
    let k_float = body.float(k as f32);
    let temperature = body.op("k_tau", "Mul", &[&k_float, &tau]);
    let scale = Scale {
        kth,
        tau,
        temperature,
    };

    let tail = (size + 1 < batch.classes).then(|| Tail::new(k, batch, &wrong, &classes, &scale));
    let head = Head::new(k, size, batch, &highest, classes, &scale, tail.as_ref());
    let sizes = Sizes::new(&mut batch.body, &head.all);
    let body = &mut batch.body;
    let ratio = body.op("ratio", "Div", &[&sizes.at, &sizes.below]);
    let log_ratio = body.op("log_ratio", "Log", &[&ratio]);
    let log_ratio = body.op("log_ratio", "Sub", &[&log_ratio, &head.log_scale]);
    let (losses, prob) = losses(k, batch, &scale, &log_ratio);

    let over_k = batch.body.op("p_over_k", "Div", &[&prob, &k_float]);
    let factor = batch.weighted(&over_k);
    let grad = match &tail {
        Some(tail) => tail.grad(k, &mut batch.body, &head.all, &sizes, &factor),
        None => batch.zeros(),
    };
    let head_grad = head.grad(k, &mut batch.body, &sizes, &factor);
    let grad = batch.scatter("wrong_grad", &grad, &head.classes, &head_grad);
    let grad = batch.with_label(&grad, &factor);
    Values {
        losses,
        grad,
        prob: Some(prob),
    }
}

/// The reference and the scale of the scores.
struct Scale {
    /// The k-th highest of the wrong classes, `[N, 1]`.
    kth: String,
    tau: String,
    /// kτ.
    temperature: String,
}

impl Scale {
    /// (`scores` − the k-th highest) / kτ.
    fn offsets(&self, body: &mut Body, scores: &str) -> String {
        let difference = body.op("difference", "Sub", &[scores, &self.kth]);
        body.op("offsets", "Div", &[&difference, &self.temperature])
    }
}

/// The wrong classes that are not in the head.
struct Tail {
    /// The weights of its classes, 0 for the others, `[N, C]`.
    x: String,
    /// e_k, …, e_0 of the weights, `[N, k + 1]`.
    polynomials: String,
    /// The logarithm of the factor of the weights, `[N, 1]`.
    log_scale: String,
}

impl Tail {
    fn new(k: usize, batch: &mut Batch, wrong: &str, head: &str, scale: &Scale) -> Self {
        let body = &mut batch.body;
        let (zero, one) = (body.float(0.0), body.float(1.0));
        let offsets = scale.offsets(body, wrong);
        let offsets = body.op("offsets", "Min", &[&offsets, &zero]);
        let weights = body.op("weights", "Exp", &[&offsets]);
        let nothing = body.filled("nothing", head, 0.0);
        let weights = batch.scatter("weights", &weights, head, &nothing);
        let body = &mut batch.body;
        let sum = body.sum("sum_of_weights", &weights, 1);
        let limit = body.float((k as f32).min(MAX_SUM));
        let limit = body.op("limit", "Div", &[&limit, &sum]);
        let limit = body.op("limit", "Min", &[&limit, &one]);
        let x = body.op("x", "Mul", &[&weights, &limit]);
        let first = body.op("power_sum", "Mul", &[&sum, &limit]);
        Self {
            polynomials: newton(k, body, &x, first, &scale.kth),
            x,
            log_scale: body.op("log_limit", "Log", &[&limit]),
        }
    }

    /// The derivatives, 0 for the head. That of a class with weight x is a polynomial in x, since
    /// π⁽ʲ⁾ = (x e_{j−1} − x² e_{j−2} + …) / e_j.
    fn grad(&self, k: usize, body: &mut Body, all: &str, sizes: &Sizes, factor: &str) -> String {
        let mut ratio = |first: usize, over: &str| {
            let lower = body.slice("lower", all, 1, first, k + 1);
            body.op("ratio", "Div", &[&lower, over])
        };
        let (over_at, over_below) = (ratio(1, &sizes.at), ratio(2, &sizes.below));
        let over_below = body.padded(&over_below, 2, 1, 0, 1);
        let signs = alternating(k, body);
        let coefficients = body.op("coefficients", "Sub", &[&over_at, &over_below]);
        let coefficients = body.op("coefficients", "Mul", &[&coefficients, &signs]);
        let coefficients = body.op("coefficients", "Mul", &[&coefficients, factor]);
        let coefficients = body.split("coefficient", &coefficients, 1, k);
        let (highest, lower) = coefficients.split_last().expect("k is at least 2");
        let mut sum = body.op("polynomial", "Mul", &[&self.x, highest]);
        for coefficient in lower.iter().rev() {
            sum = body.op("polynomial", "Add", &[&sum, coefficient]);
            sum = body.op("polynomial", "Mul", &[&sum, &self.x]);
        }
        sum
    }
}

/// e_k, …, e_0 of each row of x, by Newton's identities, m e_m = Σ_j (−1)ʲ⁻¹ e_{m−j} Σ xʲ; `first` is
/// Σ x.
fn newton(k: usize, body: &mut Body, x: &str, first: String, column: &str) -> String {
    let mut power = x.to_owned();
    let mut sums = vec![first];
    for _ in 1..k {
        power = body.op("power", "Mul", &[&power, x]);
        sums.push(body.sum("power_sum", &power, 1));
    }
    let sums = body.concat("power_sums", &sums, 1);
    let signs = alternating(k, body);
    let sums = body.op("power_sums", "Mul", &[&sums, &signs]);
    let mut polynomials = body.filled("e", column, 1.0);
    for m in 1..=k {
        let sums = body.slice("first_sums", &sums, 1, 0, m);
        let products = body.op("products", "Mul", &[&sums, &polynomials]);
        let sum = body.sum("sum", &products, 1);
        let count = body.float(m as f32);
        let e = body.op("e", "Div", &[&sum, &count]);
        polynomials = body.concat("polynomials", &[e, polynomials], 1);
    }
    polynomials
}

/// 1, −1, 1, … `[k]`.
fn alternating(k: usize, body: &mut Body) -> String {
    let sign = |index: usize| if index.is_multiple_of(2) { 1.0 } else { -1.0 };
    let signs: Vec<f32> = (0..k).map(sign).collect();
    body.floats(&signs)
}

/// The highest wrong classes, in descending order of score.
struct Head {
    /// `[N, size]`.
    classes: String,
    /// Probability that each is in a random subset, `[N, size]`.
    p: String,
    /// Probabilities of the sizes k, …, 0 of random subsets of the tail and the classes before each,
    /// `[N, size, k + 1]`.
    before: String,
    /// Those of the sizes 0, …, k of random subsets of the classes after each.
    after: String,
    /// Those of the sizes k, …, 0 of random subsets of all wrong classes, `[N, k + 1]`.
    all: String,
    /// The logarithm of the factor of the weights.
    log_scale: String,
}

impl Head {
    fn new(
        k: usize,
        size: usize,
        batch: &mut Batch,
        highest: &str,
        classes: String,
        scale: &Scale,
        tail: Option<&Tail>,
    ) -> Self {
        let body = &mut batch.body;
        let log_scale = match tail {
            Some(tail) => tail.log_scale.clone(),
            // With this factor, a random subset of equal elements has about k − ½ elements.
            None => {
                let (chosen, left) = (k as f32 - 0.5, (size - k) as f32 + 0.5);
                body.float((chosen / left).ln())
            }
        };
        let offsets = scale.offsets(body, highest);
        let log_odds = body.op("log_odds", "Add", &[&offsets, &log_scale]);
        let (limit, one) = (body.float(MAX_LOG_ODDS), body.float(1.0));
        let log_odds = body.op("log_odds", "Min", &[&log_odds, &limit]);
        let odds = body.op("odds", "Exp", &[&log_odds]);
        let sum = body.op("odds_and_one", "Add", &[&odds, &one]);
        let p = body.op("p_in", "Div", &[&odds, &sum]);
        let q = body.op("p_out", "Reciprocal", &[&sum]);

        let empty = body.filled("e", &scale.kth, 1.0);
        let empty = body.padded(&empty, 2, 1, k, 0);
        let first = tail.map_or(&empty, |tail| &tail.polynomials);
        // Both recursions run side by side, `[N, 2, k + 1]`: over the first i classes and the last i.
        let rows = [first, &empty].map(|row| body.unsqueeze("row", row, 1));
        let mut state = body.concat("sizes", &rows, 1);
        let mut both = |name: &str, value: &str| {
            let reversed = body.reversed(name, value, &[(1, size)]);
            let rows = [value, &reversed].map(|row| body.unsqueeze(name, row, 1));
            let both = body.concat(name, &rows, 1);
            body.split(name, &both, 2, size)
        };
        let (ps, qs) = (both("p_in", &p), both("p_out", &q));
        let mut states = Vec::with_capacity(size);
        for (p, q) in ps.iter().zip(&qs) {
            states.push(body.unsqueeze("step", &state, 2));
            let lower = body.slice("lower", &state, 2, 1, k + 1);
            let lower = body.padded(&lower, 3, 2, 0, 1);
            let stay = body.op("stay", "Mul", &[&state, q]);
            let grow = body.op("grow", "Mul", &[&lower, p]);
            state = body.op("sizes", "Add", &[&stay, &grow]);
        }
        let all = body.slice("all_sizes", &state, 1, 0, 1);
        let steps = body.concat("steps", &states, 2);
        let steps = body.split("steps", &steps, 1, 2);
        let [before, after] = [0, 1].map(|i| body.squeeze("steps", &steps[i], 1));
        Self {
            classes,
            p,
            before,
            after: body.reversed("after", &after, &[(1, size), (2, k + 1)]),
            all: body.squeeze("all_sizes", &all, 1),
            log_scale,
        }
    }

    /// The derivatives, `[N, size]`, from the sizes of random subsets without each class.
    fn grad(&self, k: usize, body: &mut Body, sizes: &Sizes, factor: &str) -> String {
        let mut others = |size: usize, over: &str| {
            let before = body.slice("before", &self.before, 2, k - size, k + 1);
            let after = body.slice("after", &self.after, 2, 0, size + 1);
            let products = body.op("products", "Mul", &[&before, &after]);
            let others = body.sum("others", &products, 2);
            let others = body.squeeze("others", &others, 2);
            body.op("marginal", "Div", &[&others, over])
        };
        let (at, below) = (others(k - 1, &sizes.at), others(k - 2, &sizes.below));
        let difference = body.op("marginals", "Sub", &[&at, &below]);
        let grad = body.op("head_grad", "Mul", &[&difference, &self.p]);
        body.op("head_grad", "Mul", &[&grad, factor])
    }
}

/// Probabilities that a random subset has k elements, and k − 1, `[N, 1]` each.
struct Sizes {
    at: String,
    below: String,
}

impl Sizes {
    fn new(body: &mut Body, all: &str) -> Self {
        Self {
            at: body.slice("at_k", all, 1, 0, 1),
            below: body.slice("below_k", all, 1, 1, 2),
        }
    }
}

/// The loss of each sample and its p; `log_ratio` is ln e_k − ln e_{k−1} relative to the scale.
fn losses(k: usize, batch: &mut Batch, scale: &Scale, log_ratio: &str) -> (String, String) {
    let alpha = batch.body.float_attribute("alpha");
    let body = &mut batch.body;
    let (zero, k) = (body.float(0.0), body.float(k as f32));
    // k·hinge = kα + kth − s_y, plus the rounding errors of its two sums.
    let k_alpha = body.op("k_alpha", "Mul", &[&k, &alpha]);
    let minus = body.op("minus_label_score", "Neg", &[&batch.label_score]);
    let [ahead, first] = two_sum(body, &scale.kth, &minus);
    let [hinge, second] = two_sum(body, &ahead, &k_alpha);
    let error = body.op("error", "Add", &[&first, &second]);
    let hinge = body.op("hinge", "Add", &[&hinge, &error]);

    let u = body.op("u", "Div", &[&hinge, &scale.temperature]);
    let u = body.op("u", "Add", &[&u, log_ratio]);
    let hinge = body.op("hinge", "Div", &[&hinge, &k]);
    let smooth = body.op("smooth", "Mul", &[log_ratio, &scale.tau]);
    let hinge = body.op("hinge", "Add", &[&hinge, &smooth]);
    let hinge = body.op("hinge", "Max", &[&hinge, &zero]);
    let softplus = batch.softplus(&u);
    let body = &mut batch.body;
    let rest = body.op("rest", "Mul", &[&softplus.rest, &scale.tau]);
    let losses = body.op("losses", "Add", &[&hinge, &rest]);
    (losses, softplus.derivative)
}

/// a + b and its rounding error.
fn two_sum(body: &mut Body, a: &str, b: &str) -> [String; 2] {
    let sum = body.op("sum", "Add", &[a, b]);
    let b_part = body.op("b_part", "Sub", &[&sum, a]);
    let a_part = body.op("a_part", "Sub", &[&sum, &b_part]);
    let a_error = body.op("a_error", "Sub", &[a, &a_part]);
    let b_error = body.op("b_error", "Sub", &[b, &b_part]);
    let error = body.op("error", "Add", &[&a_error, &b_error]);
    [sum, error]
}
