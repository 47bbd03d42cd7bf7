//! What a page sends, and what it is answered: whether a portal has heard of a sign-in, and what it says to it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pilotlight_cdp::protocol::network::{
    LoadingFailed, LoadingFinished, NetworkDisable, NetworkEnable, RequestWillBeSent, ResponseReceived,
    WebSocketFrameSent,
};
use pilotlight_cdp::{Event, Notification, Scope, Subscription};
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use super::{COMMAND_TIMEOUT, Window};
use crate::call::send;
use crate::error::WindowError;
use crate::state::{Shard, Tab, lock};

/// How many network events of a page may wait to be read.
const EVENTS_QUEUE: usize = 4096;
/// How many requests without an answer are told apart.
const PENDING_MAX: usize = 1024;
/// How long the answer to a GET is waited for.
const GET_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers that refuse what was sent because of what is in it. Others of 400 to 499 speak of the client's pace
/// (408, 425, 429) or of the address (404, 405).
const REFUSALS: [u16; 6] = [400, 401, 403, 409, 422, 423];

/// What the main page has sent to its own site since [`Window::watch_requests`]. Pictures, styles, fonts, preflights and
/// beacons are left out, and so is what goes elsewhere, such as telemetry, unless that is all that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Whether anything was sent.
    pub any: bool,
    /// Whether anything else than a GET was sent to another site: telemetry, or the sign-in itself.
    pub any_elsewhere: bool,
    /// Whether a document is on its way.
    pub is_loading: bool,
    /// How many requests have no answer yet, the document's among them. As long as nothing was sent to the page's own site,
    /// those to others count as well, except for GETs: one of them may be the sign-in.
    pub pending: usize,
    /// The status of the latest answer that refused a request with another method than GET.
    pub refused: Option<u16>,
    /// The status of the latest answer to a request with another method than GET, if the portal failed (500 and above).
    pub failed: Option<u16>,
    /// How long nothing was sent and no answer came; scripts that were loaded count as well.
    pub quiet_for: Duration,
    /// Whether everything was seen. Where the page tells faster than it is read, it is not.
    pub is_complete: bool,
}

/// Watches what the main page of a window sends, until it is dropped.
#[derive(Debug)]
pub struct RequestWatch {
    shard: Arc<Shard>,
    tab: Arc<Tab>,
    log: Arc<Mutex<Log>>,
    _readers: JoinSet<()>,
}

impl Window {
    /// Begins to watch what the main page sends, its frames included as far as they are there.
    ///
    /// # Errors
    /// Where the page does not take the order.
    pub async fn watch_requests(&self) -> Result<RequestWatch, WindowError> {
        let (shard, tab) = (Arc::clone(&self.shard), self.main_tab()?);
        let log = Arc::new(Mutex::new(Log::new(tab.target.clone(), Instant::now())));
        let mut readers = JoinSet::new();
        let frames = tab.frames().into_iter().map(|frame| frame.session);
        for session in std::iter::once(tab.session.clone()).chain(frames) {
            let events = shard.connection.subscribe(Scope::Session(session.clone()), EVENTS_QUEUE);
            readers.spawn(read(events, Arc::clone(&log)));
            let enabled = tab.call(&shard.connection, &session, NetworkEnable::BARE, COMMAND_TIMEOUT).await;
            // A frame may go at any time.
            if session == tab.session {
                enabled?;
            }
        }
        Ok(RequestWatch { shard, tab, log, _readers: readers })
    }
}

impl RequestWatch {
    /// What was sent so far.
    pub fn traffic(&self) -> Traffic {
        let (log, now) = (lock(&self.log), Instant::now());
        Traffic {
            any: log.any,
            any_elsewhere: log.any_elsewhere,
            is_loading: log.pending.values().any(|request| request.is_document),
            pending: log.awaited(now),
            refused: log.refused,
            failed: log.failed,
            quiet_for: log.last.elapsed(),
            is_complete: log.is_complete,
        }
    }
}

impl Drop for RequestWatch {
    fn drop(&mut self) {
        // Without the domain a network that a flow made slow would be fast again.
        if self.tab.throttled.load(Ordering::Relaxed) || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let frames = self.tab.frames().into_iter().map(|frame| frame.session);
        for session in std::iter::once(self.tab.session.clone()).chain(frames) {
            send(&self.shard.connection, &session, NetworkDisable {});
        }
    }
}

async fn read(mut events: Subscription, log: Arc<Mutex<Log>>) {
    while let Some(event) = events.next().await {
        if event.method.starts_with("Network.") {
            lock(&log).note(&event, Instant::now());
        }
    }
    // It fell behind, or the page is gone.
    lock(&log).is_complete = false;
}

/// A request without an answer.
#[derive(Debug)]
struct Pending {
    loader: String,
    is_document: bool,
    is_get: bool,
    is_own: bool,
    sent_at: Instant,
}

impl Pending {
    /// Whether what comes of it is worth waiting for. GETs may stay open for ever, by design.
    fn is_awaited(&self, now: Instant) -> bool {
        self.is_document || !self.is_get || now.duration_since(self.sent_at) < GET_TIMEOUT
    }
}

/// Whether a request goes to the site that its document is of: the same host, or one of the same last two labels.
fn is_own(url: &str, document_url: &str) -> bool {
    let host = |url: &str| Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    let Some((to, of)) = host(url).zip(host(document_url)) else { return true };
    let site = |host: &str| host.rsplitn(3, '.').take(2).map(str::to_owned).collect::<Vec<_>>();
    let is_name = |host: &str| host.parse::<IpAddr>().is_err() && host.contains('.');
    to == of || (is_name(&to) && is_name(&of) && site(&to) == site(&of))
}

#[derive(Debug)]
struct Log {
    main_frame: String,
    pending: HashMap<String, Pending>,
    any: bool,
    any_elsewhere: bool,
    /// Whether an own request that may have been the sign-in was answered with less than 500.
    has_succeeded: bool,
    refused: Option<u16>,
    failed: Option<u16>,
    last: Instant,
    is_complete: bool,
}

impl Log {
    fn new(main_frame: String, now: Instant) -> Self {
        let pending = HashMap::new();
        Self {
            main_frame,
            pending,
            any: false,
            any_elsewhere: false,
            has_succeeded: false,
            refused: None,
            failed: None,
            last: now,
            is_complete: true,
        }
    }

    fn note(&mut self, event: &Event, now: Instant) {
        match event.method.as_str() {
            RequestWillBeSent::METHOD => {
                event.read().into_iter().for_each(|sent| self.sent(sent, now));
            }
            ResponseReceived::METHOD => {
                event.read().into_iter().for_each(|received| self.received(&received, now));
            }
            LoadingFinished::METHOD => {
                let finished = event.read::<LoadingFinished>();
                finished.into_iter().for_each(|finished| self.over(&finished.request_id, now));
            }
            LoadingFailed::METHOD => {
                let failed = event.read::<LoadingFailed>();
                failed.into_iter().for_each(|failed| self.over(&failed.request_id, now));
            }
            WebSocketFrameSent::METHOD => (self.any, self.last) = (true, now),
            _ => {}
        }
    }

    fn sent(&mut self, sent: RequestWillBeSent, now: Instant) {
        match sent.kind.as_deref() {
            // What the page does next may be in there.
            Some("Script") => return self.last = now,
            Some("Document" | "XHR" | "Fetch") => {}
            _ => return,
        }
        let is_document = sent.kind.as_deref() == Some("Document")
            && sent.frame_id.as_ref().is_none_or(|frame| *frame == self.main_frame);
        let is_get = matches!(sent.request.method.as_str(), "GET" | "HEAD");
        let is_own =
            sent.kind.as_deref() == Some("Document") || is_own(&sent.request.url, &sent.document_url);
        if let Some(redirected) = &sent.redirect_response {
            self.answered(&sent.request_id, redirected.status);
        }
        if !is_own && is_get {
            return;
        }
        if is_own {
            (self.any, self.last) = (true, now);
        } else {
            self.any_elsewhere = true;
        }
        if self.pending.len() >= PENDING_MAX && !self.pending.contains_key(&sent.request_id) {
            self.is_complete = false;
            return;
        }
        let request = Pending { loader: sent.loader_id, is_document, is_get, is_own, sent_at: now };
        self.pending.insert(sent.request_id, request);
    }

    fn received(&mut self, received: &ResponseReceived, now: Instant) {
        let Some(request) = self.answered(&received.request_id, received.response.status) else { return };
        if request.is_own {
            self.last = now;
        }
        if request.is_document {
            // What the document before it has sent is of no account any more.
            self.pending.retain(|_, pending| pending.loader == request.loader);
        }
    }

    /// How many requests have an answer that is worth waiting for.
    fn awaited(&self, now: Instant) -> usize {
        let counts = |request: &&Pending| request.is_awaited(now) && (request.is_own || !self.any);
        self.pending.values().filter(counts).count()
    }

    /// Takes the answer to a request. Chromium tells of a body that goes on for ever, too: the head says enough.
    fn answered(&mut self, request_id: &str, status: u16) -> Option<Pending> {
        let request = self.pending.remove(request_id)?;
        if !request.is_own {
            return Some(request);
        }
        if !request.is_get && REFUSALS.contains(&status) {
            self.refused = Some(status);
        }
        if !request.is_get && status < 500 {
            // Whatever fails after that has nothing to do with the sign-in.
            (self.has_succeeded, self.failed) = (true, None);
        } else if !request.is_get && !self.has_succeeded {
            self.failed = Some(status);
        }
        Some(request)
    }

    fn over(&mut self, request_id: &str, now: Instant) {
        if self.pending.remove(request_id).is_some_and(|request| request.is_own) {
            self.last = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const PAGE: &str = "https://www.portal.test/login";

    fn log() -> Log {
        Log::new("main".to_owned(), Instant::now())
    }

    fn told(log: &mut Log, method: &str, params: &Value) {
        let params = serde_json::value::to_raw_value(params).unwrap();
        let event = Event { method: method.to_owned(), params, session: None };
        log.note(&event, Instant::now());
    }

    fn sends(log: &mut Log, id: &str, kind: &str, method: &str) {
        let sent = json!({
            "requestId": id, "loaderId": "L1", "frameId": "main", "type": kind, "documentURL": PAGE,
            "request": { "method": method, "url": "https://api.portal.test/sign-in" },
        });
        told(log, "Network.requestWillBeSent", &sent);
    }

    fn gets(log: &mut Log, id: &str, status: u16) {
        told(log, "Network.responseReceived", &json!({ "requestId": id, "response": { "status": status } }));
    }

    fn awaited(log: &Log) -> usize {
        log.awaited(Instant::now())
    }

    #[test]
    fn an_answer_that_refuses_is_remembered() {
        let mut log = log();
        sends(&mut log, "1", "XHR", "POST");
        assert_eq!((log.any, awaited(&log), log.refused), (true, 1, None));
        gets(&mut log, "1", 401);
        sends(&mut log, "2", "Fetch", "POST");
        gets(&mut log, "2", 204);
        assert_eq!((awaited(&log), log.refused), (0, Some(401)));
    }

    #[test]
    fn a_portal_that_fails_is_remembered_until_it_answers() {
        let mut log = log();
        sends(&mut log, "1", "Fetch", "POST");
        gets(&mut log, "1", 503);
        assert_eq!((log.refused, log.failed), (None, Some(503)));
        sends(&mut log, "poll", "Fetch", "GET");
        gets(&mut log, "poll", 200);
        assert_eq!(log.failed, Some(503));
        sends(&mut log, "2", "Fetch", "POST");
        gets(&mut log, "2", 200);
        assert_eq!(log.failed, None);
    }

    #[test]
    fn what_is_no_sign_in_is_left_out() {
        let mut log = log();
        for kind in ["Image", "Script", "Stylesheet", "Preflight", "Ping", "Font"] {
            sends(&mut log, kind, kind, "POST");
        }
        assert!(!log.any);
        sends(&mut log, "poll", "XHR", "GET");
        gets(&mut log, "poll", 401);
        assert_eq!((log.any, log.refused), (true, None), "a question is no sign-in");
        sends(&mut log, "3", "XHR", "POST");
        gets(&mut log, "3", 429);
        assert_eq!(log.refused, None, "too fast is not wrong");
    }

    #[test]
    fn a_poll_that_stays_open_is_not_waited_for_long_and_a_document_is() {
        let mut log = log();
        sends(&mut log, "poll", "Fetch", "GET");
        assert_eq!(awaited(&log), 1);
        let later = Instant::now() + GET_TIMEOUT;
        assert!(log.pending.values().all(|request| !request.is_awaited(later)));
        sends(&mut log, "page", "Document", "GET");
        assert_eq!(log.pending.values().filter(|request| request.is_awaited(later)).count(), 1);
    }

    #[test]
    fn what_goes_to_another_site_says_nothing_of_a_sign_in() {
        let mut log = log();
        let elsewhere = json!({
            "requestId": "t", "loaderId": "L1", "frameId": "main", "type": "Fetch", "documentURL": PAGE,
            "request": { "method": "POST", "url": "https://telemetry.test/collect" },
        });
        told(&mut log, "Network.requestWillBeSent", &elsewhere);
        assert_eq!(awaited(&log), 1, "it may be the sign-in");
        gets(&mut log, "t", 401);
        assert_eq!((log.any, awaited(&log), log.refused), (false, 0, None));
        assert!(log.any_elsewhere, "it may have been a sign-in");
        told(&mut log, "Network.requestWillBeSent", &elsewhere);
        sends(&mut log, "1", "Fetch", "POST");
        gets(&mut log, "1", 200);
        assert_eq!(awaited(&log), 0, "the sign-in went to the portal itself");
        assert!(
            is_own("https://login.portal.test/", PAGE)
                && is_own("http://127.0.0.1:1/", "http://127.0.0.1:2/")
        );
        assert!(!is_own("http://127.0.0.2/", "http://127.0.0.1/") && !is_own("http://b/", "http://a/"));
    }

    #[test]
    fn a_new_document_ends_what_the_one_before_it_waited_for() {
        let mut log = log();
        sends(&mut log, "beacon", "Fetch", "POST");
        let page = json!({
            "requestId": "L2", "loaderId": "L2", "frameId": "main", "type": "Document", "documentURL": PAGE,
            "request": { "method": "POST", "url": PAGE },
        });
        told(&mut log, "Network.requestWillBeSent", &page);
        let on = json!({
            "requestId": "L2", "loaderId": "L2", "frameId": "main", "type": "Document", "documentURL": PAGE,
            "request": { "method": "GET", "url": PAGE }, "redirectResponse": { "status": 302 },
        });
        told(&mut log, "Network.requestWillBeSent", &on);
        assert_eq!(awaited(&log), 2);
        gets(&mut log, "L2", 200);
        assert_eq!((awaited(&log), log.refused), (0, None));
    }

    #[test]
    fn a_request_that_fails_is_no_longer_waited_for() {
        let mut log = log();
        sends(&mut log, "1", "XHR", "POST");
        told(&mut log, "Network.loadingFailed", &json!({ "requestId": "1", "errorText": "net::ERR_FAILED" }));
        assert_eq!((awaited(&log), log.refused), (0, None));
    }
}
