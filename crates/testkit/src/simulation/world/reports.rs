//! What the fake world reports, and what has become of it by then.

use pilotlight_core::{
    Access, Activity, Failure, FailureKind, Input, Memory, SessionId, SignInStatus, Suspicion, WindowLoss,
};

use super::{FROZEN, Portal, RUNNING, Report, WINDOW, World};
use crate::simulation::chance::Chance;

impl World {
    /// What the world reports next; `None` where the one who was to report is dead.
    pub(in crate::simulation) fn next_report(&mut self, chance: &mut Chance) -> Option<Input> {
        let ((at, _), report) = self.reports.pop_first()?;
        match report {
            Report::ShardStarted(shard) => {
                let lives = self.shards.contains(&shard);
                if lives {
                    self.started.insert(shard);
                }
                lives.then_some(Input::ShardStarted { shard })
            }
            Report::ShardEnded(shard, kind) => {
                self.kill(shard);
                let failure = kind.map(|kind| failure(kind, "the browser ended"));
                Some(Input::ShardEnded { shard, failure })
            }
            Report::Opened(session, ticket, shard) => {
                let current = self.opening.get(&session) == Some(&ticket);
                if !current || self.windows.get(&session) != Some(&shard) {
                    return None;
                }
                let fails = !self.calm && chance.percent(3);
                if fails {
                    self.window_gone(session);
                } else {
                    self.opening.remove(&session);
                }
                let result =
                    if fails { Err(failure(FailureKind::Browser, "no window came")) } else { Ok(()) };
                Some(Input::WindowOpened { session, ticket, result })
            }
            Report::Closed(session, ticket, shard) => {
                if self.windows.get(&session) == Some(&shard) {
                    self.window_gone(session);
                }
                self.shards.contains(&shard).then_some(Input::WindowClosed { session, ticket })
            }
            Report::Saved(session, ticket) => {
                let fails = !self.windows.contains_key(&session) || (!self.calm && chance.percent(10));
                if fails {
                    // Nothing is lost for want of peace.
                    self.unruly.remove(&session);
                } else {
                    self.saved.insert(session);
                    self.emptied.remove(&session);
                }
                let result = if fails { Err(failure(FailureKind::Browser, "no state came")) } else { Ok(()) };
                Some(Input::Saved { session, ticket, result })
            }
            Report::Frozen(session, ticket) => {
                let current = self.moved.get(&session) == Some(&ticket);
                let fails = !current || (!self.calm && chance.percent(10));
                if fails && current {
                    self.still.remove(&session);
                }
                let result = if fails { Err(failure(FailureKind::Browser, "it runs on")) } else { Ok(()) };
                Some(Input::Frozen { session, ticket, result })
            }
            Report::Thawed(session, ticket) => {
                if self.moved.get(&session) == Some(&ticket) {
                    self.still.remove(&session);
                }
                Some(Input::Thawed { session, ticket })
            }
            Report::Measured => {
                self.begin_measuring(at);
                self.ended = 0;
                let (used_bytes, budget_bytes) = (self.used(), self.budget?);
                let memory = Memory {
                    used_bytes,
                    budget_bytes,
                    window_bytes: WINDOW,
                    running_bytes: RUNNING,
                    frozen_bytes: FROZEN,
                };
                let windows: Vec<_> = self.weights().collect();
                let is_oversized = |(_, bytes): &&(SessionId, u64)| *bytes > WINDOW;
                self.oversized = windows.iter().filter(is_oversized).map(|(id, _)| *id).collect();
                Some(Input::Measured { memory, windows })
            }
            Report::Grown(shard) => Some(Input::ShardGrown { shard }),
            Report::HeldOthersUp(session, shard) => {
                if self.windows.get(&session) == Some(&shard) && !self.own.contains(&shard) {
                    self.unruly.insert(session);
                }
                Some(Input::HeldOthersUp { session, shard })
            }
            Report::Changed(session) => Some(Input::WindowChanged { session }),
            Report::Typing(session, ticket) => Some(Input::Typing { session, ticket }),
            Report::Ended(session, ticket, activity) => {
                if self.signing_in.get(&session) == Some(&ticket) {
                    self.signing_in.remove(&session);
                }
                let outcome = if self.untyped.remove(&(session, ticket)) {
                    let kind = FailureKind::Unrecorded { is_full: true };
                    Err(failure(kind, "that it is typed cannot be written down"))
                } else {
                    self.outcome(session, activity, chance)
                };
                if activity != Activity::Look || outcome.is_ok() {
                    self.tried.remove(&session);
                }
                let shows = activity != Activity::LoadDocument;
                if self.begun.get(&session) == Some(&ticket) && outcome.is_ok() && shows {
                    self.shown.insert(session);
                    if activity != Activity::Look {
                        self.blank.remove(&session);
                    }
                }
                if self.begun.get(&session) == Some(&ticket) && outcome.is_err() && activity != Activity::Look
                {
                    self.excused.insert(session);
                }
                let stands = matches!(
                    outcome,
                    Ok(SignInStatus::SignedIn | SignInStatus::Unknown | SignInStatus::LooksSignedOut(_))
                );
                if stands && self.begun.get(&session) == Some(&ticket) {
                    self.lost.remove(&session);
                }
                Some(Input::ActivityEnded { session, ticket, outcome })
            }
            Report::Refreshed(session, ticket) => {
                let refusals = self.refusals.contains(&session);
                let outcome = self.outcome(session, Activity::Refresh, chance);
                if refusals {
                    self.refusals.insert(session);
                }
                Some(Input::RefreshedBeside { session, ticket, outcome })
            }
            Report::Lost(session, shard, loss) => {
                // A late report says nothing of a window that has taken the place of the one that was lost.
                if self.windows.get(&session) == Some(&shard) {
                    self.lose(session, loss);
                }
                Some(Input::WindowLost { session, shard, loss })
            }
        }
    }

    fn outcome(
        &mut self,
        session: SessionId,
        activity: Activity,
        chance: &mut Chance,
    ) -> Result<SignInStatus, Failure> {
        if !self.windows.contains_key(&session) {
            return Err(failure(FailureKind::Browser, "the window is gone"));
        }
        if !self.calm && chance.percent(4) {
            let kind = match chance.below(4) {
                0..=1 => FailureKind::Browser,
                2 => FailureKind::Untyped,
                _ => FailureKind::Unexpected,
            };
            return Err(failure(kind, "something odd happened"));
        }
        let spec = self.specs.get(&session);
        let Some((spec, site)) = spec.and_then(|spec| Some((spec, spec.site?))) else {
            return Ok(match chance.below(20) {
                0 if !self.calm => SignInStatus::LooksSignedOut(Suspicion::PasswordField),
                1 if !self.calm => SignInStatus::LooksSignedOut(Suspicion::Moved { to: "away".to_owned() }),
                _ => SignInStatus::Unknown,
            });
        };
        let portal = self.portals.get(&site.0).copied().unwrap_or_default();
        if portal == Portal::Down && activity != Activity::Look {
            return Err(failure(FailureKind::Unreachable, "the portal is down"));
        }
        let rejected = || failure(FailureKind::Rejected, "the password is wrong");
        if activity == Activity::Look && self.blank.contains(&session) {
            return Ok(SignInStatus::ShowsNothing);
        }
        match activity {
            Activity::SignIn if portal == Portal::Up => {
                let typed = Access { login: self.typed.get(&session).copied(), ..spec.access };
                if self.is_refused(typed) {
                    self.refusals.insert(session);
                    return Err(rejected());
                }
                self.refusals.remove(&session);
                self.signed_in.insert(session);
            }
            Activity::Look if self.tried.contains(&session) && self.refusals.contains(&session) => {
                return Err(rejected());
            }
            Activity::SignIn | Activity::Look => {}
            // It may not show what a page does.
            Activity::LoadDocument if chance.percent(50) => return Ok(SignInStatus::SignedIn),
            Activity::LoadDocument => return Ok(SignInStatus::SignedOut),
            Activity::Visit | Activity::Refresh | Activity::Repair | Activity::Reopen => {
                self.refusals.remove(&session);
            }
        }
        if self.signed_in.contains(&session) {
            Ok(SignInStatus::SignedIn)
        } else if portal == Portal::Captcha {
            Ok(SignInStatus::PersonNeeded("a captcha".to_owned()))
        } else {
            Ok(SignInStatus::SignedOut)
        }
    }

    /// The rules are told that a window, or its page, was lost.
    fn lose(&mut self, session: SessionId, loss: WindowLoss) {
        if loss == WindowLoss::Emptied {
            // It may have more than was written down. Before they are told, the rules cannot know that.
            self.emptied.insert(session);
            self.blank.insert(session);
            self.excused.remove(&session);
        } else {
            self.lost.insert(session);
        }
        // What began since in a page that is no longer there ends with it. One that hangs may yet answer.
        if loss != WindowLoss::Hung {
            self.begun.remove(&session);
            self.signing_in.remove(&session);
        }
    }
}

fn failure(kind: FailureKind, sentence: &str) -> Failure {
    Failure { kind, sentence: sentence.to_owned() }
}
