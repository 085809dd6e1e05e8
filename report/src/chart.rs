//! Parts of SVG charts, in the colours of the page.

use std::fmt::Write;

use crate::COLORS;
use crate::markup::Escaped;

/// A point of the chart: x and y.
pub type Point = (f64, f64);

/// The plot area of a drawing. Lengths are in the drawing's units; text has a size of 12.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Distance of the y axis from the left edge.
    pub left: f64,
    /// Distance of the highest value from the top edge.
    pub top: f64,
    /// Length of the x axis.
    pub width: f64,
    /// Length of the y axis.
    pub height: f64,
    /// Value at the lower end of the y axis.
    pub low: f64,
    /// Value at the upper end of the y axis.
    pub high: f64,
}

impl Frame {
    /// The y coordinate of a value.
    pub fn y(&self, value: f64) -> f64 {
        let part = (value - self.low) / (self.high - self.low);
        self.top + self.height * (1.0 - part)
    }

    /// Horizontal grid lines at values, with labels.
    pub fn y_ticks(&self, svg: &mut String, ticks: impl IntoIterator<Item = (f64, String)>) {
        let right = self.left + self.width;
        for (tick, label) in ticks {
            let y = self.y(tick);
            line(svg, "grid", (self.left, y), (right, y));
            text(svg, "end", (self.left - 6.0, y + 4.0), &label);
        }
    }
}

/// A straight line.
pub fn line(svg: &mut String, class: &str, from: Point, to: Point) {
    let ((x1, y1), (x2, y2)) = (from, to);
    *svg +=
        &format!(r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#);
}

/// A text anchored at a point; `anchor` is `start`, `middle` or `end`.
pub fn text(svg: &mut String, anchor: &str, (x, y): Point, text: &str) {
    let text = Escaped(text);
    *svg += &format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
}

/// A rectangle with a hover text.
pub fn bar(svg: &mut String, class: &str, (x, y): Point, (width, height): Point, title: &str) {
    *svg += &format!(
        r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"><title>{}</title></rect>"#,
        Escaped(title)
    );
}

/// The `d` attribute of a path through points.
pub fn path(points: &[Point]) -> String {
    let mut path = String::new();
    for (at, (x, y)) in points.iter().enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
    }
    path
}

/// The start tag of an `svg` element with a unique `id`, a class, and text alternatives for screen readers. Drawings of
/// the class `wide` have larger text on narrow screens.
pub fn open(
    id: &str,
    class: &str,
    (width, height): (f64, f64),
    title: &str,
    description: &str,
) -> String {
    format!(
        r#"<svg id="{id}" class="{class}" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{id}-title {id}-desc"><title id="{id}-title">{}</title><desc id="{id}-desc">{}</desc>"#,
        Escaped(title),
        Escaped(description)
    )
}

/// A drawing as a self-contained SVG file with a background, light or dark like the reader's browser.
pub fn file((width, height): (f64, f64), title: &str, description: &str, drawing: &str) -> String {
    const STYLE: &str = concat!(include_str!("palette.css"), include_str!("chart.css"));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
         {height}\" role=\"img\" aria-labelledby=\"title desc\">\n<title id=\"title\">{}</title>\n<desc \
         id=\"desc\">{}</desc>\n<style>\n{STYLE}</style>\n<rect class=\"ground\" width=\"100%\" \
         height=\"100%\" rx=\"6\"/>\n{drawing}\n</svg>\n",
        Escaped(title),
        Escaped(description)
    )
}

/// A legend of colours and markers.
pub fn legend<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut html = String::from("<ul class=\"legend\">");
    for (at, name) in names.into_iter().enumerate() {
        let (color, key, name) = (at % COLORS, key(at), Escaped(name));
        html += &format!("<li class=\"s{color}\">{key}{name}</li>");
    }
    html + "</ul>"
}

/// The marker of a legend entry.
fn key(number: usize) -> String {
    let mut svg = String::from(r#"<svg class="key" viewBox="-7 -7 14 14" aria-hidden="true">"#);
    marker(&mut svg, number, (0.0, 0.0), "");
    svg + "</svg>"
}

/// The marker of a line. Shapes differ, so that lines can be distinguished without colours.
pub fn marker(svg: &mut String, number: usize, (x, y): Point, title: &str) {
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

/// A fraction as an integer percentage.
pub fn percent_label(fraction: f64) -> String {
    format!("{:.0} %", 100.0 * fraction)
}

/// At most 8 round percentages that enclose a range of fractions, as fractions.
pub fn percent_ticks(low: f64, high: f64) -> Vec<f64> {
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
