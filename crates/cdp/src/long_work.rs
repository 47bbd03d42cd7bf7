//! Work on messages of many megabytes, which takes so long that nothing else must wait for it.

use tokio::runtime::{Handle, RuntimeFlavor};

/// From this size on, reading or writing a message as JSON takes more than about a millisecond.
pub const LONG_WORK_BYTES: usize = 512 * 1024;

/// Runs a function for a message of this size, and returns the result. If that takes long, the other tasks of this
/// thread's worker are moved to another thread first: tokio moves no task away from a busy worker otherwise (in
/// particular, the next one waits for it).
pub fn work_on<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    // A runtime with a single thread has no other one.
    let has_workers =
        || Handle::try_current().is_ok_and(|it| it.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes >= LONG_WORK_BYTES && has_workers() { tokio::task::block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// The task that is woken last runs next on the same worker, and no other worker takes it.
    async fn next_task_runs_meanwhile(bytes: usize) -> bool {
        let (sender, receiver) = mpsc::channel();
        tokio::spawn(async move {
            tokio::spawn(async move { sender.send(()) });
            work_on(bytes, || receiver.recv_timeout(Duration::from_secs(1)).is_ok())
        })
        .await
        .unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_takes_long_holds_no_other_task_up() {
        assert!(next_task_runs_meanwhile(LONG_WORK_BYTES).await);
        assert!(!next_task_runs_meanwhile(LONG_WORK_BYTES - 1).await);
    }

    #[tokio::test]
    async fn where_there_is_one_thread_it_is_done_there() {
        assert_eq!(work_on(LONG_WORK_BYTES, || 1), 1);
        assert!(!next_task_runs_meanwhile(LONG_WORK_BYTES).await);
    }
}
