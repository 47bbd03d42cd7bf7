//! Runs a command and returns its output.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Time limit of a command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(240);

/// A command that has exited.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The exit code; -1 if it was ended by a signal.
    pub code: i32,
    /// The contents of stdout.
    pub stdout: String,
    /// The contents of stderr.
    pub stderr: String,
}

impl Finished {
    /// Returns stdout, parsed as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON: {error}: {self:?}"))
    }

    /// Returns the command if it has this exit code.
    ///
    /// # Panics
    /// If it has another exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// Runs `binary` in `folder`, with only `environment` as its environment.
///
/// # Panics
/// If it cannot be started or does not exit within a minute.
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
        // A command that does not read stdin may have closed it: its exit code says why.
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

/// Returns the variables of the test's own environment that would affect it.
pub(super) fn own_variables() -> impl Iterator<Item = String> {
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("PILOTLIGHT_") && !name.starts_with("PILOTLIGHT_SOAK"))
}
