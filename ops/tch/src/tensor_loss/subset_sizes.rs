//! The distribution of the size of a random subset: elementary symmetric polynomials up to a common factor.
//!
//! Element i belongs to the subset with probability p_i = σ(z_i − t), independently of the others. For every shift t,
//! the subset has j elements with probability P_j = e_j(exp(z − t)) / Π (1 + exp(z_i − t)), so that
//! ln e_k − ln e_{k−1} = t + ln P_k − ln P_{k−1} for the polynomials of exp z. The P_j are the coefficients of the product
//! of all (1 − p_i) + p_i X. A binary tree multiplies these in pairs, without degrees above k: about five operations of
//! libtorch per level, whatever k is. All terms are positive and no coefficient exceeds 1, so that nothing
//! cancels or overflows.
//!
//! The Python package has the same algorithm in `_composite/subset_sizes.py`.

use tch::{Kind, TchError, Tensor};

/// The P_0, …, P_k of each row.
#[derive(Debug)]
pub(super) struct SubsetSizes {
    k: i64,
    elements: i64,
    /// The p_i, `[N, C]`.
    p: Tensor,
    /// The polynomials of each level but the last, `[degree + 1, N, nodes]` with an even number of nodes.
    levels: Vec<Tensor>,
    /// `[k + 1, N, 1]`
    sizes: Tensor,
}

impl SubsetSizes {
    /// Of log-odds z_i − t, `[N, C]` with C ≥ k, which may be infinite.
    pub(super) fn new(log_odds: &Tensor, k: i64) -> Result<Self, TchError> {
        let p = log_odds.f_sigmoid()?;
        let mut level = Tensor::f_stack(&[&log_odds.f_neg()?.f_sigmoid()?, &p], 0)?;
        let mut levels = Vec::new();
        while level.size()[2] > 1 {
            if level.size()[2] % 2 == 1 {
                // One more factor, 1.
                level = level.f_constant_pad_nd([0, 1])?;
                let _ = level.f_select(0, 0)?.f_select(1, -1)?.f_fill_(1.0)?;
            }
            let product = multiply(&level, k)?;
            levels.push(level);
            level = product;
        }
        Ok(Self {
            k,
            elements: log_odds.size()[1],
            p,
            levels,
            sizes: level,
        })
    }

    /// P_{k−1} and P_k, `[N, 1]` each.
    pub(super) fn probabilities(&self) -> Result<[Tensor; 2], TchError> {
        Ok([
            self.sizes.f_select(0, self.k - 1)?,
            self.sizes.f_select(0, self.k)?,
        ])
    }

    /// `scale` · (π⁽ᵏ⁾ − π⁽ᵏ⁻¹⁾) for each element, `[N, C]`, with `scale` `[N, 1]` and π⁽ʲ⁾_i = ∂ ln e_j / ∂z_i.
    ///
    /// A pass down the tree: the derivative with respect to a polynomial is the correlation of that with respect to the
    /// product and the other factor.
    pub(super) fn marginal_differences(&self, scale: &Tensor) -> Result<Tensor, TchError> {
        let [below, at] = self.probabilities()?;
        let mut derivative = self.sizes.f_zeros_like()?;
        derivative
            .f_select(0, self.k - 1)?
            .f_copy_(&scale.f_div(&below)?.f_neg()?)?;
        derivative
            .f_select(0, self.k)?
            .f_copy_(&scale.f_div(&at)?)?;
        for (depth, level) in self.levels.iter().enumerate().rev() {
            // Of an element, only the derivative with respect to the coefficient of X is needed.
            let first = if depth == 0 { 1 } else { 0 };
            derivative = of_factors(&derivative, level, first)?;
            // Without the factor that was added to make pairs.
            let nodes = match depth.checked_sub(1) {
                Some(above) => self.levels[above].size()[2] / 2,
                None => self.elements,
            };
            derivative = derivative.f_narrow(2, 0, nodes)?;
        }
        derivative.f_select(0, -1)?.f_mul(&self.p)
    }
}

/// The products of the first half of the polynomials and the second, without degrees above `k`.
fn multiply(level: &Tensor, k: i64) -> Result<Tensor, TchError> {
    let (terms, _, nodes) = level.size3()?;
    let degree = terms - 1;
    let result = (2 * degree).min(k);
    let left = level.f_narrow(2, 0, nodes / 2)?;
    let right = level.f_narrow(2, nodes / 2, nodes / 2)?;
    // Entry [j, …, i] is coefficient j + i − degree.
    let right = right
        .f_constant_pad_nd([0, 0, 0, 0, degree, result - degree])?
        .f_unfold(0, terms, 1)?;
    let left = left.f_flip([0])?.f_movedim_int(0, -1)?;
    right
        .f_mul(&left)?
        .f_sum_dim_intlist(-1, false, None::<Kind>)
}

/// The derivatives with respect to the coefficients of the factors, from degree `first` on, given those with respect to
/// the coefficients of their products.
fn of_factors(derivative: &Tensor, level: &Tensor, first: i64) -> Result<Tensor, TchError> {
    let (terms, samples, nodes) = level.size3()?;
    let other = level
        .f_reshape([terms, samples, 2, nodes / 2])?
        .f_flip([2])?
        .f_movedim_int(0, -1)?;
    let missing = 2 * terms - 1 - derivative.size()[0];
    // Entry [i, …, j] is that of the product's coefficient i + j.
    let windows = derivative
        .f_constant_pad_nd([0, 0, 0, 0, 0, missing])?
        .f_unfold(0, terms, 1)?
        .f_narrow(0, first, terms - first)?
        .f_unsqueeze(2)?;
    windows
        .f_mul(&other)?
        .f_sum_dim_intlist(-1, false, None::<Kind>)?
        .f_flatten(2, 3)
}
