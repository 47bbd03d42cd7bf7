//! `Target`: browser contexts, targets and the sessions attached to them.

use serde::Serialize;

use crate::command::{Nothing, commands, notifications, objects};
use crate::envelope::SessionId;

/// One line of a target filter; the first that fits a target decides.
#[derive(Debug, Clone, Serialize)]
pub struct FilterEntry {
    /// Fits every target where absent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// Whether what fits is left out.
    pub exclude: bool,
}

impl FilterEntry {
    /// A filter that lets these kinds of target pass and no others.
    pub fn only(kinds: &[&'static str]) -> Vec<Self> {
        let wanted = kinds.iter().map(|&kind| Self { kind: Some(kind), exclude: false });
        wanted.chain([Self { kind: None, exclude: true }]).collect()
    }
}

commands! {
    /// Events about targets coming, changing, crashing and going.
    SetDiscoverTargets = "Target.setDiscoverTargets" -> Nothing {
        /// On or off.
        discover: bool,
        /// Which targets.
        filter: Vec<FilterEntry>,
    }

    /// Attaches to every new target below this session.
    SetAutoAttach = "Target.setAutoAttach" -> Nothing {
        /// On or off.
        auto_attach: bool,
        /// Whether new targets wait for `Runtime.runIfWaitingForDebugger` before they run.
        wait_for_debugger_on_start: bool,
        /// Sessions by `sessionId` on the same connection.
        flatten: bool,
        /// Which targets.
        filter: Vec<FilterEntry>,
    }

    /// A context with cookies, storage and cache of its own, all in memory.
    CreateBrowserContext = "Target.createBrowserContext" -> ContextCreated {
        /// Such as `http://proxy:3128`; without user information.
        #[serde(skip_serializing_if = "Option::is_none")]
        proxy_server: Option<String>,
        /// Hosts that are reached without the proxy.
        #[serde(skip_serializing_if = "Option::is_none")]
        proxy_bypass_list: Option<String>,
    }

    /// Closes a context and all of its pages.
    DisposeBrowserContext = "Target.disposeBrowserContext" -> Nothing {
        /// Which.
        browser_context_id: String,
    }

    /// The contexts that were created and not disposed of.
    GetBrowserContexts = "Target.getBrowserContexts" -> Contexts {}

    /// All targets that the filter lets pass.
    GetTargets = "Target.getTargets" -> Targets {
        /// Which.
        filter: Vec<FilterEntry>,
    }

    /// A new page.
    CreateTarget = "Target.createTarget" -> TargetCreated {
        /// What it loads.
        url: String,
        /// Where it belongs.
        browser_context_id: String,
        /// A window of its own instead of a tab (full Chromium).
        new_window: bool,
    }

    /// A new page that no person sees. Full Chromium has it in no window and does not report it; headless
    /// shell reports it as any other.
    CreateHiddenTarget = "Target.createTarget" -> TargetCreated {
        /// What it loads.
        url: String,
        /// Where it belongs.
        browser_context_id: String,
        /// Chromium asks for it together with `hidden`.
        background: bool,
        /// True.
        hidden: bool,
    }

    /// Closes a page.
    CloseTarget = "Target.closeTarget" -> Nothing {
        /// Which.
        target_id: String,
    }

    /// What Chromium knows of a target. No event tells of a title that changed alone.
    GetTargetInfo = "Target.getTargetInfo" -> TargetInfoReply {
        /// Which.
        target_id: String,
    }

    /// One more session on a target.
    AttachToTarget = "Target.attachToTarget" -> Attached {
        /// Which.
        target_id: String,
        /// A session by `sessionId` on the same connection.
        flatten: bool,
    }

    /// One more session on the browser itself, with settings of its own that go with it.
    AttachToBrowserTarget = "Target.attachToBrowserTarget" -> Attached {}

    /// Ends a session; whatever it had switched on is off again.
    DetachFromTarget = "Target.detachFromTarget" -> Nothing {
        /// Which.
        session_id: SessionId,
    }
}

objects! {
    /// The reply to [`CreateBrowserContext`].
    ContextCreated {
        /// The new context.
        browser_context_id: String,
    }

    /// The reply to [`GetBrowserContexts`].
    Contexts {
        /// Without the default one.
        browser_context_ids: Vec<String>,
    }

    /// The reply to [`GetTargets`].
    Targets {
        /// In no particular order.
        target_infos: Vec<TargetInfo>,
    }

    /// The reply to [`CreateTarget`].
    TargetCreated {
        /// The new page.
        target_id: String,
    }

    /// The reply to [`GetTargetInfo`].
    TargetInfoReply {
        /// The target as it is now.
        target_info: TargetInfo,
    }

    /// The reply to [`AttachToTarget`].
    Attached {
        /// The new session.
        session_id: SessionId,
    }

    /// What Chromium says of a target.
    TargetInfo {
        /// Its id; for pages and frames also the id of the frame.
        target_id: String,
        /// Such as `page` or `iframe`.
        #[serde(rename = "type")]
        kind: String,
        /// The title.
        title: String,
        /// The URL.
        url: String,
        /// The context it belongs to.
        browser_context_id: Option<String>,
        /// Of a page that another one has opened: that one.
        opener_id: Option<String>,
    }
}

notifications! {
    /// A session came to be.
    AttachedToTarget = "Target.attachedToTarget" {
        /// The session.
        session_id: SessionId,
        /// What it is attached to.
        target_info: TargetInfo,
        /// Whether the target waits for `Runtime.runIfWaitingForDebugger`.
        #[serde(default)]
        waiting_for_debugger: bool,
    }

    /// A session ended.
    DetachedFromTarget = "Target.detachedFromTarget" {
        /// The session.
        session_id: SessionId,
    }

    /// URL or title changed.
    TargetInfoChanged = "Target.targetInfoChanged" {
        /// As it is now.
        target_info: TargetInfo,
    }

    /// The target's renderer died.
    TargetCrashed = "Target.targetCrashed" {
        /// Which.
        target_id: String,
        /// Chromium's word, such as `crashed` or `killed`.
        status: String,
    }
}
