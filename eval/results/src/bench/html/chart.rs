//! The charts, as inline SVG.

use std::fmt::Write;

use topk_report::chart::{
    Frame, Point, bar, line, marker, open, path, percent_label, percent_ticks, text,
};
use topk_report::text::{grouped, percent};

use super::color;
use crate::bench::schema::LatencyStatistics;
use crate::bench::table::milliseconds;
use crate::table::speed;

/// A measurement of a model whose accuracy is known.
pub(super) struct AccuracyPoint<'a> {
    pub(super) name: &'a str,
    /// The median latency in seconds.
    pub(super) seconds: f64,
    /// Accuracy and the bounds of its interval, 0 to 1.
    pub(super) accuracy: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// The latency of a measurement.
pub(super) struct LatencyRow<'a> {
    pub(super) name: &'a str,
    /// Index of the model, for the colour.
    pub(super) model: usize,
    pub(super) latency: LatencyStatistics,
}

/// Images per second by batch size.
pub(super) struct SpeedLine<'a> {
    pub(super) name: &'a str,
    /// Batch size and images per second.
    pub(super) points: Vec<(usize, f64)>,
}

/// Round numbers 1, 2 and 5 times a power of ten that enclose positive values, on a logarithmic axis.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let low = low.max(f64::MIN_POSITIVE);
    let first = low.log10().floor() as i32;
    let last = high.max(low).log10().ceil() as i32;
    let round = (first..=last).flat_map(|power| [1.0, 2.0, 5.0].map(|of| of * 10f64.powi(power)));
    let round: Vec<f64> = round.collect();
    let start = round.iter().rposition(|&tick| tick <= low).unwrap_or(0);
    let after = round.iter().position(|&tick| tick >= high);
    let end = after.unwrap_or(round.len() - 1).max(start + 1);
    round[start..=end.min(round.len() - 1)].to_vec()
}

/// Accuracy against latency on a logarithmic axis.
pub(super) fn accuracy_by_latency(points: &[AccuracyPoint<'_>]) -> String {
    let lows = points.iter().map(|point| point.low);
    let highs = points.iter().map(|point| point.high);
    let ticks = percent_ticks(lows.fold(1.0, f64::min), highs.fold(0.0, f64::max));
    let frame = Frame {
        left: 52.0,
        top: 12.0,
        width: 414.0,
        height: 226.0,
        low: ticks[0],
        high: ticks[ticks.len() - 1],
    };
    let times = points.iter().map(|point| 1000.0 * point.seconds);
    let (low, high) = (
        times.clone().fold(f64::MAX, f64::min),
        times.fold(0.0, f64::max),
    );
    let marks = decades(low, high);
    let x = logarithmic(&frame, marks[0], marks[marks.len() - 1]);
    let described: Vec<String> = points.iter().map(AccuracyPoint::describe).collect();
    let mut svg = open(
        "accuracy",
        "wide",
        (480.0, 282.0),
        "Accuracy against latency",
        &described.join("; "),
    );
    frame.y_ticks(
        &mut svg,
        ticks.iter().map(|&tick| (tick, percent_label(tick))),
    );
    x_axis(&mut svg, &frame, &marks, &x, "median latency in ms");
    for (number, point) in points.iter().enumerate() {
        let _ = write!(svg, r#"<g class="{}">"#, color(number));
        let at = x(1000.0 * point.seconds);
        let ends = ((at, frame.y(point.low)), (at, frame.y(point.high)));
        line(&mut svg, "whisker", ends.0, ends.1);
        let middle = (at, frame.y(point.accuracy));
        marker(&mut svg, number, middle, &described[number]);
        svg += "</g>";
    }
    svg + "</svg>"
}

impl AccuracyPoint<'_> {
    fn describe(&self) -> String {
        let [accuracy, low, high] = [self.accuracy, self.low, self.high].map(percent);
        let time = milliseconds(self.seconds);
        format!("{}: {accuracy} % ({low} to {high}), {time} ms", self.name)
    }
}

/// The x coordinate of a value on a logarithmic axis.
fn logarithmic(frame: &Frame, low: f64, high: f64) -> impl Fn(f64) -> f64 + use<> {
    let (left, width) = (frame.left, frame.width);
    let range = (high / low).ln();
    move |value: f64| left + width * (value / low).ln() / range
}

/// The axis below a frame, with marks, grid lines and a title.
fn x_axis(svg: &mut String, frame: &Frame, marks: &[f64], x: impl Fn(f64) -> f64, title: &str) {
    let (right, bottom) = (frame.left + frame.width, frame.top + frame.height);
    for &mark in marks {
        let at = x(mark);
        line(svg, "grid", (at, frame.top), (at, bottom));
        text(svg, "middle", (at, bottom + 17.0), &mark_label(mark));
    }
    line(svg, "axis", (frame.left, bottom), (right, bottom));
    let middle = frame.left + frame.width / 2.0;
    text(svg, "middle", (middle, bottom + 36.0), title);
}

/// A round number without a rounding error.
fn mark_label(mark: f64) -> String {
    let decimals = (-mark.log10().floor()).max(0.0) as usize;
    format!("{mark:.decimals$}")
}

/// A row for each measurement: the fastest run, p50, p90 and p99.
pub(super) fn latencies(rows: &[LatencyRow<'_>]) -> String {
    const ROW: f64 = 40.0;
    let frame = Frame {
        left: 8.0,
        top: 4.0,
        width: 456.0,
        height: ROW * rows.len() as f64,
        low: 0.0,
        high: 1.0,
    };
    let lows = rows.iter().map(|row| 1000.0 * row.latency.min);
    let highs = rows.iter().map(|row| 1000.0 * row.latency.p99);
    let marks = decades(lows.fold(f64::MAX, f64::min), highs.fold(0.0, f64::max));
    let x = logarithmic(&frame, marks[0], marks[marks.len() - 1]);
    let described: Vec<String> = rows.iter().map(LatencyRow::describe).collect();
    let size = (480.0, frame.height + 50.0);
    let mut svg = open("latency", "wide", size, "Latency", &described.join("; "));
    x_axis(&mut svg, &frame, &marks, &x, "ms per run");
    for (at, row) in rows.iter().enumerate() {
        let top = frame.top + ROW * at as f64;
        let [min, p50, p90, p99] = [
            row.latency.min,
            row.latency.p50,
            row.latency.p90,
            row.latency.p99,
        ]
        .map(|seconds| x(1000.0 * seconds));
        text(&mut svg, "start", (frame.left + 4.0, top + 14.0), row.name);
        let _ = write!(svg, r#"<g class="{}">"#, color(row.model));
        let y = top + 26.0;
        line(&mut svg, "whisker", (min, y), (p99, y));
        let width = (p90 - p50).max(1.0);
        bar(
            &mut svg,
            "bar",
            (p50, y - 5.0),
            (width, 10.0),
            &described[at],
        );
        marker(&mut svg, row.model, (p50, y), &described[at]);
        svg += "</g>";
    }
    svg + "</svg>"
}

impl LatencyRow<'_> {
    fn describe(&self) -> String {
        let LatencyStatistics {
            min, p50, p90, p99, ..
        } = self.latency;
        let [min, p50, p90, p99] = [min, p50, p90, p99].map(milliseconds);
        format!(
            "{}: min {min}, p50 {p50}, p90 {p90}, p99 {p99} ms",
            self.name
        )
    }
}

/// Images per second by batch size.
pub(super) fn throughput(lines: &[SpeedLine<'_>], sizes: &[usize]) -> String {
    let all = lines.iter().flat_map(|line| &line.points);
    let most = all.map(|point| point.1).fold(0.0, f64::max);
    let step = step(most);
    let ticks: Vec<f64> = (0..=(most / step).ceil() as usize)
        .map(|tick| step * tick as f64)
        .collect();
    let frame = Frame {
        left: 62.0,
        top: 12.0,
        width: 408.0,
        height: 226.0,
        low: 0.0,
        high: ticks[ticks.len() - 1].max(step),
    };
    let described: Vec<String> = lines
        .iter()
        .map(|line| {
            let points = line.points.iter();
            let points = points.map(|(size, speed_of)| format!("{} at {size}", speed(*speed_of)));
            format!("{}: {}", line.name, points.collect::<Vec<_>>().join(", "))
        })
        .collect();
    let title = "Images per second by batch size";
    let mut svg = open(
        "throughput",
        "wide",
        (480.0, 282.0),
        title,
        &described.join("; "),
    );
    let label = |tick: f64| match step < 1.0 {
        true => format!("{tick:.2}"),
        false => grouped(tick.round() as usize),
    };
    frame.y_ticks(&mut svg, ticks.iter().map(|&tick| (tick, label(tick))));
    let bottom = frame.top + frame.height;
    let inset = 18.0;
    let gap = (frame.width - 2.0 * inset) / (sizes.len().max(2) - 1) as f64;
    let x = |size: usize| {
        let at = sizes.iter().position(|&other| other == size).unwrap_or(0);
        frame.left + inset + gap * at as f64
    };
    for &size in sizes {
        text(
            &mut svg,
            "middle",
            (x(size), bottom + 17.0),
            &size.to_string(),
        );
    }
    let right = frame.left + frame.width;
    line(&mut svg, "axis", (frame.left, bottom), (right, bottom));
    let middle = frame.left + frame.width / 2.0;
    text(&mut svg, "middle", (middle, bottom + 36.0), "batch size");
    for (number, series) in lines.iter().enumerate() {
        let _ = write!(svg, r#"<g class="{}">"#, color(number));
        let points = series.points.iter();
        let points: Vec<Point> = points
            .map(|&(size, speed_of)| (x(size), frame.y(speed_of)))
            .collect();
        let _ = write!(svg, r#"<path class="line" d="{}"/>"#, path(&points));
        for (point, (size, speed_of)) in points.iter().zip(&series.points) {
            let title = format!(
                "{}, batch {size}: {} images/s",
                series.name,
                speed(*speed_of)
            );
            marker(&mut svg, number, *point, &title);
        }
        svg += "</g>";
    }
    svg + "</svg>"
}

/// The distance of about five round ticks up to a value.
fn step(most: f64) -> f64 {
    let rough = (most / 5.0).max(f64::MIN_POSITIVE);
    let power = 10f64.powf(rough.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0].into_iter();
    let fits = |factor: &f64| factor * power >= rough;
    power * factors.clone().find(fits).unwrap_or(10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithmic_ticks_enclose_the_values() {
        let labels = |low, high| -> Vec<String> {
            let marks = decades(low, high);
            marks.into_iter().map(mark_label).collect()
        };
        assert_eq!(labels(3.0, 45.0), ["2", "5", "10", "20", "50"]);
        assert_eq!(labels(0.03, 0.07), ["0.02", "0.05", "0.1"]);
        assert_eq!(labels(10.0, 10.0), ["10", "20"]);
        assert_eq!((step(1234.0), step(9.0)), (500.0, 2.0));
    }
}
