//! How a connection to the collector is made.

use std::time::Duration;

use tonic::transport::Endpoint;

/// A collector in the same network answers in milliseconds, one behind a mobile line within a second or two.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A peer whose machine lost power never closes its connection; this finds out within [`KEEP_ALIVE_PERIOD`] and
/// [`KEEP_ALIVE_LIMIT`].
const KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(10);
const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(10);

/// An address that no connection can be made to.
#[derive(Debug, thiserror::Error)]
#[error(
    "'{collector}' is not the address of a collector: write it as http://HOST:PORT, for example http://127.0.0.1:7400"
)]
pub struct AddressError {
    collector: String,
}

/// Checks a collector's address and sets the limits of connections to it.
///
/// # Errors
/// When the address is not `http://HOST[:PORT]`.
pub fn endpoint(collector: &str) -> Result<Endpoint, AddressError> {
    let refused = || AddressError { collector: collector.to_owned() };
    let uri: tonic::transport::Uri = collector.parse().map_err(|_| refused())?;
    let is_plain = uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty());
    if !is_plain || uri.path() != "/" || uri.query().is_some() {
        return Err(refused());
    }
    Ok(Endpoint::from(uri)
        .connect_timeout(CONNECT_LIMIT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_PERIOD)
        .keep_alive_timeout(KEEP_ALIVE_LIMIT)
        .keep_alive_while_idle(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_scheme_or_with_a_path_is_refused_with_an_example() {
        assert!(endpoint("http://127.0.0.1:7400").is_ok());
        assert!(endpoint("http://bench.local:7400/").is_ok());
        for bad in ["", "127.0.0.1:7400", "https://bench:7400", "http://bench:7400/x", "bench", "http://"] {
            let error = endpoint(bad).expect_err(bad).to_string();
            assert!(error.contains("http://127.0.0.1:7400"), "{error}");
        }
    }
}
