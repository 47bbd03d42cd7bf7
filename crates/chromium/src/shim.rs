//! Browsers that outlive the server.
//!
//! A shim is a separate small process for one browser: the same program under a hidden subcommand. It owns Chromium's
//! pipe, standard error and exit status, and listens on a UNIX socket; the server communicates with Chromium through
//! it, and when the server ends, the next one finds the shim in the run directory and adopts the browser with its
//! pages unchanged.
//!
//! ```text
//! <run directory>/shim-<pid>-<n>/            the shim's, for its user alone
//!                 shim-<pid>-<n>/shim.json   {"protocol":1,"shim_pid":…,"browser_pid":…,"label":"…"}
//!                 shim-<pid>-<n>/shim.sock   where it listens
//!                 shim-<pid>-<n>.lock        locked while the shim lives
//!                 browser-<pid>-<n>/         the browser's, for the browser's user alone
//!                 browser-<pid>-<n>.lock     locked while the shim lives
//! ```
//! `<pid>` is the shim's in all of them. The browser's folder is beside the shim's and neither around nor in it, so
//! that the browser's user cannot replace the socket.
//!
//! A server opens two connections, each with a greeting that the shim answers with a hello. All messages end with a
//! NUL byte. The *relay* then carries messages of the DevTools protocol, only whole ones; *control* carries JSON of
//! `protocol.rs`. The newest relay wins. While there is none, the shim reads and drops Chromium's messages, and all
//! pages that were paused for the server continue; after the orphan timeout it ends its browser.
//!
//! A shim reads nothing of a message except the ids of sessions and calls, never stores one, and never lets its
//! browser outlive it: Chromium ends when its pipe closes.

mod client;
mod control;
mod journal;
mod launcher;
mod process;
mod protocol;
mod relay;

use std::time::Duration;

pub(crate) use client::Kept;
pub use client::{OrphanedBrowser, ShimError, ShimHandle};
pub(crate) use client::{is_of_window, main_page_note, window_note};
pub use launcher::{EndedShim, Found, ShimLauncher, ShimOptions};
pub use process::run;
pub use protocol::{NOTE_KEY_BYTES_MAX, NOTE_VALUE_BYTES_MAX, NOTES_MAX, PROTOCOL, PROTOCOLS};

/// The hidden subcommand of a shim.
pub const SUBCOMMAND: &str = "__shim";
/// The default time for which a browser waits for a server.
pub const DEFAULT_ORPHAN_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a server may leave messages unread before it is disconnected.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a greeting and its answer may take.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Exposed to the fuzz targets.
#[cfg(fuzzing)]
pub(crate) mod fuzzing {
    use std::collections::BTreeMap;

    use super::protocol::{
        Card, Description, Greeting, NOTES_MAX, Order, Report, Request, ShimEvent, take_note,
    };

    /// Parses the bytes as all that servers and shims read of each other, and applies what is stored of it.
    pub fn read_shim_messages(bytes: &[u8]) {
        drop(serde_json::from_slice::<Greeting>(bytes));
        drop(serde_json::from_slice::<ShimEvent>(bytes));
        drop(serde_json::from_slice::<Report>(bytes));
        drop(serde_json::from_slice::<Card>(bytes));
        if let Ok(description) = serde_json::from_slice::<Description>(bytes) {
            drop(description.plan());
        }
        let mut notes = BTreeMap::new();
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Ok(Request { order: Order::SetNote { key, value }, .. }) = serde_json::from_slice(line) {
                drop(take_note(&mut notes, key, value));
            }
        }
        assert!(notes.len() <= NOTES_MAX);
    }
}
