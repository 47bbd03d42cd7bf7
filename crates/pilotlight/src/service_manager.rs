//! Notifies the service manager (`sd_notify(3)`) if it started the server and expects it: ready, alive, stopping.
//!
//! The environment variables with the socket's address must not reach shims and browsers: those are started with an
//! allow-list of variables. Nothing here waits for the service manager.

use std::net::SocketAddr;
use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The minimum interval between watchdog notifications.
const MIN_BEAT: Duration = Duration::from_millis(100);

/// Reports that the server is ready.
pub(crate) fn ready(address: SocketAddr) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("listening on http://{address}"))]);
}

/// Reports that the server is stopping.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("saving changes")]);
}

/// Sends watchdog notifications at the interval that the service manager requests (`WatchdogSec=`). They must be sent
/// from the loop that is monitored, so that they stop if it hangs.
#[derive(Debug)]
pub struct Pulse(Option<Interval>);

impl Pulse {
    /// Creates the watchdog; it never fires if the service manager does not request it.
    #[must_use]
    pub fn wanted() -> Self {
        Self(watchdog_enabled().map(|within| {
            let mut beats = interval((within / 2).max(MIN_BEAT));
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beats
        }))
    }

    /// Waits until the next notification is due. Cancel safe.
    pub(crate) async fn due(&mut self) {
        match &mut self.0 {
            Some(beats) => drop(beats.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Sends a notification, in a separate thread because the socket may block.
    pub(crate) fn beat(&self) {
        tokio::task::spawn_blocking(|| tell(&[NotifyState::Watchdog]));
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = notify(states) {
        tracing::warn!(%error, "failed to notify the service manager");
    }
}
