//! The shim's side of a control connection.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pilotlight_cdp::PipeCodec;
use serde::Serialize;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;

use super::protocol::{Order, PROTOCOL, Request, ShimEvent, control_codec, take_note};
use super::relay::{Relay, lock};
use super::{HELLO_TIMEOUT, protocol};
use crate::launch::Process;

/// Messages to a server on its control connection.
pub(super) type EventSink = FramedWrite<OwnedWriteHalf, PipeCodec>;

/// The state of a shim.
#[derive(Debug)]
pub(super) struct Shim {
    pub(super) process: Process,
    pub(super) engine: String,
    pub(super) label: String,
    pub(super) relay: Relay,
    pub(super) notes: Mutex<BTreeMap<String, String>>,
    pub(super) orphan_timeout: watch::Sender<Duration>,
    /// The server that has the browser, by its own name.
    pub(super) owner: watch::Sender<Option<String>>,
    /// Whether a server was told of the browser's end.
    pub(super) told: watch::Sender<bool>,
    /// Closes Chromium's pipe, which ends it.
    pub(super) close: CancellationToken,
}

impl Shim {
    pub(super) fn hello(&self) -> ShimEvent {
        let timeout = *self.orphan_timeout.borrow();
        ShimEvent::Hello(protocol::Hello {
            protocol: PROTOCOL,
            shim_pid: std::process::id(),
            browser_pid: self.process.pid,
            engine: self.engine.clone(),
            label: self.label.clone(),
            notes: lock(&self.notes).clone(),
            next_id: self.relay.next_id(),
            orphan_timeout_ms: timeout.as_millis().try_into().unwrap_or(u64::MAX),
            browser_folder: self.process.folder.clone(),
        })
    }

    /// Serves one control connection from its hello to its end.
    pub(super) async fn serve_control(
        &self,
        server: &str,
        requests: FramedRead<OwnedReadHalf, PipeCodec>,
        writer: OwnedWriteHalf,
    ) {
        let mut events_out = FramedWrite::new(writer, control_codec());
        if !tell(&mut events_out, &self.hello()).await {
            return;
        }
        tokio::select! {
            () = self.obey(requests, &mut events_out) => {}
            status = self.process.ended() => {
                let exited = ShimEvent::Exited { status, stderr: self.process.stderr.text() };
                let told = tell(&mut events_out, &exited).await;
                self.told.send_if_modified(|known| !std::mem::replace(known, *known || told) && told);
            }
            () = self.replaced(server) => {
                tell(&mut events_out, &ShimEvent::Replaced).await;
            }
        }
    }

    async fn obey(&self, mut requests: FramedRead<OwnedReadHalf, PipeCodec>, events_out: &mut EventSink) {
        while let Some(Ok(message)) = requests.next().await {
            let Ok(Request { id, order }) = serde_json::from_slice(&message) else {
                let reason = "a request that this shim does not know".to_owned();
                if !tell(events_out, &ShimEvent::Refused { id: protocol::GREETING, reason }).await {
                    return;
                }
                continue;
            };
            let answer = match self.carry_out(order) {
                Ok(()) => ShimEvent::Done { id },
                Err(reason) => ShimEvent::Refused { id, reason },
            };
            if !tell(events_out, &answer).await {
                return;
            }
        }
    }

    fn carry_out(&self, order: Order) -> Result<(), String> {
        match order {
            Order::SetNote { key, value } => return take_note(&mut lock(&self.notes), key, value),
            Order::SetOrphanTimeout { timeout_ms } => {
                self.orphan_timeout.send_replace(Duration::from_millis(timeout_ms));
            }
            Order::Close => self.close.cancel(),
            Order::Kill => self.process.kill(),
        }
        Ok(())
    }

    /// Returns when another server takes over the browser.
    async fn replaced(&self, server: &str) {
        let mut owner = self.owner.subscribe();
        let is = |owner: &Option<String>| owner.as_deref() == Some(server);
        let had = owner.wait_for(is).await.is_ok();
        let lost = had && owner.wait_for(|owner| !is(owner)).await.is_ok();
        if !lost {
            std::future::pending::<()>().await;
        }
    }
}

/// Returns whether it was sent in time.
pub(super) async fn tell(events_out: &mut EventSink, event: &impl Serialize) -> bool {
    let Ok(message) = serde_json::to_vec(event) else { return false };
    matches!(tokio::time::timeout(HELLO_TIMEOUT, events_out.send(message.into())).await, Ok(Ok(())))
}
