//! The clients of the providers, with credentials from the environment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use percent_encoding::percent_decode_str;

use crate::RemoteError;
use crate::location::{Location, Provider};
use crate::redact::redacted;
use crate::service::Connector;
use crate::statistics::Statistics;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// The environment variables of the providers.
pub(crate) type Variables = HashMap<String, String>;

/// The clients, one per bucket, server or repository.
pub(crate) struct Stores {
    variables: Variables,
    timeout: Duration,
    statistics: Arc<Statistics>,
    /// By root, and the query of an address.
    open: Mutex<Open>,
}

type Open = HashMap<(String, Option<String>), Arc<dyn ObjectStore>>;

/// The variables whose values are secrets.
const SECRETS: [&str; 14] = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_MASTER_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TOKEN",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_CLIENT_SECRET",
    "HF_TOKEN",
];

impl Stores {
    pub fn new(variables: Variables, timeout: Duration, statistics: Arc<Statistics>) -> Self {
        Self {
            variables,
            timeout,
            statistics,
            open: Mutex::default(),
        }
    }

    /// A text without credentials.
    pub fn redacted(&self, text: &str) -> String {
        let mut secrets = crate::location::known_secrets();
        let values = SECRETS.iter().filter_map(|name| self.variables.get(*name));
        secrets.extend(values.cloned());
        redacted(text, &secrets)
    }

    /// The client and the key of a location.
    pub fn of(&self, location: &Location) -> Result<(Arc<dyn ObjectStore>, Key), RemoteError> {
        let invalid = |reason: String| RemoteError::Location {
            location: location.to_string(),
            reason: self.redacted(&reason),
        };
        let key = match location.provider {
            // Names on the web are encoded as in an address already.
            Provider::Web | Provider::Hub => Key::from_url_path(&location.key),
            _ => Key::parse(&location.key),
        };
        let key = key.map_err(|error| invalid(error.to_string()))?;
        let query = location.query();
        let id = (location.root.clone(), query.clone());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(&id) {
            return Ok((Arc::clone(store), key));
        }
        let store = self.connect(location, query);
        let store = store.map_err(|error| invalid(error.to_string()))?;
        open.insert(id, Arc::clone(&store));
        Ok((store, key))
    }

    /// Options of all clients.
    pub fn client_options(&self) -> ClientOptions {
        ClientOptions::new()
            .with_timeout(self.timeout)
            .with_connect_timeout(CONNECT)
            .with_user_agent(HeaderValue::from_static(concat!(
                "topk/",
                env!("CARGO_PKG_VERSION")
            )))
    }

    /// The connector of all clients.
    pub fn connector(&self) -> Connector {
        Connector(Arc::clone(&self.statistics))
    }

    /// Hugging Face's server, and the headers for it.
    pub fn hub(&self) -> (String, HeaderMap) {
        let endpoint = self.variables.get("HF_ENDPOINT").map(String::as_str);
        let endpoint = endpoint.filter(|endpoint| !endpoint.is_empty());
        let endpoint = endpoint
            .unwrap_or("https://huggingface.co")
            .trim_end_matches('/');
        let mut headers = HeaderMap::new();
        let token = self
            .variables
            .get("HF_TOKEN")
            .filter(|token| !token.is_empty());
        if let Some(mut value) =
            token.and_then(|token| HeaderValue::from_str(&format!("Bearer {}", token.trim())).ok())
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        (endpoint.to_owned(), headers)
    }

    fn connect(
        &self,
        location: &Location,
        query: Option<String>,
    ) -> object_store::Result<Arc<dyn ObjectStore>> {
        let retry = RetryConfig {
            // This crate tries again itself, and counts.
            max_retries: 0,
            ..RetryConfig::default()
        };
        let options = self.client_options();
        let root = &location.root;
        Ok(match location.provider {
            Provider::S3 => {
                let mut builder = AmazonS3Builder::new()
                    .with_url(root.as_str())
                    .with_retry(retry)
                    .with_client_options(options)
                    .with_http_connector(self.connector());
                for (key, value) in self.settings("AWS_") {
                    builder = builder.with_config(key, value);
                }
                let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
                let endpoint = endpoint.iter().find_map(|name| self.variables.get(*name));
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
                    if endpoint.starts_with("http://") {
                        builder = builder.with_allow_http(true);
                    }
                }
                Arc::new(builder.build()?)
            }
            Provider::Google => {
                let mut builder = GoogleCloudStorageBuilder::new()
                    .with_url(root.as_str())
                    .with_retry(retry)
                    .with_client_options(options)
                    .with_http_connector(self.connector());
                if let Some(path) = self.variables.get("SERVICE_ACCOUNT") {
                    builder = builder.with_service_account_path(path);
                }
                for (key, value) in self.settings("GOOGLE_") {
                    builder = builder.with_config(key, value);
                }
                Arc::new(builder.build()?)
            }
            Provider::Azure => {
                let mut builder = MicrosoftAzureBuilder::new()
                    .with_url(root.as_str())
                    .with_retry(retry)
                    .with_client_options(options)
                    .with_http_connector(self.connector());
                for (key, value) in self.settings("AZURE_") {
                    builder = builder.with_config(key, value);
                }
                let endpoint = self.variables.get("AZURE_STORAGE_ENDPOINT");
                if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
                    builder = builder.with_allow_http(true);
                }
                Arc::new(builder.build()?)
            }
            Provider::Web => {
                let mut headers = HeaderMap::new();
                if let Some(user) = location.user() {
                    headers.insert(AUTHORIZATION, basic(&user));
                }
                let options = options.with_default_headers(headers);
                let url = match query {
                    Some(query) => format!("{root}/?{query}"),
                    None => root.clone(),
                };
                self.web(url, options, retry)?
            }
            Provider::Hub => {
                let (endpoint, headers) = self.hub();
                let path = root.strip_prefix("hf://").unwrap_or(root);
                let (repository, revision) = path.split_once('@').unwrap_or((path, "main"));
                let url = format!("{endpoint}/{repository}/resolve/{revision}");
                self.web(url, options.with_default_headers(headers), retry)?
            }
        })
    }

    fn web(
        &self,
        url: String,
        options: ClientOptions,
        retry: RetryConfig,
    ) -> object_store::Result<Arc<dyn ObjectStore>> {
        let plain = url.starts_with("http://");
        let builder = HttpBuilder::new()
            .with_url(url)
            .with_retry(retry)
            .with_client_options(options.with_allow_http(plain))
            .with_http_connector(self.connector());
        Ok(Arc::new(builder.build()?))
    }

    /// The settings of a provider among the variables, as its tools name them.
    fn settings<K: std::str::FromStr>(&self, prefix: &str) -> Vec<(K, String)> {
        let variables = self.variables.iter();
        let known = variables.filter(|(name, _)| name.starts_with(prefix));
        let mut known: Vec<(&String, &String)> = known.collect();
        known.sort_unstable();
        let parsed = known.into_iter().filter_map(|(name, value)| {
            Some((name.to_ascii_lowercase().parse().ok()?, value.clone()))
        });
        parsed.collect()
    }
}

/// The header for a user and password, which may be encoded as in an address.
fn basic(user: &str) -> HeaderValue {
    let user: Vec<u8> = percent_decode_str(user).collect();
    let value = format!("Basic {}", BASE64_STANDARD.encode(user));
    let mut value = HeaderValue::from_str(&value).expect("base64 is valid in a header");
    value.set_sensitive(true);
    value
}

impl std::fmt::Debug for Stores {
    /// Without the variables and clients, which have credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stores")
    }
}
