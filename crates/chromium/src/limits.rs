//! Limits that are used by several modules.

use std::time::Duration;

/// Pages of a window; further ones are closed immediately.
pub const TABS_MAX: usize = 32;
/// Clients of a window.
pub const CLIENTS_MAX: usize = 16;
/// Values of unlimited size that are requested at once of a window that shares its browser. Their replies cannot be
/// delayed, and their size is known only when they have arrived. One may wait in its page for an effect of another.
pub(crate) const VALUES_AT_ONCE: usize = 2;
/// How long a new page waits for its clients.
pub const CLIENT_HOLD_MAX: Duration = Duration::from_secs(5);
/// How long the commands of a page's set-up may take.
pub(crate) const SET_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a query may take.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a window may take to open. Measured: 0.02 to 0.2 s.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// How long closing the context of a window may take.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
