//! An installed Chromium, and how its windows are drawn.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// How a window is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// `chromium-headless-shell`: the leanest, without site isolation by default.
    HeadlessShell,
    /// Full Chromium without a display.
    Headless,
    /// Full Chromium in a window on a display.
    Headed,
}

impl Engine {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::HeadlessShell => "headless-shell",
            Self::Headless => "headless",
            Self::Headed => "headed",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = [Self::HeadlessShell, Self::Headless, Self::Headed];
        let known = all.into_iter().find(|engine| engine.name() == name);
        known.ok_or_else(|| {
            format!("there is no engine `{name}`; there are headless-shell, headless and headed")
        })
    }
}

/// An installed Chromium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// The program.
    pub path: PathBuf,
    /// The engine to run it with.
    pub engine: Engine,
    /// Where it was found, as text.
    pub source: &'static str,
}
