//! `Page`: loading, dialogs, pictures, frames.

use serde::Serialize;

use crate::command::{Nothing, commands, notifications, objects};

commands! {
    /// Starts page events on the session.
    Enable = "Page.enable" -> Nothing {}

    /// Also `lifecycleEvent`, which tells which document has loaded.
    SetLifecycleEventsEnabled = "Page.setLifecycleEventsEnabled" -> Nothing {
        /// On or off.
        enabled: bool,
    }

    /// Loads a URL; answers when the new document is there or has failed.
    Navigate = "Page.navigate" -> Navigated {
        /// Where to.
        url: String,
    }

    /// Gives up what is loading.
    StopLoading = "Page.stopLoading" -> Nothing {}

    /// A picture.
    CaptureScreenshot = "Page.captureScreenshot" -> Screenshot {
        /// `png` or `jpeg`.
        format: &'static str,
        /// 0 to 100, for `jpeg`.
        #[serde(skip_serializing_if = "Option::is_none")]
        quality: Option<u8>,
        /// The part to show; the viewport where absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        clip: Option<Clip>,
        /// Also what lies outside of the viewport.
        capture_beyond_viewport: bool,
    }

    /// How large the page is.
    GetLayoutMetrics = "Page.getLayoutMetrics" -> LayoutMetrics {}

    /// Answers a dialog.
    HandleJavaScriptDialog = "Page.handleJavaScriptDialog" -> Nothing {
        /// OK or cancel.
        accept: bool,
        /// What a prompt is answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_text: Option<String>,
    }

    /// Begins to send pictures of the page as it changes, the next one only after an acknowledgement.
    StartScreencast = "Page.startScreencast" -> Nothing {
        /// `jpeg` or `png`.
        format: &'static str,
        /// 0 to 100, for `jpeg`.
        quality: u8,
        /// In pixels.
        max_width: u32,
        /// In pixels.
        max_height: u32,
        /// 1 for every one that is drawn.
        every_nth_frame: u32,
    }

    /// Ends that.
    StopScreencast = "Page.stopScreencast" -> Nothing {}

    /// Asks for the next picture.
    ScreencastFrameAck = "Page.screencastFrameAck" -> Nothing {
        /// The number of the last one.
        session_id: i64,
    }

    /// Where the page has been.
    GetNavigationHistory = "Page.getNavigationHistory" -> NavigationHistory {}

    /// Forgets where the page has been, but for where it is.
    ResetNavigationHistory = "Page.resetNavigationHistory" -> Nothing {}

    /// Goes to where the page has been.
    NavigateToHistoryEntry = "Page.navigateToHistoryEntry" -> Nothing {
        /// Which.
        entry_id: i64,
    }

    /// Makes the page the visible one of its window.
    BringToFront = "Page.bringToFront" -> Nothing {}

    /// Freezes the page or lets it run. Has an effect only where page events were started before.
    SetWebLifecycleState = "Page.setWebLifecycleState" -> Nothing {
        /// `frozen` or `active`.
        state: &'static str,
    }

    /// Has a script run in every new document of the session, before the document's own.
    AddScriptToEvaluateOnNewDocument = "Page.addScriptToEvaluateOnNewDocument" -> ScriptAdded {
        /// JavaScript.
        source: String,
        /// In which world.
        world_name: &'static str,
    }

    /// Ends that.
    RemoveScriptToEvaluateOnNewDocument = "Page.removeScriptToEvaluateOnNewDocument" -> Nothing {
        /// Which script.
        identifier: String,
    }

    /// Crashes the page's renderer; answered even where its main thread hangs, if at all.
    Crash = "Page.crash" -> Nothing {}

    /// The frames of this session.
    GetFrameTree = "Page.getFrameTree" -> FrameTreeReply {}

    /// A world of our own in a frame: same document, other JavaScript globals. Asking again by the same
    /// name gives the same world.
    CreateIsolatedWorld = "Page.createIsolatedWorld" -> IsolatedWorld {
        /// Which frame.
        frame_id: String,
        /// The world's name.
        world_name: &'static str,
    }
}

/// A part of a page in CSS pixels.
#[derive(Debug, Clone, Serialize)]
pub struct Clip {
    /// From the left of the document.
    pub x: f64,
    /// From the top of the document.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
    /// 1 for the page's own size.
    pub scale: f64,
}

objects! {
    /// The reply to [`Navigate`].
    Navigated {
        /// The new document's loader; absent where only the fragment changed.
        loader_id: Option<String>,
        /// Why there is no document, such as `net::ERR_CONNECTION_REFUSED`.
        error_text: Option<String>,
    }

    /// The reply to [`GetNavigationHistory`].
    NavigationHistory {
        /// Where the page is now, from 0.
        current_index: i64,
        /// Oldest first.
        entries: Vec<HistoryEntry>,
    }

    /// One document that the page has shown.
    HistoryEntry {
        /// Names it.
        id: i64,
        /// Where.
        url: String,
        /// What led there: `typed`, `link`, `form_submit`, `reload` and so on.
        transition_type: String,
    }

    /// How a picture was taken.
    ScreencastMetadata {
        /// The viewport's width in CSS pixels.
        device_width: f64,
        /// The viewport's height in CSS pixels.
        device_height: f64,
    }

    /// The reply to [`CaptureScreenshot`].
    Screenshot {
        /// The picture in base 64.
        data: String,
    }

    /// The reply to [`GetLayoutMetrics`].
    LayoutMetrics {
        /// The whole document, in CSS pixels.
        css_content_size: Size,
        /// What is seen of it, in CSS pixels.
        css_layout_viewport: LayoutViewport,
    }

    /// The part of a document that is seen.
    LayoutViewport {
        /// Width without scroll bars.
        client_width: f64,
        /// Height without scroll bars.
        client_height: f64,
    }

    /// A size in CSS pixels.
    Size {
        /// Width.
        width: f64,
        /// Height.
        height: f64,
    }

    /// The reply to [`GetFrameTree`].
    FrameTreeReply {
        /// The top frame of the session.
        frame_tree: FrameTree,
    }

    /// A frame and those inside it.
    FrameTree {
        /// The frame.
        frame: Frame,
        /// Those inside it that live in the same process.
        #[serde(default)]
        child_frames: Vec<FrameTree>,
    }

    /// A frame.
    Frame {
        /// Its id.
        id: String,
        /// The frame it is in.
        parent_id: Option<String>,
        /// The loader of its document.
        loader_id: String,
        /// The URL without its fragment.
        url: String,
        /// The fragment, with its `#`.
        url_fragment: Option<String>,
        /// Such as `https://portal.example`.
        #[serde(default)]
        security_origin: String,
        /// What could not be loaded, where the frame shows Chromium's error page.
        unreachable_url: Option<String>,
    }

    /// The reply to [`AddScriptToEvaluateOnNewDocument`].
    ScriptAdded {
        /// What names the script.
        identifier: String,
    }

    /// The reply to [`CreateIsolatedWorld`].
    IsolatedWorld {
        /// Its execution context.
        execution_context_id: i64,
    }
}

notifications! {
    /// A frame begins to load another document, or moves within its own.
    FrameStartedNavigating = "Page.frameStartedNavigating" {
        /// Which.
        frame_id: String,
        /// Such as `differentDocument`, `sameDocument`, `reload`.
        navigation_type: String,
    }

    /// The page itself asked for a navigation; sent before the script that asked goes on.
    FrameRequestedNavigation = "Page.frameRequestedNavigation" {
        /// Which.
        frame_id: String,
        /// `currentTab`, or where else.
        disposition: String,
    }

    /// A frame is done loading.
    FrameStoppedLoading = "Page.frameStoppedLoading" {
        /// Which.
        frame_id: String,
    }

    /// A frame has another document.
    FrameNavigated = "Page.frameNavigated" {
        /// The frame as it is now.
        frame: Frame,
    }

    /// A frame moved within its document: another fragment, or `history.pushState`.
    NavigatedWithinDocument = "Page.navigatedWithinDocument" {
        /// Which.
        frame_id: String,
    }

    /// A step in the life of a document: `load`, `networkIdle`, …
    LifecycleEvent = "Page.lifecycleEvent" {
        /// Which frame.
        frame_id: String,
        /// Which document.
        loader_id: String,
        /// Which step.
        name: String,
    }

    /// The page shows a dialog and waits.
    DialogOpening = "Page.javascriptDialogOpening" {
        /// `alert`, `confirm`, `prompt` or `beforeunload`.
        #[serde(rename = "type")]
        kind: String,
        /// What it says.
        message: String,
        /// What a prompt begins with.
        #[serde(default)]
        default_prompt: String,
    }
    /// A picture of the page.
    ScreencastFrame = "Page.screencastFrame" {
        /// JPEG or PNG in base 64.
        data: String,
        /// How it was taken.
        metadata: ScreencastMetadata,
        /// Its number, for the acknowledgement.
        session_id: i64,
    }
    /// The dialog was answered.
    DialogClosed = "Page.javascriptDialogClosed" {
        /// Whether it was answered with OK.
        #[serde(default)]
        result: bool,
    }
}
