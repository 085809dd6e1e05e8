//! The HTTP client under the object stores: it counts requests, and marks what decides about another try.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{RANGE, RETRY_AFTER};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use thiserror::Error;

use crate::statistics::Statistics;

/// What this client saw, as the innermost source of an error.
#[derive(Debug, Error)]
pub(crate) enum Marker {
    /// A status that another try may change.
    #[error("HTTP {}", status.as_u16())]
    Status {
        status: StatusCode,
        /// How long the server asks to wait.
        wait: Option<Duration>,
    },
    /// The whole file instead of a range.
    #[error("the server ignored the range of a request")]
    RangeIgnored,
    /// The service that has credentials of a virtual machine does not answer.
    #[error("no credentials in the environment, and no service of a virtual machine that has some")]
    NoCredentials,
}

/// Connects through [`ReqwestConnector`].
#[derive(Debug)]
pub(crate) struct Connector(pub Arc<Statistics>);

struct Service {
    inner: HttpClient,
    statistics: Arc<Statistics>,
}

impl fmt::Debug for Service {
    /// Without the client, whose headers may hold a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Service {
            inner,
            statistics: Arc::clone(&self.0),
        }))
    }
}

impl HttpService for Service {
    fn call<'a, 'async_trait>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'async_trait>>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let ranged = request.headers().contains_key(RANGE);
            let metadata = request.uri().host().is_some_and(is_metadata_service);
            self.statistics.request();
            let marked = |marker| HttpError::new(HttpErrorKind::Unknown, marker);
            let answer = self.inner.execute(request).await;
            if metadata
                && answer
                    .as_ref()
                    .map_or(true, |answer| !answer.status().is_success())
            {
                return Err(marked(Marker::NoCredentials));
            }
            let answer = answer?;
            let status = answer.status();
            let again = status.is_server_error()
                || matches!(
                    status,
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                );
            if again {
                let wait = answer.headers().get(RETRY_AFTER);
                let wait = wait.and_then(|wait| wait.to_str().ok()?.trim().parse().ok());
                let wait = wait.map(Duration::from_secs);
                return Err(marked(Marker::Status { status, wait }));
            }
            if ranged && status == StatusCode::OK {
                return Err(marked(Marker::RangeIgnored));
            }
            Ok(answer)
        })
    }
}

/// Whether a host is the one that has the credentials of a virtual machine.
fn is_metadata_service(host: &str) -> bool {
    matches!(
        host,
        "169.254.169.254" | "metadata.google.internal" | "metadata"
    )
}
