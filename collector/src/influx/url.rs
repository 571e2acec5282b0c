//! The address of a server: HTTP or HTTPS, with the path that a proxy may put before InfluxDB's own.

use std::fmt;
use std::str::FromStr;

use ureq::http::Uri;

/// Address of an InfluxDB server: `http://127.0.0.1:8086`, `https://host/influx`. Without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

/// An address that is none of a server.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is no address, or of another protocol.
    #[error("expected an address that begins with http:// or https://, like http://127.0.0.1:8086")]
    NotHttp,
    /// It holds a user or a password, which would be seen in every message.
    #[error("an address holds no user and no password: InfluxDB wants a token")]
    Userinfo,
    /// It goes on behind the path.
    #[error("expected an address that ends with its host, its port or a path, without ? and #")]
    Query,
}

impl ServerUrl {
    /// Where a path of InfluxDB's own is found: it begins with a slash.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Whether it names this machine by its own address, which no proxy leads to.
    pub fn is_loopback(&self) -> bool {
        let host = self.0.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.contains(['?', '#']) {
            return Err(UrlError::Query);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::NotHttp)?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let authority = uri.authority().filter(|_| is_http).ok_or(UrlError::NotHttp)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::Userinfo);
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A value as a part of a query, whatever is in it.
pub(super) fn encode(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_before_influxdbs_own_is_kept() {
        let url: ServerUrl = "https://host/influx/".parse().unwrap();
        assert_eq!(url.join("/api/v2/setup"), "https://host/influx/api/v2/setup");
        let url: ServerUrl = "http://[::1]:8086".parse().unwrap();
        assert_eq!(url.join("/health"), "http://[::1]:8086/health");
        assert!(url.is_loopback());
        assert!(!"http://influx.example:8086".parse::<ServerUrl>().unwrap().is_loopback());
    }

    #[test]
    fn what_is_no_address_of_a_server_is_refused() {
        let refused = |text: &str| text.parse::<ServerUrl>().unwrap_err();
        for text in ["", "127.0.0.1:8086", "localhost", "ftp://host", "http://", "http:// host", "/path"] {
            assert_eq!(refused(text), UrlError::NotHttp, "{text}");
        }
        assert_eq!(refused("http://me:secret@host"), UrlError::Userinfo);
        assert_eq!(refused("http://host?org=a"), UrlError::Query);
        assert_eq!(refused("http://host#a"), UrlError::Query);
    }

    #[test]
    fn a_value_is_one_value_in_a_query() {
        assert_eq!(encode("a b&c=ü/+%"), "a%20b%26c%3D%C3%BC%2F%2B%25");
        assert_eq!(encode("tinywatt-samples_1.x~"), "tinywatt-samples_1.x~");
    }
}
