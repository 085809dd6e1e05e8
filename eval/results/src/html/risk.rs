//! The section on risk and coverage.

use topk_report::cells::{header, number};
use topk_report::chart::{
    Frame, Point, legend, line, marker, open, path, percent_label, percent_ticks, text,
};
use topk_report::text::{grouped, or_dash, percent};
use topk_report::{Breakable, COLORS};

use crate::schema::{COVERAGES, Metrics, Results};

/// The risk-coverage curves of all models, and their accuracies at some coverages.
pub(super) fn section(results: &Results, names: &[String]) -> String {
    let curves: Vec<(&str, &Metrics)> = names
        .iter()
        .zip(&results.models)
        .map(|(name, model)| (name.as_str(), &model.metrics))
        .collect();
    if curves
        .iter()
        .all(|(_, metrics)| metrics.risk_coverage.is_empty())
    {
        return String::new();
    }
    let mut html = String::from(
        "<section><h2>Risk and coverage</h2><p>Wrong predictions if only the most confident ones are accepted. The \
         coverage is the share of images with an accepted prediction, the risk the share of wrong predictions among \
         them. The table lists the top-1 accuracy of the accepted predictions.</p><div class=\"columns\"><figure \
         class=\"panel\">",
    );
    html += &legend(names.iter().map(String::as_str));
    html += &chart(&curves);
    html += "<figcaption>Risk against coverage; markers are at the coverages of the table.</figcaption></figure>";
    html += "<div class=\"scroll panel\"><table class=\"coverage by-k\"><thead><tr>";
    html += &header("coverage", true);
    for name in names {
        let name = Breakable(name);
        html += &format!("<th scope=\"col\" class=\"n\">{name}</th>");
    }
    html += "</tr></thead><tbody>";
    for (at, covered) in COVERAGES.iter().enumerate() {
        html += &format!("<tr>{}", number(&format!("{covered} %")));
        for (_, metrics) in &curves {
            let accuracy = metrics
                .coverage
                .get(at)
                .and_then(|coverage| coverage.accuracy);
            html += &number(&or_dash(accuracy, |part| format!("{} %", percent(part))));
        }
        html += "</tr>";
    }
    html + "</tbody></table></div></div></section>"
}

/// Risk against coverage, with markers at the coverages of the table.
fn chart(curves: &[(&str, &Metrics)]) -> String {
    let risks = curves
        .iter()
        .flat_map(|(_, metrics)| &metrics.risk_coverage);
    let ticks = percent_ticks(0.0, risks.copied().fold(0.0, f64::max));
    let frame = Frame {
        left: 56.0,
        top: 12.0,
        width: 398.0,
        height: 226.0,
        low: ticks[0],
        high: ticks[ticks.len() - 1],
    };
    let described = curves.iter().filter_map(|(name, metrics)| {
        let [half, all] = [50, 100].map(|percent| metrics.risk_coverage.get(percent - 1).copied());
        let (half, all) = (percent(half?), percent(all?));
        Some(format!(
            "{name}: {half} % at 50 % coverage, {all} % at 100 %"
        ))
    });
    let described: Vec<String> = described.collect();
    let mut svg = open(
        "risk",
        "wide",
        (480.0, 282.0),
        "Risk and coverage",
        &described.join("; "),
    );
    frame.y_ticks(
        &mut svg,
        ticks.into_iter().map(|tick| (tick, percent_label(tick))),
    );
    let bottom = frame.top + frame.height;
    let x = |coverage: f64| frame.left + frame.width * coverage;
    for tick in 0..=5 {
        let coverage = f64::from(tick) / 5.0;
        text(
            &mut svg,
            "middle",
            (x(coverage), bottom + 17.0),
            &percent_label(coverage),
        );
    }
    line(
        &mut svg,
        "axis",
        (frame.left, bottom),
        (frame.left + frame.width, bottom),
    );
    text(&mut svg, "middle", (x(0.5), bottom + 36.0), "coverage");
    for (at, (name, metrics)) in curves.iter().enumerate() {
        let curve = (1..).zip(&metrics.risk_coverage);
        let points: Vec<Point> = curve
            .map(|(percent, &risk)| (x(f64::from(percent) / 100.0), frame.y(risk)))
            .collect();
        svg += &format!(
            r#"<g class="s{}"><path class="line" d="{}"/>"#,
            at % COLORS,
            path(&points)
        );
        for coverage in &metrics.coverage {
            let Some(accuracy) = coverage.accuracy else {
                continue;
            };
            let confidence = coverage.confidence.map_or(String::new(), |confidence| {
                format!(", confidence of at least {:.4}", confidence)
            });
            let title = format!(
                "{name}: risk {} % at {} coverage ({} images{confidence})",
                percent(1.0 - accuracy),
                percent_label(coverage.coverage),
                grouped(coverage.images),
            );
            let point = (x(coverage.coverage), frame.y(1.0 - accuracy));
            marker(&mut svg, at, point, &title);
        }
        svg += "</g>";
    }
    svg + "</svg>"
}
