//! Who is at the other end of a connection of this machine: the kernel's table says which user has the socket
//! (`/proc/net/tcp`, `Documentation/networking/proc_net_tcp.rst`).

use std::net::{IpAddr, SocketAddr};

/// Both ends of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Theirs.
    pub remote: SocketAddr,
    /// Ours.
    pub local: SocketAddr,
}

impl Peer {
    /// Whether a process of our own user has the other end. Such a process can do what we can do, so that
    /// nothing is kept from it by being careful with files.
    #[must_use]
    pub fn is_own_user(&self) -> bool {
        self.user() == Some(rustix::process::geteuid().as_raw())
    }

    /// The user who has the other end, where it is of this machine.
    fn user(&self) -> Option<u32> {
        if !self.remote.ip().to_canonical().is_loopback() {
            return None;
        }
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        tables
            .iter()
            .filter_map(|table| std::fs::read_to_string(table).ok())
            .find_map(|table| self.user_in(&table))
    }

    /// The line whose own end is their end of this connection.
    fn user_in(&self, table: &str) -> Option<u32> {
        let wanted = [self.remote, self.local].map(|end| (end.ip().to_canonical(), end.port()));
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let ends = [address(fields.get(1)?)?, address(fields.get(2)?)?];
            if ends == wanted { fields.get(7)?.parse().ok() } else { None }
        })
    }
}

/// `0100007F:1B9E`: words of 32 bits in the machine's own order, then the port.
fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (words, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for start in (0..words.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(words.get(start..start + 8)?, 16).ok()?.to_ne_bytes());
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    let ip = match <[u8; 4]>::try_from(&*bytes) {
        Ok(bytes) => IpAddr::from(bytes),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(&*bytes).ok()?).to_canonical(),
    };
    Some((ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn ends_are_read() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(address("0100007F:1B9E"), Some((loopback, 7070)));
        let mapped = "0000000000000000FFFF00000100007F:1B9E";
        assert_eq!(address(mapped), Some((loopback, 7070)));
        for bad in ["", ":", "0100007F", "01:1", "0100007F:XX", "0100007FF:1B9E"] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }

    #[test]
    fn our_own_connection_is_of_our_own_user() {
        for bound in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(bound) else { continue };
            let local = listener.local_addr().unwrap();
            let _client = TcpStream::connect(local).unwrap();
            let (_stream, remote) = listener.accept().unwrap();
            assert!(Peer { remote, local }.is_own_user(), "{bound}");
            let other = SocketAddr::new(remote.ip(), local.port());
            assert!(!Peer { remote: other, local }.is_own_user(), "nobody is at that end");
        }
    }

    #[test]
    fn nobody_elsewhere_is_our_own_user() {
        let remote = "192.0.2.1:4000".parse().unwrap();
        assert!(!Peer { remote, local: "127.0.0.1:7070".parse().unwrap() }.is_own_user());
    }
}
