use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What stands in place of a file that was not downloaded, recognised by its first bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Placeholder {
    /// The file has no bytes.
    Empty,
    /// A pointer of Git LFS, which is in the repository in place of a large file.
    GitLfs,
    /// A pointer of git-annex.
    GitAnnex,
    /// An HTML page, such as a login form or "not found".
    Html,
    /// An error message of a web server in XML or JSON.
    ErrorMessage,
    /// Only zeros, left by a download or copy that reserved space and did not write to it.
    Zeros,
}

impl Placeholder {
    /// Number of bytes to pass to [`of`](Self::of) from the beginning of a file, or fewer if the file is
    /// shorter.
    pub const FIRST_BYTES: usize = 1024;

    /// The first bytes of a file, as many as [`of`](Self::of) looks at.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
        let mut first = Vec::new();
        File::open(path)?
            .take(Self::FIRST_BYTES as u64)
            .read_to_end(&mut first)?;
        Ok(first)
    }

    /// Recognises a file by its first bytes. `None` if it may be what it was meant to be.
    ///
    /// ```
    /// use topk_files::Placeholder;
    ///
    /// let found = Placeholder::of(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n");
    /// assert_eq!(found, Some(Placeholder::GitLfs));
    /// assert_eq!(Placeholder::of(b"\x89PNG\r\n"), None);
    /// ```
    pub fn of(first: &[u8]) -> Option<Self> {
        /// Where the specification of the format is, under its present and former names.
        const LFS: [&[u8]; 3] = [
            b"version https://git-lfs.github.com/spec/",
            b"version https://hawser.github.com/spec/",
            b"version http://git-media.io/v/",
        ];
        /// Shorter files of zeros may be data, such as one number.
        const MIN_ZEROS: usize = 64;

        let first = &first[..first.len().min(Self::FIRST_BYTES)];
        if first.is_empty() {
            return Some(Self::Empty);
        }
        if LFS.iter().any(|start| first.starts_with(start)) {
            return Some(Self::GitLfs);
        }
        if first.starts_with(b"/annex/objects/") {
            return Some(Self::GitAnnex);
        }
        if first.len() >= MIN_ZEROS && first.iter().all(|&byte| byte == 0) {
            return Some(Self::Zeros);
        }
        let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
        let text = text.trim_ascii_start().to_ascii_lowercase();
        if text.starts_with(b"{") {
            return is_json_error(&text).then_some(Self::ErrorMessage);
        }
        markup(&text)
    }
}

/// A JSON object that has an error in place of data, such as `{"error":"Entry not found"}`.
fn is_json_error(text: &[u8]) -> bool {
    const KEYS: [&[u8]; 4] = [b"\"error\"", b"\"errors\"", b"\"message\"", b"\"detail\""];
    let key = text[1..].trim_ascii_start();
    KEYS.iter().any(|start| key.starts_with(start))
}

/// The kind of an HTML or XML document, which may have a prolog and comments before its first element.
fn markup(mut text: &[u8]) -> Option<Placeholder> {
    const PAGE: [&[u8]; 8] = [
        b"!doctype html",
        b"html",
        b"head",
        b"body",
        b"title",
        b"script",
        b"meta",
        b"h1",
    ];
    const ERROR: [&[u8]; 2] = [b"error", b"errorresponse"];
    loop {
        let tag = text.trim_ascii_start().strip_prefix(b"<")?;
        let is = |name: &&[u8]| {
            let rest = tag.strip_prefix(*name);
            rest.is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_alphanumeric))
        };
        if PAGE.iter().any(is) {
            return Some(Placeholder::Html);
        }
        if ERROR.iter().any(is) {
            return Some(Placeholder::ErrorMessage);
        }
        let end: &[u8] = match tag {
            [b'!', b'-', b'-', ..] => b"-->",
            [b'?', ..] => b"?>",
            _ => return None,
        };
        let at = tag.windows(end.len()).position(|part| part == end)?;
        text = &tag[at + end.len()..];
    }
}

/// Completes "the file is ...": what it is, and what to do.
impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty; download or copy it again",
            Self::GitLfs => {
                "a Git LFS pointer, not the file itself; run `git lfs pull` in its repository"
            }
            Self::GitAnnex => {
                "a git-annex pointer, not the file itself; run `git annex get` in its repository"
            }
            Self::Html => {
                "an HTML page, not the file itself; check the address, or log in, and download it again"
            }
            Self::ErrorMessage => {
                "an error message of a web server, not the file itself; check the address and download it again"
            }
            Self::Zeros => "filled with zeros; download or copy it again",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_of_git_lfs_of_all_versions() {
        for version in [
            "https://git-lfs.github.com/spec/v1",
            "https://hawser.github.com/spec/v1",
            "http://git-media.io/v/2",
        ] {
            let pointer = format!("version {version}\noid sha256:4d7a21\nsize 12345\n");
            let found = Placeholder::of(pointer.as_bytes());
            assert_eq!(found, Some(Placeholder::GitLfs), "{version}");
        }
        assert_eq!(Placeholder::of(b"version 2\n"), None);
    }

    #[test]
    fn pages_with_whatever_comes_before_the_first_tag() {
        for page in [
            "<!DOCTYPE html><html>",
            "\u{feff}\r\n  <!doctype HTML>\n",
            "<html lang=en>",
            "<!-- saved from url --><!-- again -->\n<HTML>",
            "<?xml version=\"1.0\"?>\n<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\">",
            "<head><title>301 Moved</title></head>",
            "<h1>Not found</h1>",
        ] {
            let found = Placeholder::of(page.as_bytes());
            assert_eq!(found, Some(Placeholder::Html), "{page}");
        }
    }

    #[test]
    fn error_messages_of_servers() {
        for message in [
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code>",
            "{\"error\":\"Entry not found\"}",
            "{ \"message\": \"Bad credentials\" }",
        ] {
            let found = Placeholder::of(message.as_bytes());
            assert_eq!(found, Some(Placeholder::ErrorMessage), "{message}");
        }
    }

    #[test]
    fn empty_files_and_zeros() {
        assert_eq!(Placeholder::of(b""), Some(Placeholder::Empty));
        assert_eq!(Placeholder::of(&[0; 4096]), Some(Placeholder::Zeros));
        assert_eq!(Placeholder::of(&[0; 8]), None);
        let annex = b"/annex/objects/SHA256E-s31390--f50d.jpg\n";
        assert_eq!(Placeholder::of(annex), Some(Placeholder::GitAnnex));
    }

    #[test]
    fn data_is_not_a_placeholder() {
        let mut late = [0; Placeholder::FIRST_BYTES];
        late[100] = 1;
        for data in [
            &b"\xff\xd8\xff\xe0"[..],
            b"P6 1 1 255\n",
            b"image,label\na.jpg,3\n",
            b"{\"0\": [\"n01440764\", \"tench\"]}",
            b"{\"errors_per_class\": 1}",
            b"<svg xmlns=\"http://www.w3.org/2000/svg\">",
            b"<annotation><folder>x</folder>",
            b"<heading>",
            b"<!-- open",
            b"<",
            &late,
        ] {
            assert_eq!(Placeholder::of(data), None, "{data:?}");
        }
    }
}
