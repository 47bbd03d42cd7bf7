//! `Network`: what a page sends, and what it gets back.

use crate::command::{Nothing, commands, notifications, objects};

commands! {
    /// Starts network events on the session.
    NetworkEnable = "Network.enable" -> Nothing {
        /// Bytes of response bodies kept for later questions.
        max_total_buffer_size: u64,
        /// The longest body of a request that an event repeats, in bytes: none, since it may have a password in it.
        max_post_data_size: u64,
    }

    /// Ends network events on the session.
    NetworkDisable = "Network.disable" -> Nothing {}

    /// Empties the HTTP cache of the page's context.
    ClearBrowserCache = "Network.clearBrowserCache" -> Nothing {}

    /// Whether requests go past service workers.
    SetBypassServiceWorker = "Network.setBypassServiceWorker" -> Nothing {
        /// Whether they do.
        bypass: bool,
    }

    /// Slows the network of the page.
    EmulateNetworkConditions = "Network.emulateNetworkConditions" -> Nothing {
        /// No network at all.
        offline: bool,
        /// Added delay in milliseconds.
        latency: f64,
        /// Bytes per second, -1 for unlimited.
        download_throughput: f64,
        /// Bytes per second, -1 for unlimited.
        upload_throughput: f64,
    }
}

impl NetworkEnable {
    /// Events without bodies, and nothing kept.
    pub const BARE: Self = Self { max_total_buffer_size: 0, max_post_data_size: 0 };
}

objects! {
    /// What a page asks for.
    Request {
        /// Such as `POST`.
        method: String,
        /// Where it goes.
        url: String,
    }

    /// What it is answered.
    Response {
        /// The HTTP status.
        status: u16,
    }
}

notifications! {
    /// A request is about to be sent, or is sent on to where a redirect points.
    RequestWillBeSent = "Network.requestWillBeSent" {
        /// The same for all hops of a chain of redirects; for a document, the loader's id.
        request_id: String,
        /// The document that the request belongs to.
        loader_id: String,
        /// The URL of that document.
        #[serde(rename = "documentURL")]
        document_url: String,
        /// The frame.
        frame_id: Option<String>,
        /// What is asked for.
        request: Request,
        /// `Document`, `XHR`, `Fetch`, `Image` and so on.
        #[serde(rename = "type")]
        kind: Option<String>,
        /// The answer that sent it here, where there was one.
        redirect_response: Option<Response>,
    }

    /// The head of an answer is there.
    ResponseReceived = "Network.responseReceived" {
        /// To which request.
        request_id: String,
        /// The head.
        response: Response,
    }

    /// An answer is there as a whole.
    LoadingFinished = "Network.loadingFinished" {
        /// To which request.
        request_id: String,
    }

    /// A request failed.
    LoadingFailed = "Network.loadingFailed" {
        /// For a document, the loader's id.
        request_id: String,
        /// Such as `net::ERR_CONNECTION_REFUSED`.
        error_text: String,
    }

    /// A page sends a message over a WebSocket.
    WebSocketFrameSent = "Network.webSocketFrameSent" {
        /// Over which.
        request_id: String,
    }
}
