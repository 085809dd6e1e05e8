//! The figure at the top of `docs/benchmarks.md`: how many times as fast as the peers.

use std::fs;

use anyhow::{Context, Result};
use topk_report::COLORS;
use topk_report::chart;
use topk_testing::root;

use super::Part;
use super::report::{Bar, Summary};

pub(super) const FILE: &str = "docs/plots/benchmarks.svg";

/// Values of the axis, which is logarithmic.
const TICKS: [f64; 12] = [
    0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0,
];

const WIDTH: f64 = 960.0;
/// Width of the names.
const LEFT: f64 = 290.0;
/// Width of what is written after the longest bar.
const RIGHT: f64 = 200.0;
const TOP: f64 = 62.0;
const ROW: f64 = 24.0;
const BAR: f64 = 15.0;

/// The order of the parts from the top.
const ORDER: [Part; 6] = [
    Part::Training,
    Part::Evaluation,
    Part::Images,
    Part::Export,
    Part::Loss,
    Part::Python,
];

pub(super) fn write(summaries: &[(Part, Summary)]) -> Result<()> {
    fs::write(root().join(FILE), draw(summaries)).with_context(|| format!("cannot write {FILE}"))
}

pub(super) fn draw(summaries: &[(Part, Summary)]) -> String {
    let mut bars: Vec<&Bar> = Vec::new();
    for part in ORDER {
        let of_part = summaries.iter().filter(|(other, _)| *other == part);
        bars.extend(of_part.flat_map(|(_, summary)| &summary.bars));
    }
    let mut groups: Vec<&str> = bars.iter().map(|bar| bar.group).collect();
    groups.dedup();
    let axis = Axis::of(bars.iter().map(|bar| bar.times));
    let bottom = TOP + ROW * bars.len() as f64;

    let title = "How many times as fast as others";
    let mut drawing = String::from(r#"<g class="title">"#);
    chart::text(&mut drawing, "start", (18.0, 26.0), title);
    drawing += "</g>";
    let about = "On the CPU. 1 is equally fast, longer bars are faster; logarithmic scale";
    chart::text(&mut drawing, "start", (18.0, 44.0), about);
    for tick in axis.ticks() {
        let x = axis.x(tick);
        let class = if tick == 1.0 { "axis" } else { "grid" };
        chart::line(&mut drawing, class, (x, TOP - 4.0), (x, bottom));
        chart::text(
            &mut drawing,
            "middle",
            (x, bottom + 16.0),
            &tick.to_string(),
        );
    }
    let mut descriptions = Vec::new();
    for (row, bar) in bars.iter().enumerate() {
        let top = TOP + ROW * row as f64 + 0.5 * (ROW - BAR);
        let baseline = top + 0.5 * BAR + 4.0;
        let (x, one) = (axis.x(bar.times), axis.x(1.0));
        let value = format!("{} × {}", times(bar.times), bar.peer);
        let name = format!("{}: {}", bar.group, bar.what);
        let description = format!("{name}, {value}");
        let group = groups.iter().position(|group| *group == bar.group);
        let class = format!("s{} bar", group.unwrap_or_default() % COLORS);
        let size = ((x - one).abs().max(1.0), BAR);
        chart::text(&mut drawing, "end", (LEFT - 12.0, baseline), &name);
        chart::bar(&mut drawing, &class, (x.min(one), top), size, &description);
        chart::text(&mut drawing, "start", (x.max(one) + 8.0, baseline), &value);
        descriptions.push(description);
    }
    chart::file(
        (WIDTH, bottom + 30.0),
        title,
        &descriptions.join("; "),
        &drawing,
    )
}

/// To two significant digits.
fn times(value: f64) -> String {
    if value < 9.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// A logarithmic axis between two of the [`TICKS`].
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// That encloses 1 and these values, as far as there are ticks.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((1.0_f64, 2.0_f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let last = TICKS.len() - 1;
        Self {
            low: TICKS
                .into_iter()
                .rev()
                .find(|&tick| tick <= low)
                .unwrap_or(TICKS[0]),
            high: TICKS
                .into_iter()
                .find(|&tick| tick >= high)
                .unwrap_or(TICKS[last]),
        }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let range = self.low..=self.high;
        TICKS.into_iter().filter(move |tick| range.contains(tick))
    }

    fn x(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let part = (value / self.low).ln() / (self.high / self.low).ln();
        LEFT + part * (WIDTH - LEFT - RIGHT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_encloses_the_values() {
        let axis = Axis::of([0.7, 3.0].into_iter());
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [0.5, 1.0, 2.0, 5.0]);
        assert_eq!(axis.x(0.5), LEFT);
        assert_eq!(axis.x(5.0), WIDTH - RIGHT);
        assert_eq!(axis.x(9000.0), WIDTH - RIGHT);
    }

    #[test]
    fn each_bar_is_named() {
        let bar = Bar {
            group: "Training",
            what: "resnet18".to_owned(),
            peer: "PyTorch",
            times: 12.3,
        };
        let summary = Summary {
            ratios: Vec::new(),
            section: String::new(),
            bars: vec![bar],
        };
        let drawing = draw(&[(Part::Training, summary)]);
        assert!(drawing.contains(">12 × PyTorch</text>"), "{drawing}");
        assert!(drawing.contains("<desc id=\"desc\">Training: resnet18, 12 × PyTorch</desc>"));
    }
}
