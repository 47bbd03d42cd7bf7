//! What is known of one client and its view of the browser.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use serde_json::Value;

use crate::target_filter::TargetFilter;
use crate::wire::Caller;

/// What ids of tabs and of virtual sessions begin with: Chromium's own are hexadecimal.
pub(crate) const TAB: &str = "TAB-";

/// Gives numbers for calls to the browser; none where too many wait.
pub type Ids<'a> = &'a mut dyn FnMut() -> Option<i64>;

/// Whose browser it is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The nested browser session that is this client's own.
    pub session: String,
    /// The context of the window.
    pub context: String,
    /// Where downloads go.
    pub folder: String,
    /// Whether the browser's clipboard is this window's alone.
    pub has_clipboard: bool,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    /// Send it to the client.
    Client(Bytes),
    /// Send it to the browser.
    Browser(Bytes),
    /// The client has seen the new page: it may run.
    Release(String),
    /// The client made a context for itself.
    OwnContext(String),
    /// A download is there, under this name in the folder; the client wants it in its own one.
    Deliver {
        /// In the session's folder.
        name: String,
        /// The client's folder, as it said.
        wanted: String,
    },
    /// A page is to be given these files; say which under this number with [`VirtualBrowser::uploaded`].
    Upload {
        /// The number.
        ticket: u64,
        /// Paths, as the client said.
        files: Vec<String>,
    },
    /// The client takes its leave.
    Close,
}

/// A protocol session that is this client's.
#[derive(Debug)]
pub(crate) enum Session {
    /// Of Chromium: a page, a frame, a worker.
    Real {
        target: String,
        /// Who was told of it; none where it came to be below another session by itself.
        desk: Option<Desk0>,
        /// It was attached because the desk wanted all of its kind.
        auto: bool,
        kind: String,
    },
    /// A tab, which is a page seen from outside.
    Tab { page: String, desk: Desk0 },
    /// One more session on the virtual browser.
    Browser { desk: Desk0 },
}

/// Names a desk: the session that asked, or none for the client's first.
pub(crate) type Desk0 = Option<String>;

/// What a reply of the browser is for.
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
    /// A page has the protocol now.
    Exposed(Caller, String),
    /// A context for a page that nobody is to see, and that page.
    Hide(Caller, Value),
    /// Whether a page that was made is still there.
    Probe(String),
    /// It tells of a target, which must be one that exists for the client.
    Info(Caller),
    /// It has the page's history, to whose entry of this number the client wants to go.
    History(Caller, Value),
    /// Nobody waits for it.
    Unasked,
}

/// One client's view of the browser.
#[derive(Debug)]
pub struct VirtualBrowser {
    pub(crate) identity: Identity,
    pub(crate) out: VecDeque<Out>,
    pub(crate) calls: HashMap<i64, Pending>,
    pub(crate) sessions: HashMap<String, Session>,
    pub(crate) contexts: BTreeSet<String>,
    /// Those of them that it does not know of: of pages that nobody is to see.
    pub(crate) hidden: BTreeSet<String>,
    /// Pages that have the protocol, by their first session.
    pub(crate) exposed: HashMap<String, Exposed>,
    /// Of sessions that came to be below others, which.
    pub(crate) parents: HashMap<String, String>,
    /// Of sessions that have just gone, the page that they belonged to.
    pub(crate) departed: HashMap<String, String>,
    /// Every target of its contexts that Chromium told of.
    pub(crate) infos: BTreeMap<String, Info>,
    /// The window's pages, oldest first.
    pub(crate) shown: Vec<String>,
    /// Which targets the client may know of.
    pub(crate) visible: BTreeSet<String>,
    /// Pages that do not run before it has seen them.
    pub(crate) held: HashSet<String>,
    pub(crate) desks: BTreeMap<Desk0, Desk>,
    pub(crate) attaching: Vec<Attaching>,
    /// Replies that wait for attachments.
    pub(crate) waiting: Vec<(Bytes, HashSet<i64>)>,
    /// Replies that wait for their page.
    pub(crate) created: Vec<Created>,
    pub(crate) windows: HashSet<i64>,
    pub(crate) last_session: u64,
    pub(crate) ignores_certificates: bool,
    pub(crate) keeps_page: bool,
    /// It has asked a page for its events.
    pub(crate) hears_dialogs: bool,
    pub(crate) downloads: Downloads,
}

impl VirtualBrowser {
    /// A browser for a client that has just come, with the pages that the window shows.
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
            desks: BTreeMap::from([(None, Desk::default())]),
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

/// What one browser session, or the session of a tab, has switched on.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub(crate) discover: Option<TargetFilter>,
    pub(crate) attach: Option<Attach>,
}

#[derive(Debug)]
pub(crate) struct Attach {
    pub(crate) waits: bool,
    pub(crate) filter: TargetFilter,
}

/// A target as Chromium tells of it.
#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) kind: String,
    pub(crate) context: String,
    /// Whether it exists for clients at all.
    pub(crate) exists: bool,
    pub(crate) info: Value,
}

/// The reply to `Target.createTarget`, which comes after the page was seen.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) target: String,
    pub(crate) reply: Bytes,
}

/// An attachment under way.
#[derive(Debug)]
pub(crate) struct Attaching {
    pub(crate) call: i64,
    pub(crate) desk: Desk0,
    pub(crate) target: String,
    pub(crate) auto: bool,
    pub(crate) waits: bool,
    /// Its session, once Chromium told of it.
    pub(crate) session: Option<String>,
    pub(crate) answer: Option<Caller>,
    /// Nobody hears of it: a page is to have the protocol over it.
    pub(crate) exposes: Option<Exposing>,
}

/// What the client wants done with downloads, and uploads that wait.
#[derive(Debug, Default)]
pub(crate) struct Downloads {
    /// Its own folder, as it said.
    pub(crate) wanted: Option<String>,
    /// Who hears of downloads, where somebody does.
    pub(crate) listener: Option<Desk0>,
    /// File names of downloads that are under way, by their id.
    pub(crate) names: HashMap<String, String>,
    pub(crate) by_id: bool,
    pub(crate) last_ticket: u64,
    pub(crate) uploads: HashMap<u64, (Caller, Value)>,
}

/// A page that has the protocol. Its name is that of its first session, at the virtual browser.
#[derive(Debug)]
pub(crate) struct Exposed {
    /// By which it is spoken to.
    pub(crate) session: String,
    /// The page.
    pub(crate) target: String,
    /// What it is called in the page.
    pub(crate) object: String,
    /// What the page calls to be heard.
    pub(crate) binding: String,
    /// Whether the page can do so.
    pub(crate) is_ready: bool,
}

/// A page that is to have it, once there is a session.
#[derive(Debug)]
pub(crate) struct Exposing {
    pub(crate) caller: Caller,
    pub(crate) object: String,
}

impl Exposing {
    /// Who asked for it.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }
}
