//! Waits for a condition, with a time limit.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Interval of the checks.
const POLL: Duration = Duration::from_millis(20);

/// Calls `look` repeatedly until it returns `Ok`, and returns the value.
///
/// # Panics
/// If `within` is over; shows `what` was awaited and the last observation.
pub async fn wait_for<T, S: Debug>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, S>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look().await {
            Ok(value) => return value,
            Err(seen) if Instant::now() >= deadline => {
                panic!("waited {within:?} in vain for {what}; last seen: {seen:?}")
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

/// For [`wait_for`]: returns the observation, as right or not yet right.
pub fn expect_that<S>(is_right: bool, seen: S) -> Result<S, S> {
    if is_right { Ok(seen) } else { Err(seen) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_gives_what_it_waited_for() {
        let mut looks = 0;
        let seen = wait_for("the third look", Duration::from_secs(10), async || {
            looks += 1;
            expect_that(looks == 3, looks)
        });
        assert_eq!(seen.await, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "waited 30ms in vain for rain; last seen: \"sun\"")]
    async fn it_says_what_it_saw_last() {
        wait_for("rain", Duration::from_millis(30), async || Err::<(), _>("sun")).await;
    }
}
