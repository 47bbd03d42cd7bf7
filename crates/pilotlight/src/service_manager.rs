//! Notifies the service manager (`sd_notify(3)`) if it started the server and expects it: ready, alive, stopping.
//!
//! The environment variables with the socket's address must not reach shims and browsers: those are started with an
//! allow-list of variables. Nothing here waits for the service manager.

use std::net::SocketAddr;
use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::{Interval, MissedTickBehavior};

/// The minimum interval between watchdog notifications.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

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
pub struct ServiceWatchdog(Option<Interval>);

impl ServiceWatchdog {
    /// Creates the watchdog; it never fires if the service manager does not request it.
    #[must_use]
    pub fn wanted() -> Self {
        Self(watchdog_enabled().map(|within| {
            let mut interval = tokio::time::interval((within / 2).max(MIN_INTERVAL));
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        }))
    }

    /// Waits until the next notification is due. Cancel safe.
    pub(crate) async fn due(&mut self) {
        match &mut self.0 {
            Some(interval) => drop(interval.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Sends a notification, in a separate thread because the socket may block.
    pub(crate) fn ping(&self) {
        tokio::task::spawn_blocking(|| tell(&[NotifyState::Watchdog]));
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = notify(states) {
        tracing::warn!(%error, "failed to notify the service manager");
    }
}
