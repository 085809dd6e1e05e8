//! Arithmetic with 106 bits: a number is the unevaluated sum of two `f64`.
//!
//! The error-free sums and products are those of Dekker, "A floating-point technique for extending
//! the available precision", Numerische Mathematik 18 (1971), and Knuth, The Art of Computer
//! Programming, volume 2, section 4.2.2.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// A number with a relative error of about 1e-31, in the range of `f64`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DoubleDouble {
    high: f64,
    low: f64,
}

/// ln 2 in three parts.
const LN_2: [f64; 3] = [
    std::f64::consts::LN_2,
    2.319_046_813_846_299_6e-17,
    5.707_708_438_416_212e-34,
];

impl DoubleDouble {
    pub(crate) const ZERO: Self = Self::new(0.0);
    pub(crate) const ONE: Self = Self::new(1.0);

    pub(crate) const fn new(value: f64) -> Self {
        Self {
            high: value,
            low: 0.0,
        }
    }

    /// a + b, exactly.
    pub(crate) fn sum(a: f64, b: f64) -> Self {
        let high = a + b;
        let rest = high - a;
        let low = (a - (high - rest)) + (b - rest);
        Self { high, low }
    }

    /// a · b, exactly.
    pub(crate) fn product(a: f64, b: f64) -> Self {
        let high = a * b;
        let low = a.mul_add(b, -high);
        Self { high, low }
    }

    /// The nearest `f64`.
    pub(crate) fn round(self) -> f64 {
        self.high
    }

    pub(crate) fn abs(self) -> Self {
        if self.high < 0.0 { -self } else { self }
    }

    pub(crate) fn is_negative(self) -> bool {
        self.high < 0.0
    }

    /// The exponential, for magnitudes below 2⁴⁰.
    pub(crate) fn exp(self) -> Wide {
        let powers = (self.high / LN_2[0]).round();
        let rest = LN_2
            .iter()
            .fold(self, |rest, &part| rest - Self::product(powers, part));
        // exp(r) − 1 for r = rest / 2⁹ by its series, then (e + 1)² − 1 = 2e + e² nine times.
        let r = rest * Self::new(1.0 / 512.0);
        let mut term = r;
        let mut e = r;
        for n in 2..=10 {
            term = term * r / Self::new(f64::from(n));
            e = e + term;
        }
        for _ in 0..9 {
            e = e + e + e * e;
        }
        let mantissa = Self::ONE + e;
        let powers = powers as i64;
        if mantissa.high < 1.0 {
            Wide {
                mantissa: mantissa + mantissa,
                exponent: powers - 1,
            }
        } else {
            Wide {
                mantissa,
                exponent: powers,
            }
        }
    }

    /// With its low part made small again.
    fn normalized(high: f64, low: f64) -> Self {
        let sum = high + low;
        Self {
            high: sum,
            low: low - (sum - high),
        }
    }
}

impl Add for DoubleDouble {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        // Both parts are summed with their errors, so that a difference keeps its digits.
        let high = Self::sum(self.high, other.high);
        let low = Self::sum(self.low, other.low);
        let sum = Self::normalized(high.high, high.low + low.high);
        Self::normalized(sum.high, sum.low + low.low)
    }
}

impl Neg for DoubleDouble {
    type Output = Self;

    fn neg(self) -> Self {
        Self {
            high: -self.high,
            low: -self.low,
        }
    }
}

impl Sub for DoubleDouble {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for DoubleDouble {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let Self { high, low } = Self::product(self.high, other.high);
        let cross = self.high.mul_add(other.low, self.low * other.high);
        Self::normalized(high, low + cross)
    }
}

impl Div for DoubleDouble {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let first = self.high / other.high;
        let rest = self - other * Self::new(first);
        let second = rest.high / other.high;
        let rest = rest - other * Self::new(second);
        let third = rest.high / other.high;
        Self::normalized(first, second) + Self::new(third)
    }
}

/// A positive number or zero, with an exponent that does not overflow: exponentials of large
/// numbers, and products of many of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wide {
    /// In [1, 2), or zero.
    mantissa: DoubleDouble,
    exponent: i64,
}

impl Wide {
    pub(crate) const ZERO: Self = Self {
        mantissa: DoubleDouble::ZERO,
        exponent: 0,
    };
    pub(crate) const ONE: Self = Self {
        mantissa: DoubleDouble::ONE,
        exponent: 0,
    };

    /// The natural logarithm; not of zero.
    pub(crate) fn ln(self) -> DoubleDouble {
        // A step of Newton's method from the logarithm in f64.
        let guess = DoubleDouble::new(self.mantissa.high.ln());
        let quotient = Self {
            exponent: 0,
            ..self
        } * (-guess).exp();
        let ln = guess + (quotient.narrow() - DoubleDouble::ONE);
        LN_2.iter().fold(ln, |ln, &part| {
            ln + DoubleDouble::product(self.exponent as f64, part)
        })
    }

    /// The same number without the wide range; zero where it underflows.
    pub(crate) fn narrow(self) -> DoubleDouble {
        if self.exponent < -1000 {
            return DoubleDouble::ZERO;
        }
        let scale = f64::exp2(self.exponent as f64);
        DoubleDouble {
            high: self.mantissa.high * scale,
            low: self.mantissa.low * scale,
        }
    }

    fn normalized(mantissa: DoubleDouble, exponent: i64) -> Self {
        if mantissa.high >= 2.0 {
            Self {
                mantissa: DoubleDouble {
                    high: 0.5 * mantissa.high,
                    low: 0.5 * mantissa.low,
                },
                exponent: exponent + 1,
            }
        } else {
            Self { mantissa, exponent }
        }
    }
}

impl Add for Wide {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        if self.mantissa.high == 0.0 {
            return other;
        }
        if other.mantissa.high == 0.0 {
            return self;
        }
        let (large, small) = if self.exponent >= other.exponent {
            (self, other)
        } else {
            (other, self)
        };
        let shifted = Self {
            exponent: small.exponent - large.exponent,
            ..small
        };
        Self::normalized(large.mantissa + shifted.narrow(), large.exponent)
    }
}

impl Mul for Wide {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        Self::normalized(
            self.mantissa * other.mantissa,
            self.exponent + other.exponent,
        )
    }
}

impl Div for Wide {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let two = DoubleDouble::new(2.0);
        Self::normalized(
            self.mantissa * two / other.mantissa,
            self.exponent - other.exponent - 1,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(a: DoubleDouble, b: DoubleDouble) -> f64 {
        (a - b).abs().round()
    }

    #[test]
    fn exponential_of_one() {
        // e to 33 digits: 2.71828182845904523536028747135266.
        let e = DoubleDouble {
            high: std::f64::consts::E,
            low: 1.445_646_891_729_250_2e-16,
        };
        assert!(distance(DoubleDouble::ONE.exp().narrow(), e) < 1e-30);
    }

    #[test]
    fn logarithm_undoes_the_exponential() {
        for x in [-1e9, -745.3, -1.0, -1e-9, 0.0, 0.1, 2.5, 700.1, 1e9] {
            let x = DoubleDouble::new(x) / DoubleDouble::new(3.0);
            let error = distance(x.exp().ln(), x);
            assert!(error < 1e-30 * x.abs().round().max(1.0), "{x:?}: {error}");
        }
    }

    #[test]
    fn products_and_quotients_far_beyond_the_range_of_f64() {
        let third = DoubleDouble::ONE / DoubleDouble::new(3.0);
        assert!(distance(third + third + third, DoubleDouble::ONE) < 1e-31);
        let (a, b) = (DoubleDouble::new(5e8), DoubleDouble::new(-3e8));
        let sum = DoubleDouble::new(2e8);
        assert!(distance((a.exp() * b.exp()).ln(), sum) < 1e-21);
        assert!(distance((sum.exp() / b.exp()).ln(), a) < 1e-21);
        // (e⁵ + e⁻⁵⁰⁰⁰) − e⁵ is below the last bit; e³ + e³ is not.
        let five = DoubleDouble::new(5.0).exp();
        assert_eq!(five + DoubleDouble::new(-5000.0).exp(), five);
        let three = DoubleDouble::new(3.0).exp();
        let ln_2 = (three + three).ln() - DoubleDouble::new(3.0);
        assert!((ln_2.round() - LN_2[0]).abs() < 1e-30);
    }
}
