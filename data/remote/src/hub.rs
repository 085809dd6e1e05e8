//! Lists of files in repositories of the Hugging Face hub.

use http::header::LINK;
use object_store::client::{HttpConnector, HttpRequest, HttpRequestBody};
use serde::Deserialize;

use crate::RemoteError;
use crate::client::Client;
use crate::list::Tree;
use crate::location::Location;
use crate::retry::{Failure, Tries, failure};

/// An entry of the hub's list.
#[derive(Debug, Deserialize)]
struct Entry {
    r#type: String,
    path: String,
}

impl Client {
    /// The files below a folder of a repository.
    pub(crate) fn hub_tree(&self, location: &Location) -> Result<Tree, RemoteError> {
        let (endpoint, headers) = self.stores.hub();
        let path = location
            .root
            .strip_prefix("hf://")
            .unwrap_or(&location.root);
        let (repository, revision) = path.split_once('@').unwrap_or((path, "main"));
        let repository = match repository.split('/').count() {
            2 => format!("models/{repository}"),
            _ => repository.to_owned(),
        };
        let mut next = Some(format!(
            "{endpoint}/api/{repository}/tree/{revision}/{}?recursive=true",
            location.key
        ));
        let options = self
            .stores
            .client_options()
            .with_allow_http(endpoint.starts_with("http://"));
        let client = self.stores.connector().connect(&options);
        let client = client.map_err(|error| self.broken(location, &error.to_string()))?;
        let mut tree = Tree::default();
        while let Some(url) = next.take() {
            let (page, link) = self.block_on(async {
                let mut tries = Tries::new(self.options.retries, &self.statistics, location);
                loop {
                    match self.hub_page(&client, &url, &headers, location).await {
                        Ok(page) => return Ok(page),
                        Err(failure) => tries.again(failure).await?,
                    }
                }
            })?;
            let entries: Vec<Entry> = serde_json::from_slice(&page)
                .map_err(|error| self.broken(location, &format!("its list of files: {error}")))?;
            for Entry { r#type, path } in entries {
                if r#type == "file" {
                    // Sizes and tags come with the files: those in the list may be of pointers.
                    tree.0.insert(path, None);
                }
            }
            // Another server would get the token.
            next = link.filter(|link| link.starts_with(&format!("{endpoint}/")));
        }
        Ok(tree)
    }

    async fn hub_page(
        &self,
        client: &object_store::client::HttpClient,
        url: &str,
        headers: &http::HeaderMap,
        location: &Location,
    ) -> Result<(bytes::Bytes, Option<String>), Failure> {
        let transport = |error| {
            let error = object_store::Error::Generic {
                store: "hub",
                source: Box::new(error),
            };
            failure(&error, location, &self.stores)
        };
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = url.parse().map_err(|_| {
            Failure::Final(self.broken(location, "its name is not valid in an address"))
        })?;
        *request.headers_mut() = headers.clone();
        let answer = client.execute(request).await.map_err(transport)?;
        let status = answer.status();
        if !status.is_success() {
            let source = format!("HTTP {}", status.as_u16()).into();
            let path = location.key.clone();
            let error = match status.as_u16() {
                401 => object_store::Error::Unauthenticated { path, source },
                403 => object_store::Error::PermissionDenied { path, source },
                404 => object_store::Error::NotFound { path, source },
                _ => object_store::Error::Generic {
                    store: "hub",
                    source,
                },
            };
            return Err(failure(&error, location, &self.stores));
        }
        let link = answer
            .headers()
            .get(LINK)
            .and_then(|link| link.to_str().ok())
            .and_then(next_page);
        let page = answer.into_body().bytes().await.map_err(transport)?;
        Ok((page, link))
    }

    fn broken(&self, location: &Location, reason: &str) -> RemoteError {
        RemoteError::Permanent {
            location: location.to_string(),
            reason: self.stores.redacted(reason),
        }
    }
}

/// The address of the next page in a header such as `<https://…>; rel="next"`.
fn next_page(link: &str) -> Option<String> {
    link.split(',').find_map(|link| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        parameters
            .contains("rel=\"next\"")
            .then(|| address.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_the_next_page() {
        let link = r#"<https://hub/a?cursor=1>; rel="prev", <https://hub/a?cursor=2>; rel="next""#;
        assert_eq!(next_page(link).as_deref(), Some("https://hub/a?cursor=2"));
        assert_eq!(next_page(r#"<https://hub/a>; rel="prev""#), None);
        assert_eq!(next_page(""), None);
    }
}
