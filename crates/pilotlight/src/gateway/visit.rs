//! A client's stay in a session: a hold that lasts as long as the client is there, and the window on loan, unless the
//! client is silent.

use std::fmt::Debug;
use std::time::Duration;

use pilotlight_chromium::Window;
use pilotlight_core::Refusal;
use tokio::time::Instant;
use uuid::Uuid;

use crate::keeper::{HoldTerms, KeeperHandle, Refused, Using};

/// How long the hold outlasts a server that dies.
const HOLD_TTL: Duration = Duration::from_secs(60);
/// How often the hold is kept up.
pub(super) const KEEP_EVERY: Duration = Duration::from_secs(20);
/// How exactly `last_used` follows what the client does.
pub(super) const USED_EVERY: Duration = Duration::from_secs(2);

/// The stay. Dropped, the session is as before.
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
    /// What the client is.
    client: String,
    /// Goes once the session has been given back.
    kept: Option<Box<dyn Debug + Send + Sync>>,
}

impl Visit {
    /// Wakes the session where it sleeps, and holds it together with others, who see what `client` is here.
    ///
    /// # Errors
    /// Why that cannot be: somebody may hold it alone.
    pub async fn begin(keeper: &KeeperHandle, session: Uuid, client: &str) -> Result<Self, Refused> {
        let hold = hold(keeper, session, client).await?;
        let hold =
            HeldSession { keeper: keeper.clone(), session, hold, client: client.to_owned(), kept: None };
        let using = Some(keeper.window(session).await?);
        Ok(Self { using, hold, used_at: None })
    }

    /// The window, unless the client is silent.
    pub(crate) fn window(&self) -> Option<&Window> {
        self.using.as_ref().map(|using| &using.window)
    }

    /// Keeps something until the session has been given back.
    #[must_use]
    pub fn keeping(mut self, kept: impl Debug + Send + Sync + 'static) -> Self {
        self.hold.kept = Some(Box::new(kept));
        self
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> Uuid {
        self.hold.session
    }

    /// The hold does not run out for another while.
    pub(super) async fn keep(&self) {
        self.hold.keeper.keep_hold(self.hold.session, self.hold.hold, HOLD_TTL).await;
    }

    /// The client has sent nothing for so long: its window may freeze.
    pub(super) async fn pause(&mut self, unused_for: Duration) {
        self.hold.keeper.pause_hold(self.hold.session, self.hold.hold, unused_for).await;
        self.using = None;
    }

    /// Whether it is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.using.is_none()
    }

    /// What has it go on; gives a hold, which may be a new one, and the window, which runs by then. Both are to be passed
    /// to [`Self::resumed`].
    pub(super) fn resume(&self) -> impl Future<Output = Result<(Uuid, Using), Refused>> + Send + use<> {
        let HeldSession { keeper, session, hold: held, client, .. } = &self.hold;
        let (keeper, session, mut held, client) = (keeper.clone(), *session, *held, client.clone());
        async move {
            loop {
                match keeper.resume_hold(session, held).await {
                    Ok(()) => return Ok((held, keeper.window(session).await?)),
                    // A machine that sleeps keeps up no holds.
                    Err(Refused::ByRules(Refusal::HoldNotFound)) => {
                        held = hold(&keeper, session, &client).await?;
                    }
                    // Its page is being loaded again, which takes its time.
                    Err(Refused::ByRules(Refusal::NotReady { .. })) => {}
                    Err(refused) => return Err(refused),
                }
            }
        }
    }

    /// It goes on.
    pub(super) fn resumed(&mut self, (hold, using): (Uuid, Using)) {
        self.hold.hold = hold;
        self.using = Some(using);
    }

    /// The client did something.
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
