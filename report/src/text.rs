//! Names and numbers as people read them.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Without what would break a line or command a terminal.
pub fn one_line(text: &str) -> String {
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(visible).collect()
}

/// A text of exactly `width` columns: what is too long loses its middle.
pub fn fit(text: &str, width: usize) -> String {
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
pub fn grouped(number: usize) -> String {
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
pub fn images(number: usize) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} image{s}", grouped(number))
}

/// Of 1, in percent.
pub fn percent(part: f64) -> String {
    format!("{:.2}", 100.0 * part)
}

/// A number, or a dash where there is none.
pub fn or_dash(number: Option<f64>, format: impl Fn(f64) -> String) -> String {
    number.map_or_else(|| "–".to_owned(), format)
}

/// A p-value.
pub fn p_value(p: f64) -> String {
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
