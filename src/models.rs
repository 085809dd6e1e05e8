//! The table of networks that `topk-train --list-models` prints.

use topk_models::architectures;

/// A line for each network, with what it costs at the image size and number of classes that it was made
/// for.
pub fn models() -> String {
    let mut table = format!(
        "{:22} {:>9} {:>7} {:>12} {:>14}\n",
        "model", "images", "classes", "parameters", "multiply-adds"
    );
    for model in architectures() {
        let [_, height, width] = model.input_size();
        let millions = (model.multiply_adds() as f64 / 1e6).round() as usize;
        table += &format!(
            "{:22} {:>9} {:>7} {:>12} {:>12} M\n",
            model.name(),
            format!("{height}×{width}"),
            model.classes(),
            with_commas(model.trainable_len()),
            with_commas(millions),
        );
    }
    table
        + "\nParameters, and multiply-adds of an image in convolutions and products of matrices, are those\n\
           for these images and classes; a data set decides both. In basic-N and densenet-DEPTH-GROWTH,\n\
           other numbers can stand.\n"
}

/// `12,345`.
pub(crate) fn with_commas(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| str::from_utf8(group).expect("digits are text"))
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_a_network_costs() {
        let table = models();
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
        assert_eq!(with_commas(7), "7");
        assert_eq!(with_commas(1_000), "1,000");
    }
}
