//! Names and numbers as people read them.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::results::{ModelInfo, Results};

impl Results {
    /// A short name for each model, unlike those of the others where their files differ: the file's without
    /// its extension, with as many folders before it as that takes.
    pub(crate) fn model_names(&self) -> Vec<String> {
        let models: Vec<&ModelInfo> = self.models.iter().map(|entry| &entry.model).collect();
        let others = |at: usize| {
            let others = models.iter().enumerate();
            others
                .filter(move |&(other, _)| other != at)
                .map(|(_, model)| &model.path)
        };
        let name = |(at, model): (usize, &&ModelInfo)| {
            let deepest = parts(&model.path).count();
            let is_its_own = |depth: &usize| {
                let name = tail(&model.path, *depth);
                others(at).all(|path| tail(path, *depth) != name)
            };
            match (1..=deepest).find(is_its_own) {
                Some(depth) => tail(&model.path, depth),
                // The same file twice, in two ways.
                None => format!("{} ({}, {})", tail(&model.path, 1), at + 1, model.provider),
            }
        };
        let names = models.iter().enumerate().map(name);
        names.map(|name| one_line(&name)).collect()
    }
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split(['/', '\\']).filter(|part| !part.is_empty())
}

/// The last `depth` parts of a path, without the extension of a model.
fn tail(path: &str, depth: usize) -> String {
    let mut tail: Vec<&str> = parts(path).rev().take(depth).collect();
    tail.reverse();
    let tail = tail.join("/");
    tail.strip_suffix(".onnx").unwrap_or(&tail).to_owned()
}

/// Without what would break a line or command a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(visible).collect()
}

/// A text of exactly `width` columns: what is too long loses its middle.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let text = one_line(text);
    let missing = |text: &str| " ".repeat(width.saturating_sub(text.width()));
    if text.width() <= width {
        return format!("{text}{}", missing(&text));
    }
    let take = |chars: &mut dyn Iterator<Item = char>, columns: usize| -> Vec<char> {
        let mut used = 0;
        let fits = |c: &char| {
            used += c.width().unwrap_or(0);
            used <= columns
        };
        chars.take_while(fits).collect()
    };
    let columns = width.saturating_sub(1);
    let head = take(&mut text.chars(), columns / 2);
    let tail = take(&mut text.chars().rev(), columns.div_ceil(2));
    let text: String = head
        .into_iter()
        .chain(['…'])
        .chain(tail.into_iter().rev())
        .collect();
    format!("{text}{}", missing(&text))
}

/// With commas between thousands.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 image`, `2 images`.
pub(crate) fn images(number: usize) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} image{s}", grouped(number))
}

/// Of 1, in percent.
pub(crate) fn percent(part: f64) -> String {
    format!("{:.2}", 100.0 * part)
}

/// A number, or a dash where there is none.
pub(crate) fn or_dash(number: Option<f64>, format: impl Fn(f64) -> String) -> String {
    number.map_or_else(|| "–".to_owned(), format)
}

/// A p-value.
pub(crate) fn p_value(p: f64) -> String {
    match p {
        0.0 => "< 1e-300".to_owned(),
        ..1e-4 => format!("{p:.1e}"),
        _ => format!("{p:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_their_column() {
        assert_eq!(fit("resnet18", 10), "resnet18  ");
        assert_eq!(fit("a-very-long-name", 9), "a-ve…name");
        assert_eq!(fit("日本語日本語", 8).width(), 8);
        assert_eq!(fit("a\x1b[2J", 6), "a\u{fffd}[2J ");
        assert_eq!(fit("abc", 1), "…");
    }

    #[test]
    fn paths_are_shortened_from_the_left() {
        assert_eq!(tail("/runs/a/bestk.onnx", 1), "bestk");
        assert_eq!(tail("/runs/a/bestk.onnx", 2), "a/bestk");
        assert_eq!(tail("C:\\runs\\model", 1), "model");
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [0, 999, 1_000, 50_000, 1_281_167].map(grouped),
            ["0", "999", "1,000", "50,000", "1,281,167"]
        );
        assert_eq!(
            [0.0, 3.2e-12, 0.04].map(p_value),
            ["< 1e-300", "3.2e-12", "0.0400"]
        );
        assert_eq!(percent(0.69758), "69.76");
    }
}
