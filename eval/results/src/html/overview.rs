//! The sections on all models: what was evaluated, and the metrics.

use topk_report::cells::{header, number};
use topk_report::chart::legend;
use topk_report::text::{grouped, images, or_dash, percent};
use topk_report::{Breakable, COLORS, Escaped};

use super::chart::{self, AccuracyLine};
use crate::schema::{Metrics, MultilabelMetrics, Results};
use crate::statistics::wilson;
use crate::table::speed;

/// The largest k in the chart, unless the settings have a larger one.
const MAX_K: usize = 10;

/// What was evaluated, and with what.
pub(super) fn measured(results: &Results) -> String {
    let day = results.started.split('T').next().unwrap_or_default();
    let mut html = format!(
        "<p>{}, {} classes. Evaluated on {} with topk-eval {}",
        Escaped(&results.extent()),
        grouped(results.data.classes),
        Escaped(day),
        Escaped(&results.topk_eval),
    );
    if let Some(machine) = results.environments.first() {
        html += &format!(
            " and ONNX Runtime {} on {} ({} cores, {})",
            Escaped(&machine.onnxruntime),
            Escaped(&machine.cpu),
            machine.cores,
            Escaped(&machine.os)
        );
        match results.environments.len() {
            1 => {}
            2 => html += " and another machine",
            machines => html += &format!(" and {} other machines", machines - 1),
        }
    }
    html += ".</p>";
    let notes = results.caveats();
    if !notes.is_empty() {
        let notes: Vec<String> = notes
            .iter()
            .map(|note| format!("{}.", Escaped(note)))
            .collect();
        html += &format!("<p class=\"warn\">{}</p>", notes.join("<br>"));
    }
    html
}

/// The headline numbers.
pub(super) fn cards(results: &Results, names: &[String]) -> String {
    let mut topk = vec![0];
    if results.settings.topk.len() > 1 {
        topk.push(results.settings.topk.len() - 1);
    }
    let mut html = String::from("<div class=\"cards\">");
    for (at, (model, name)) in results.models.iter().zip(names).enumerate() {
        html += &format!(
            "<article class=\"card s{}\"><h2>{}</h2><div class=\"pair\">",
            at % COLORS,
            Escaped(name)
        );
        for &at in &topk {
            let accuracy = &model.metrics.topk[at];
            html += &format!(
                "<div><div class=\"label\">top-{}</div><div class=\"big\">{}<small> %</small></div>\
                 <div class=\"label\">±{}</div></div>",
                accuracy.k,
                or_dash(accuracy.accuracy, percent),
                percent((accuracy.high - accuracy.low) / 2.0)
            );
        }
        let architecture = model.model.architecture.as_deref();
        let facts: Vec<&str> = [
            architecture,
            Some(&model.model.device),
            Some(&model.model.precision),
        ]
        .into_iter()
        .flatten()
        .filter(|fact| !fact.is_empty())
        .collect();
        let speed = speed(model.timing.images_per_second);
        let subset = match &results.subset {
            Some(subset) => format!(
                "on a random subset: {} of {}<br>",
                grouped(subset.images),
                images(results.data.images)
            ),
            None => String::new(),
        };
        html += &format!(
            "</div><div class=\"label\">{subset}{}; {speed} images/s</div></article>",
            Escaped(&facts.join(", "))
        );
    }
    html + "</div>"
}

/// One row per metric and one column per model, with the best values marked.
pub(super) fn metrics(results: &Results, names: &[String]) -> String {
    let mut html = String::from(
        "<section><h2>Metrics</h2><div class=\"scroll panel\"><table class=\"metrics\"><thead><tr>",
    );
    html += &header("", false);
    for (at, name) in names.iter().enumerate() {
        let color = at % COLORS;
        html += &format!(
            "<th scope=\"col\" class=\"n s{color}\"><span class=\"dot\"></span>{}</th>",
            Escaped(name)
        );
    }
    html += "</tr></thead><tbody>";
    let metrics = || results.models.iter().map(|model| &model.metrics);
    let mut row = |title: &str, higher: Option<bool>, value: &dyn Fn(&Metrics) -> Cell| {
        html += &row_of(title, higher, metrics().map(value).collect());
    };
    for (at, k) in results.settings.topk.iter().enumerate() {
        row(&format!("top-{k} accuracy"), Some(true), &|metrics| {
            let accuracy = &metrics.topk[at];
            let [low, high] = [accuracy.low, accuracy.high].map(percent);
            let text = or_dash(accuracy.accuracy, |part| {
                format!(
                    "{} % <span class=\"interval\">({low} to {high})</span>",
                    percent(part)
                )
            });
            (accuracy.accuracy, text)
        });
    }
    for (at, k) in results.settings.topk.iter().enumerate() {
        row(
            &format!("top-{k}, mean over classes"),
            Some(true),
            &|metrics| {
                let mean = metrics.topk[at].mean_class_accuracy;
                (mean, or_dash(mean, |part| format!("{} %", percent(part))))
            },
        );
    }
    let decimals = |value: f64| format!("{value:.4}");
    row("cross-entropy", Some(false), &|metrics| {
        (
            metrics.cross_entropy,
            or_dash(metrics.cross_entropy, decimals),
        )
    });
    if let Some(loss) = results.settings.loss {
        let title = format!(
            "smooth top-{} SVM loss (τ = {}, α = {})",
            loss.k, loss.tau, loss.alpha
        );
        row(&title, Some(false), &|metrics| {
            (metrics.topk_loss, or_dash(metrics.topk_loss, decimals))
        });
    }
    row("expected calibration error", Some(false), &|metrics| {
        let error = metrics.calibration_error;
        (error, or_dash(error, |part| format!("{} %", percent(part))))
    });
    let percents = |part: Option<f64>| (part, or_dash(part, |part| format!("{} %", percent(part))));
    row("adaptive calibration error", Some(false), &|metrics| {
        percents(metrics.adaptive_calibration_error)
    });
    row("Brier score", Some(false), &|metrics| {
        (metrics.brier_score, or_dash(metrics.brier_score, decimals))
    });
    row("risk-coverage area (AURC)", Some(false), &|metrics| {
        (metrics.aurc, or_dash(metrics.aurc, decimals))
    });
    row("precision, macro average", Some(true), &|metrics| {
        percents(metrics.macro_avg.as_ref().map(|average| average.precision))
    });
    row("F1, macro average", Some(true), &|metrics| {
        percents(metrics.macro_avg.as_ref().map(|average| average.f1))
    });
    row("F1, weighted average", Some(true), &|metrics| {
        percents(metrics.weighted_avg.as_ref().map(|average| average.f1))
    });
    if metrics().any(|metrics| metrics.multilabel.is_some()) {
        let several = |metrics: &Metrics, value: fn(&MultilabelMetrics) -> f64| {
            metrics.multilabel.as_ref().map(value)
        };
        row("label ranking average precision", Some(true), &|metrics| {
            percents(several(metrics, |found| found.ranking_average_precision))
        });
        row(
            "R-precision over all true classes",
            Some(true),
            &|metrics| percents(several(metrics, |found| found.r_precision)),
        );
        row("coverage error", Some(false), &|metrics| {
            let error = several(metrics, |found| found.coverage_error);
            (error, or_dash(error, |error| format!("{error:.2}")))
        });
    }
    let precisions = || results.models.iter().map(|model| model.average_precision);
    if precisions().any(|found| found.is_some()) {
        let cells = precisions().map(|found| percents(found.map(|found| found.mean)));
        html += &row_of("mean average precision (mAP)", Some(true), cells.collect());
    }
    let mut row = |title: &str, higher: Option<bool>, value: &dyn Fn(&Metrics) -> Cell| {
        html += &row_of(title, higher, metrics().map(value).collect());
    };
    if metrics().any(|metrics| metrics.severity.is_some()) {
        let height =
            |height: Option<f64>| (height, or_dash(height, |height| format!("{height:.2}")));
        row("severity of mistakes (WordNet)", Some(false), &|metrics| {
            let severity = metrics.severity.as_ref();
            height(severity.and_then(|severity| severity.mistake_severity))
        });
        for &k in &results.settings.topk {
            let distance = |metrics: &Metrics| metrics.hierarchical_distance(k);
            if metrics().any(|metrics| distance(metrics).is_some()) {
                row(
                    &format!("top-{k}, distance in WordNet"),
                    Some(false),
                    &|metrics| height(distance(metrics)),
                );
            }
        }
    }
    row("images evaluated", None, &|metrics| {
        (None, grouped(metrics.images))
    });
    row("ties with a wrong class", None, &|metrics| {
        (None, grouped(metrics.ties))
    });
    html += "</tbody></table></div><p class=\"faint\">In parentheses: the 95 % interval (Wilson).";
    if results
        .models
        .iter()
        .any(|model| model.metrics.severity.is_some())
    {
        html += " Distance in WordNet: mean height of the lowest common ancestor of the true class and the \
                 predicted one; for the severity, over wrong predictions.";
    }
    html + "</p></section>"
}

/// A value, by which the best is found, and its text.
type Cell = (Option<f64>, String);

/// A row with a cell for each model. `higher` says whether higher values are better, if either are.
fn row_of(title: &str, higher: Option<bool>, cells: Vec<Cell>) -> String {
    let best = |a: f64, b: f64| match higher {
        Some(true) => a.max(b),
        _ => a.min(b),
    };
    let best = cells.iter().filter_map(|cell| cell.0).reduce(best);
    let mut html = format!("<tr><th scope=\"row\">{}</th>", Escaped(title));
    for (value, text) in &cells {
        let is_best = higher.is_some() && cells.len() > 1 && value.is_some() && *value == best;
        let class = if is_best { "n best" } else { "n" };
        html += &format!("<td class=\"{class}\">{text}</td>");
    }
    html + "</tr>"
}

pub(super) fn accuracy_by_k(results: &Results, names: &[String]) -> String {
    let most = results
        .num_valid_classes()
        .min(MAX_K.max(results.largest_k().min(2 * MAX_K)));
    let lines: Vec<AccuracyLine<'_>> = names
        .iter()
        .enumerate()
        .filter(|(model, _)| results.models[*model].metrics.images > 0)
        .map(|(model, name)| AccuracyLine {
            name,
            points: accuracies(results, model, most),
        })
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    let mut html = String::from(
        "<section><h2>Accuracy by k</h2><div class=\"columns\"><figure class=\"panel\">",
    );
    html += &legend(names.iter().map(String::as_str));
    html += &chart::accuracy_by_k(&lines);
    html += "<figcaption>Top-k accuracy; bands are 95 % intervals.</figcaption></figure>";
    html += "<div class=\"scroll panel\"><table class=\"by-k\"><thead><tr>";
    html += &header("k", true);
    for line in &lines {
        let name = Breakable(line.name);
        html += &format!("<th scope=\"col\" class=\"n\">{name}</th>");
    }
    html += "</tr></thead><tbody>";
    for at in 0..most {
        html += &format!("<tr>{}", number(&(at + 1).to_string()));
        for line in &lines {
            html += &number(&format!("{} %", percent(line.points[at].0)));
        }
        html += "</tr>";
    }
    html + "</tbody></table></div></div></section>"
}

/// Accuracy at k = 1 to `most`, with intervals.
fn accuracies(results: &Results, model: usize, most: usize) -> Vec<(f64, f64, f64)> {
    let images = results.models[model].metrics.images;
    let points = (1..=most).map(|k| {
        let correct = results.correct(model, k);
        let (low, high) = wilson(correct, images);
        (correct as f64 / images as f64, low, high)
    });
    points.collect()
}

pub(super) fn reliability(results: &Results, names: &[String]) -> String {
    let mut html = String::from(
        "<section><h2>Calibration</h2><p>Images by the confidence of the prediction. Bars show the top-1 accuracy, marks \
         the mean confidence: a model is overconfident where the mark is above the bar, and underconfident where \
         it is below. The lower bars show the number of images.</p><div class=\"charts\">",
    );
    for (at, (model, name)) in results.models.iter().zip(names).enumerate() {
        let metrics = &model.metrics;
        let error = or_dash(metrics.calibration_error, |part| {
            format!("{} %", percent(part))
        });
        html += &format!(
            "<figure class=\"panel\"><div class=\"s{}\"><span class=\"dot\"></span>{}</div>{}\
             <figcaption>Calibration error {error}</figcaption></figure>",
            at % COLORS,
            Escaped(name),
            chart::reliability(at, name, &metrics.calibration)
        );
    }
    html + "</div></section>"
}
