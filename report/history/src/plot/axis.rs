//! Axes: positions of values, and ticks.

use topk_report::chart::{percent_label, percent_ticks};
use topk_report::text::grouped;

/// Maximum number of ticks.
const MAX_TICKS: usize = 8;

/// Minimum ratio of the largest to the smallest value for a logarithmic axis.
const LOG_RATIO: f64 = 10.0;

/// An axis of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Values with their labels.
    pub(crate) ticks: Vec<(f64, String)>,
    pub(crate) is_log: bool,
}

impl Axis {
    /// An axis for fractions, labelled in percent; values are clamped to 0 to 1.
    pub(crate) fn percent(values: impl Iterator<Item = f64>) -> Self {
        let parts = values.map(|value| value.clamp(0.0, 1.0));
        let (low, high) = range(parts).unwrap_or((0.0, 1.0));
        Self::of_ticks(percent_ticks(low, high), percent_label, false)
    }

    /// An axis for numbers, logarithmic if they are positive and span a wide range.
    pub(crate) fn number(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = range(values).unwrap_or((0.0, 1.0));
        if is_log(low, high) {
            Self::of_ticks(log_ticks(low, high), label, true)
        } else {
            Self::of_ticks(linear_ticks(low, high), label, false)
        }
    }

    /// An axis for integers from `low` to `high`.
    pub(crate) fn count(low: usize, high: usize) -> Self {
        let steps = (0..).flat_map(|power| [1, 2, 5].map(|step| step * 10usize.pow(power)));
        let step = steps
            .take_while(|step| *step <= high.max(1))
            .find(|step| high / step - low.saturating_sub(1) / step <= MAX_TICKS)
            .unwrap_or(high.max(1));
        let ticks = (low.div_ceil(step)..=high / step).map(|at| at * step);
        Self {
            low: low as f64,
            high: high as f64,
            ticks: ticks.map(|tick| (tick as f64, grouped(tick))).collect(),
            is_log: false,
        }
    }

    /// An axis with exactly these ticks, in ascending order.
    pub(crate) fn exactly(ticks: Vec<(f64, String)>) -> Self {
        let (low, high) = range(ticks.iter().map(|tick| tick.0)).unwrap_or((0.0, 1.0));
        Self {
            low,
            high,
            is_log: is_log(low, high) && high / low > 2.0 * LOG_RATIO,
            ticks,
        }
    }

    /// An axis of `count` positions from 0 without ticks.
    pub(crate) fn unlabelled(count: usize) -> Self {
        Self {
            low: -0.5,
            high: count as f64 - 0.5,
            ticks: Vec::new(),
            is_log: false,
        }
    }

    fn of_ticks(ticks: Vec<f64>, name: fn(f64) -> String, is_log: bool) -> Self {
        Self {
            low: ticks[0],
            high: ticks[ticks.len() - 1],
            ticks: ticks.into_iter().map(|tick| (tick, name(tick))).collect(),
            is_log,
        }
    }

    /// The value, or its logarithm on a logarithmic axis.
    pub(crate) fn scaled(&self, value: f64) -> f64 {
        if self.is_log { value.ln() } else { value }
    }

    /// Position of a value: 0 at the lower end, 1 at the upper end; the middle if both are equal.
    pub(crate) fn part(&self, value: f64) -> f64 {
        let [low, high, value] = [self.low, self.high, value].map(|value| self.scaled(value));
        if high > low {
            (value - low) / (high - low)
        } else {
            0.5
        }
    }
}

/// Minimum and maximum of the finite values.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = values.filter(|value| value.is_finite());
    finite.fold(None, |range, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((f64::min(low, value), f64::max(high, value)))
    })
}

fn is_log(low: f64, high: f64) -> bool {
    low > 0.0 && high / low >= LOG_RATIO * (1.0 - 1e-9)
}

/// Round numbers that enclose a range.
fn linear_ticks(low: f64, high: f64) -> Vec<f64> {
    // For a single value the axis starts or ends at zero.
    let (low, high) = if high > low {
        (low, high)
    } else if high == 0.0 {
        (0.0, 1.0)
    } else {
        (low.min(0.0), high.max(0.0))
    };
    let rough = (high - low) / (MAX_TICKS - 2) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let step = steps.into_iter().find(|step| step * power >= rough);
    let step = step.unwrap_or(10.0) * power;
    // The slack is for ends that are multiples of the step up to rounding.
    let (first, last) = (
        (low / step + 1e-9).floor() as i64,
        (high / step - 1e-9).ceil() as i64,
    );
    (first..=last.max(first + 1))
        .map(|at| at as f64 * step)
        .collect()
}

/// Powers of ten that enclose a range of positive numbers; also 2 and 5 times powers of ten if there are few.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (
        (low.log10() + 1e-9).floor() as i32,
        (high.log10() - 1e-9).ceil() as i32,
    );
    let fine: Vec<f64> = (first..=last)
        .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)))
        .collect();
    let begin = fine.iter().rposition(|&tick| tick <= low * (1.0 + 1e-9));
    let end = fine.iter().position(|&tick| tick >= high * (1.0 - 1e-9));
    let fine = &fine[begin.unwrap_or(0)..=end.unwrap_or(fine.len() - 1)];
    if fine.len() <= MAX_TICKS {
        return fine.to_vec();
    }
    let step = ((last - first) as usize).div_ceil(MAX_TICKS - 1).max(1);
    let last = first
        + (last - first).div_euclid(step as i32) * step as i32
        + if (last - first) % step as i32 == 0 {
            0
        } else {
            step as i32
        };
    (first..=last)
        .step_by(step)
        .map(|power| 10f64.powi(power))
        .collect()
}

/// Label of a number on an axis.
fn label(value: f64) -> String {
    match value {
        1e3..1e7 if value.fract() == 0.0 => grouped(value as usize),
        value => number(value),
    }
}

/// A number with at most 6 significant digits.
pub(crate) fn number(value: f64) -> String {
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    match rounded.abs() {
        0.0 => "0".to_owned(),
        1e-4..1e7 => rounded.to_string(),
        _ => format!("{rounded:e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.1.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_and_enclose_the_values() {
        let axis = |values: &[f64]| Axis::number(values.iter().copied());
        assert_eq!(names(&axis(&[1.2, 4.55])), ["1", "2", "3", "4", "5"]);
        assert_eq!(
            names(&axis(&[0.1, 0.1])),
            ["0", "0.02", "0.04", "0.06", "0.08", "0.1"]
        );
        assert_eq!(names(&axis(&[0.0, 0.0]))[0], "0");
        assert_eq!(
            names(&axis(&[-2.0, f64::NAN])),
            ["-2", "-1.5", "-1", "-0.5", "0"]
        );
        assert_eq!(
            names(&axis(&[0.02, 4.6])),
            ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"]
        );
        assert_eq!(
            names(&axis(&[1e-4, 0.1])),
            ["0.0001", "0.001", "0.01", "0.1"]
        );
        assert_eq!(
            names(&axis(&[1e-12, 1.0])),
            ["1e-12", "1e-10", "1e-8", "1e-6", "0.0001", "0.01", "1"]
        );
        assert_eq!(names(&axis(&[])), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
    }

    #[test]
    fn count_ticks_are_integers() {
        assert_eq!(names(&Axis::count(1, 1)), ["1"]);
        assert_eq!(
            names(&Axis::count(1, 7)),
            ["1", "2", "3", "4", "5", "6", "7"]
        );
        assert_eq!(
            names(&Axis::count(1, 30)),
            ["5", "10", "15", "20", "25", "30"]
        );
        assert_eq!(
            names(&Axis::count(1, 300)),
            ["50", "100", "150", "200", "250", "300"]
        );
        assert_eq!(
            names(&Axis::count(1, 1000)),
            ["200", "400", "600", "800", "1,000"]
        );
    }

    #[test]
    fn positions_are_between_the_ends() {
        let log = Axis::number([0.001, 0.1].into_iter());
        assert!((log.part(0.01) - 0.5).abs() < 1e-12);
        assert_eq!(Axis::count(1, 1).part(1.0), 0.5);
        let exactly =
            |values: &[f64]| Axis::exactly(values.iter().map(|&x| (x, number(x))).collect());
        assert!(!exactly(&[0.0, 0.2, 1.0]).is_log);
        assert!(exactly(&[0.01, 0.1, 1.0]).is_log);
    }
}
