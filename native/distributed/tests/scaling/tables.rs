//! The tables in Markdown.

use topk_report::text::grouped;

use crate::model::{
    CHECKS, Cluster, ETHERNET, IMAGE_BYTES, IMAGES, INFINIBAND, TRAININGS, Training, all_reduce,
    measured,
};

const GPUS: [usize; 8] = [8, 16, 32, 64, 128, 256, 512, 1024];
const EPOCHS: f64 = 90.0;

/// A table with a row of titles; all columns but the first are right-aligned.
fn table<const N: usize>(titles: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut lines = vec![
        format!("| {} |", titles.join(" | ")),
        format!("| --- |{}", " ---: |".repeat(N - 1)),
    ];
    lines.extend(
        rows.into_iter()
            .map(|row| format!("| {} |", row.join(" | "))),
    );
    lines.push(String::new());
    lines.join("\n")
}

/// With commas between thousands.
fn thousands(number: f64) -> String {
    grouped(number.round_ties_even() as usize)
}

pub(crate) fn inputs() -> String {
    let titles = [
        "training",
        "images per GPU and step",
        "images/s of one A100",
        "step on one GPU",
        "gradients",
        "cores to prepare images, per GPU",
    ];
    let rows = TRAININGS.iter().map(|training| {
        [
            training.name.to_owned(),
            thousands(training.batch),
            thousands(training.images_per_second),
            format!(
                "{:.0} ms",
                1e3 * training.batch / training.images_per_second
            ),
            format!("{:.1} MB", training.gradient_bytes() / 1e6),
            format!(
                "{:.1}",
                training.images_per_second / measured::IMAGES_PER_CORE
            ),
        ]
    });
    table(titles, rows)
}

pub(crate) fn scaling() -> String {
    let mut text = String::new();
    for (i, training) in TRAININGS.iter().enumerate() {
        if i > 0 {
            text.push('\n');
        }
        text.push_str(&format!("{}:\n\n", training.name));
        text.push_str(&scaling_of(training));
    }
    text
}

fn scaling_of(training: &Training) -> String {
    let titles = [
        "GPUs",
        "batch",
        "Ethernet: all-reduce",
        "of which waited for",
        "efficiency",
        "InfiniBand: efficiency",
        "images/s",
        "90 epochs",
        "data to read",
    ];
    let rows = GPUS.map(|gpus| {
        let efficiency = |cluster: &Cluster| {
            let alone = training.batch / training.images_per_second;
            format!(
                "{:.1} %",
                100.0 * alone / training.step(gpus, cluster).time()
            )
        };
        let step = training.step(gpus, &ETHERNET);
        let rate = training.rate(gpus, &INFINIBAND);
        [
            gpus.to_string(),
            thousands(gpus as f64 * training.batch),
            format!("{:.1} ms", 1e3 * step.all_reduce),
            format!("{:.1} ms", 1e3 * step.exposed),
            efficiency(&ETHERNET),
            efficiency(&INFINIBAND),
            thousands(rate),
            format!("{:.1} min", EPOCHS * IMAGES / rate / 60.0),
            format!("{:.2} GB/s", rate * IMAGE_BYTES / 1e9),
        ]
    });
    table(titles, rows)
}

/// The least images per GPU and step for which an all-reduce fits into the backward pass.
pub(crate) fn exchange() -> String {
    let titles = [
        "training",
        "8 GPUs",
        "64 GPUs",
        "1,024 GPUs, Ethernet",
        "1,024 GPUs, InfiniBand",
    ];
    let rows = TRAININGS.iter().map(|training| {
        let least = |gpus: usize, cluster: &Cluster| {
            let time = all_reduce(training.gradient_bytes(), gpus, cluster);
            // Two thirds of a step are the backward pass.
            thousands((time * 1.5 * training.images_per_second).ceil())
        };
        [
            training.name.to_owned(),
            least(8, &ETHERNET),
            least(64, &ETHERNET),
            least(1024, &ETHERNET),
            least(1024, &INFINIBAND),
        ]
    });
    table(titles, rows)
}

/// The number of GPUs at which storage of this speed is the limit.
pub(crate) fn storage() -> String {
    let titles = ["training", "1 GB/s", "5 GB/s", "25 GB/s", "100 GB/s"];
    let rows = TRAININGS.iter().map(|training| {
        let limit =
            |bytes: f64| thousands((bytes / (training.images_per_second * IMAGE_BYTES)).floor());
        [
            training.name.to_owned(),
            limit(1e9),
            limit(5e9),
            limit(25e9),
            limit(100e9),
        ]
    });
    table(titles, rows)
}

pub(crate) fn checks() -> String {
    let titles = [
        "run",
        "GPUs",
        "network",
        "published step",
        "model",
        "model by published",
    ];
    let rows = CHECKS.iter().map(|check| {
        [
            check.name.to_owned(),
            thousands(check.gpus as f64),
            check.cluster.name.to_owned(),
            format!("{:.0} ms", 1e3 * check.published),
            format!("{:.0} ms", 1e3 * check.predicted()),
            format!("{:.2}", check.predicted() / check.published),
        ]
    });
    table(titles, rows)
}
