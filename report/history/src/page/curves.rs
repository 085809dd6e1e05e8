//! The curves of one run.

use topk_report::Escaped;
use topk_report::text::{grouped, percent};

use super::{Top, tops};
use crate::plot::{Axis, Line, Mark, Plot, WIDE, legend, number};
use crate::record::{Epoch, EpochTime, RawValidation};
use crate::run::Run;

// Colours of the lines.
const VALIDATION: usize = 0;
const TRAINING: usize = 1;
const RAW: usize = 2;

pub(super) fn section(run: &Run) -> String {
    if run.epochs.is_empty() {
        return "<section><h2>Curves</h2><p>No epoch has finished yet.</p></section>".to_owned();
    }
    let mut figures: Vec<Figure> = Vec::new();
    figures.extend(
        tops(run.start.k())
            .iter()
            .rev()
            .map(|top| accuracy(run, top)),
    );
    figures.push(loss(run));
    type Setting = fn(&Epoch) -> Option<f64>;
    let settings: [(&str, &str, Setting); 3] = [
        ("learning rate", "Learning rate", |epoch| Some(epoch.lr)),
        ("τ", "Temperature τ of the loss", |epoch| epoch.tau),
        ("α", "Margin α of the loss", |epoch| epoch.alpha),
    ];
    for (name, title, value) in settings {
        if run.epochs.iter().any(|epoch| value(epoch).is_some()) {
            let id = name.replace(' ', "-");
            figures.push(Figure::new(
                &id,
                title,
                vec![curve(run, name, VALIDATION, value)],
            ));
        }
    }
    figures.extend(times(run));
    let figures = figures
        .iter()
        .map(|figure| figure.to_html(run.epochs.len()));
    format!(
        "<section><h2>Curves</h2><div class=\"charts two\">{}</div></section>",
        figures.collect::<String>()
    )
}

/// The loss of training, and of validation if it is known.
fn loss(run: &Run) -> Figure {
    let caption = "Mean over the training images, computed during the epoch.".to_owned();
    let is_validated = run.epochs.iter().any(|epoch| epoch.val_loss.is_some());
    if !is_validated {
        let lines = vec![curve(run, "loss", TRAINING, |epoch| Some(epoch.loss))];
        return Figure {
            caption,
            ..Figure::new("loss", "Loss", lines)
        };
    }
    let mut lines = vec![
        curve(run, "validation", VALIDATION, |epoch| epoch.val_loss),
        curve(run, "training", TRAINING, |epoch| Some(epoch.loss)),
    ];
    lines.extend(of_raw(run, |raw| raw.val_loss));
    Figure {
        caption: "Training: mean over the images, computed during the epoch. Validation: after the epoch, without label \
                  smoothing and class weights."
            .to_owned(),
        ..Figure::new("loss", "Loss", lines)
    }
}

/// The validation of raw weights, if they were validated beside their EMA.
fn of_raw(run: &Run, value: impl Fn(&RawValidation) -> Option<f64>) -> Option<Line> {
    let has_raw = run.epochs.iter().any(|epoch| epoch.raw.is_some());
    has_raw.then(|| {
        curve(run, "validation of the raw weights", RAW, |epoch| {
            epoch.raw.as_ref().and_then(&value)
        })
    })
}

/// Training and validation accuracy, with the best epoch marked.
fn accuracy(run: &Run, top: &Top) -> Figure {
    let mut lines = vec![
        curve(run, "validation", VALIDATION, |epoch| top.part(&epoch.val)),
        curve(run, "training", TRAINING, |epoch| top.part(&epoch.train)),
    ];
    lines.extend(of_raw(run, |raw| top.part(&raw.val)));
    let mut figure = Figure {
        unit: Unit::Percent,
        ..Figure::new(&top.name, &format!("{} accuracy", top.title()), lines)
    };
    let best = top.best(run).and_then(|best| {
        let value = top.part(&best.val)?;
        Some((best.epoch, value))
    });
    if let Some((epoch, value)) = best {
        let best = format!("{} % after epoch {}", percent(value), grouped(epoch));
        figure.caption = format!("Circle: best validation accuracy, {best}.");
        figure.marks.push(Mark {
            number: VALIDATION,
            point: (epoch as f64, value),
            title: format!("best: {best}"),
        });
    }
    figure
}

fn times(run: &Run) -> Vec<Figure> {
    if run.times.iter().all(Option::is_none) {
        return Vec::new();
    }
    let line = |name: &str, number: usize, value: fn(&EpochTime) -> f64| {
        let times = run.times.iter().enumerate();
        let points =
            times.map(|(at, time)| ((at + 1) as f64, time.as_ref().map_or(f64::NAN, value)));
        Line::new(name, number, points.collect())
    };
    let speed = line("images/s", VALIDATION, |time| time.images_per_second);
    let seconds = line("seconds", VALIDATION, |time| time.seconds);
    let waiting = line("of which waiting for images", TRAINING, |time| {
        time.waiting_seconds
    });
    vec![
        Figure {
            unit: Unit::FromZero,
            caption: "Training only, without validation.".to_owned(),
            ..Figure::new("speed", "Images per second", vec![speed])
        },
        Figure {
            unit: Unit::FromZero,
            caption: "Training and validation.".to_owned(),
            ..Figure::new("seconds", "Seconds per epoch", vec![seconds, waiting])
        },
    ]
}

fn curve(run: &Run, name: &str, number: usize, value: impl Fn(&Epoch) -> Option<f64>) -> Line {
    let points = run
        .epochs
        .iter()
        .map(|epoch| (epoch.epoch as f64, value(epoch).unwrap_or(f64::NAN)));
    Line::new(name, number, points.collect())
}

/// Unit of the values.
enum Unit {
    /// Parts of 1, shown as percentages.
    Percent,
    Number,
    /// Numbers that are compared with zero.
    FromZero,
}

/// A plot with title, legend and caption.
struct Figure {
    id: String,
    title: String,
    caption: String,
    unit: Unit,
    /// One point per epoch each.
    lines: Vec<Line>,
    marks: Vec<Mark>,
}

impl Figure {
    fn new(id: &str, title: &str, lines: Vec<Line>) -> Self {
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            caption: String::new(),
            unit: Unit::Number,
            lines,
            marks: Vec::new(),
        }
    }

    fn to_html(&self, epochs: usize) -> String {
        let hits = (1..=epochs).map(|epoch| {
            (
                epoch as f64,
                format!("epoch {epoch}: {}", self.label(epoch)),
            )
        });
        let values = self
            .lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|point| point.1);
        let plot = Plot {
            id: format!("curve-{}", self.id),
            title: self.title.clone(),
            description: format!(
                "after the first epoch {}; after epoch {epochs} {}",
                self.label(1),
                self.label(epochs)
            ),
            size: WIDE,
            x_label: "epoch".to_owned(),
            x: Axis::count(1, epochs),
            y: match self.unit {
                Unit::Percent => Axis::percent(values),
                Unit::Number => Axis::number(values),
                Unit::FromZero => Axis::number(values.chain([0.0])),
            },
            lines: self.lines.iter().map(Self::joined).collect(),
            marks: self.marks.clone(),
            hits: hits.collect(),
        };
        let mut html = format!("<figure class=\"panel\"><h3>{}</h3>", Escaped(&self.title));
        if self.lines.len() > 1 {
            html += &legend(&self.lines);
        }
        html += &plot.to_svg();
        if !self.caption.is_empty() {
            html += &format!("<figcaption>{}</figcaption>", Escaped(&self.caption));
        }
        html + "</figure>"
    }

    /// The line as it is drawn: that of a validation leads over the epochs that were not validated.
    fn joined(line: &Line) -> Line {
        let mut line = line.clone();
        if line.name.starts_with("validation") {
            line.points.retain(|point| point.1.is_finite());
        }
        line
    }

    /// The values after an epoch, as text.
    fn label(&self, epoch: usize) -> String {
        let values = self.lines.iter().filter_map(|line| {
            let value = line.points[epoch - 1].1;
            let text = match self.unit {
                Unit::Percent => format!("{} %", percent(value)),
                Unit::Number | Unit::FromZero => number(value),
            };
            value.is_finite().then(|| format!("{} {text}", line.name))
        });
        values.collect::<Vec<_>>().join(", ")
    }
}
