//! What the service manager is told, where one started the server and listens: that it is ready, that the
//! keeper turns, that it stops (`sd_notify(3)`).
//!
//! The variables that say where it listens must never reach shims and browsers: those are started with an
//! environment of named variables alone. Nothing here waits for the service manager.

use std::net::SocketAddr;
use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The shortest time between two signs of life.
const MIN_BEAT: Duration = Duration::from_millis(100);

/// The server takes requests.
pub(crate) fn ready(address: SocketAddr) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("listening on http://{address}"))]);
}

/// The server goes down.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("writing down what is new")]);
}

/// Signs of life, as often as the service manager wants them (`WatchdogSec=`). They must come out of the loop
/// that is watched, so that they end when it is stuck.
#[derive(Debug)]
pub struct Pulse(Option<Interval>);

impl Pulse {
    /// The pulse that the service manager asks for; it never beats where none is asked for.
    #[must_use]
    pub fn wanted() -> Self {
        Self(watchdog_enabled().map(|within| {
            let mut beats = interval((within / 2).max(MIN_BEAT));
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beats
        }))
    }

    /// Returns when the next sign is due. Nothing is lost where this is dropped.
    pub(crate) async fn due(&mut self) {
        match &mut self.0 {
            Some(beats) => drop(beats.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Gives a sign of life, in a thread of its own: the socket may be full.
    pub(crate) fn beat(&self) {
        tokio::task::spawn_blocking(|| tell(&[NotifyState::Watchdog]));
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
