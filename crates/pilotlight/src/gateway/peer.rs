//! Whether a request comes from this machine, directly or forwarded by a program of this machine.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
use parking_lot::{Mutex, MutexGuard};

/// Headers that are added by programs that forward requests: RFC 7239 and RFC 9110, and earlier conventions.
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
    /// Returns whether a request comes from a client on this machine, as far as that is known: a proxy or tunnel on
    /// this machine that adds no header looks like one. So this alone must never grant anything.
    #[must_use]
    pub fn is_local(&self, headers: &HeaderMap) -> bool {
        let is_forwarded = FORWARDED.iter().any(|name| headers.contains_key(*name));
        self.remote.ip().to_canonical().is_loopback() && !is_forwarded
    }
}

/// Whether a client of a window is on this machine.
#[derive(Debug, Clone)]
pub enum Locality {
    /// As determined for its own request.
    Own(bool),
    /// It executes the requests of others.
    OfRequests(Arc<Requests>),
}

impl Default for Locality {
    fn default() -> Self {
        Self::Own(false)
    }
}

impl Locality {
    /// Returns whether the present action is done for this machine.
    #[must_use]
    pub fn is_local_now(&self) -> bool {
        match self {
            Self::Own(is_local) => *is_local,
            Self::OfRequests(requests) => requests.lock().all_are_local(),
        }
    }

    /// Returns whether all requests so far came from this machine.
    #[must_use]
    pub fn was_always_local(&self) -> bool {
        match self {
            Self::Own(is_local) => *is_local,
            Self::OfRequests(requests) => !requests.lock().had_foreign,
        }
    }
}

/// The requests of which a program executes one or another. Since it is not known which one, it has the rights that
/// all of them have.
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
        self.0.lock()
    }

    /// Counts a request while it is executed.
    #[must_use]
    pub fn begin(self: &Arc<Self>, is_local: bool) -> Counted {
        let mut counts = self.lock();
        counts.had_foreign |= !is_local;
        *if is_local { &mut counts.local } else { &mut counts.foreign } += 1;
        Counted { requests: Arc::clone(self), is_local }
    }
}

/// A request that is being executed.
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
