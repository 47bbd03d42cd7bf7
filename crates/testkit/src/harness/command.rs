//! Runs a command to its end and keeps what it said.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// The longest that a command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// What it wrote as data.
    pub stdout: String,
    /// What it told people.
    pub stderr: String,
}

impl Finished {
    /// What it wrote as data, which is JSON.
    ///
    /// # Panics
    /// Where it is not.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON: {error}: {self:?}"))
    }

    /// The command, if it ended with this code.
    ///
    /// # Panics
    /// Where it ended with another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// Runs `binary` in `folder` with nothing of ours in its environment but `environment`.
///
/// # Panics
/// Where it cannot be started or does not end within a minute.
pub async fn run(
    binary: &Path,
    folder: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    stdin: &str,
) -> Finished {
    let mut command = Command::new(binary);
    command.args(arguments).current_dir(folder).kill_on_drop(true);
    for name in own_variables() {
        command.env_remove(name);
    }
    command.envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("{} cannot be started: {error}", binary.display()));
    if let Some(mut pipe) = child.stdin.take() {
        // One that does not want to read has closed it: its exit code says why.
        let _ = pipe.write_all(stdin.as_bytes()).await;
    }
    match timeout(COMMAND_TIMEOUT, child.wait_with_output()).await {
        Ok(Ok(output)) => Finished {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        },
        Ok(Err(error)) => panic!("{arguments:?} cannot be waited for: {error}"),
        Err(_) => panic!("{arguments:?} did not end within {COMMAND_TIMEOUT:?}"),
    }
}

/// The variables of whoever runs the tests that would reach into them.
pub(super) fn own_variables() -> impl Iterator<Item = String> {
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("PILOTLIGHT_") && !name.starts_with("PILOTLIGHT_SOAK"))
}
