//! The HTML page around the sections of a report.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::markup::Escaped;

const STYLE: &str = concat!(
    include_str!("palette.css"),
    include_str!("chart.css"),
    include_str!("style.css")
);
const SCRIPT: &str = include_str!("script.js");

/// A complete HTML file; `body` becomes the contents of its `main` element.
///
/// The content security policy allows only the page's own script, and no requests to servers.
pub fn page(title: &str, body: &str) -> String {
    let hash = STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'; img-src data:; script-src 'sha256-{hash}'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         <script>{SCRIPT}</script>\n</body>\n</html>\n",
        Escaped(title)
    )
}
