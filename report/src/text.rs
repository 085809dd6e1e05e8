//! Formatting of text and numbers for terminals and pages.

use std::error::Error;
use std::io::{self, IsTerminal};
use std::iter;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns of a terminal that printed lines fit into.
pub const TERMINAL_WIDTH: usize = 80;

/// The text with control characters replaced by `U+FFFD`, so that it cannot break lines or control a terminal.
pub fn one_line(text: &str) -> String {
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(visible).collect()
}

/// Breaks a text at spaces into lines of at most `width` columns; all lines but the first are indented by
/// `indent` spaces. Words are never broken: a word that is too long has a line of its own.
pub fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut wrapped = String::new();
    let mut used = 0;
    let mut has_word = false;
    // Splitting at single spaces keeps runs of spaces, such as those between columns.
    for (at, word) in text.split(' ').enumerate() {
        if at > 0 && has_word && used + 1 + word.width() > width {
            wrapped.truncate(wrapped.trim_end().len());
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            used = indent;
            has_word = false;
        } else if at > 0 {
            wrapped.push(' ');
            used += 1;
        }
        wrapped.push_str(word);
        used += word.width();
        has_word |= !word.is_empty();
    }
    wrapped
}

/// The text with each of its lines wrapped if it goes to a terminal; unchanged if it goes to a file or a pipe.
pub fn wrap_for(stream: &impl IsTerminal, text: &str) -> String {
    if !stream.is_terminal() {
        return text.to_owned();
    }
    let lines = text.lines().map(|line| wrap(line, TERMINAL_WIDTH, 2));
    lines.collect::<Vec<_>>().join("\n")
}

/// `error: `, the message of an error, and those of its causes that it does not contain already; wrapped if
/// standard error is a terminal.
pub fn error_message(error: &(dyn Error + 'static)) -> String {
    let mut message = format!("error: {error}");
    for cause in iter::successors(error.source(), |&cause| cause.source()) {
        let cause = cause.to_string();
        if !message.contains(&cause) {
            message += &format!(": {cause}");
        }
    }
    wrap_for(&io::stderr(), &message)
}

/// Pads or shortens a text to exactly `width` columns; a text that is too long loses its middle.
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

/// A number with commas between thousands.
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

/// A sentence with a capital at its start.
pub fn capitalized(sentence: &str) -> String {
    let mut chars = sentence.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// `1 image`, `2 images`.
pub fn images(number: usize) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} image{s}", grouped(number))
}

/// A fraction in percent, with two decimals and without the sign.
pub fn percent(fraction: f64) -> String {
    format!("{:.2}", 100.0 * fraction)
}

/// The formatted number, or a dash if there is none.
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
    use std::fmt;
    use std::fs::File;

    use super::*;

    #[test]
    fn lines_are_broken_at_spaces_only() {
        assert_eq!(wrap("one two three", 8, 2), "one two\n  three");
        assert_eq!(
            wrap("a path/that/is/long b", 8, 2),
            "a\n  path/that/is/long\n  b"
        );
        assert_eq!(
            wrap("data    12 images", 12, 8),
            "data    12\n        images"
        );
        assert_eq!(wrap("fits", 8, 2), "fits");
    }

    #[test]
    fn texts_for_files_are_not_wrapped() {
        let file = File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
        let text = "word ".repeat(40);
        assert_eq!(wrap_for(&file, &text), text);
    }

    #[test]
    fn causes_are_printed_once() {
        #[derive(Debug)]
        struct Failure(&'static str, Option<Box<Failure>>);
        impl fmt::Display for Failure {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }
        }
        impl Error for Failure {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                self.1.as_ref().map(|cause| cause.as_ref() as &dyn Error)
            }
        }
        let cause = || Some(Box::new(Failure("no such file", None)));
        let message = |text| error_message(&Failure(text, cause())).replace("\n  ", " ");
        assert_eq!(
            message("cannot read a"),
            "error: cannot read a: no such file"
        );
        assert_eq!(message("a: no such file"), "error: a: no such file");
    }

    #[test]
    fn texts_fit_their_column() {
        assert_eq!(fit("resnet18", 10), "resnet18  ");
        assert_eq!(fit("a-very-long-name", 9), "a-ve…name");
        assert_eq!(fit("日本語日本語", 8).width(), 8);
        assert_eq!(fit("a\x1b[2J", 6), "a\u{fffd}[2J ");
        assert_eq!(fit("abc", 1), "…");
    }

    #[test]
    fn numbers_are_formatted() {
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
