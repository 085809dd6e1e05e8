//! Which failures another try may change, and how long to wait before it.

use std::error::Error;
use std::time::{Duration, Instant};

use object_store::client::{HttpError, HttpErrorKind};

use crate::RemoteError;
use crate::location::{Location, Provider};
use crate::service::Marker;
use crate::statistics::Statistics;
use crate::stores::Stores;

/// When to give up.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// Largest number of tries, at least 1.
    pub tries: u32,
    /// No new try begins after this time.
    pub elapsed: Duration,
    /// The wait after the first failure; each further one doubles it.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
}

impl Default for Retries {
    /// Ten tries in three minutes, with waits from 0.2 to 15 seconds.
    fn default() -> Self {
        Self {
            tries: 10,
            elapsed: Duration::from_secs(180),
            first_wait: Duration::from_millis(200),
            longest_wait: Duration::from_secs(15),
        }
    }
}

/// A failure of one try.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Another try may succeed.
    Passing {
        /// What is counted.
        cause: String,
        reason: String,
        wait: Option<Duration>,
    },
    Final(RemoteError),
}

/// The tries of one request.
pub(crate) struct Tries<'a> {
    retries: Retries,
    statistics: &'a Statistics,
    location: &'a Location,
    begin: Instant,
    count: u32,
}

impl<'a> Tries<'a> {
    pub fn new(retries: Retries, statistics: &'a Statistics, location: &'a Location) -> Self {
        Self {
            retries,
            statistics,
            location,
            begin: Instant::now(),
            count: 0,
        }
    }

    /// After a failure: waits for the next try, or gives up.
    pub async fn again(&mut self, failure: Failure) -> Result<(), RemoteError> {
        let (cause, reason, wait) = match failure {
            Failure::Passing {
                cause,
                reason,
                wait,
            } => (cause, reason, wait),
            Failure::Final(error) => return Err(error),
        };
        self.count += 1;
        let elapsed = self.begin.elapsed();
        if self.count >= self.retries.tries || elapsed >= self.retries.elapsed {
            return Err(RemoteError::Failed {
                location: self.location.to_string(),
                reason,
                tries: self.count,
                elapsed,
            });
        }
        self.statistics.retry(&cause);
        let doubled = self
            .retries
            .first_wait
            .saturating_mul(1 << (self.count - 1).min(16));
        let wait = wait.unwrap_or(doubled).min(self.retries.longest_wait);
        tokio::time::sleep(wait.mul_f64(jitter())).await;
        Ok(())
    }
}

/// Between 0.5 and 1, so that processes that failed together do not try again together.
fn jitter() -> f64 {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanoseconds =
        time.map_or(0, |time| time.subsec_nanos()) ^ std::process::id().rotate_left(16);
    0.5 + 0.5 * f64::from(nanoseconds.wrapping_mul(0x9e37_79b9) >> 8) / f64::from(1 << 24)
}

/// What a failed request means.
pub(crate) fn failure(
    error: &object_store::Error,
    location: &Location,
    stores: &Stores,
) -> Failure {
    use object_store::Error as E;
    let shown = || location.to_string();
    let sources = std::iter::successors(Some(error as &(dyn Error + 'static)), |&error| {
        error.source()
    });
    let sources: Vec<&(dyn Error + 'static)> = sources.collect();
    let marker = sources
        .iter()
        .find_map(|error| error.downcast_ref::<Marker>());
    match marker {
        Some(Marker::Status { status, wait }) => {
            let cause = format!("HTTP {}", status.as_u16());
            return Failure::Passing {
                reason: cause.clone(),
                cause,
                wait: *wait,
            };
        }
        Some(Marker::RangeIgnored) => {
            return Failure::Final(RemoteError::NoRanges { location: shown() });
        }
        Some(marker @ Marker::NoCredentials) => {
            return Failure::Final(RemoteError::Denied {
                location: shown(),
                reason: marker.to_string(),
                hint: hint(location),
            });
        }
        None => {}
    }
    match error {
        E::NotFound { .. } => {
            return Failure::Final(RemoteError::NotFound {
                location: shown(),
                hint: match location.provider {
                    Provider::S3 => ", and the region and server (AWS_REGION, AWS_ENDPOINT_URL)",
                    Provider::Hub => ", and the revision (@REVISION, `main` if there is none)",
                    _ => "",
                },
            });
        }
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
            let status = match error {
                E::Unauthenticated { .. } => "HTTP 401",
                _ => "HTTP 403",
            };
            return Failure::Final(RemoteError::Denied {
                location: shown(),
                reason: status.to_owned(),
                hint: hint(location),
            });
        }
        _ => {}
    }
    let innermost = sources.last().map_or_else(String::new, ToString::to_string);
    let http = sources
        .iter()
        .find_map(|error| error.downcast_ref::<HttpError>());
    let Some(http) = http else {
        return Failure::Final(RemoteError::Permanent {
            location: shown(),
            reason: stores.redacted(&innermost),
        });
    };
    let cause = match http.kind() {
        HttpErrorKind::Connect => "no connection",
        HttpErrorKind::Timeout => "timeout",
        _ => "connection broken",
    };
    Failure::Passing {
        cause: cause.to_owned(),
        reason: format!("{cause} ({})", stores.redacted(&innermost)),
        wait: None,
    }
}

/// Where a provider's credentials come from.
fn hint(location: &Location) -> &'static str {
    match location.provider {
        Provider::S3 => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN if there is one), or \
             AWS_SKIP_SIGNATURE=true for public buckets"
        }
        Provider::Google => {
            "set GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT, or GOOGLE_SKIP_SIGNATURE=true for \
             public buckets"
        }
        Provider::Azure => {
            "set AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or \
             AZURE_SKIP_SIGNATURE=true for public containers"
        }
        Provider::Web => "give user:password@ or a signed query in the address",
        Provider::Hub => {
            "set HF_TOKEN, and accept the data set's conditions on its page if it has any"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_at_least_half() {
        for _ in 0..1000 {
            assert!((0.5..=1.0).contains(&jitter()));
        }
    }
}
