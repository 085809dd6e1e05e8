//! Names of execution providers, as users write them.

use std::fmt;

/// The longest name in bytes; ONNX Runtime's longest is `nvtensorrtrtx`.
const LENGTH: usize = 40;

/// A name of letters and digits in lower case, in which `nv_tensorrt_rtx` and `NvTensorRTRTXExecutionProvider` are the
/// same: `nvtensorrtrtx`.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) struct PluginName {
    /// ASCII, filled up with zeros.
    bytes: [u8; LENGTH],
    length: usize,
}

impl PluginName {
    /// The name; `None` if it does not start with a letter, has other characters than letters, digits, `_` and `-`, or is
    /// too long.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !text.starts_with(|first: char| first.is_ascii_alphabetic())
            || !text.bytes().all(allowed)
        {
            return None;
        }
        let name = normalized(text);
        let mut bytes = [0; LENGTH];
        bytes
            .get_mut(..name.len())?
            .copy_from_slice(name.as_bytes());
        Some(Self {
            bytes,
            length: name.len(),
        })
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).expect("ASCII is UTF-8")
    }
}

/// A name in lower case without what ONNX Runtime adds to all names, and without `_` and `-`.
pub(crate) fn normalized(name: &str) -> String {
    let name = name.strip_suffix("ExecutionProvider").unwrap_or(name);
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_by_letters_and_digits() {
        let rtx = PluginName::parse("nv-tensorrt_rtx").unwrap();
        assert_eq!(rtx.to_string(), "nvtensorrtrtx");
        assert_eq!(normalized("NvTensorRTRTXExecutionProvider"), rtx.as_str());
        assert_eq!(PluginName::parse("WebGPU"), PluginName::parse("webgpu"));
        for text in ["", "1", "_a", "a b", "a.b", "é", &"a".repeat(41)] {
            assert_eq!(PluginName::parse(text), None, "{text}");
        }
    }
}
