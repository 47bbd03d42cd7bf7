//! Whether a request comes from this machine, straight or passed on by a program of this machine.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderMap;

/// What programs that pass requests on write into them: RFC 7239 and RFC 9110, and what was usual before.
const FORWARDED: [&str; 7] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
];

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its address.
    pub remote: SocketAddr,
}

impl Peer {
    /// Whether a request is of a client on this machine, as far as that can be told: a proxy or tunnel on this
    /// machine that adds no header looks like one. So this alone must never give anything.
    #[must_use]
    pub fn is_local(&self, headers: &HeaderMap) -> bool {
        let is_forwarded = FORWARDED.iter().any(|name| headers.contains_key(*name));
        self.remote.ip().to_canonical().is_loopback() && !is_forwarded
    }
}

/// Whether a client of a window is of this machine.
#[derive(Debug, Clone)]
pub enum Locality {
    /// As it was told by its own request.
    Own(bool),
    /// It does what others ask for by requests of their own.
    OfRequests(Arc<Requests>),
}

impl Default for Locality {
    fn default() -> Self {
        Self::Own(false)
    }
}

impl Locality {
    /// Whether what is done now is done for this machine.
    #[must_use]
    pub fn is_local_now(&self) -> bool {
        match self {
            Self::Own(is_local) => *is_local,
            Self::OfRequests(requests) => requests.lock().all_are_local(),
        }
    }

    /// Whether whatever was asked for at any time was asked for on this machine.
    #[must_use]
    pub fn was_always_local(&self) -> bool {
        match self {
            Self::Own(is_local) => *is_local,
            Self::OfRequests(requests) => !requests.lock().had_foreign,
        }
    }
}

/// The requests of which a program carries out one or another. Which one it is about cannot be told, so it has the
/// rights that all of them have.
#[derive(Debug, Default)]
pub struct Requests(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    local: usize,
    foreign: usize,
    had_foreign: bool,
}

impl Counts {
    fn all_are_local(&self) -> bool {
        self.local > 0 && self.foreign == 0
    }
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request for as long as it is carried out.
    #[must_use]
    pub fn begin(self: &Arc<Self>, is_local: bool) -> Counted {
        let mut counts = self.lock();
        counts.had_foreign |= !is_local;
        *if is_local { &mut counts.local } else { &mut counts.foreign } += 1;
        Counted { requests: Arc::clone(self), is_local }
    }
}

/// A request that is carried out.
#[derive(Debug)]
pub struct Counted {
    requests: Arc<Requests>,
    is_local: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.requests.lock();
        *if self.is_local { &mut counts.local } else { &mut counts.foreign } -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_for_several_has_the_rights_that_all_of_them_have() {
        let requests = Arc::<Requests>::default();
        let locality = Locality::OfRequests(Arc::clone(&requests));
        let is = || (locality.is_local_now(), locality.was_always_local());
        assert_eq!(is(), (false, true), "nobody asks for anything");
        let local = requests.begin(true);
        assert_eq!(is(), (true, true));
        let foreign = requests.begin(false);
        assert_eq!(is(), (false, false));
        drop(local);
        assert_eq!(is(), (false, false));
        drop(foreign);
        let _local = [requests.begin(true), requests.begin(true)];
        assert_eq!(is(), (true, false), "it is not known what the one before has left");
        assert!(!Locality::default().is_local_now() && !Locality::default().was_always_local());
    }

    #[test]
    fn what_comes_from_elsewhere_or_was_passed_on_is_not_local() {
        let mut headers = HeaderMap::new();
        let peer = |address: &str| Peer { remote: address.parse().unwrap() };
        for local in ["127.0.0.1:4000", "[::1]:4000", "[::ffff:127.0.0.1]:4000"] {
            assert!(peer(local).is_local(&headers), "{local}");
        }
        for remote in ["192.0.2.1:4000", "[::ffff:192.0.2.1]:4000", "[2001:db8::1]:4000"] {
            assert!(!peer(remote).is_local(&headers), "{remote}");
        }
        headers.insert("X-Forwarded-For", "192.0.2.1".parse().unwrap());
        assert!(!peer("127.0.0.1:4000").is_local(&headers));
    }
}
