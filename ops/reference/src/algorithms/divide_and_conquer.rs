//! The algorithm of the paper and of the authors' code: divide and conquer in log space.

use topk_ops::{LossError, SmoothTopkSvm};

use super::number::{Log, Number, Real};
use super::{Sample, batch, combine, real, scale};

/// Scores are "large" from a factor of 1000 between neighbours: `thresh` of the authors' `svm.py`.
const LARGE: f64 = 1e3;

/// The recursion is unstable where its two parts differ by less: `thresh` of `LogSumExp`.
const UNSTABLE: f64 = 1e-5;

/// Stands for ln 0, negated and inverted, and guards a division: `eps` of `d_logS_d_expX`.
const EPS: f64 = 1e-5;

/// The authors' algorithm, `SmoothTop1SVM` and `SmoothTopkSVM`, with its approximations.
///
/// - **Forward.** ∏ (exp(−z_i) + t), a product over the wrong classes, is multiplied out by halves, with
///   coefficients held as logarithms and cut off after degree k + p − 1, p = ⌊1 + k/5⌋. Adding Σ z_i then
///   turns coefficient j into ln e_j (`divide_conquer.py`, `multiplication.py`, `sp.py`).
/// - **Backward.** e_{j−1} without class i is the alternating sum e_{j−1} − x_i e_{j−2} + x_i² e_{j−3} − …, whose
///   positive and negative terms are summed separately. Where these two are within a factor of 10⁻⁵ in
///   their logarithms, the first p terms of e_j/x_i − e_{j+1}/x_i² + … are used instead (`grad.py`).
/// - **Hard loss.** Where the k-th and the (k+1)-th largest scores are apart by kτ ln 1000 or more, the
///   loss is that of the hard top-k SVM (`svm.py`, `utils.py`).
/// - k = 1 is τ times the log-sum-exp of the scores.
///
/// k + p classes are needed for k > 1.
///
/// # Errors
/// If a shape or label is not usable.
pub fn divide_and_conquer<T: Real>(
    svm: &SmoothTopkSvm,
    scores: &[T],
    labels: &[i64],
    values: &mut [T],
    grad: Option<&mut [T]>,
) -> Result<(), LossError> {
    let k = svm.k();
    let min_classes = if k == 1 { 2 } else { k + terms(k) };
    batch(
        min_classes,
        scores,
        labels,
        values,
        grad,
        |workspace, sample| {
            if is_hard(svm, workspace, &sample) {
                hard(svm, workspace, sample)
            } else if k == 1 {
                smooth_top1(svm, sample)
            } else {
                smooth_topk(svm, workspace, sample)
            }
        },
    )
}

/// The p of the truncated series.
fn terms(k: usize) -> usize {
    1 + k / 5
}

#[derive(Default)]
struct Workspace<T> {
    /// Scores or logarithms of weights.
    wrong: Vec<T>,
    sorted: Vec<T>,
    /// Coefficients of polynomials of the same degree, one after another.
    polynomials: Vec<Log<T>>,
    products: Vec<Log<T>>,
    /// Polynomials without a partner, of each round.
    left_over: Vec<Vec<Log<T>>>,
}

/// Whether the k-th largest score is far above the next, the label's among them.
fn is_hard<T: Real>(
    svm: &SmoothTopkSvm,
    workspace: &mut Workspace<T>,
    sample: &Sample<'_, T>,
) -> bool {
    let k = svm.k();
    let sorted = &mut workspace.sorted;
    sorted.clear();
    sorted.extend_from_slice(sample.scores);
    let (_, &mut kth, below) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let next = below.iter().copied().fold(T::neg_infinity(), T::max);
    kth - next >= real(k as f64 * svm.tau() * LARGE.ln())
}

/// max(0, mean of the k largest wrong scores + α, less that mean with the label at rank k).
fn hard<T: Real>(svm: &SmoothTopkSvm, workspace: &mut Workspace<T>, sample: Sample<'_, T>) -> T {
    let Sample {
        scores,
        label,
        grad,
    } = sample;
    let k = svm.k();
    let (count, alpha) = (real::<T>(k as f64), real::<T>(svm.alpha()));
    let sorted = &mut workspace.sorted;
    sorted.clear();
    sorted.extend_from_slice(&scores[..label]);
    sorted.extend_from_slice(&scores[label + 1..]);
    let (_, &mut kth, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let top = &mut sorted[..k];
    top.sort_unstable_by(|a, b| b.total_cmp(a));
    let sum = |scores: &[T], alpha: T| {
        scores
            .iter()
            .fold(T::zero(), |sum, &score| sum + (score + alpha))
    };
    let without = sum(top, alpha) / count;
    let with = (sum(&top[..k - 1], T::zero()) + scores[label]) / count;
    let hinge = without - with;
    if let Some(grad) = grad {
        grad.fill(T::zero());
        if hinge >= T::zero() {
            let class = (0..scores.len())
                .find(|&class| class != label && scores[class] == kth)
                .expect("the k-th score is one of the scores");
            grad[class] = count.recip();
            grad[label] = -count.recip();
        }
    }
    hinge.max(T::zero())
}

/// τ ln Σ exp((s_i + α − s_y) / τ), without α where i = y.
fn smooth_top1<T: Real>(svm: &SmoothTopkSvm, sample: Sample<'_, T>) -> T {
    let (tau, alpha) = (real::<T>(svm.tau()), real::<T>(svm.alpha()));
    let own = sample.scores[sample.label];
    let scaled = |class: usize| {
        let margin = if class == sample.label {
            T::zero()
        } else {
            alpha
        };
        (sample.scores[class] + margin - own) / tau
    };
    let classes = 0..sample.scores.len();
    let max = classes.clone().map(scaled).fold(T::neg_infinity(), T::max);
    let sum = classes
        .clone()
        .fold(T::zero(), |sum, class| sum + (scaled(class) - max).exp());
    if let Some(grad) = sample.grad {
        for class in classes {
            grad[class] = (scaled(class) - max).exp() / sum;
        }
        grad[sample.label] = grad[sample.label] - T::one();
    }
    tau * (max + sum.ln())
}

fn smooth_topk<T: Real>(
    svm: &SmoothTopkSvm,
    workspace: &mut Workspace<T>,
    sample: Sample<'_, T>,
) -> T {
    let k = svm.k();
    let mut wrong = std::mem::take(&mut workspace.wrong);
    wrong.clear();
    wrong.extend(sample.wrong_scores(svm));
    let sigma = polynomial(workspace, &wrong, k + terms(k) - 1);
    let own = sample.scores[sample.label] / scale(svm);
    let (value, d_km1, d_k) = combine(svm, sigma[k - 1].0, sigma[k].0, own);
    if let Some(grad) = sample.grad {
        grad[sample.label] = d_km1 / scale(svm);
        for (i, &z) in wrong.iter().enumerate() {
            let class = if i < sample.label { i } else { i + 1 };
            let chosen_km1 = marginal(sigma, z, k - 1, terms(k));
            let chosen_k = marginal(sigma, z, k, terms(k));
            grad[class] = (d_km1 * chosen_km1 + d_k * chosen_k) / scale(svm);
        }
    }
    workspace.wrong = wrong;
    value
}

/// e_0, …, e_degree of the weights whose logarithms are given.
fn polynomial<'a, T: Real>(
    workspace: &'a mut Workspace<T>,
    logarithms: &[T],
    degree: usize,
) -> &'a [Log<T>] {
    let Workspace {
        polynomials,
        products,
        left_over,
        ..
    } = workspace;
    polynomials.clear();
    polynomials.extend(logarithms.iter().flat_map(|&z| [Log(-z), Log::one()]));
    left_over.clear();
    let (mut count, mut length) = (logarithms.len(), 2);
    while count > 1 {
        let half = count / 2;
        if count % 2 == 1 {
            left_over.push(polynomials[(count - 1) * length..].to_vec());
        }
        let (first, second) = polynomials[..2 * half * length].split_at(half * length);
        products.clear();
        for (a, b) in first.chunks_exact(length).zip(second.chunks_exact(length)) {
            multiply(a, b, degree, products);
        }
        std::mem::swap(polynomials, products);
        count = half;
        length = polynomials.len() / half;
    }
    for factor in &*left_over {
        products.clear();
        multiply(polynomials, factor, degree, products);
        std::mem::swap(polynomials, products);
    }
    let sum = logarithms.iter().fold(T::zero(), |sum, &z| sum + z);
    for coefficient in &mut *polynomials {
        *coefficient = coefficient.mul(Log(sum));
    }
    polynomials
}

/// Appends the coefficients of a · b up to `degree`.
fn multiply<T: Real>(a: &[Log<T>], b: &[Log<T>], degree: usize, products: &mut Vec<Log<T>>) {
    for j in 0..(degree + 1).min(a.len() + b.len() - 1) {
        let (first, last) = ((j + 1).saturating_sub(b.len()), j.min(a.len() - 1));
        let product = (first..=last)
            .map(|i| a[i].mul(b[j - i]))
            .reduce(Log::add)
            .expect("each coefficient has a term");
        products.push(product);
    }
}

/// π⁽ʲ⁾ of a class with weight exp(z): the derivative of ln e_j with respect to z.
fn marginal<T: Real>(sigma: &[Log<T>], z: T, j: usize, terms: usize) -> T {
    let x = Log(z);
    let sum = |terms: &mut dyn Iterator<Item = Log<T>>| terms.reduce(Log::add);
    let none = Log(real::<T>(-1.0 / EPS));
    let recursion = |start: usize| {
        let degrees = (start..=j).step_by(2);
        sum(&mut degrees.map(|m| sigma[j - m].mul(x.pow(m - 1)))).unwrap_or(none)
    };
    let (positive, negative) = (recursion(1), recursion(2));
    let difference = (positive.0 - negative.0) / (negative.0.abs() + real(EPS));
    let derivative = if difference < real(UNSTABLE) {
        let series = |start: usize| {
            let degrees = (start..terms).step_by(2);
            sum(&mut degrees.map(|m| sigma[j + m].div(x.pow(m + 1))))
        };
        let positive = series(0).expect("there is a first term");
        positive.sub(series(1).unwrap_or(Log::zero()))
    } else {
        positive.sub(negative)
    };
    derivative.mul(x).div(sigma[j]).value()
}
