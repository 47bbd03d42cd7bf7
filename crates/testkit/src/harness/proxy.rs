//! A small HTTP proxy that requires a user name and password.
//!
//! It connects every host to one address, so that a page at a name that cannot be resolved is only reachable through
//! it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Maximum size of the head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The options of a proxy.
#[derive(Debug, Clone)]
pub struct ProxyOptions {
    /// The address that every request is sent to, whatever its host.
    pub upstream: SocketAddr,
    /// The required `Proxy-Authorization`, such as `Basic dTpw`.
    pub authorization: String,
}

/// A running proxy. It stops when it is dropped.
#[derive(Debug)]
pub struct TestProxy {
    address: SocketAddr,
    counts: Arc<Counts>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    served: AtomicU64,
    refused: AtomicU64,
}

impl TestProxy {
    /// Starts a proxy.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(options: ProxyOptions) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.unwrap_or_else(|error| panic!("the proxy cannot listen: {error}"));
        let address =
            listener.local_addr().unwrap_or_else(|error| panic!("the proxy has no address: {error}"));
        let counts = Arc::new(Counts::default());
        let (options, shared) = (Arc::new(options), Arc::clone(&counts));
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (options, counts) = (Arc::clone(&options), Arc::clone(&shared));
                // Errors of a browser's connection are ignored.
                tokio::spawn(async move { drop(serve(stream, &options, &counts).await) });
            }
        });
        Self { address, counts, server }
    }

    /// Returns its address in the form for browsers.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the number of forwarded requests.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.counts.served.load(Ordering::Relaxed)
    }

    /// Returns the number of requests without the right user name and password.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Relaxed)
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Handles one request per connection: the head is forwarded with only the path, and asks for the end of the
/// connection.
async fn serve(mut client: TcpStream, options: &ProxyOptions, counts: &Counts) -> io::Result<()> {
    let (head, rest) = read_head(&mut client).await?;
    if header(&head, "proxy-authorization") != Some(options.authorization.as_str()) {
        counts.refused.fetch_add(1, Ordering::Relaxed);
        let answer = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"test\"\r\n\
                      Content-Length: 0\r\nConnection: close\r\n\r\n";
        return client.write_all(answer.as_bytes()).await;
    }
    counts.served.fetch_add(1, Ordering::Relaxed);
    let mut upstream = TcpStream::connect(options.upstream).await?;
    upstream.write_all(onward(&head).as_bytes()).await?;
    upstream.write_all(&rest).await?;
    copy_bidirectional(&mut client, &mut upstream).await.map(drop)
}

async fn read_head(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        if bytes.len() > MAX_HEAD_BYTES || client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    headers.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Rewrites the head for the server itself: RFC 9112, 3.2.1 instead of 3.2.2.
fn onward(head: &str) -> String {
    let (request, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let after_host = target.split_once("://").map_or(target, |(_, rest)| rest);
    let path = after_host.find('/').map_or("/", |slash| &after_host[slash..]);
    let mut onward = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    for line in headers.lines().filter(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if !name.starts_with("proxy-") && name != "connection" {
            onward.push_str(line);
            onward.push_str("\r\n");
        }
    }
    onward + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_on_with_its_path_and_without_the_password() {
        let head = "POST http://portal.test/login?a=b HTTP/1.1\r\nHost: portal.test\r\n\
                    Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic dTpw\r\nCookie: a=b\r\n\r\n";
        assert_eq!(header(head, "Proxy-Authorization"), Some("Basic dTpw"));
        let expected =
            "POST /login?a=b HTTP/1.1\r\nConnection: close\r\nHost: portal.test\r\nCookie: a=b\r\n\r\n";
        assert_eq!(onward(head), expected);
    }
}
