//! The connections of the listener, and which of them is closed when there are too many.
//!
//! A connection is unauthenticated until a request on it has sent the token. Unauthenticated connections have a small
//! limit, and a new one is always accepted: if the limit is reached, another unauthenticated one is closed. A client
//! that opens connections without end therefore closes only its own, while a client that sends its request at once is
//! answered. The other places are for authenticated connections; among these, streams (events, WebSockets) have a
//! separate limit, so that they never use up all places.
//!
//! An unauthenticated connection that is idle after a request is closed before one that is still sending its head,
//! and among these, one of the address with the most connections. There is no fixed share per address: all local
//! clients, and everything that comes through a tunnel or a proxy, have the same loopback address, and a share that
//! is large enough for them would not be a limit.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Maximum number of connections, if the process may open enough files.
const MAX_CONNECTIONS: usize = 2048;
/// One in this many places is for unauthenticated connections.
const UNAUTHENTICATED_PART: usize = 4;
/// At most one in this many places is used by a stream.
const STREAMS_PART: usize = 2;
/// Minimum number of places of each kind.
const MIN_PLACES: usize = 4;
/// For one in this many places there may be a connection that was dropped but whose socket is not closed yet.
const LEAVING_PART: usize = 16;
/// How long an unauthenticated connection may take to send the head of a request, also after an earlier request.
const UNAUTHENTICATED_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request of an unauthenticated connection is protected. All routes without a token are answered at once,
/// unless the body is sent slowly.
const UNAUTHENTICATED_ANSWER: Duration = Duration::from_secs(2);
/// Number of leading bits of an IPv6 address that identify a client: a household is assigned all addresses below
/// them.
const IPV6_PREFIX: u32 = 64;

/// The limits of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Places {
    unauthenticated: usize,
    known: usize,
    streams: usize,
}

impl Places {
    fn among(all: usize) -> Self {
        let all = all.clamp(2 * MIN_PLACES, MAX_CONNECTIONS);
        let unauthenticated = (all / UNAUTHENTICATED_PART).max(MIN_PLACES);
        Self {
            unauthenticated,
            known: all - unauthenticated,
            streams: (all / STREAMS_PART).min(all - unauthenticated - 1),
        }
    }
}

/// All connections of a listener. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connections {
    table: Arc<Mutex<Table>>,
    sockets: Arc<Semaphore>,
}

#[derive(Debug)]
struct Table {
    places: Places,
    /// Incremented whenever all authentications become invalid.
    generation: u64,
    last: u64,
    /// By number, so the oldest comes first.
    entries: BTreeMap<u64, Entry>,
    unauthenticated: usize,
    streams: usize,
}

#[derive(Debug)]
struct Entry {
    /// The address, or the part of it that identifies a client.
    from: IpAddr,
    standing: Standing,
    doing: Doing,
    /// When the state began.
    since: Instant,
    closed: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Unauthenticated,
    Known,
    Stream,
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// The last request has been answered.
    Idle,
    /// No request has been received yet.
    Beginning,
    /// A request is being answered.
    Asking,
}

/// Why a request cannot be answered on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Crowded {
    /// All places are taken by connections in use.
    #[error("connection limit reached")]
    Full,
    /// The limit of streams is reached.
    #[error("limit of event streams and WebSockets reached")]
    Streams,
    /// The token has been replaced since it was checked.
    #[error("the token was replaced in the meantime")]
    Forgotten,
}

impl Connections {
    /// Creates an empty list for up to `all` connections.
    #[must_use]
    pub fn new(all: usize) -> Self {
        let places = Places::among(all);
        let table = Table {
            places,
            generation: 0,
            last: 0,
            entries: BTreeMap::new(),
            unauthenticated: 0,
            streams: 0,
        };
        let sockets = places.unauthenticated + places.known;
        let sockets = sockets + (sockets / LEAVING_PART).max(1);
        Self { table: Arc::new(Mutex::new(table)), sockets: Arc::new(Semaphore::new(sockets)) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }

    /// Waits until a socket may be opened, that is until the sockets of dropped connections are closed, which does
    /// not depend on clients.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.sockets).acquire_owned().await.ok()
    }

    /// Adds a connection, which may close another unauthenticated one.
    pub(super) fn enter(&self, address: IpAddr, socket: OwnedSemaphorePermit) -> Place {
        let mut table = self.table();
        if table.unauthenticated >= table.places.unauthenticated {
            table.drop_unauthenticated();
        }
        table.last += 1;
        let number = table.last;
        let closed = CancellationToken::new();
        let entry = Entry {
            from: client_of(address),
            standing: Standing::Unauthenticated,
            doing: Doing::Beginning,
            since: Instant::now(),
            closed: closed.clone(),
        };
        table.entries.insert(number, entry);
        table.unauthenticated += 1;
        Place { seat: Seat { connections: self.clone(), number }, closed, _socket: socket }
    }

    /// Drops an unauthenticated connection, if there is one, to free a file descriptor.
    pub(super) fn make_room(&self) {
        self.table().drop_unauthenticated();
    }

    /// Drops unauthenticated connections that take too long.
    pub(super) fn drop_late(&self, now: Instant) {
        self.table().drop_all(|entry| {
            entry.standing == Standing::Unauthenticated
                && entry.doing != Doing::Asking
                && now.duration_since(entry.since) >= UNAUTHENTICATED_TIMEOUT
        });
    }

    /// Invalidates all authentications, because the token was replaced: streams end, and other connections have to
    /// send the new one.
    pub(crate) fn forget_all(&self) {
        let mut table = self.table();
        table.generation += 1;
        table.drop_all(|entry| entry.standing == Standing::Stream);
        let now = Instant::now();
        for entry in table.entries.values_mut() {
            entry.standing = Standing::Unauthenticated;
            entry.since = now;
        }
        table.unauthenticated = table.entries.len();
    }

    /// Returns how often the token was replaced. If it is read before a token is checked, it shows whether the check
    /// is still valid.
    pub(super) fn generation(&self) -> u64 {
        self.table().generation
    }
}

impl Entry {
    /// Unauthenticated connections with the smallest value are dropped first.
    fn worth(&self, now: Instant) -> u8 {
        match self.doing {
            Doing::Idle => 0,
            Doing::Asking if now.duration_since(self.since) < UNAUTHENTICATED_ANSWER => 2,
            Doing::Asking | Doing::Beginning => 1,
        }
    }
}

impl Table {
    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        match entry.standing {
            Standing::Unauthenticated => self.unauthenticated -= 1,
            Standing::Stream => self.streams -= 1,
            Standing::Known => {}
        }
        Some(entry)
    }

    fn drop_all(&mut self, is_to_go: impl Fn(&Entry) -> bool) {
        let going: Vec<u64> =
            self.entries.iter().filter(|(_, entry)| is_to_go(entry)).map(|(number, _)| *number).collect();
        for number in going {
            self.drop_one(number);
        }
    }

    fn drop_one(&mut self, number: u64) {
        if let Some(entry) = self.remove(number) {
            entry.closed.cancel();
        }
    }

    fn drop_unauthenticated(&mut self) {
        let now = Instant::now();
        let unauthenticated =
            || self.entries.iter().filter(|(_, entry)| entry.standing == Standing::Unauthenticated);
        let mut count: HashMap<IpAddr, usize> = HashMap::new();
        for (_, entry) in unauthenticated() {
            *count.entry(entry.from).or_default() += 1;
        }
        let first = unauthenticated().min_by_key(|(number, entry)| {
            let others = count.get(&entry.from).copied().unwrap_or_default();
            (entry.worth(now), Reverse(others), **number)
        });
        if let Some(number) = first.map(|(number, _)| *number) {
            self.drop_one(number);
        }
    }

    /// Makes room for another authenticated connection.
    fn has_place(&mut self) -> bool {
        let known = self.entries.len() - self.unauthenticated;
        if known < self.places.known {
            return true;
        }
        let idle = |entry: &Entry| entry.standing == Standing::Known && entry.doing == Doing::Idle;
        let longest =
            self.entries.iter().filter(|(_, entry)| idle(entry)).min_by_key(|(_, entry)| entry.since);
        let Some(number) = longest.map(|(number, _)| *number) else { return false };
        self.drop_one(number);
        true
    }
}

/// Returns the part of an address that identifies a client.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - IPV6_PREFIX);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

/// The place of a connection, which is freed when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    seat: Seat,
    closed: CancellationToken,
    _socket: OwnedSemaphorePermit,
}

impl Place {
    /// The connection, as seen by its requests.
    pub(super) fn seat(&self) -> Seat {
        self.seat.clone()
    }

    /// Cancelled when the connection is dropped.
    pub(super) fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.seat.connections.table().remove(self.seat.number);
    }
}

/// Returns the connection of a request.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    connections: Connections,
    number: u64,
}

impl Seat {
    fn set(&self, doing: Doing) {
        if let Some(entry) = self.connections.table().entries.get_mut(&self.number) {
            (entry.doing, entry.since) = (doing, Instant::now());
        }
    }

    /// Marks the start of a request. It ends when the returned body has been sent.
    pub(super) fn asks(&self) -> Asking {
        self.set(Doing::Asking);
        Asking(Some(self.clone()))
    }

    /// Marks the connection as authenticated with the token of this generation.
    ///
    /// # Errors
    /// Returns an error if there is no place, or if the token has been replaced.
    pub(super) fn recognise(&self, generation: u64) -> Result<(), Crowded> {
        let mut table = self.connections.table();
        if table.generation != generation {
            return Err(Crowded::Forgotten);
        }
        match table.entries.get(&self.number).map(|entry| entry.standing) {
            Some(Standing::Unauthenticated) => {}
            Some(_) => return Ok(()),
            // It has already been dropped: the response is discarded.
            None => return Err(Crowded::Full),
        }
        if !table.has_place() {
            return Err(Crowded::Full);
        }
        if let Some(entry) = table.entries.get_mut(&self.number) {
            entry.standing = Standing::Known;
            table.unauthenticated -= 1;
        }
        Ok(())
    }

    /// Returns whether there is a place for another stream.
    pub(super) fn may_stream(&self) -> bool {
        let table = self.connections.table();
        table.streams < table.places.streams
    }

    /// Marks this connection as a stream for the rest of its lifetime.
    ///
    /// # Errors
    /// Returns an error if there are too many, or if the authentication is no longer valid.
    pub(super) fn stream(&self) -> Result<(), Crowded> {
        let mut table = self.connections.table();
        match table.entries.get(&self.number).map(|entry| entry.standing) {
            Some(Standing::Known) => {}
            Some(Standing::Stream) => return Ok(()),
            Some(Standing::Unauthenticated) | None => return Err(Crowded::Forgotten),
        }
        if table.streams >= table.places.streams {
            return Err(Crowded::Streams);
        }
        if let Some(entry) = table.entries.get_mut(&self.number) {
            entry.standing = Standing::Stream;
            table.streams += 1;
        }
        Ok(())
    }
}

/// Exists while a request is being answered.
#[derive(Debug)]
pub(super) struct Asking(Option<Seat>);

impl Asking {
    /// Wraps the body of the response, with which the request ends.
    pub(super) fn until_sent(self, body: Body) -> Body {
        Body::new(Sent { body, _asking: self })
    }

    /// For an upgraded connection: the request lasts as long as the connection.
    pub(super) fn for_good(mut self) {
        self.0 = None;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some(seat) = self.0.take() else { return };
        let mut table = seat.connections.table();
        if let Some(entry) = table.entries.get_mut(&seat.number) {
            (entry.doing, entry.since) = (Doing::Idle, Instant::now());
            // After an event stream, an ordinary request may follow on the same connection.
            if entry.standing == Standing::Stream && !entry.closed.is_cancelled() {
                entry.standing = Standing::Known;
                table.streams -= 1;
            }
        }
    }
}

/// A body that reports when it was sent or dropped.
#[derive(Debug)]
struct Sent {
    body: Body,
    _asking: Asking,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
