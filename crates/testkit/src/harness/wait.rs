//! Waiting for something to become true, with an end.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often it is looked.
const POLL: Duration = Duration::from_millis(20);

/// Looks again and again until `look` gives `Ok`, and gives what it gave.
///
/// # Panics
/// When `within` is over, with `what` was waited for and what was seen last.
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

/// For [`wait_for`]: what was seen, as right or not yet right.
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
