//! The section on groups of images.

use topk_report::Breakable;
use topk_report::cells::{sortable, sorted_descending, sorted_number};
use topk_report::text::{grouped, or_dash, percent};

use crate::schema::{GroupAccuracy, Results};

/// The accuracy of all models on each group; nothing without groups.
pub(super) fn section(results: &Results, names: &[String]) -> String {
    let groups = &results.data.group_names;
    let Some(first) = results.models.first().filter(|_| !groups.is_empty()) else {
        return String::new();
    };
    let mut html = String::from(
        "<section><h2>Groups of images</h2><p>Top-1 accuracy on the images of each group, its 95 % interval (Wilson), and \
         the error ratio: the error relative to that on all images of the file of groups. Above 1, the model errs more \
         than on average.</p><div class=\"scroll panel\"><table><thead><tr>",
    );
    html += &sortable("group", false);
    html += &sorted_descending("images");
    for name in names {
        html += &sortable(&format!("{name} top-1 %"), true);
        html += &sortable("error ratio", true);
    }
    html += "</tr></thead><tbody>";
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(first.metrics.groups[at].images));
    for at in order {
        html += &format!(
            "<tr><th scope=\"row\">{}</th>{}",
            Breakable(&groups[at]),
            sorted_number(
                Some(first.metrics.groups[at].images as f64),
                &grouped(first.metrics.groups[at].images)
            )
        );
        for model in &results.models {
            html += &accuracy(&model.metrics.groups[at]);
        }
        html += "</tr>";
    }
    html + "</tbody></table></div></section>"
}

fn accuracy(group: &GroupAccuracy) -> String {
    let interval = group.accuracy.map(|_| {
        let [low, high] = [group.low, group.high].map(percent);
        format!("<div class=\"label\">{low} to {high}</div>")
    });
    let top1 = or_dash(group.accuracy, percent) + &interval.unwrap_or_default();
    let ratio = or_dash(group.error_ratio, |ratio| format!("{ratio:.2}"));
    sorted_number(group.accuracy, &top1) + &sorted_number(group.error_ratio, &ratio)
}
