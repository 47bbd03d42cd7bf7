//! A client's use of a session: a hold that lasts as long as the client is connected, and the lease of the window,
//! unless the client is silent.

use std::fmt::Debug;
use std::time::Duration;

use pilotlight_chromium::Window;
use pilotlight_core::Refusal;
use tokio::time::Instant;
use uuid::Uuid;

use crate::keeper::{HoldTerms, KeeperHandle, Refused, Using};

/// How long the hold remains after a crash of the server.
const HOLD_TTL: Duration = Duration::from_secs(60);
/// How often the hold is extended.
pub(super) const KEEP_EVERY: Duration = Duration::from_secs(20);
/// The precision of `last_used` while the client works.
pub(super) const USED_EVERY: Duration = Duration::from_secs(2);

/// The use of a session by a client, which ends when this is dropped.
#[derive(Debug)]
pub struct Visit {
    /// The window; `None` while the client is silent.
    using: Option<Using>,
    hold: HeldSession,
    used_at: Option<Instant>,
}

#[derive(Debug)]
struct HeldSession {
    keeper: KeeperHandle,
    session: Uuid,
    hold: Uuid,
    /// The name of the client.
    client: String,
    /// Dropped once the session was released.
    kept: Option<Box<dyn Debug + Send + Sync>>,
}

impl Visit {
    /// Wakes the session if necessary, and holds it together with other clients, which see the name `client`.
    ///
    /// # Errors
    /// The reason for a refusal: another client may hold it exclusively.
    pub async fn begin(keeper: &KeeperHandle, session: Uuid, client: &str) -> Result<Self, Refused> {
        let hold = hold(keeper, session, client).await?;
        let hold =
            HeldSession { keeper: keeper.clone(), session, hold, client: client.to_owned(), kept: None };
        let using = Some(keeper.window(session).await?);
        Ok(Self { using, hold, used_at: None })
    }

    /// Returns the window, unless the client is silent.
    pub(crate) fn window(&self) -> Option<&Window> {
        self.using.as_ref().map(|using| &using.window)
    }

    /// Keeps a value until the session was released.
    #[must_use]
    pub fn keeping(mut self, kept: impl Debug + Send + Sync + 'static) -> Self {
        self.hold.kept = Some(Box::new(kept));
        self
    }

    /// Returns the session.
    #[must_use]
    pub fn session(&self) -> Uuid {
        self.hold.session
    }

    /// Extends the hold.
    pub(super) async fn keep(&self) {
        self.hold.keeper.keep_hold(self.hold.session, self.hold.hold, HOLD_TTL).await;
    }

    /// Allows the window to freeze, since the client has sent nothing for this time.
    pub(super) async fn pause(&mut self, unused_for: Duration) {
        self.hold.keeper.pause_hold(self.hold.session, self.hold.hold, unused_for).await;
        self.using = None;
    }

    /// Returns whether the client is silent.
    pub(super) fn is_paused(&self) -> bool {
        self.using.is_none()
    }

    /// Returns a future that continues after silence. It returns a hold, which may be a new one, and the window,
    /// which is thawed. Both must be passed to [`Self::resumed`].
    pub(super) fn resume(&self) -> impl Future<Output = Result<(Uuid, Using), Refused>> + Send + use<> {
        let HeldSession { keeper, session, hold: held, client, .. } = &self.hold;
        let (keeper, session, mut held, client) = (keeper.clone(), *session, *held, client.clone());
        async move {
            loop {
                match keeper.resume_hold(session, held).await {
                    Ok(()) => return Ok((held, keeper.window(session).await?)),
                    // A machine that was suspended extends no holds.
                    Err(Refused::ByRules(Refusal::HoldNotFound)) => {
                        held = hold(&keeper, session, &client).await?;
                    }
                    // Its page is being loaded again, which takes some time.
                    Err(Refused::ByRules(Refusal::NotReady { .. })) => {}
                    Err(refused) => return Err(refused),
                }
            }
        }
    }

    /// Continues after silence.
    pub(super) fn resumed(&mut self, (hold, using): (Uuid, Using)) {
        self.hold.hold = hold;
        self.using = Some(using);
    }

    /// Notes that the client did something.
    pub(super) async fn used(&mut self) {
        if self.used_at.is_none_or(|at| at.elapsed() >= USED_EVERY) {
            self.used_at = Some(Instant::now());
            // A session that has ended meanwhile ends the visit anyway.
            drop(self.hold.keeper.ping(self.hold.session).await);
        }
    }
}

async fn hold(keeper: &KeeperHandle, session: Uuid, client: &str) -> Result<Uuid, Refused> {
    let terms = HoldTerms::shared(HOLD_TTL, Some(client.to_owned()));
    let (hold, _) = keeper.hold(session, HoldTerms { is_connection: true, ..terms }).await?;
    Ok(hold)
}

impl Drop for HeldSession {
    fn drop(&mut self) {
        let (keeper, session, hold, kept) = (self.keeper.clone(), self.session, self.hold, self.kept.take());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                drop(keeper.release_hold(session, hold).await);
                drop(kept);
            });
        }
    }
}
