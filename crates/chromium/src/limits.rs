//! Numbers that several modules keep to.

use std::time::Duration;

/// How many pages a window may have; more are closed at once.
pub const TABS_MAX: usize = 32;
/// How many guests a window may have.
pub const GUESTS_MAX: usize = 16;
/// How many values of any size are asked for at once of a window whose browser has others. Their replies cannot be made
/// to wait, and how long they are is known only when they have come. One may wait in its page for what another does.
pub(crate) const VALUES_AT_ONCE: usize = 2;
/// How long a new page waits for its guests.
pub const GUEST_HOLD_MAX: Duration = Duration::from_secs(5);
/// How long the commands of a page's set-up may take.
pub(crate) const SET_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a command that only asks may take.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a window may take to open. Measured: 0.02 to 0.2 s.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the context of a window may take to go.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
