//! Tells the rules, which do not know the time of day, which sites are in their quiet hours.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::clock::timestamp;
use crate::keeper::KeeperHandle;
use crate::plan::Planner;

/// Interval at which the clock is checked.
const EVERY: Duration = Duration::from_secs(10);

/// Reports every change to the keeper, until `stop`.
pub(crate) async fn run(planner: Planner, keeper: KeeperHandle, stop: CancellationToken) {
    let (mut turns, mut told) = (interval(EVERY), BTreeSet::new());
    while stop.run_until_cancelled(turns.tick()).await.is_some() {
        let now = timestamp(keeper.clock().now()).to_zoned(TimeZone::system());
        let [hour, minute] =
            [now.hour(), now.minute()].map(|number| u16::try_from(number).unwrap_or_default());
        let quiet = planner.quiet_sites(hour, minute);
        if quiet != told {
            keeper.quiet(quiet.clone()).await;
            told = quiet;
        }
    }
}
