//! The table that `topk-train --list-models` prints.

use topk_models::architectures;
use topk_report::text::grouped;

/// One line per network, with its cost at the input size and number of classes of its original.
pub(crate) fn list_models() -> String {
    let mut table = format!(
        "{:22} {:>9} {:>7} {:>12} {:>14}\n",
        "model", "input", "classes", "parameters", "multiply-adds"
    );
    for model in architectures() {
        let [_, height, width] = model.input_size();
        let millions = (model.macs() as f64 / 1e6).round() as usize;
        table += &format!(
            "{:22} {:>9} {:>7} {:>12} {:>12} M\n",
            model.name(),
            format!("{height}×{width}"),
            model.classes(),
            grouped(model.trainable_len()),
            grouped(millions),
        );
    }
    table
        + "\nMultiply-adds (MACs) of one image, in convolutions and matrix multiplications.\n\
           Both numbers depend on the input size and the number of classes, which the\n\
           data set determines. basic-N and densenet-DEPTH-GROWTH take other numbers too.\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_cost_of_a_network_and_fit_the_terminal() {
        let table = list_models();
        let line = |name: &str| {
            let line = table.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            line("resnet50 "),
            "resnet50 224×224 1000 25,557,032 4,089 M"
        );
        assert_eq!(
            line("densenet-40-40"),
            "densenet-40-40 32×32 100 1,941,620 799 M"
        );
        for line in table.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
