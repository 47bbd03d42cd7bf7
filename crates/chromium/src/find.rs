//! Finding Chromium, and checking whether it can be used.
//!
//! The search uses only file names, under a root and with an environment that the caller provides, so that tests are
//! independent of the machine. Only [`check_version`] starts the program, as the unprivileged user.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

pub use crate::engine::{Binary, Engine};
use crate::launch::{Confined, Reach, RunAs};

/// The oldest Chromium that is known to have every command that is used, by major version.
pub const MINIMUM_MAJOR: u32 = 120;
/// How long `--version` may take.
pub const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
/// How many bytes of the output of `--version` are read.
const VERSION_OUTPUT_MAX_BYTES: u64 = 4096;

/// The hint if there is none.
pub const INSTALL_HINT: &str = "install it with `apt install chromium-headless-shell chromium` (Debian, Ubuntu: `npx \
    @puppeteer/browsers install chrome-headless-shell@stable`), or set `chromium.binary`";

/// The scope of the search.
#[derive(Debug, Clone)]
pub struct Search<'a> {
    /// The path from the configuration; if it is set, nothing else is searched.
    pub configured: Option<&'a Path>,
    /// The environment: `CHROME_BIN`, `CHROMIUM_BIN`, `PUPPETEER_EXECUTABLE_PATH`, `PATH`, `HOME`.
    pub environment: &'a HashMap<String, String>,
    /// `/`, except in tests.
    pub root: &'a Path,
}

/// Why there is no usable Chromium.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The configured path is not an executable.
    #[error("`{}`, configured as the browser, is not an executable; {INSTALL_HINT}", .0.display())]
    ConfiguredMissing(PathBuf),
    /// The configured program cannot be used for the configured engine.
    #[error("`{}` cannot be used for the engine `{engine}`: {reason}", path.display())]
    WrongEngine {
        /// The program.
        path: PathBuf,
        /// The engine.
        engine: Engine,
        /// The reason.
        reason: &'static str,
    },
    /// Nothing was found.
    #[error("no Chromium was found for {}; {INSTALL_HINT}", names(.0))]
    NotFound(Vec<Engine>),
    /// The engine `headed` without a display.
    #[error("the engine `headed` needs a display: set DISPLAY, for example with `xvfb-run`")]
    NoDisplay,
    /// The program fails.
    #[error("`{}` failed: {reason}; {INSTALL_HINT}", path.display())]
    Broken {
        /// The program.
        path: PathBuf,
        /// The error.
        reason: String,
    },
    /// The program is too old.
    #[error("`{}` is Chromium {major}; at least {MINIMUM_MAJOR} is needed; {INSTALL_HINT}", path.display())]
    TooOld {
        /// The program.
        path: PathBuf,
        /// Its major version.
        major: u32,
    },
}

fn names(engines: &[Engine]) -> String {
    engines.iter().map(|engine| format!("`{engine}`")).collect::<Vec<_>>().join(" or ")
}

/// Finds the first of `engines` (best first) that is installed.
///
/// # Errors
/// If none is, with a hint how to install one.
pub fn find(search: &Search<'_>, engines: &[Engine]) -> Result<Binary, FindError> {
    let has_display = search.environment.get("DISPLAY").is_some_and(|display| !display.is_empty());
    if engines == [Engine::Headed] && !has_display {
        return Err(FindError::NoDisplay);
    }
    if let Some(path) = search.configured {
        return configured(path, engines, has_display);
    }
    let usable = engines.iter().filter(|&&engine| engine != Engine::Headed || has_display);
    let mut found = usable.filter_map(|&engine| {
        let (path, source) = candidates(search, engine).into_iter().find(|(path, _)| is_program(path))?;
        Some(Binary { path, engine, source })
    });
    found.next().ok_or_else(|| FindError::NotFound(engines.to_vec()))
}

fn configured(path: &Path, engines: &[Engine], has_display: bool) -> Result<Binary, FindError> {
    if !is_program(path) {
        return Err(FindError::ConfiguredMissing(path.into()));
    }
    let shell = is_headless_shell(path);
    let fits = |engine: &&Engine| match engine {
        Engine::HeadlessShell => shell,
        Engine::Headless => !shell,
        Engine::Headed => !shell && has_display,
    };
    if let Some(&engine) = engines.iter().find(fits) {
        return Ok(Binary { path: path.into(), engine, source: "configuration" });
    }
    let reason =
        if shell { "it is a headless shell, which has no windows" } else { "it is no headless shell" };
    let engine = engines.first().copied().unwrap_or(Engine::HeadlessShell);
    Err(FindError::WrongEngine { path: path.into(), engine, reason })
}

fn is_headless_shell(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().replace('_', "-")).unwrap_or_default();
    name.contains("headless-shell")
}

/// Returns whether the path is a regular file that a user may execute.
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Returns the places of an engine, in order of preference.
fn candidates(search: &Search<'_>, engine: Engine) -> Vec<(PathBuf, &'static str)> {
    let shell = engine == Engine::HeadlessShell;
    let mut all = Vec::new();
    for name in ["CHROMIUM_BIN", "CHROME_BIN", "PUPPETEER_EXECUTABLE_PATH"] {
        let path = search.environment.get(name).map(PathBuf::from);
        all.extend(path.filter(|path| is_headless_shell(path) == shell).map(|path| (path, "environment")));
    }
    // The headless shell in /usr/bin is a shell script that does not `exec`: killing it would orphan Chromium.
    let debian: &[&str] = if shell {
        &["usr/lib/chromium/chromium-headless-shell"]
    } else {
        &[
            "usr/lib/chromium/chromium",
            "usr/bin/chromium",
            "usr/lib/chromium-browser/chromium-browser",
            "usr/bin/chromium-browser",
        ]
    };
    all.extend(debian.iter().map(|path| (search.root.join(path), "Debian's package")));
    let on_path: &[&str] = if shell {
        &["chrome-headless-shell", "headless_shell"]
    } else {
        &["chromium", "chromium-browser", "google-chrome"]
    };
    let folders = search.environment.get("PATH").map(String::as_str).unwrap_or_default();
    for folder in std::env::split_paths(folders).filter(|folder| folder.is_absolute()) {
        all.extend(on_path.iter().map(|name| (folder.join(name), "PATH")));
    }
    if let Some(home) = search.environment.get("HOME") {
        let caches = Path::new(home).join(".cache");
        all.extend(playwright(&caches, shell).into_iter().map(|path| (path, "Playwright's cache")));
        all.extend(puppeteer(&caches, shell).into_iter().map(|path| (path, "Puppeteer's cache")));
    }
    if !shell {
        let chrome = ["opt/google/chrome/chrome", "usr/bin/google-chrome-stable"];
        all.extend(chrome.iter().map(|path| (search.root.join(path), "Google Chrome")));
    }
    all
}

/// `chromium_headless_shell-<revision>/chrome-headless-shell-linux64/chrome-headless-shell`, older ones
/// `…/chrome-linux/headless_shell`; `chromium-<revision>/chrome-linux{,64}/chrome`.
fn playwright(caches: &Path, shell: bool) -> Vec<PathBuf> {
    let (prefix, programs): (_, &[&str]) = if shell {
        (
            "chromium_headless_shell-",
            &["chrome-headless-shell-linux64/chrome-headless-shell", "chrome-linux/headless_shell"],
        )
    } else {
        ("chromium-", &["chrome-linux64/chrome", "chrome-linux/chrome"])
    };
    let versions = newest_first(&caches.join("ms-playwright"), prefix);
    versions.iter().flat_map(|version| programs.iter().map(|program| version.join(program))).collect()
}

/// `chrome-headless-shell/linux-<version>/chrome-headless-shell-linux64/chrome-headless-shell`;
/// `chrome/linux-<version>/chrome-linux64/chrome`.
fn puppeteer(caches: &Path, shell: bool) -> Vec<PathBuf> {
    let (folder, program) = if shell {
        ("chrome-headless-shell", "chrome-headless-shell-linux64/chrome-headless-shell")
    } else {
        ("chrome", "chrome-linux64/chrome")
    };
    let versions = newest_first(&caches.join("puppeteer").join(folder), "linux-");
    versions.iter().map(|version| version.join(program)).collect()
}

/// Returns the sub-folders that start with `prefix`, the one with the highest version first.
fn newest_first(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut versions: Vec<(Vec<u64>, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version =
                name.strip_prefix(prefix)?.split('.').map(|part| part.parse().unwrap_or(0)).collect();
            Some((version, entry.path()))
        })
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, path)| path).collect()
}

/// Runs `--version` as `run_as` (the current user if `None`) and returns the major version.
///
/// # Errors
/// If the program fails, prints something unexpected, or is too old.
pub async fn check_version(binary: &Binary, run_as: Option<&RunAs>) -> Result<u32, FindError> {
    let broken = |reason: String| FindError::Broken { path: binary.path.clone(), reason };
    let text = match tokio::time::timeout(VERSION_TIMEOUT, version_text(&binary.path, run_as)).await {
        Ok(answer) => answer.map_err(|error| broken(error.to_string()))?,
        Err(_) => return Err(broken(format!("no answer within {} s", VERSION_TIMEOUT.as_secs()))),
    };
    let major = major_of(&text).ok_or_else(|| broken(format!("it says `{}`", text.trim())))?;
    check_major(&binary.path, major)
}

/// Refuses a version that is too old.
///
/// # Errors
/// [`FindError::TooOld`].
pub fn check_major(path: &Path, major: u32) -> Result<u32, FindError> {
    if major < MINIMUM_MAJOR {
        return Err(FindError::TooOld { path: path.into(), major });
    }
    Ok(major)
}

async fn version_text(path: &Path, run_as: Option<&RunAs>) -> std::io::Result<String> {
    let mut command = Command::new(path);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
        .env_clear()
        .env("HOME", "/")
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .current_dir("/")
        .kill_on_drop(true);
    if let Some(user) = run_as {
        command.uid(user.uid).gid(user.gid);
    }
    // It has no folder of its own and needs none.
    let confined = Confined::new(path, Path::new("/nonexistent"), &Reach::default());
    let mut child = confined.spawn(&mut command)?;
    let mut text = String::new();
    if let Some(output) = child.stdout.take() {
        output.take(VERSION_OUTPUT_MAX_BYTES).read_to_string(&mut text).await?;
    }
    child.wait().await?;
    Ok(text)
}

/// Parses the major version in `Chromium 156.0.8078.79 …`, `Google Chrome 150.…` or `HeadlessChrome/156.…`.
pub(crate) fn major_of(text: &str) -> Option<u32> {
    let version = text.split([' ', '/', '\n']).find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests;
