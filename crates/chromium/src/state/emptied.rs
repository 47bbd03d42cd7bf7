//! Bare windows that were emptied when they were closed, and can be used again.

use pilotlight_cdp::SessionId;
use tokio::time::Instant;

use super::Viewport;
use crate::event::WindowId;

/// A context with one empty page, of which nobody has a window.
#[derive(Debug)]
pub(crate) struct Emptied {
    /// The site whose bare windows use it.
    pub(crate) site: String,
    pub(crate) context: WindowId,
    pub(crate) viewport: Viewport,
    pub(crate) target: String,
    pub(crate) session: SessionId,
    /// When it was emptied.
    pub(crate) since: Instant,
}
