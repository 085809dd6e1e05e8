//! Removing credentials from texts that came from elsewhere.

/// What replaces a secret.
const HIDDEN: &str = "***";

/// Parameters and headers whose values are secrets, in lower case.
const NAMES: [&str; 14] = [
    "authorization",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-credential",
    "x-goog-signature",
    "x-goog-credential",
    "sig",
    "signature",
    "token",
    "access_token",
    "refresh_token",
    "client_secret",
    "password",
    "accountkey",
];

/// A text without the parts of addresses that may hold credentials (users, passwords and queries), without the
/// values of parameters with the usual names, and without `secrets`.
pub(crate) fn redacted(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= 4) {
        text = text.replace(secret.as_str(), HIDDEN);
    }
    parameters(&addresses(&text))
}

/// Hides users, passwords and queries of addresses.
fn addresses(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ')' | '>' | '<');
        let (address, after) = after.split_at(after.find(ends).unwrap_or(after.len()));
        let authority = address.find(['/', '?', '#']).unwrap_or(address.len());
        let (authority, path) = address.split_at(authority);
        match authority.rsplit_once('@') {
            Some((user, host)) if user.contains(':') => {
                shown.push_str(HIDDEN);
                shown.push('@');
                shown.push_str(host);
            }
            _ => shown.push_str(authority),
        }
        match path.find(['?', '#']) {
            Some(query) => {
                shown.push_str(&path[..=query]);
                shown.push_str(HIDDEN);
            }
            None => shown.push_str(path),
        }
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// Hides the values after names such as `token=` and `Authorization:`.
fn parameters(text: &str) -> String {
    let mut shown = text.to_owned();
    for name in NAMES {
        let mut from = 0;
        while let Some(found) = shown[from..].to_ascii_lowercase().find(name) {
            let start = from + found;
            let end = start + name.len();
            from = end;
            let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if shown[..start].ends_with(inside) {
                continue;
            }
            let value = shown[end..].trim_start_matches(['"', '\'', ' ']);
            let Some(value) = value.strip_prefix(['=', ':']) else {
                continue;
            };
            let value = value.trim_start_matches(['"', '\'', ' ']);
            let value_start = shown.len() - value.len();
            // A header may have a scheme before the secret, such as `Bearer`.
            let ends = match name {
                "authorization" => value.find(['\n', '\r', '"', '<']),
                _ => value.find(|c: char| {
                    c.is_whitespace() || matches!(c, '&' | '"' | '\'' | '<' | ',' | ';' | ')')
                }),
            };
            let value_end = value_start + ends.unwrap_or(value.len());
            if value_end > value_start {
                shown.replace_range(value_start..value_end, HIDDEN);
                from = value_start + HIDDEN.len();
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_users_and_queries() {
        for (text, expected) in [
            (
                "GET https://a.b/c.tar?X-Amz-Signature=abc&x=1 failed",
                "GET https://a.b/c.tar?*** failed",
            ),
            ("(http://user:pass@host:1/x)", "(http://***@host:1/x)"),
            (
                "abfs://box@account.dfs.core.windows.net/x",
                "abfs://box@account.dfs.core.windows.net/x",
            ),
            ("s3://bucket/key is missing", "s3://bucket/key is missing"),
            (
                "https://u:p@h?q#f and s3://b/k",
                "https://***@h?*** and s3://b/k",
            ),
        ] {
            assert_eq!(redacted(text, &[]), expected);
        }
    }

    #[test]
    fn values_of_secret_parameters_are_hidden() {
        for (text, expected) in [
            (
                "Authorization: Bearer hf_abc\nHost: x",
                "Authorization: ***\nHost: x",
            ),
            ("sig=abc%3D&se=2026", "sig=***&se=2026"),
            (r#"{"token": "abc", "n": 1}"#, r#"{"token": "***", "n": 1}"#),
            ("the token has expired", "the token has expired"),
            ("x-amz-security-token:abc", "x-amz-security-token:***"),
            ("design=new", "design=new"),
        ] {
            assert_eq!(redacted(text, &[]), expected);
        }
        let secrets = ["wJalrXUtnFEMI".to_owned()];
        assert_eq!(redacted("key wJalrXUtnFEMI!", &secrets), "key ***!");
    }
}
