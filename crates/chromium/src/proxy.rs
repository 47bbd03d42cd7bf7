//! The proxy of a window. Its password is sent only on the proxy's request; it is never put on a command line or into
//! an error.

use secrecy::SecretString;
use url::Url;

/// Kinds of proxy that Chromium supports.
const SCHEMES: [&str; 4] = ["http", "https", "socks4", "socks5"];

/// A proxy for all requests of a window.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// For example `http://proxy.example:3128`.
    pub server: String,
    /// The user name, if the proxy requires one.
    pub username: Option<String>,
    /// The password, if the proxy requires one.
    pub password: Option<SecretString>,
    /// Hosts that are accessed without the proxy, separated by commas, in the format of Chromium's
    /// `--proxy-bypass-list`. Chromium never uses a proxy for this machine itself unless `<-loopback>` is listed.
    pub bypass: Option<String>,
}

/// Why a proxy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// It is not `scheme://host:port`.
    #[error(
        "a proxy is written as `scheme://host:port`, with `http`, `https`, `socks4` or `socks5` as scheme"
    )]
    Malformed,
    /// The address contains a user name or password.
    #[error("the proxy's user name and password do not belong in `server`: use `username` and `password`")]
    UserInformation,
    /// Chromium cannot authenticate at SOCKS proxies.
    #[error("Chromium cannot send a user name and password to a SOCKS proxy")]
    SocksWithPassword,
}

/// The credentials for a proxy.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: SecretString,
}

impl Proxy {
    /// Checks the address without quoting it, since it may contain a password.
    ///
    /// # Errors
    /// If Chromium would not understand it, or would silently ignore the password.
    pub fn check(&self) -> Result<(), ProxyError> {
        let url = Url::parse(&self.server).map_err(|_| ProxyError::Malformed)?;
        if !url.username().is_empty() || url.password().is_some() || self.server.contains('@') {
            return Err(ProxyError::UserInformation);
        }
        let no_more = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if !SCHEMES.contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) || !no_more {
            return Err(ProxyError::Malformed);
        }
        if url.scheme().starts_with("socks") && self.credentials().is_some() {
            return Err(ProxyError::SocksWithPassword);
        }
        Ok(())
    }

    /// Returns the credentials, if there are any.
    pub(crate) fn credentials(&self) -> Option<Credentials> {
        let username = self.username.clone()?;
        Some(Credentials {
            username,
            password: self.password.clone().unwrap_or_else(|| SecretString::from("")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(server: &str, username: Option<&str>) -> Proxy {
        Proxy {
            server: server.into(),
            username: username.map(Into::into),
            password: Some("geheim".into()),
            bypass: None,
        }
    }

    #[test]
    fn addresses_are_checked_and_never_quoted() {
        for server in ["http://proxy:3128", "https://proxy.example/", "socks5://[::1]:1080"] {
            assert_eq!(proxy(server, None).check(), Ok(()), "{server}");
        }
        for server in ["proxy:3128", "ftp://proxy", "http://", "http://proxy/path", "", "direct://"] {
            assert_eq!(proxy(server, None).check(), Err(ProxyError::Malformed), "{server}");
        }
        let error = proxy("http://user:geheim@proxy:1", None).check().unwrap_err();
        assert_eq!(error, ProxyError::UserInformation);
        assert!(!error.to_string().contains("geheim"));
        assert_eq!(proxy("socks5://proxy:1", Some("u")).check(), Err(ProxyError::SocksWithPassword));
        assert!(!format!("{:?}", proxy("http://proxy", Some("u"))).contains("geheim"));
    }
}
