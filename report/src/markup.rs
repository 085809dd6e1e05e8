//! Escaping of text in HTML and SVG.

use std::fmt;

/// Displays a text with the special characters of HTML escaped.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped() {
        let escaped = Escaped("a<b class=\"c\">d</b> & 'é'").to_string();
        assert_eq!(
            escaped,
            "a&lt;b class=&quot;c&quot;&gt;d&lt;/b&gt; &amp; &#39;é&#39;"
        );
    }
}
