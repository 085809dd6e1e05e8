//! The charts, as inline SVG.

use std::fmt::Write;

use topk_report::chart::{
    Frame, Point, bar, line, marker, open, path, percent_label, percent_ticks, text,
};
use topk_report::text::{grouped, images, percent};

use crate::schema::{CALIBRATION_BINS, CalibrationBin};

/// The accuracy of a model for each k from 1.
pub(super) struct AccuracyLine<'a> {
    pub(super) name: &'a str,
    /// Accuracy and the bounds of its interval, 0 to 1.
    pub(super) points: Vec<(f64, f64, f64)>,
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
        "wide",
        (480.0, 282.0),
        "Accuracy by k",
        &description.join("; "),
    );
    frame.y_ticks(
        &mut svg,
        ticks.into_iter().map(|tick| (tick, percent_label(tick))),
    );
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
        "k: number of predictions",
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
        let _ = write!(svg, r#"<g class="s{}">"#, number % topk_report::COLORS);
        let _ = write!(svg, r#"<path class="band" d="{}Z"/>"#, path(&band));
        let points = at(|point| point.0);
        let _ = write!(svg, r#"<path class="line" d="{}"/>"#, path(&points));
        for (at, (point, (accuracy, low, high))) in points.iter().zip(&series.points).enumerate() {
            let [accuracy, low, high] = [accuracy, low, high].map(|&part| percent(part));
            let title = format!(
                "{}, top-{}: {accuracy} % ({low} to {high})",
                series.name,
                at + 1
            );
            marker(&mut svg, number, *point, &title);
        }
        svg += "</g>";
    }
    svg + "</svg>"
}

/// Top-1 accuracy against confidence, and below it the number of images.
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
    let mut svg = open(&id, "", (332.0, 340.0), &title, &described.join("; "));
    let ticks = (0..=5).map(|tick| f64::from(tick) / 5.0);
    frame.y_ticks(&mut svg, ticks.map(|tick| (tick, percent_label(tick))));
    let (right, bottom) = (frame.left + frame.width, frame.top + frame.height);
    let _ = write!(svg, r#"<g class="s{}">"#, number % topk_report::COLORS);
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
