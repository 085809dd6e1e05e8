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

/// Displays a name or a path, escaped; lines may break after `/`, `_`, `-` and `.` if at least three
/// characters follow, so that `squeezenet1_1` stays whole.
#[derive(Clone, Copy, Debug)]
pub struct Breakable<'a>(pub &'a str);

impl fmt::Display for Breakable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.split_inclusive(['/', '_', '-', '.']).enumerate() {
            if at > 0 && part.chars().count() >= 3 {
                f.write_str("<wbr>")?;
            }
            Escaped(part).fmt(f)?;
        }
        Ok(())
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

    #[test]
    fn names_break_after_separators() {
        let name = Breakable("a<b/efficientnet_lite0").to_string();
        assert_eq!(name, "a&lt;b/<wbr>efficientnet_<wbr>lite0");
        assert_eq!(Breakable("squeezenet1_1").to_string(), "squeezenet1_1");
        assert_eq!(Breakable("").to_string(), "");
    }
}
