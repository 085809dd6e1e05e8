//! Tables of further metrics for a terminal of 80 columns.

use topk_calibration::AveragePrecision;
use topk_report::text::{or_dash, percent};

use crate::schema::{COVERAGES, Metrics, Results, Severity};
use crate::table::{Column, tables};

impl Results {
    /// The metrics that [`Results::table`] has no room for, as tables of at most 80 columns: averages over classes,
    /// calibration, accuracy at coverages and, for ImageNet's classes, the severity of mistakes.
    pub fn metrics_table(&self) -> String {
        let column = |title: &str, cell: &dyn Fn(&Metrics) -> String| {
            let metrics = self.models.iter().map(|model| &model.metrics);
            Column::new(title, metrics.map(cell))
        };
        let table = |title: &str, columns: Vec<Column>| {
            tables(&Column::new(title, self.model_names().into_iter()), columns)
        };
        let percents = |title: &str, value: &dyn Fn(&Metrics) -> Option<f64>| {
            column(title, &|metrics| or_dash(value(metrics), percent))
        };
        let decimals = |title: &str, digits: usize, value: &dyn Fn(&Metrics) -> Option<f64>| {
            column(title, &|metrics| {
                or_dash(value(metrics), |number| format!("{number:.digits$}"))
            })
        };
        let macro_avg = |metrics: &Metrics| metrics.macro_avg.clone();
        let classes = vec![
            percents("balanced %", &Metrics::balanced_accuracy),
            percents("precision %", &|metrics| {
                Some(macro_avg(metrics)?.precision)
            }),
            percents("F1 %", &|metrics| Some(macro_avg(metrics)?.f1)),
            percents("weighted F1 %", &|metrics| {
                Some(metrics.weighted_avg.as_ref()?.f1)
            }),
        ];
        let probabilities = vec![
            decimals("Brier", 4, &|metrics| metrics.brier_score),
            percents("adaptive ECE %", &|metrics| {
                metrics.adaptive_calibration_error
            }),
            decimals("AURC", 4, &|metrics| metrics.aurc),
        ];
        let coverages = COVERAGES.iter().enumerate().map(|(at, covered)| {
            percents(&format!("{covered} %"), &|metrics| {
                metrics.coverage.get(at)?.accuracy
            })
        });
        let mut text = [
            table("macro average", classes),
            table("probabilities", probabilities),
            table("top-1 % at coverage", coverages.collect()),
        ]
        .join("\n");
        let severities = || {
            self.models
                .iter()
                .filter_map(|model| model.metrics.severity.as_ref())
        };
        if severities().next().is_some() {
            let severity = |metrics: &Metrics| metrics.severity.as_ref()?.mistake_severity;
            let mut columns = vec![decimals("mistakes", 2, &severity)];
            let kept = |k: usize| {
                let mut distances =
                    severities().flat_map(|severity: &Severity| &severity.hierarchical_distance);
                distances.any(|distance| distance.k == k)
            };
            let distances = self.settings.topk.iter().filter(|&&k| kept(k)).map(|&k| {
                decimals(&format!("top-{k}"), 2, &|metrics| {
                    metrics.hierarchical_distance(k)
                })
            });
            columns.extend(distances);
            text += "\n";
            text += &table("WordNet distance", columns);
        }
        let several = |metrics: &Metrics| metrics.multilabel.clone();
        if self
            .models
            .iter()
            .any(|model| model.metrics.multilabel.is_some())
        {
            let mut columns = vec![
                percents("ranking precision %", &|metrics| {
                    Some(several(metrics)?.ranking_average_precision)
                }),
                decimals("coverage error", 2, &|metrics| {
                    Some(several(metrics)?.coverage_error)
                }),
                decimals("ranking loss", 4, &|metrics| {
                    Some(several(metrics)?.ranking_loss)
                }),
                percents("R-precision %", &|metrics| {
                    Some(several(metrics)?.r_precision)
                }),
            ];
            let precisions = || self.models.iter().map(|model| model.average_precision);
            if precisions().any(|found| found.is_some()) {
                let mean = |found: Option<AveragePrecision>| found.map(|found| found.mean);
                let cells = precisions().map(|found| or_dash(mean(found), percent));
                columns.push(Column::new("mAP %", cells));
            }
            text += "\n";
            text += &table("all true classes", columns);
        }
        let is_old = |metrics: &Metrics| metrics.brier_score.is_none() && metrics.evaluated > 0;
        let notes = match self.models.iter().any(|model| is_old(&model.metrics)) {
            true => "\nBrier: – where an older version evaluated some of the images.",
            false => "",
        };
        text + notes
            + "\nbalanced: mean of the classes' top-1. AURC: area under the risk-coverage curve.\n\
                coverage: the most confident images. WordNet distance: mean height of the lowest\n\
                common ancestor of the true class and the wrong prediction, or the k best.\n"
    }
}
