//! Tables of further metrics for a terminal of 80 columns.

use topk_report::text::{or_dash, percent};

use crate::further_metrics::{
    ADAPTIVE_ECE, AURC, BALANCED, BRIER, COVERAGE_ERROR, FurtherMetric, MACRO_F1, MACRO_PRECISION,
    MEAN_AVERAGE_PRECISION, R_PRECISION, RANKING_LOSS, RANKING_PRECISION, SEVERITY, WEIGHTED_F1,
};
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
        let further = |metrics: &[FurtherMetric]| -> Vec<Column> {
            let columns = metrics.iter().map(|metric| {
                let cells = self.models.iter().map(|model| metric.cell(model));
                Column::new(metric.column, cells)
            });
            columns.collect()
        };
        let classes = further(&[BALANCED, MACRO_PRECISION, MACRO_F1, WEIGHTED_F1]);
        let probabilities = further(&[BRIER, ADAPTIVE_ECE, AURC]);
        let coverages = COVERAGES.iter().enumerate().map(|(at, covered)| {
            column(&format!("{covered} %"), &|metrics| {
                let at_coverage = metrics.coverage.get(at);
                or_dash(at_coverage.and_then(|found| found.accuracy), percent)
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
            let mut columns = further(&[SEVERITY]);
            let kept = |k: usize| {
                let mut distances =
                    severities().flat_map(|severity: &Severity| &severity.hierarchical_distance);
                distances.any(|distance| distance.k == k)
            };
            let distances = self.settings.topk.iter().filter(|&&k| kept(k)).map(|&k| {
                column(&format!("top-{k}"), &|metrics| {
                    let distance = metrics.hierarchical_distance(k);
                    or_dash(distance, |distance| format!("{distance:.2}"))
                })
            });
            columns.extend(distances);
            text += "\n";
            text += &table("WordNet distance", columns);
        }
        let mut models = self.models.iter();
        if models.any(|model| model.metrics.multilabel.is_some()) {
            let mut columns =
                further(&[RANKING_PRECISION, COVERAGE_ERROR, RANKING_LOSS, R_PRECISION]);
            let mut models = self.models.iter();
            if models.any(|model| model.average_precision.is_some()) {
                columns.extend(further(&[MEAN_AVERAGE_PRECISION]));
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
