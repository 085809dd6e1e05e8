//! Charts as inline SVG, in the colours of the page.

use std::fmt::Write;

use super::Escaped;
use crate::metrics::{CALIBRATION_BINS, CalibrationBin};
use crate::text::{grouped, images, percent};

/// A place on the chart.
type Point = (f64, f64);

/// A model's accuracy for k from 1.
pub(super) struct AccuracyLine<'a> {
    pub(super) name: &'a str,
    /// Accuracy and both ends of its interval, 0 to 1.
    pub(super) points: Vec<(f64, f64, f64)>,
}

/// Distances in units of the drawing, in which text is 12 high.
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    /// What the ends of the y axis stand for.
    low: f64,
    high: f64,
}

impl Frame {
    fn y(&self, value: f64) -> f64 {
        let part = (value - self.low) / (self.high - self.low);
        self.top + self.height * (1.0 - part)
    }

    /// Horizontal lines with percentages.
    fn y_ticks(&self, svg: &mut String, ticks: impl Iterator<Item = f64>) {
        let right = self.left + self.width;
        for tick in ticks {
            let y = self.y(tick);
            line(svg, "grid", (self.left, y), (right, y));
            text(
                svg,
                "end",
                (self.left - 6.0, y + 4.0),
                &format!("{:.0} %", 100.0 * tick),
            );
        }
    }
}

fn line(svg: &mut String, class: &str, from: Point, to: Point) {
    let ((x1, y1), (x2, y2)) = (from, to);
    *svg +=
        &format!(r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#);
}

fn text(svg: &mut String, anchor: &str, (x, y): Point, text: &str) {
    let text = Escaped(text);
    *svg += &format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
}

/// A rectangle that says what it stands for.
fn bar(svg: &mut String, class: &str, (x, y): Point, (width, height): Point, title: &str) {
    *svg += &format!(
        r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"><title>{}</title></rect>"#,
        Escaped(title)
    );
}

fn path(points: &[Point]) -> String {
    let mut path = String::new();
    for (at, (x, y)) in points.iter().enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
    }
    path
}

fn open(id: &str, (width, height): (f64, f64), title: &str, description: &str) -> String {
    format!(
        r#"<svg id="{id}" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{id}-title {id}-desc"><title id="{id}-title">{}</title><desc id="{id}-desc">{}</desc>"#,
        Escaped(title),
        Escaped(description)
    )
}

/// Accuracy against k, with the intervals as bands.
pub(super) fn accuracy_by_k(lines: &[AccuracyLine<'_>]) -> String {
    let most = lines
        .iter()
        .map(|line| line.points.len())
        .max()
        .unwrap_or(0);
    let lows = lines
        .iter()
        .flat_map(|line| line.points.iter().map(|point| point.1));
    let highs = lines
        .iter()
        .flat_map(|line| line.points.iter().map(|point| point.2));
    let (low, high) = (lows.fold(1.0, f64::min), highs.fold(0.0, f64::max));
    let ticks = percent_ticks(low, high);
    let frame = Frame {
        left: 56.0,
        top: 12.0,
        width: 414.0,
        height: 226.0,
        low: ticks[0],
        high: ticks[ticks.len() - 1],
    };
    let description: Vec<String> = lines
        .iter()
        .map(|line| {
            let [first, last] = [line.points.first(), line.points.last()]
                .map(|point| percent(point.map_or(0.0, |point| point.0)));
            format!("{}: {first} % at k = 1, {last} % at k = {most}", line.name)
        })
        .collect();
    let mut svg = open(
        "by-k",
        (480.0, 282.0),
        "Accuracy by k",
        &description.join("; "),
    );
    frame.y_ticks(&mut svg, ticks.into_iter());
    let (inset, bottom) = (18.0, frame.top + frame.height);
    let step = (frame.width - 2.0 * inset) / (most.max(2) - 1) as f64;
    let x = |at: usize| frame.left + inset + step * at as f64;
    for at in 0..most {
        text(
            &mut svg,
            "middle",
            (x(at), bottom + 17.0),
            &(at + 1).to_string(),
        );
    }
    line(
        &mut svg,
        "axis",
        (frame.left, bottom),
        (frame.left + frame.width, bottom),
    );
    let middle = frame.left + frame.width / 2.0;
    text(
        &mut svg,
        "middle",
        (middle, bottom + 36.0),
        "k: guesses that may be made",
    );
    for (number, series) in lines.iter().enumerate() {
        let at = |value: fn(&(f64, f64, f64)) -> f64| -> Vec<Point> {
            let points = series.points.iter().enumerate();
            points
                .map(|(at, point)| (x(at), frame.y(value(point))))
                .collect()
        };
        let mut band = at(|point| point.2);
        band.extend(at(|point| point.1).into_iter().rev());
        let _ = write!(svg, r#"<g class="s{}">"#, number % super::COLORS);
        let _ = write!(svg, r#"<path class="band" d="{}Z"/>"#, path(&band));
        let points = at(|point| point.0);
        let _ = write!(svg, r#"<path class="line" d="{}"/>"#, path(&points));
        for (at, (place, (accuracy, low, high))) in points.iter().zip(&series.points).enumerate() {
            let [accuracy, low, high] = [accuracy, low, high].map(|&part| percent(part));
            let title = format!(
                "{}, top-{}: {accuracy} % ({low} to {high})",
                series.name,
                at + 1
            );
            marker(&mut svg, number, *place, &title);
        }
        svg += "</g>";
    }
    svg + "</svg>"
}

/// The marker of a model, for a legend.
pub(super) fn key(number: usize) -> String {
    let mut svg = String::from(r#"<svg class="key" viewBox="-7 -7 14 14" aria-hidden="true">"#);
    marker(&mut svg, number, (0.0, 0.0), "");
    svg + "</svg>"
}

/// Each model has a shape of its own, for those who do not see its colour.
fn marker(svg: &mut String, number: usize, (x, y): Point, title: &str) {
    let title = match title {
        "" => String::new(),
        title => format!("<title>{}</title>", Escaped(title)),
    };
    let corners = match number % 4 {
        0 => {
            *svg += &format!(
                r#"<circle class="fill" cx="{x:.1}" cy="{y:.1}" r="3.6">{title}</circle>"#
            );
            return;
        }
        1 => vec![(-3.3, -3.3), (3.3, -3.3), (3.3, 3.3), (-3.3, 3.3)],
        2 => vec![(0.0, -4.4), (4.2, 3.2), (-4.2, 3.2)],
        _ => vec![(0.0, -4.6), (4.6, 0.0), (0.0, 4.6), (-4.6, 0.0)],
    };
    let corners: Vec<Point> = corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
    *svg += &format!(
        r#"<path class="fill" d="{}Z">{title}</path>"#,
        path(&corners)
    );
}

/// Round percentages around a range, 4 to 8 of them, as parts of 1.
fn percent_ticks(low: f64, high: f64) -> Vec<f64> {
    let (low, high) = (100.0 * low, 100.0 * high.max(low));
    let steps = [1.0, 2.0, 5.0, 10.0, 20.0];
    let ends = |step: f64| {
        let last = (high / step).ceil().min(100.0 / step);
        ((low / step).floor().min(last - 1.0), last)
    };
    let fits = |step: &f64| ends(*step).1 - ends(*step).0 <= 7.0;
    let step = steps.into_iter().find(fits).unwrap_or(20.0);
    let (first, last) = ends(step);
    let count = (last - first).round() as usize;
    (0..=count)
        .map(|at| step * (first + at as f64) / 100.0)
        .collect()
}

/// Accuracy of the best class against the confidence in it, and under it how many images there are.
pub(super) fn reliability(number: usize, name: &str, bins: &[CalibrationBin]) -> String {
    let frame = Frame {
        left: 46.0,
        top: 10.0,
        width: 262.0,
        height: 220.0,
        low: 0.0,
        high: 1.0,
    };
    let counts = Frame {
        top: 246.0,
        height: 56.0,
        ..frame
    };
    let most = bins.iter().map(|bin| bin.images).max().unwrap_or(0).max(1);
    let id = format!("reliability-{number}");
    let described: Vec<String> = bins.iter().enumerate().filter_map(describe).collect();
    let title = format!("Reliability of {name}");
    let mut svg = open(&id, (332.0, 340.0), &title, &described.join("; "));
    frame.y_ticks(&mut svg, (0..=5).map(|tick| f64::from(tick) / 5.0));
    let (right, bottom) = (frame.left + frame.width, frame.top + frame.height);
    let _ = write!(svg, r#"<g class="s{}">"#, number % super::COLORS);
    let width = frame.width / CALIBRATION_BINS as f64;
    for (at, bin) in bins.iter().enumerate() {
        let (Some(accuracy), Some(confidence)) = (bin.accuracy(), bin.confidence) else {
            continue;
        };
        let title = describe((at, bin)).unwrap_or_default();
        let x = frame.left + width * at as f64;
        let size = |top: f64, bottom: f64| (width - 2.0, bottom - top);
        let top = frame.y(accuracy);
        bar(&mut svg, "bar", (x + 1.0, top), size(top, bottom), &title);
        let mark = frame.y(confidence);
        line(&mut svg, "mark", (x + 2.0, mark), (x + width - 2.0, mark));
        let share = bin.images as f64 / most as f64;
        let top = counts.top + counts.height * (1.0 - share);
        bar(
            &mut svg,
            "soft",
            (x + 1.0, top),
            size(top, counts.top + counts.height),
            &title,
        );
    }
    svg += "</g>";
    line(&mut svg, "ideal", (frame.left, bottom), (right, frame.top));
    line(&mut svg, "axis", (frame.left, bottom), (right, bottom));
    let floor = counts.top + counts.height;
    line(&mut svg, "axis", (frame.left, floor), (right, floor));
    line(
        &mut svg,
        "grid",
        (frame.left, counts.top),
        (right, counts.top),
    );
    text(
        &mut svg,
        "end",
        (frame.left - 6.0, counts.top + 5.0),
        &grouped(most),
    );
    text(&mut svg, "end", (frame.left - 6.0, floor + 2.0), "0");
    for tick in 0..=5 {
        let x = frame.left + frame.width * f64::from(tick) / 5.0;
        text(
            &mut svg,
            "middle",
            (x, floor + 15.0),
            &format!("{} %", 20 * tick),
        );
    }
    let middle = frame.left + frame.width / 2.0;
    text(&mut svg, "middle", (middle, floor + 33.0), "confidence");
    svg + "</svg>"
}

fn describe((at, bin): (usize, &CalibrationBin)) -> Option<String> {
    let edge = |at: usize| percent(at as f64 / CALIBRATION_BINS as f64);
    Some(format!(
        "confidence {} to {} %: {}, accuracy {} %, mean confidence {} %",
        edge(at),
        edge(at + 1),
        images(bin.images),
        percent(bin.accuracy()?),
        percent(bin.confidence?)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_enclose_the_range() {
        let percents = |low, high| -> Vec<i32> {
            let ticks = percent_ticks(low, high);
            ticks
                .iter()
                .map(|tick| (100.0 * tick).round() as i32)
                .collect()
        };
        assert_eq!(percents(0.583, 0.934), [50, 60, 70, 80, 90, 100]);
        assert_eq!(percents(0.0, 1.0), [0, 20, 40, 60, 80, 100]);
        assert_eq!(percents(0.991, 0.999), [99, 100]);
        assert_eq!(percents(1.0, 1.0), [99, 100]);
        assert_eq!(percents(1.0, 0.0), [99, 100]);
    }
}
