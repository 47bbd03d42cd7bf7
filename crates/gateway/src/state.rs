//! The state of one client and its view of the browser.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use serde_json::Value;

use crate::target_filter::TargetFilter;
use crate::wire::Caller;

/// The prefixes of the ids of tabs and of virtual sessions: Chromium's own are hexadecimal.
pub(crate) const TAB: &str = "TAB-";

/// Returns ids for calls to the browser; `None` if too many are pending.
pub type Ids<'a> = &'a mut dyn FnMut() -> Option<i64>;

/// The identity of a client's browser.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The nested browser session of this client.
    pub session: String,
    /// The context of the window.
    pub context: String,
    /// The folder of downloads.
    pub folder: String,
    /// Whether only this window uses the browser's clipboard.
    pub has_clipboard: bool,
}

/// The outputs, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    /// Send it to the client.
    Client(Bytes),
    /// Send it to the browser.
    Browser(Bytes),
    /// The client has seen the new page, which may run now.
    Release(String),
    /// The client created a browser context.
    OwnContext(String),
    /// A download is complete, under this name in the folder; the client wants it in its own folder.
    Deliver {
        /// The name in the session's folder.
        name: String,
        /// The client's folder, as it was given.
        wanted: String,
    },
    /// A page is to be given these files; answer with [`VirtualBrowser::uploaded`] and this number.
    Upload {
        /// The number.
        ticket: u64,
        /// Paths, as the client gave them.
        files: Vec<String>,
    },
    /// The client disconnects.
    Close,
}

/// A protocol session of this client.
#[derive(Debug)]
pub(crate) enum Session {
    /// A session of Chromium: with a page, a frame, a worker.
    Real {
        target: String,
        /// The session that got the event; `None` if it was attached below another session automatically.
        owner: Option<Owner>,
        /// Whether it was attached by auto-attachment.
        auto: bool,
        kind: String,
    },
    /// A tab, which is a page seen from outside.
    Tab { page: String, owner: Owner },
    /// Another session with the virtual browser.
    Browser { owner: Owner },
}

/// The client session that enabled something or attached to a target; `None` is the root session.
pub(crate) type Owner = Option<String>;

/// The purpose of a reply of the browser.
#[derive(Debug)]
pub(crate) enum Pending {
    /// It is passed on.
    Pass(Caller),
    /// It names a window, which the client may name from then on.
    Window(Caller),
    CreateContext(Caller),
    DisposeContext(Caller, String),
    CreateTarget(Caller, bool),
    Attach,
    /// The protocol was exposed to a page.
    Exposed(Caller, String),
    /// A context for a hidden page, and the parameters of that page.
    Hide(Caller, Value),
    /// Whether a page that was created still exists.
    Probe(String),
    /// It describes a target, which must be one that exists for the client.
    Info(Caller),
    /// It contains the history of a page; the client navigates to the entry of this number.
    History(Caller, Value),
    /// It is ignored.
    Unasked,
}

/// The view of the browser that one client has.
#[derive(Debug)]
pub struct VirtualBrowser {
    pub(crate) identity: Identity,
    pub(crate) out: VecDeque<Out>,
    pub(crate) calls: HashMap<i64, Pending>,
    pub(crate) sessions: HashMap<String, Session>,
    pub(crate) contexts: BTreeSet<String>,
    /// Those of them that the client does not know: of hidden pages.
    pub(crate) hidden: BTreeSet<String>,
    /// Pages to which the protocol was exposed, by their root session.
    pub(crate) exposed: HashMap<String, Exposed>,
    /// The parents of sessions that were attached below others.
    pub(crate) parents: HashMap<String, String>,
    /// The pages of sessions that have just ended.
    pub(crate) departed: HashMap<String, String>,
    /// All targets of its contexts that Chromium reported.
    pub(crate) infos: BTreeMap<String, Info>,
    /// The window's pages, oldest first.
    pub(crate) shown: Vec<String>,
    /// The targets that the client may know.
    pub(crate) visible: BTreeSet<String>,
    /// Pages that do not run before the client has seen them.
    pub(crate) held: HashSet<String>,
    pub(crate) subscriptions: BTreeMap<Owner, Subscription>,
    pub(crate) attaching: Vec<Attaching>,
    /// Replies that wait for attachments.
    pub(crate) waiting: Vec<(Bytes, HashSet<i64>)>,
    /// Replies that wait for their page.
    pub(crate) created: Vec<Created>,
    pub(crate) windows: HashSet<i64>,
    pub(crate) last_session: u64,
    pub(crate) ignores_certificates: bool,
    pub(crate) keeps_page: bool,
    /// Whether it enabled the events of a page.
    pub(crate) hears_dialogs: bool,
    pub(crate) downloads: Downloads,
}

impl VirtualBrowser {
    /// Returns the browser of a newly connected client, with the pages of the window.
    #[must_use]
    pub fn new(identity: Identity, shown: Vec<String>) -> Self {
        Self {
            identity,
            out: VecDeque::new(),
            calls: HashMap::new(),
            sessions: HashMap::new(),
            contexts: BTreeSet::new(),
            hidden: BTreeSet::new(),
            exposed: HashMap::new(),
            parents: HashMap::new(),
            departed: HashMap::new(),
            infos: BTreeMap::new(),
            shown,
            visible: BTreeSet::new(),
            held: HashSet::new(),
            subscriptions: BTreeMap::from([(None, Subscription::default())]),
            attaching: Vec::new(),
            waiting: Vec::new(),
            created: Vec::new(),
            windows: HashSet::new(),
            last_session: 0,
            ignores_certificates: false,
            keeps_page: false,
            hears_dialogs: false,
            downloads: Downloads::default(),
        }
    }
}

/// What a browser session, or the session of a tab, has enabled.
#[derive(Debug, Default)]
pub(crate) struct Subscription {
    pub(crate) discover: Option<TargetFilter>,
    pub(crate) attach: Option<Attach>,
}

#[derive(Debug)]
pub(crate) struct Attach {
    pub(crate) waits: bool,
    pub(crate) filter: TargetFilter,
}

/// A target as Chromium describes it.
#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) kind: String,
    pub(crate) context: String,
    /// Whether it exists for clients.
    pub(crate) exists: bool,
    pub(crate) info: Value,
}

/// The reply to `Target.createTarget`, which is sent after the page was seen.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) target: String,
    pub(crate) reply: Bytes,
}

/// An attachment in progress.
#[derive(Debug)]
pub(crate) struct Attaching {
    pub(crate) call: i64,
    pub(crate) owner: Owner,
    pub(crate) target: String,
    pub(crate) auto: bool,
    pub(crate) waits: bool,
    /// Its session, once Chromium reported it.
    pub(crate) session: Option<String>,
    pub(crate) answer: Option<Caller>,
    /// For an attachment without events: the page to which the protocol is to be exposed.
    pub(crate) exposes: Option<Exposing>,
}

/// The client's settings for downloads, and pending uploads.
#[derive(Debug, Default)]
pub(crate) struct Downloads {
    /// Its own folder, as it was given.
    pub(crate) wanted: Option<String>,
    /// The session that gets the events of downloads, if any.
    pub(crate) listener: Option<Owner>,
    /// File names of running downloads, by id.
    pub(crate) names: HashMap<String, String>,
    pub(crate) by_id: bool,
    pub(crate) last_ticket: u64,
    pub(crate) uploads: HashMap<u64, (Caller, Value)>,
}

/// A page to which the protocol was exposed. It is named by its root session with the virtual browser.
#[derive(Debug)]
pub(crate) struct Exposed {
    /// The session for messages to it.
    pub(crate) session: String,
    /// The page.
    pub(crate) target: String,
    /// The name of the object in the page.
    pub(crate) object: String,
    /// The binding that the page calls to send a message.
    pub(crate) binding: String,
    /// Whether the page can send messages.
    pub(crate) is_ready: bool,
}

/// A page to which the protocol is to be exposed once there is a session.
#[derive(Debug)]
pub(crate) struct Exposing {
    pub(crate) caller: Caller,
    pub(crate) object: String,
}

impl Exposing {
    /// Returns who requested it.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }
}
