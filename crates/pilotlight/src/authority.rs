//! Parses the `Host` and `Origin` headers, each in one place.
//!
//! Everything that is not exactly `host[:port]` is refused, even if URL parsers would find a host in it: two parsers
//! that read the same header differently are how checks are bypassed.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The default port of `http`.
const HTTP_PORT: u16 = 80;
/// The default port of `https`.
const HTTPS_PORT: u16 = 443;
/// The maximum length of a host name (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;
/// The maximum length of a label of a host name.
const MAX_LABEL: usize = 63;

/// A host in a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostName {
    /// A name, in lower case.
    Name(String),
    /// An address.
    V4(Ipv4Addr),
    /// An address, written in brackets.
    V6(Ipv6Addr),
}

/// `host` or `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The host.
    pub host: HostName,
    /// The port, if given.
    pub port: Option<u16>,
}

impl Authority {
    /// Parses `host` or `host:port` and nothing else: no user, path, query, whitespace, or numbers that only some
    /// parsers accept as an address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                // An address with a zone names an interface of the client's machine.
                (HostName::V6(address.parse().ok()?), rest)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                (host(text.get(..end)?)?, text.get(end..)?)
            }
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => Some(number(digits)?),
            None if port.is_empty() => None,
            None => return None,
        };
        Some(Self { host, port })
    }

    /// Returns the port of an `http` request.
    #[must_use]
    pub fn http_port(&self) -> u16 {
        self.port.unwrap_or(HTTP_PORT)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostName::Name(name) => formatter.write_str(name)?,
            HostName::V4(address) => write!(formatter, "{address}")?,
            HostName::V6(address) => write!(formatter, "[{address}]")?,
        }
        self.port.map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

/// The origin of a page: `http://host[:port]` or `https://host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Whether the scheme is `https`.
    pub is_secure: bool,
    /// The host and port; the default port is left out.
    pub authority: Authority,
}

impl Origin {
    /// Parses an origin exactly, without a path.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        Some(Self::of(is_secure, Authority::parse(rest)?))
    }

    /// Returns the origin of pages that this host serves.
    #[must_use]
    pub fn of(is_secure: bool, mut authority: Authority) -> Self {
        let usual = if is_secure { HTTPS_PORT } else { HTTP_PORT };
        authority.port = authority.port.filter(|port| *port != usual);
        Self { is_secure, authority }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        write!(formatter, "{scheme}://{}", self.authority)
    }
}

fn host(text: &str) -> Option<HostName> {
    let is_label = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        letters && !label.is_empty() && label.len() <= MAX_LABEL
    };
    if text.len() > MAX_NAME || !text.split('.').all(is_label) {
        return None;
    }
    // Browsers treat every host that ends with a number as an address, including `127.1` and `0x7f.1` (URL Standard,
    // "ends in a number checker"). Of all its spellings, this is the one that browsers send.
    let last = text.rsplit('.').next()?;
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if is_number {
        text.parse().ok().map(HostName::V4)
    } else {
        Some(HostName::Name(text.to_ascii_lowercase()))
    }
}

/// Parses a port without a sign or leading zeros.
fn number(digits: &str) -> Option<u16> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_read_to_the_letter() {
        for (text, written) in [
            ("localhost", "localhost"),
            ("LocalHost:7070", "localhost:7070"),
            ("127.0.0.1:7070", "127.0.0.1:7070"),
            ("[::1]:7070", "[::1]:7070"),
            ("[0:0::1]", "[::1]"),
            ("my_service.internal:1", "my_service.internal:1"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(
                Authority::parse(text).map(|read| read.to_string()).as_deref(),
                Some(written),
                "{text}"
            );
        }
        for bad in [
            "",
            ":",
            ":7070",
            "evil@127.0.0.1:7070",
            "127.0.0.1:7070/x",
            "127.0.0.1:7070#evil",
            "127.0.0.1:7070?evil",
            "127.0.0.1:7070\\",
            "localhost\t:7070",
            " localhost",
            "localhost ",
            "localhost:",
            "localhost:0",
            "localhost:00",
            "localhost:07070",
            "localhost:+7070",
            "localhost:65536",
            "localhost:7070:7070",
            "localhost.",
            "local..host",
            ".localhost",
            "127.1:7070",
            "127.0.0.01",
            "0x7f.0.0.1",
            "0x7f000001",
            "2130706433",
            "evil.0x1",
            "127.0.0.256",
            "::1",
            "[::1",
            "::1]",
            "[::1]x",
            "[::1%lo]",
            "[127.0.0.1]",
            "loc%61lhost",
            "löcalhost",
            "a,b",
            "http://localhost",
        ] {
            assert_eq!(Authority::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn origins_have_no_path_and_no_usual_port() {
        for (text, written) in [
            ("http://localhost:7070", "http://localhost:7070"),
            ("HTTP://localhost:80", "http://localhost"),
            ("https://pilot.example:443", "https://pilot.example"),
            ("https://pilot.example:80", "https://pilot.example:80"),
        ] {
            assert_eq!(Origin::parse(text).map(|read| read.to_string()).as_deref(), Some(written), "{text}");
        }
        for bad in
            ["null", "", "file://", "http://", "http://a/", "http://a b", "ws://a", "//a", "http:/a", "a"]
        {
            assert_eq!(Origin::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_all_that_was_written(text in "[\\[\\]a-zA-Z0-9:.@/?#%\\\\ \t_-]{0,24}") {
            if let Some(read) = Authority::parse(&text) {
                // Nothing is left over: written again it is the same, but for the spelling of letters and of IPv6.
                let again = read.to_string();
                prop_assert_eq!(Authority::parse(&again), Some(read.clone()));
                if !matches!(read.host, HostName::V6(_)) {
                    prop_assert_eq!(again, text.to_ascii_lowercase());
                }
            }
        }

        #[test]
        fn other_readers_find_the_same(text in "[a-z0-9.:@/?#\\\\%\t x-]{0,20}") {
            // Some names are no names by rules that have nothing to do with who is meant, such as `xn--`.
            if let (Some(read), Ok(url)) = (Authority::parse(&text), url::Url::parse(&format!("http://{text}/"))) {
                prop_assert_eq!(url.path(), "/");
                prop_assert_eq!(url.port_or_known_default(), Some(read.http_port()));
                let host = Authority { port: None, ..read }.to_string();
                prop_assert_eq!(url.host_str(), Some(host.as_str()));
            }
        }

        #[test]
        fn anything_at_all_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = (Authority::parse(&text), Origin::parse(&text));
        }
    }
}
