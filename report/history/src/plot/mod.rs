//! Line plots as SVG, in the colours of the page.

mod axis;

use std::fmt::Write;

use topk_report::chart::{Frame, Point, bar, line, marker, open, path, text};
use topk_report::{COLORS, Escaped};

pub(crate) use axis::{Axis, number};

/// Maximum number of points of a line for which each point has a marker.
const MAX_MARKERS: usize = 30;
/// Maximum number of hover areas of a plot.
const MAX_HITS: usize = 250;

/// Width and height of a plot.
pub(crate) const WIDE: (f64, f64) = (480.0, 270.0);
/// Width and height of a small plot.
pub(crate) const SMALL: (f64, f64) = (340.0, 218.0);

/// A line through values.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// Index that determines colour and marker.
    pub(crate) number: usize,
    pub(crate) style: Style,
    /// Ascending in x. The line has gaps where y is not finite.
    pub(crate) points: Vec<Point>,
    /// Half-lengths of error bars: empty, or one per point.
    pub(crate) errors: Vec<Option<f64>>,
}

impl Line {
    /// A solid line without error bars.
    pub(crate) fn new(name: &str, number: usize, points: Vec<Point>) -> Self {
        Self {
            name: name.to_owned(),
            number,
            style: Style::Solid,
            points,
            errors: Vec::new(),
        }
    }
}

/// Style of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Solid,
    Dashed,
}

/// A highlighted point of a line.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) number: usize,
    pub(crate) point: Point,
    pub(crate) title: String,
}

/// A plot.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// Unique on the page.
    pub(crate) id: String,
    pub(crate) title: String,
    /// Text alternative for screen readers.
    pub(crate) description: String,
    pub(crate) size: (f64, f64),
    pub(crate) x_label: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
    pub(crate) marks: Vec<Mark>,
    /// Hover texts for values of x.
    pub(crate) hits: Vec<(f64, String)>,
}

impl Plot {
    /// The plot as an `svg` element.
    pub(crate) fn to_svg(&self) -> String {
        let class = if self.size == WIDE { "wide" } else { "" };
        let svg = open(&self.id, class, self.size, &self.title, &self.description);
        svg + &self.contents() + "</svg>"
    }

    /// The contents of the `svg` element.
    pub(crate) fn contents(&self) -> String {
        let (width, height) = self.size;
        let longest = self.y.ticks.iter().map(|tick| tick.1.chars().count()).max();
        let left = 16.0 + 7.0 * longest.unwrap_or(0) as f64;
        let frame = Frame {
            left,
            top: 10.0,
            width: width - left - 14.0,
            height: height - 54.0,
            low: self.y.scaled(self.y.low),
            high: self.y.scaled(self.y.high),
        };
        // Keeps markers off the axes.
        let inset = if self.x.ticks.len() <= MAX_MARKERS {
            12.0
        } else {
            4.0
        };
        let x = |value: f64| frame.left + inset + (frame.width - 2.0 * inset) * self.x.part(value);
        let position = |&(at, value): &Point| (x(at), frame.y(self.y.scaled(value)));
        let bottom = frame.top + frame.height;

        let mut svg = String::new();
        let ticks = self.y.ticks.iter();
        frame.y_ticks(
            &mut svg,
            ticks.map(|(tick, name)| (self.y.scaled(*tick), name.clone())),
        );
        for (tick, name) in &self.x.ticks {
            text(&mut svg, "middle", (x(*tick), bottom + 17.0), name);
        }
        let right = frame.left + frame.width;
        line(&mut svg, "axis", (frame.left, bottom), (right, bottom));
        let middle = frame.left + frame.width / 2.0;
        text(&mut svg, "middle", (middle, bottom + 35.0), &self.x_label);
        for series in &self.lines {
            let _ = write!(svg, r#"<g class="s{}">"#, series.number % COLORS);
            let class = match series.style {
                Style::Solid => "line",
                Style::Dashed => "line dashed",
            };
            for segment in series.points.split(|point| !point.1.is_finite()) {
                let positions: Vec<Point> = segment.iter().map(position).collect();
                match &positions[..] {
                    [] => {}
                    // A line through a single point would be invisible.
                    [(x, y)] => {
                        let _ = write!(
                            svg,
                            r#"<circle class="fill" cx="{x:.1}" cy="{y:.1}" r="2.5"/>"#
                        );
                    }
                    positions => {
                        let _ = write!(svg, r#"<path class="{class}" d="{}"/>"#, path(positions));
                    }
                }
            }
            for (point, error) in series.points.iter().zip(&series.errors) {
                if let Some(error) = error.filter(|_| point.1.is_finite()) {
                    let ends = [point.1 - error, point.1 + error]
                        .map(|end| position(&(point.0, end.clamp(self.y.low, self.y.high))));
                    line(&mut svg, "whisker", ends[0], ends[1]);
                    for (x, y) in ends {
                        line(&mut svg, "whisker", (x - 3.5, y), (x + 3.5, y));
                    }
                }
            }
            if series.style == Style::Solid && series.points.len() <= MAX_MARKERS {
                let finite = series.points.iter().filter(|point| point.1.is_finite());
                finite.for_each(|point| marker(&mut svg, series.number, position(point), ""));
            }
            svg += "</g>";
        }
        for mark in &self.marks {
            let (x, y) = position(&mark.point);
            let _ = write!(
                svg,
                r#"<g class="s{}"><circle class="best" cx="{x:.1}" cy="{y:.1}" r="6"><title>{}</title></circle></g>"#,
                mark.number % COLORS,
                Escaped(&mark.title)
            );
        }
        svg + &self.hits(&frame, &x)
    }

    /// Invisible columns with the hover texts; a subset if there are too many.
    fn hits(&self, frame: &Frame, x: &dyn Fn(f64) -> f64) -> String {
        let step = self.hits.len().div_ceil(MAX_HITS).max(1);
        let hits: Vec<(f64, &str)> = self
            .hits
            .iter()
            .step_by(step)
            .map(|(at, title)| (x(*at), title.as_str()))
            .collect();
        let mut svg = String::new();
        for (at, (middle, title)) in hits.iter().enumerate() {
            let between = |other: usize| (hits[other].0 + middle) / 2.0;
            let left = if at == 0 { frame.left } else { between(at - 1) };
            let right = if at + 1 == hits.len() {
                frame.left + frame.width
            } else {
                between(at + 1)
            };
            bar(
                &mut svg,
                "hit",
                (left, frame.top),
                (right - left, frame.height),
                title,
            );
        }
        svg
    }
}

/// The legend of a plot.
pub(crate) fn legend<'a>(lines: impl IntoIterator<Item = &'a Line>) -> String {
    let mut html = String::from("<ul class=\"legend\">");
    for line in lines {
        let key = key(line);
        html += &format!(
            "<li class=\"s{}\">{key}{}</li>",
            line.number % COLORS,
            Escaped(&line.name)
        );
    }
    html + "</ul>"
}

/// A sample of a line for the legend.
fn key(line: &Line) -> String {
    format!(
        r#"<svg class="key long" viewBox="0 -7 26 14" aria-hidden="true">{}</svg>"#,
        sample(line, 0.0)
    )
}

/// A sample of a line from x = `left` to `left` + 26 at y = 0.
pub(crate) fn sample(series: &Line, left: f64) -> String {
    let class = match series.style {
        Style::Solid => "line",
        Style::Dashed => "line dashed",
    };
    let mut svg = format!(r#"<path class="{class}" d="M{left} 0L{} 0"/>"#, left + 26.0);
    if series.style == Style::Solid && series.points.len() <= MAX_MARKERS {
        marker(&mut svg, series.number, (left + 13.0, 0.0), "");
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<Point>) -> Plot {
        let values: Vec<f64> = points.iter().map(|point| point.1).collect();
        Plot {
            id: "plot".to_owned(),
            title: "<T>".to_owned(),
            description: String::new(),
            size: WIDE,
            x_label: "epoch".to_owned(),
            x: Axis::count(1, points.len()),
            y: Axis::number(values.into_iter()),
            hits: points
                .iter()
                .map(|point| (point.0, point.0.to_string()))
                .collect(),
            lines: vec![Line::new("loss", 0, points)],
            marks: Vec::new(),
        }
    }

    #[test]
    fn a_line_has_gaps_at_values_that_are_not_finite() {
        let (a, b) = ((1.0, 2.0), (2.0, 3.0));
        let gap = plot(vec![a, b, (3.0, f64::NAN), (4.0, 1.0)]).to_svg();
        assert_eq!(gap.matches("class=\"line\"").count(), 1);
        assert_eq!(gap.matches("r=\"2.5\"").count(), 1);
        for svg in [
            gap,
            plot(vec![(1.0, f64::INFINITY)]).to_svg(),
            plot(Vec::new()).to_svg(),
        ] {
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(svg.contains("&lt;T&gt;"));
        }
    }

    #[test]
    fn plots_of_many_points_stay_small() {
        let points = (1..=1000).map(|epoch| (f64::from(epoch), 1.0 / f64::from(epoch)));
        let svg = plot(points.collect()).to_svg();
        assert_eq!(svg.matches("class=\"hit\"").count(), MAX_HITS);
        assert!(svg.len() < 60_000, "{}", svg.len());
    }
}
