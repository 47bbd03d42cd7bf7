//! `pilotlight doctor --measure`: how many hibernated sessions this machine keeps signed in. Each way of refreshing them
//! is tried in a browser, with the demo portal.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use pilotlight_api::{CheckState, MachineCheck, RefreshAsleep, RefreshDefinition, RefreshHow};
use pilotlight_demo_portal::{PASSWORD, Portal, PortalOptions};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::trial_browser::TrialBrowsers;
use crate::config::Config;
use crate::credentials::Login;
use crate::demo::demo_site;
use crate::exit::{FAILED, Failure};
use crate::keeper::{AsleepTrial, SessionTarget, TrialOptions, TriedRefresh, try_sign_in};
use crate::serve::{run_until_stopped, start_log};
use crate::server::ServeError;

/// How often each way is tried.
const REFRESHES: u32 = 10;
/// The number of sessions for which the processor time is given.
const SESSIONS: u32 = 1000;
/// The interval of refreshes if the configuration has none.
const USUAL_INTERVAL: Duration = Duration::from_secs(300);
/// The page of the portal that is loaded: as large as those of real portals.
const PAGE: &str = "heavy";

/// Measures, and returns the result as a check: is it enough for `limits.max_sessions`?
pub(super) fn measure(config: Config) -> Result<MachineCheck, Failure> {
    start_log("error");
    let demand = Demand {
        sessions: config.limits.max_sessions,
        interval: config.sessions.refresh_interval.unwrap_or(USUAL_INTERVAL),
        windows: config.limits.asleep_windows,
        cores: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        loads_documents: !config.sites.is_empty()
            && config.sites.values().all(|site| site.definition.refresh.asleep == RefreshAsleep::Document),
    };
    let trial = run_until_stopped(async |stop| try_refreshes(config, stop).await)??;
    Ok(demand.check(&trial))
}

async fn try_refreshes(config: Config, stop: &CancellationToken) -> Result<AsleepTrial, Failure> {
    let of_system = |error| crate::serve::failure(&ServeError::System(error));
    let portal = Portal::start(PortalOptions::default()).await;
    let portal = portal.map_err(|error| of_system(io::Error::other(error)))?;
    let mut site = demo_site(&portal.url()).map_err(|error| of_system(io::Error::other(error)))?;
    site.definition.refresh = RefreshDefinition {
        how: RefreshHow::Visit,
        url: Some(format!("{}{PAGE}", portal.url())),
        ..RefreshDefinition::default()
    };
    let target = SessionTarget {
        start_url: site.definition.start_url.clone(),
        site: Some(Arc::new(site)),
        login: Login::Own { username: Some("doctor".to_owned()), password: Some(PASSWORD.into()) },
    };
    let browsers = TrialBrowsers::prepare(config).await?;
    let (told, _) = mpsc::unbounded_channel();
    let options = TrialOptions { wants_pictures: false, refreshes: REFRESHES };
    let tried = try_sign_in(&browsers.launcher, &browsers.profile, &target, told, options, stop).await;
    portal.stop().await;
    let why = match tried.map(|trial| (trial.outcome, trial.asleep)) {
        Ok((_, Some(Ok(trial)))) => match (&trial.window.outcome, &trial.document.outcome) {
            (Ok(true), Ok(true)) => return Ok(trial),
            (Err(failure), _) | (_, Err(failure)) => failure.sentence.clone(),
            _ => "the demo portal signed it out".to_owned(),
        },
        Err(failure) | Ok((_, Some(Err(failure))) | (Err(failure), None)) => failure.sentence,
        Ok((Ok(_), None)) => "the demo portal did not let it in".to_owned(),
    };
    Err(Failure::new(FAILED, format!("cannot measure refreshes: {why}")))
}

/// What the configuration asks of the machine.
struct Demand {
    sessions: u32,
    interval: Duration,
    /// How many windows there are for refreshes at the same time.
    windows: u32,
    cores: usize,
    /// Whether all sites are refreshed by document.
    loads_documents: bool,
}

impl Demand {
    fn check(&self, trial: &AsleepTrial) -> MachineCheck {
        let seconds = self.interval.as_secs();
        let cores = |tried: &TriedRefresh| {
            f64::from(SESSIONS) * tried.processor_time.as_secs_f64() / self.interval.as_secs_f64()
        };
        let found = format!(
            "{SESSIONS} hibernated sessions refreshed every {seconds} s take {:.2} cores by document and {:.2} cores \
             by window; limits.asleep_windows = {} allows {} and {} sessions",
            cores(&trial.document),
            cores(&trial.window),
            self.windows,
            self.most(&trial.document),
            self.most(&trial.window),
        );
        let way = if self.loads_documents { &trial.document } else { &trial.window };
        let is_enough = self.most(way) >= u64::from(self.sessions);
        let fix = format!(
            "for the {} sessions of limits.max_sessions: asleep = \"document\" in the sites for which `pilotlight site try` \
             recommends it, a higher limits.asleep_windows, or a longer refresh_interval",
            self.sessions
        );
        MachineCheck {
            name: "refreshes".to_owned(),
            state: if is_enough { CheckState::Present } else { CheckState::Missing },
            found,
            benefit: "hibernated sessions stay signed in".to_owned(),
            fix: (!is_enough).then_some(fix),
        }
    }

    /// Returns how many sessions can be refreshed within an interval, one after the other in each window, as far as there
    /// are processors.
    fn most(&self, tried: &TriedRefresh) -> u64 {
        let interval = self.interval.as_micros();
        let in_windows = interval * u128::from(self.windows) / tried.took.as_micros().max(1);
        let on_cores = interval * self.cores as u128 / tried.processor_time.as_micros().max(1);
        u64::try_from(in_windows.min(on_cores)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(took_ms: u64, processor_ms: u64) -> TriedRefresh {
        let (took, processor_time) = (Duration::from_millis(took_ms), Duration::from_millis(processor_ms));
        TriedRefresh { outcome: Ok(true), took, processor_time }
    }

    fn trial() -> AsleepTrial {
        AsleepTrial { window: tried(1500, 900), document: tried(200, 90), without_cookies: tried(200, 90) }
    }

    #[test]
    fn the_demand_is_compared_with_what_was_measured() {
        let interval = Duration::from_secs(300);
        let demand = |sessions, windows, loads_documents| {
            Demand { sessions, interval, windows, cores: 2, loads_documents }.check(&trial())
        };
        let few = demand(1000, 2, true);
        assert_eq!((few.state, few.fix), (CheckState::Present, None));
        assert_eq!(
            few.found,
            "1000 hibernated sessions refreshed every 300 s take 0.30 cores by document and 3.00 cores by window; \
             limits.asleep_windows = 2 allows 3000 and 400 sessions"
        );
        assert!(
            demand(1000, 8, true).found.ends_with("allows 6666 and 666 sessions"),
            "two cores carry no more"
        );
        assert_eq!(demand(401, 2, false).state, CheckState::Missing);
        let many = demand(3001, 2, true);
        assert_eq!(many.state, CheckState::Missing);
        assert!(many.fix.is_some_and(|fix| fix.contains("3001 sessions")));
    }
}
