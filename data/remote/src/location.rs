//! Addresses of objects, without credentials.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::RemoteError;
use crate::redact::redacted;

/// Where an object is kept.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Provider {
    S3,
    Google,
    Azure,
    Web,
    Hub,
}

/// The address of an object, or of all objects below a prefix.
///
/// It has no credentials: those of an address that a user gave are kept beside it (see [`admit`]).
#[derive(Clone, Eq, Hash, PartialEq)]
pub(crate) struct Location {
    pub provider: Provider,
    /// The bucket, server or repository, with the scheme and without a slash at the end.
    pub root: String,
    /// The path below it, without slashes around it.
    pub key: String,
}

/// Credentials of addresses: what was removed from them.
#[derive(Default)]
struct Secrets {
    /// Queries by address.
    queries: Vec<(String, String)>,
    /// User and password by scheme and host.
    users: HashMap<String, String>,
}

static SECRETS: Mutex<Option<Secrets>> = Mutex::new(None);

fn secrets() -> MutexGuard<'static, Option<Secrets>> {
    SECRETS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a path is an address of remote data.
pub fn is_remote(path: &Path) -> bool {
    scheme(path).is_some()
}

fn scheme(path: &Path) -> Option<(&str, &str)> {
    let (scheme, rest) = path.to_str()?.split_once("://")?;
    let known = [
        "s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss", "http", "https", "hf",
    ];
    known.contains(&scheme).then_some((scheme, rest))
}

/// The address without user, password and query, which are remembered for the requests of this process. So nothing
/// that is printed, logged or saved later can contain them. Paths of local files are returned as they are.
///
/// # Errors
/// If it cannot be an address, or its credentials contradict those of an earlier one.
pub fn admit(path: &Path) -> Result<PathBuf, RemoteError> {
    let Some((scheme, rest)) = scheme(path) else {
        return Ok(path.to_owned());
    };
    let invalid = |location: &str, reason: &str| RemoteError::Location {
        location: redacted(location, &[]),
        reason: reason.to_owned(),
    };
    let web = matches!(scheme, "http" | "https");
    // In names of objects a question mark is a pattern.
    let (rest, query) = match rest.find(['?', '#']).filter(|_| web) {
        Some(at) => (
            &rest[..at],
            rest[at..].split('#').next().unwrap_or_default(),
        ),
        None => (rest, ""),
    };
    let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (user, host),
        None => ("", authority),
    };
    // `abfs://container@account…` has no password.
    let container = matches!(scheme, "abfs" | "abfss") && !user.contains(':');
    if !web && !user.is_empty() && !container && scheme != "hf" {
        let shown = format!("{scheme}://{host}/{key}");
        return Err(invalid(
            &shown,
            "a user or password in the address; pass credentials in the environment instead",
        ));
    }
    let shown = match web {
        true => format!("{scheme}://{host}/{key}"),
        false => format!("{scheme}://{authority}/{key}"),
    };
    let shown = shown.trim_end_matches('/').to_owned();
    let location = Location::parse(Path::new(&shown))?;
    let mut secrets = secrets();
    let secrets = secrets.get_or_insert_default();
    if !user.is_empty() && web {
        let root = location.root.clone();
        match secrets.users.get(&root) {
            Some(other) if other != user => {
                return Err(invalid(
                    &shown,
                    "this server is used with another user or password already",
                ));
            }
            _ => {
                secrets.users.insert(root, user.to_owned());
            }
        }
    }
    if query.len() > 1 {
        let query = &query[1..];
        match secrets.queries.iter().find(|(known, _)| *known == shown) {
            Some((_, other)) if other != query => {
                return Err(invalid(
                    &shown,
                    "it is used with another query (the part after `?`) already",
                ));
            }
            Some(_) => {}
            None => secrets.queries.push((shown.clone(), query.to_owned())),
        }
    }
    Ok(PathBuf::from(shown))
}

/// The address of the folder that an object or a folder is in; `None` for a whole bucket, server or repository, and for
/// what is not an address.
pub fn parent(address: &Path) -> Option<PathBuf> {
    let mut location = Location::parse(address).ok()?;
    let key = location.key.trim_end_matches('/');
    if key.is_empty() {
        return None;
    }
    location.key = key.rsplit_once('/').map_or("", |(key, _)| key).to_owned();
    Some(PathBuf::from(location.to_string()))
}

/// Uses the query of a pattern for one of the addresses that it stands for.
pub fn share_query(pattern: &Path, address: &Path) {
    let (Some(pattern), Some(address)) = (pattern.to_str(), address.to_str()) else {
        return;
    };
    let mut secrets = secrets();
    let secrets = secrets.get_or_insert_default();
    let find = |name: &str| secrets.queries.iter().find(|(known, _)| known == name);
    if find(address).is_none()
        && let Some((_, query)) = find(pattern).cloned()
    {
        secrets.queries.push((address.to_owned(), query));
    }
}

impl Location {
    /// The location at an address that [`admit`] returned, or below it.
    pub fn parse(path: &Path) -> Result<Self, RemoteError> {
        let invalid = |reason: &str| RemoteError::Location {
            location: redacted(&path.to_string_lossy(), &[]),
            reason: reason.to_owned(),
        };
        let (scheme, rest) =
            scheme(path).ok_or_else(|| invalid("it is not an address of remote data"))?;
        let provider = match scheme {
            "s3" | "s3a" => Provider::S3,
            "gs" => Provider::Google,
            "http" | "https" => Provider::Web,
            "hf" => Provider::Hub,
            _ => Provider::Azure,
        };
        let rest = rest.trim_end_matches('/');
        if provider == Provider::Hub {
            let (kind, inner) = match rest.split_once('/') {
                Some((kind @ ("datasets" | "spaces"), inner)) => (format!("{kind}/"), inner),
                _ => (String::new(), rest),
            };
            let mut parts = inner.splitn(3, '/');
            let (owner, name) = (
                parts.next().unwrap_or_default(),
                parts.next().unwrap_or_default(),
            );
            if owner.is_empty() || name.is_empty() {
                return Err(invalid(
                    "expected hf://datasets/OWNER/NAME/FILE or hf://datasets/OWNER/NAME@REVISION/FILE",
                ));
            }
            return Ok(Self {
                provider,
                root: format!("hf://{kind}{owner}/{name}"),
                key: parts.next().unwrap_or_default().to_owned(),
            });
        }
        let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() {
            return Err(invalid("the name of the bucket or server is missing"));
        }
        Ok(Self {
            provider,
            root: format!("{scheme}://{authority}"),
            key: key.to_owned(),
        })
    }

    /// The query that belongs to this address.
    pub fn query(&self) -> Option<String> {
        let shown = self.to_string();
        let secrets = secrets();
        let queries = &secrets.as_ref()?.queries;
        let found = queries.iter().find(|(known, _)| *known == shown);
        found.map(|(_, query)| query.clone())
    }

    /// User and password of this server, as in an address.
    pub fn user(&self) -> Option<String> {
        secrets().as_ref()?.users.get(&self.root).cloned()
    }
}

/// Everything secret that is known, to remove it from texts.
pub(crate) fn known_secrets() -> Vec<String> {
    let secrets = secrets();
    let Some(secrets) = secrets.as_ref() else {
        return Vec::new();
    };
    let queries = secrets.queries.iter().map(|(_, query)| query.clone());
    let users = secrets.users.values();
    queries.chain(users.cloned()).collect()
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => f.write_str(&self.root),
            key => write!(f, "{}/{key}", self.root),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String) {
        let Location { root, key, .. } = Location::parse(Path::new(text)).unwrap();
        (root, key)
    }

    #[test]
    fn folders_end_at_the_root() {
        for (address, folder) in [
            ("s3://bucket/a/b.tar", Some("s3://bucket/a")),
            ("s3://bucket/b.tar", Some("s3://bucket")),
            ("s3://onnx", None),
            ("hf://owner/onnx/m.onnx", Some("hf://owner/onnx")),
            ("hf://owner/onnx", None),
            ("https://host/onnx/", Some("https://host")),
            ("a/b", None),
        ] {
            let found = parent(Path::new(address));
            assert_eq!(found.as_deref(), folder.map(Path::new), "{address}");
        }
    }

    #[test]
    fn addresses_have_a_root_and_a_key() {
        for (text, root, key) in [
            ("s3://bucket/a/b.tar", "s3://bucket", "a/b.tar"),
            ("gs://bucket/", "gs://bucket", ""),
            ("https://host:8000/x/y", "https://host:8000", "x/y"),
            (
                "abfs://box@account.dfs.core.windows.net/x",
                "abfs://box@account.dfs.core.windows.net",
                "x",
            ),
            (
                "hf://datasets/owner/name@refs%2Fconvert%2Fparquet/a/0.parquet",
                "hf://datasets/owner/name@refs%2Fconvert%2Fparquet",
                "a/0.parquet",
            ),
            ("hf://owner/model/m.onnx", "hf://owner/model", "m.onnx"),
        ] {
            assert_eq!(parsed(text), (root.to_owned(), key.to_owned()));
        }
        for text in ["s3://", "s3:///x", "hf://datasets/owner", "hf://"] {
            let error = Location::parse(Path::new(text)).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("cannot use {text}: ")),
                "{error}"
            );
        }
    }

    #[test]
    fn local_paths_are_not_addresses() {
        for text in [
            "a/b.tar",
            "/s3/x",
            "C:/x",
            "file.tar",
            "ftp://host/x",
            "a://b",
        ] {
            assert!(!is_remote(Path::new(text)), "{text}");
            assert_eq!(admit(Path::new(text)).unwrap(), Path::new(text));
        }
    }

    #[test]
    fn credentials_stay_at_the_door() {
        let admitted = admit(Path::new(
            "https://me:hidden@door.test/x.tar?sig=abc&se=1#part",
        ))
        .unwrap();
        assert_eq!(admitted, Path::new("https://door.test/x.tar"));
        let location = Location::parse(&admitted).unwrap();
        assert_eq!(location.query().as_deref(), Some("sig=abc&se=1"));
        assert_eq!(location.user().as_deref(), Some("me:hidden"));
        assert_eq!(
            format!("{location:?} {location}"),
            "https://door.test/x.tar https://door.test/x.tar"
        );
        // The same credentials may be given again, but not others.
        admit(Path::new("https://me:hidden@door.test/x.tar?sig=abc&se=1")).unwrap();
        for other in [
            "https://door.test/x.tar?sig=other",
            "https://me:other@door.test/y.tar",
        ] {
            let error = admit(Path::new(other)).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(!text.contains("other@") && !text.contains("sig="), "{text}");
        }
        let error = admit(Path::new("s3://key:hidden@bucket/x")).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("s3://bucket/x") && !text.contains("hidden"),
            "{text}"
        );
    }

    #[test]
    fn a_pattern_shares_its_query() {
        let pattern = admit(Path::new("https://share.test/{0..1}.tar?sig=shared")).unwrap();
        let shard = Path::new("https://share.test/1.tar");
        share_query(&pattern, shard);
        let query = Location::parse(shard).unwrap().query();
        assert_eq!(query.as_deref(), Some("sig=shared"));
    }
}
