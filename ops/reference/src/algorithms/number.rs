use num_traits::Float;
use num_traits::float::TotalOrder;
use topk_ops::Score;

/// `f32` or `f64`.
pub trait Real: Score + Float + TotalOrder {}

impl<T: Score + Float + TotalOrder> Real for T {}

/// A number that is zero or positive, in one representation or another.
pub(super) trait Number: Copy + Send {
    type Real: Real;

    fn zero() -> Self;
    fn one() -> Self;
    /// exp(z).
    fn exp(z: Self::Real) -> Self;
    fn ln(self) -> Self::Real;
    fn value(self) -> Self::Real;
    fn add(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
}

/// The number itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain<T>(pub(super) T);

impl<T: Real> Number for Plain<T> {
    type Real = T;

    fn zero() -> Self {
        Self(T::zero())
    }

    fn one() -> Self {
        Self(T::one())
    }

    fn exp(z: T) -> Self {
        Self(z.exp())
    }

    fn ln(self) -> T {
        self.0.ln()
    }

    fn value(self) -> T {
        self.0
    }

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    fn mul(self, other: Self) -> Self {
        Self(self.0 * other.0)
    }

    fn div(self, other: Self) -> Self {
        Self(self.0 / other.0)
    }
}

/// Its logarithm: the authors' `LogTensor`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log<T>(pub(super) T);

impl<T: Real> Log<T> {
    /// self − `other`, for numbers of which this is the larger; NaN otherwise.
    pub(super) fn sub(self, other: Self) -> Self {
        Self(self.0 + ln_1m_exp(other.0 - self.0))
    }

    /// The n-th power.
    pub(super) fn pow(self, n: usize) -> Self {
        Self(self.0 * T::from_f64(n as f64))
    }
}

/// ln(1 − exp u) for u ≤ 0.
fn ln_1m_exp<T: Real>(u: T) -> T {
    if u.abs() < T::from_f64(1e-3) {
        (-u).ln()
    } else {
        (-u.exp()).ln_1p()
    }
}

impl<T: Real> Number for Log<T> {
    type Real = T;

    fn zero() -> Self {
        Self(T::neg_infinity())
    }

    fn one() -> Self {
        Self(T::zero())
    }

    fn exp(z: T) -> Self {
        Self(z)
    }

    fn ln(self) -> T {
        self.0
    }

    fn value(self) -> T {
        self.0.exp()
    }

    fn add(self, other: Self) -> Self {
        let (max, min) = if self.0 >= other.0 {
            (self.0, other.0)
        } else {
            (other.0, self.0)
        };
        if min == T::neg_infinity() {
            return Self(max);
        }
        Self(max + (T::one() + (min - max).exp()).ln())
    }

    fn mul(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    fn div(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}
