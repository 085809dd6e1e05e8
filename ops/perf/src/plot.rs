//! Plots of the measurements, as SVG.

use std::io;

use plotters::coord::Shift;
use plotters::coord::combinators::{BindKeyPoints, IntoLogRange};
use plotters::prelude::*;
use thiserror::Error;
use topk_reference::Tolerance;

use crate::{Algorithm, Machine, Measurement};

/// A plot cannot be drawn.
#[derive(Debug, Error)]
#[error("cannot draw the plot: {0}")]
pub struct PlotError(#[from] DrawingAreaErrorKind<io::Error>);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 900;
/// Title, subtitle and legend.
const HEAD: u32 = 104;
const PANEL: u32 = 420;

const TEXT: RGBColor = RGBColor(0x22, 0x22, 0x22);
const FAINT_TEXT: RGBColor = RGBColor(0x66, 0x66, 0x66);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

/// Time a sample against the number of classes: the measurements of a sweep over it.
///
/// # Errors
/// If the plot cannot be drawn.
pub fn plot_time_by_classes(
    measurements: &[Measurement],
    machine: &Machine,
) -> Result<String, PlotError> {
    let about = measurements.first().map_or(String::new(), |row| {
        format!("k = {}, τ = {}, batches of {}", row.k, row.tau, row.batch)
    });
    plot_time(
        "Time of the smooth top-k SVM by number of classes",
        &about,
        "number of classes",
        |row| row.classes as f64,
        measurements,
        machine,
    )
}

/// Time a sample against k: the measurements of a sweep over it.
///
/// # Errors
/// If the plot cannot be drawn.
pub fn plot_time_by_k(
    measurements: &[Measurement],
    machine: &Machine,
) -> Result<String, PlotError> {
    let about = measurements.first().map_or(String::new(), |row| {
        format!(
            "{} classes, τ = {}, batches of {}",
            row.classes, row.tau, row.batch
        )
    });
    plot_time(
        "Time of the smooth top-k SVM by k",
        &about,
        "k",
        |row| row.k as f64,
        measurements,
        machine,
    )
}

fn plot_time(
    title: &str,
    about: &str,
    x_label: &str,
    x: impl Fn(&Measurement) -> f64,
    measurements: &[Measurement],
    machine: &Machine,
) -> Result<String, PlotError> {
    let dtype = measurements
        .first()
        .map_or(String::new(), |row| row.dtype.to_string());
    let series = series(measurements, |row| {
        let ms = row.forward_backward_ms?;
        Some((x(row), 1e3 * ms / row.batch as f64))
    });
    let mut x_ticks: Vec<f64> = measurements.iter().map(x).collect();
    x_ticks.sort_unstable_by(f64::total_cmp);
    x_ticks.dedup();
    let subtitle = format!("loss and gradient, {dtype}, {about}; {machine}");
    draw(
        title,
        &subtitle,
        &series,
        vec![Panel {
            x_label: x_label.to_owned(),
            y_label: "time per sample (µs)".to_owned(),
            x_ticks,
            series: &series,
            bound: None,
            decimal: true,
        }],
    )
}

/// Plots errors of losses and derivatives against τ: the measurements of a sweep over it. Errors of zero
/// have their own line at the bottom, results that are not finite one at the top.
///
/// # Errors
/// If the plot cannot be drawn.
pub fn plot_errors_by_tau(measurements: &[Measurement]) -> Result<String, PlotError> {
    let first = measurements.first();
    let subtitle = first.map_or(String::new(), |row| {
        format!(
            "{}, {} classes, k = {}, scores with standard deviation {}; largest of {} samples",
            row.dtype, row.classes, row.k, row.scale, row.error_samples
        )
    });
    let loss = series(measurements, |row| Some((row.tau, row.loss_error?)));
    let grad = series(measurements, |row| Some((row.tau, row.grad_error?)));
    let (low, high) = measurements
        .iter()
        .fold((f64::INFINITY, 0.0), |(low, high), row| {
            (f64::min(low, row.tau), f64::max(high, row.tau))
        });
    let panel = |y_label: &str, series, bound| Panel {
        x_label: "temperature τ (in units of the scores)".to_owned(),
        y_label: y_label.to_owned(),
        x_ticks: decades(low, high),
        series,
        bound: Some(bound),
        decimal: false,
    };
    draw(
        "Errors of the smooth top-k SVM by temperature",
        &subtitle,
        &loss,
        vec![
            panel(
                "error of the loss / max(1, loss)",
                &loss,
                Tolerance::F32.loss,
            ),
            panel(
                "error of the gradient (absolute)",
                &grad,
                Tolerance::F32.grad,
            ),
        ],
    )
}

/// Points of an algorithm.
struct Series {
    algorithm: Algorithm,
    points: Vec<(f64, f64)>,
}

fn series(
    measurements: &[Measurement],
    point: impl Fn(&Measurement) -> Option<(f64, f64)>,
) -> Vec<Series> {
    Algorithm::ALL
        .into_iter()
        .map(|algorithm| Series {
            algorithm,
            points: measurements
                .iter()
                .filter(|row| row.algorithm == algorithm)
                .filter_map(&point)
                .collect(),
        })
        .filter(|series| !series.points.is_empty())
        .collect()
}

struct Panel<'a> {
    x_label: String,
    y_label: String,
    x_ticks: Vec<f64>,
    series: &'a [Series],
    /// The largest error that the fused algorithm may have.
    bound: Option<f64>,
    /// Whether powers of ten on the vertical axis are written out.
    decimal: bool,
}

/// Draws panels one below the other, with one legend.
fn draw(
    title: &str,
    subtitle: &str,
    legend: &[Series],
    panels: Vec<Panel<'_>>,
) -> Result<String, PlotError> {
    let mut svg = String::new();
    let height = HEAD + PANEL * panels.len() as u32;
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let text = |text: &str, at, size: u32, color: &RGBColor| {
            let style = ("sans-serif", size).into_font().color(color);
            root.draw(&Text::new(text.to_owned(), at, style))
        };
        text(title, (20, 14), 24, &TEXT)?;
        text(subtitle, (20, 44), 15, &FAINT_TEXT)?;
        let mut left = 20;
        for Series { algorithm, .. } in legend {
            let line = [(left, 82), (left + 36, 82)];
            root.draw(&PathElement::new(line, color(*algorithm).stroke_width(2)))?;
            marker(&root, *algorithm, (left + 18, 82))?;
            text(algorithm.name(), (left + 44, 74), 17, &TEXT)?;
            left += 44 + 9 * algorithm.name().len() as i32 + 30;
        }
        for (i, panel) in panels.iter().enumerate() {
            let top = (HEAD + PANEL * i as u32) as i32;
            let area = root.clone().shrink((0, top), (WIDTH, PANEL));
            panel.draw(&root, &area)?;
        }
        root.present()?;
    }
    Ok(svg)
}

impl Panel<'_> {
    fn draw(&self, root: &Area<'_>, area: &Area<'_>) -> Result<(), PlotError> {
        let points = || {
            self.series
                .iter()
                .flat_map(|series| series.points.iter().copied())
        };
        let finite = |&(_, y): &(f64, f64)| y > 0.0 && y.is_finite();
        let (low, high) = points()
            .filter(finite)
            .map(|(_, y)| y)
            .chain(self.bound)
            .fold((f64::INFINITY, 0.0), |(low, high), y| {
                (f64::min(low, y), f64::max(high, y))
            });
        let mut y_ticks = decades(low, high);
        if self.x_ticks.is_empty() || y_ticks.is_empty() {
            return Ok(());
        }
        let (low, high) = (y_ticks[0], y_ticks[y_ticks.len() - 1]);
        // Lines for values that cannot be drawn on the logarithmic axis.
        let zero = points().any(|(_, y)| y == 0.0).then_some(low / 10.0);
        let not_finite = points().any(|(_, y)| !y.is_finite()).then_some(high * 10.0);
        y_ticks.extend(zero);
        y_ticks.extend(not_finite);
        let y_range = zero.map_or(low, |zero| zero / 2.0)..not_finite.map_or(high, |top| 2.0 * top);
        let (first, last) = (self.x_ticks[0], self.x_ticks[self.x_ticks.len() - 1]);
        let x_range = first / 1.25..last * 1.25;

        let mut chart = ChartBuilder::on(area)
            .margin_right(30)
            .margin_bottom(8)
            .margin_top(8)
            .margin_left(12)
            .x_label_area_size(54)
            .y_label_area_size(84)
            .build_cartesian_2d(
                x_range
                    .clone()
                    .log_scale()
                    .with_key_points(self.x_ticks.clone()),
                y_range.log_scale().with_key_points(y_ticks),
            )?;
        let is = |a: f64, b: Option<f64>| b.is_some_and(|b| (a / b - 1.0).abs() < 1e-6);
        let text = |size: u32| ("sans-serif", size).into_font().color(&TEXT);
        chart
            .configure_mesh()
            .x_desc(self.x_label.as_str())
            .y_desc(self.y_label.as_str())
            .axis_desc_style(text(16))
            .label_style(text(15))
            .axis_style(FAINT_TEXT)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&|&x| number(x))
            .y_label_formatter(&|&y| {
                if is(y, zero) {
                    "0".to_owned()
                } else if is(y, not_finite) {
                    "NaN or ∞".to_owned()
                } else if self.decimal {
                    number(y)
                } else {
                    format!("10{}", superscript(y.log10().round() as i32))
                }
            })
            .draw()?;

        if let Some(bound) = self.bound {
            let ends = [(x_range.start, bound), (x_range.end, bound)];
            chart.draw_series(DashedLineSeries::new(
                ends,
                6,
                5,
                FAINT_TEXT.stroke_width(1),
            ))?;
            let (x, y) = chart.backend_coord(&(x_range.start, bound));
            let style = ("sans-serif", 13).into_font().color(&FAINT_TEXT);
            let label = format!("bound of the fused algorithm, {bound:e}");
            root.draw(&Text::new(label, (x + 6, y + 4), style))?;
        }
        for Series { algorithm, points } in self.series {
            let style = color(*algorithm).stroke_width(2);
            for line in points.split(|point| !finite(point)) {
                chart.draw_series(LineSeries::new(line.iter().copied(), style))?;
            }
            for &(x, y) in points {
                let y = match (y == 0.0, y.is_finite()) {
                    (true, _) => zero,
                    (_, false) => not_finite,
                    _ => Some(y),
                };
                if let Some(y) = y {
                    marker(root, *algorithm, chart.backend_coord(&(x, y)))?;
                }
            }
        }
        Ok(())
    }
}

/// The colors of Okabe and Ito, which color-blind readers can distinguish.
fn color(algorithm: Algorithm) -> RGBColor {
    match algorithm {
        Algorithm::Summation => RGBColor(0xe6, 0x9f, 0x00),
        Algorithm::LogSummation => RGBColor(0xcc, 0x79, 0xa7),
        Algorithm::DivideAndConquer => RGBColor(0xd5, 0x5e, 0x00),
        Algorithm::Fused => RGBColor(0x00, 0x72, 0xb2),
    }
}

/// Each algorithm has its own shape.
fn marker(root: &Area<'_>, algorithm: Algorithm, (x, y): (i32, i32)) -> Result<(), PlotError> {
    let style = color(algorithm).filled();
    match algorithm {
        Algorithm::Summation => root.draw(&TriangleMarker::new((x, y), 6, style))?,
        Algorithm::LogSummation => {
            let corners = [(x, y - 6), (x + 6, y), (x, y + 6), (x - 6, y)];
            root.draw(&Polygon::new(corners, style))?;
        }
        Algorithm::DivideAndConquer => {
            root.draw(&Rectangle::new([(x - 4, y - 4), (x + 5, y + 5)], style))?;
        }
        Algorithm::Fused => root.draw(&Circle::new((x, y), 5, style))?,
    }
    Ok(())
}

/// The powers of ten from the one at or below `low` to the one at or above `high`; empty if `low` is
/// above `high`.
fn decades(low: f64, high: f64) -> Vec<f64> {
    if low > high {
        return Vec::new();
    }
    // The slack is for values that were computed as powers of ten.
    let first = (low.log10() + 1e-9).floor() as i32;
    let last = (high.log10() - 1e-9).ceil() as i32;
    (first..=last.max(first + 1))
        .map(|exponent| 10f64.powi(exponent))
        .collect()
}

/// Formats a number with thousands separators and no more decimals than needed.
fn number(value: f64) -> String {
    if value < 1.0 {
        let decimals = -value.log10().floor();
        return format!("{value:.0$}", decimals as usize);
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn superscript(exponent: i32) -> String {
    exponent
        .to_string()
        .chars()
        .map(|digit| match digit {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            _ => char::from_u32('⁰' as u32 + digit.to_digit(10).unwrap_or(0)).unwrap_or(digit),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks() {
        assert_eq!(decades(0.01, 100.0), [0.01, 0.1, 1.0, 10.0, 100.0]);
        assert_eq!(decades(3.0, 4.0), [1.0, 10.0]);
        assert_eq!(
            [0.001, 1.0, 300.0, 21843.0].map(number),
            ["0.001", "1", "300", "21,843"]
        );
        assert_eq!([-12, 30, 4].map(superscript), ["⁻¹²", "³⁰", "⁴"]);
    }
}
