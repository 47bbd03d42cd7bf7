//! A client's stay in a session: a hold that lasts as long as the client is there.

use std::fmt::Debug;
use std::time::Duration;

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
    hold: HeldSession,
    used_at: Option<Instant>,
    is_paused: bool,
}

#[derive(Debug)]
struct HeldSession {
    keeper: KeeperHandle,
    session: Uuid,
    hold: Uuid,
    /// Goes once the session has been given back.
    kept: Option<Box<dyn Debug + Send + Sync>>,
}

impl Visit {
    /// Wakes the session where it sleeps, and holds it together with others, who see what `client` is here. Also returns
    /// the window, on loan.
    ///
    /// # Errors
    /// Why that cannot be: somebody may hold it alone.
    pub async fn begin(keeper: &KeeperHandle, session: Uuid, client: &str) -> Result<(Self, Using), Refused> {
        let terms = HoldTerms::shared(HOLD_TTL, Some(client.to_owned()));
        let terms = HoldTerms { is_connection: true, ..terms };
        let (hold, _) = keeper.hold(session, terms).await?;
        let hold = HeldSession { keeper: keeper.clone(), session, hold, kept: None };
        let using = keeper.window(session).await?;
        Ok((Self { hold, used_at: None, is_paused: false }, using))
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
        self.is_paused = true;
        self.hold.keeper.pause_hold(self.hold.session, self.hold.hold, unused_for).await;
    }

    /// Whether it is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// The client goes on. What is returned is done once the window runs again.
    pub(super) fn resume(&mut self) -> impl Future<Output = Result<(), Refused>> + Send + use<> {
        self.is_paused = false;
        let HeldSession { keeper, session, hold, .. } = &self.hold;
        let (keeper, session, hold) = (keeper.clone(), *session, *hold);
        async move { keeper.resume_hold(session, hold).await }
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
