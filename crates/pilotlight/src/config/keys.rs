//! The table of configuration keys: their names, how their values are parsed, and what they set.
//!
//! A value is TOML in a file, and text in the environment and in flags; [`Value`] parses both.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pilotlight_api::{Seconds, validate};
use pilotlight_linux::Destination;
use toml::de::DeValue;
use url::Url;

use super::problem::did_you_mean;
use super::types::{AtCapacity, Auth, Config, Engine, MemoryBudget, WebhookSecret, auto_max_live};
use crate::authority::{Authority, Origin};
use crate::memory::total_bytes;

/// Maximum number of entries of a list.
const MAX_LIST_ENTRIES: usize = 256;
/// The range of `max_sessions` and `max_live`.
const SESSIONS_RANGE: RangeInclusive<u32> = 1..=100_000;
/// The range of `asleep_windows`.
const ASLEEP_WINDOWS_RANGE: RangeInclusive<u32> = 0..=100;
/// The range of `windows_per_browser`.
const WINDOWS_PER_BROWSER_RANGE: RangeInclusive<u32> = 1..=256;
/// The minimum memory budget: less than one window must be a mistake.
const MIN_MEMORY_BUDGET_BYTES: u64 = 128 * 1024 * 1024;

/// Minimum length of a signing secret: a shorter one can be guessed.
const MIN_SECRET_BYTES: usize = 16;

/// A value given by a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The flag as the user wrote it: `--max-live`.
    pub flag: &'static str,
    /// The section of the key.
    pub section: &'static str,
    /// The name of the key.
    pub key: &'static str,
    /// The value as text.
    pub text: String,
}

/// A configuration key.
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// Sets the key. The error is the rest of a sentence that starts with the key's name.
    pub(super) set: fn(&mut Config, &Value<'_>) -> Result<(), String>,
}

/// All keys with fixed names.
pub(super) const KEYS: &[Key] = &[
    Key { section: "server", name: "listen", set: |c, v| v.listen().map(|x| c.server.listen = x) },
    Key { section: "server", name: "state_dir", set: |c, v| v.path().map(|x| c.server.state_dir = x) },
    Key { section: "server", name: "auth", set: |c, v| v.choice(&AUTH).map(|x| c.server.auth = x) },
    Key {
        section: "server",
        name: "allowed_hosts",
        set: |c, v| v.hosts().map(|x| c.server.allowed_hosts = x),
    },
    Key {
        section: "server",
        name: "allowed_origins",
        set: |c, v| v.origins().map(|x| c.server.allowed_origins = x),
    },
    Key {
        section: "server",
        name: "orphan_timeout",
        set: |c, v| v.duration().map(|x| c.server.orphan_timeout = x),
    },
    Key {
        section: "server",
        name: "local_folders",
        set: |c, v| v.folders().map(|x| c.server.local_folders = x),
    },
    Key { section: "server", name: "webhook", set: |c, v| v.webhook().map(|x| c.server.webhook = Some(x)) },
    Key {
        section: "server",
        name: "webhook_secret",
        set: |c, v| v.webhook_secret().map(|x| c.server.webhook_secret = Some(x)),
    },
    Key {
        section: "limits",
        name: "max_sessions",
        set: |c, v| v.integer(SESSIONS_RANGE).map(|x| c.limits.max_sessions = x),
    },
    Key { section: "limits", name: "max_live", set: |c, v| v.max_live().map(|x| c.limits.max_live = x) },
    Key {
        section: "limits",
        name: "asleep_windows",
        set: |c, v| v.integer(ASLEEP_WINDOWS_RANGE).map(|x| c.limits.asleep_windows = x),
    },
    Key {
        section: "limits",
        name: "windows_per_browser",
        set: |c, v| v.integer(WINDOWS_PER_BROWSER_RANGE).map(|x| c.limits.windows_per_browser = x),
    },
    Key {
        section: "limits",
        name: "memory_budget",
        set: |c, v| v.memory().map(|x| c.limits.memory_budget = x),
    },
    Key {
        section: "limits",
        name: "window_memory",
        set: |c, v| v.memory().map(|x| c.limits.window_memory = x),
    },
    Key {
        section: "limits",
        name: "at_capacity",
        set: |c, v| v.choice(&AT_CAPACITY).map(|x| c.limits.at_capacity = x),
    },
    Key {
        section: "limits",
        name: "queue_timeout",
        set: |c, v| v.duration().map(|x| c.limits.queue_timeout = x),
    },
    Key {
        section: "sessions",
        name: "idle_timeout",
        set: |c, v| v.duration().map(|x| c.sessions.idle_timeout = x),
    },
    Key {
        section: "sessions",
        name: "refresh_interval",
        set: |c, v| v.seconds().map(|x| c.sessions.refresh_interval = x.unless_never()),
    },
    Key {
        section: "sessions",
        name: "refresh_check",
        set: |c, v| v.duration().map(|x| c.sessions.refresh_check = x),
    },
    Key {
        section: "sessions",
        name: "operation_timeout",
        set: |c, v| v.duration().map(|x| c.sessions.operation_timeout = x),
    },
    Key {
        section: "sessions",
        name: "keep_pictures",
        set: |c, v| v.seconds().map(|x| c.sessions.keep_pictures = x.unless_never()),
    },
    Key {
        section: "sessions",
        name: "webdriver_timeout",
        set: |c, v| v.duration().map(|x| c.sessions.webdriver_timeout = x),
    },
    Key {
        section: "sessions",
        name: "client_idle_after",
        set: |c, v| v.seconds().map(|x| c.sessions.client_idle_after = x.unless_never()),
    },
    Key {
        section: "sessions",
        name: "freeze_after",
        set: |c, v| v.seconds().map(|x| c.sessions.freeze_after = x.unless_never()),
    },
    Key {
        section: "sessions",
        name: "hibernate_after",
        set: |c, v| v.seconds().map(|x| c.sessions.hibernate_after = x.unless_never()),
    },
    Key { section: "chromium", name: "binary", set: |c, v| v.auto_or_path().map(|x| c.chromium.binary = x) },
    Key {
        section: "chromium",
        name: "engine",
        set: |c, v| v.choice(&ENGINES).map(|x| c.chromium.engine = x),
    },
    Key { section: "chromium", name: "profile", set: |c, v| v.name().map(|x| c.chromium.profile = x) },
    Key { section: "chromium", name: "user", set: |c, v| v.name().map(|x| c.chromium.user = Some(x)) },
    Key { section: "chromium", name: "max_age", set: |c, v| v.duration().map(|x| c.chromium.max_age = x) },
    Key {
        section: "chromium",
        name: "heartbeat",
        set: |c, v| v.duration().map(|x| c.chromium.heartbeat = x),
    },
    Key {
        section: "chromium",
        name: "extra_args",
        set: |c, v| v.switches().map(|x| c.chromium.extra_args = x),
    },
    Key { section: "chromium", name: "page_out", set: |c, v| v.page_out().map(|x| c.chromium.page_out = x) },
    Key { section: "chromium", name: "readable", set: |c, v| v.paths().map(|x| c.chromium.readable = x) },
    Key {
        section: "chromium",
        name: "merge_pages",
        set: |c, v| v.boolean().map(|x| c.chromium.merge_pages = x),
    },
    Key {
        section: "chromium",
        name: "allow_unsafe_args",
        set: |c, v| v.boolean().map(|x| c.chromium.allow_unsafe_args = x),
    },
];

const AT_CAPACITY: [(&str, AtCapacity); 3] = [
    ("hibernate", AtCapacity::Hibernate),
    ("terminate", AtCapacity::Terminate),
    ("reject", AtCapacity::Reject),
];
const AUTH: [(&str, Auth); 2] = [("token", Auth::Token), ("none", Auth::None)];
const ENGINES: [(&str, Engine); 4] = [
    ("auto", Engine::Auto),
    ("headless-shell", Engine::HeadlessShell),
    ("headless", Engine::Headless),
    ("headed", Engine::Headed),
];

impl Key {
    /// Returns the environment variable that sets the key.
    pub(super) fn variable(&self) -> String {
        format!("PILOTLIGHT_{}_{}", self.section, self.name).to_ascii_uppercase()
    }
}

/// A value, and the folder that a relative path in it refers to.
pub(super) struct Value<'a> {
    pub(super) raw: Raw<'a>,
    pub(super) base: &'a Path,
}

/// A value as it was given.
pub(super) enum Raw<'a> {
    /// From the environment or a flag.
    Text(&'a str),
    /// From a file.
    Toml(&'a DeValue<'a>),
}

impl Value<'_> {
    fn wrong(&self, expected: &str) -> String {
        match self.raw {
            Raw::Text(text) => format!("must be {expected}, not `{text}`"),
            Raw::Toml(value) => format!("must be {expected}, not {}", in_words(value)),
        }
    }

    pub(super) fn text(&self) -> Result<&str, String> {
        match self.raw {
            Raw::Text(text) => Ok(text),
            Raw::Toml(DeValue::String(text)) => Ok(text),
            Raw::Toml(_) => Err(self.wrong("a quoted string")),
        }
    }

    fn integer(&self, range: RangeInclusive<u32>) -> Result<u32, String> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let number = match self.raw {
            Raw::Text(text) => text.parse().ok(),
            Raw::Toml(DeValue::Integer(integer)) => {
                u32::from_str_radix(integer.as_str(), integer.radix()).ok()
            }
            Raw::Toml(_) => None,
        };
        number.filter(|number| range.contains(number)).ok_or_else(|| self.wrong(&expected))
    }

    pub(super) fn boolean(&self) -> Result<bool, String> {
        match self.raw {
            Raw::Text("true") | Raw::Toml(DeValue::Boolean(true)) => Ok(true),
            Raw::Text("false") | Raw::Toml(DeValue::Boolean(false)) => Ok(false),
            _ => Err(self.wrong("true or false")),
        }
    }

    /// Parses a list of strings; in text, they are separated by commas.
    pub(super) fn list(&self) -> Result<Vec<String>, String> {
        let entries: Vec<String> = match self.raw {
            Raw::Text(text) => text.split(',').map(|entry| entry.trim().to_owned()).collect(),
            Raw::Toml(DeValue::Array(array)) => array
                .iter()
                .map(|entry| entry.get_ref().as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or_else(|| self.wrong("a list of quoted strings"))?,
            Raw::Toml(_) => return Err(self.wrong("a list of strings")),
        };
        let entries: Vec<String> = entries.into_iter().filter(|entry| !entry.is_empty()).collect();
        if entries.len() > MAX_LIST_ENTRIES {
            return Err(format!("has more than {MAX_LIST_ENTRIES} entries"));
        }
        Ok(entries)
    }

    fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Result<T, String> {
        let text = self.text()?;
        choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
            format!("cannot be `{text}`: {}", did_you_mean(text, choices.iter().map(|(name, _)| *name)))
        })
    }

    fn seconds(&self) -> Result<Seconds, String> {
        let text = match self.raw {
            Raw::Toml(DeValue::Integer(integer)) if integer.radix() == 10 => integer.as_str(),
            Raw::Toml(DeValue::String(text)) => text,
            Raw::Text(text) => text,
            Raw::Toml(_) => return Err(self.wrong("whole seconds (300) or a string with a unit (\"5m\")")),
        };
        text.parse().map_err(|error| format!("is invalid: {error}"))
    }

    fn duration(&self) -> Result<Duration, String> {
        let never = || "cannot be 0 or \"never\": it must be at least 1 s".to_owned();
        self.seconds()?.unless_never().ok_or_else(never)
    }

    pub(super) fn path(&self) -> Result<PathBuf, String> {
        let text = self.text()?;
        if text.is_empty() { Err("is empty".to_owned()) } else { Ok(self.base.join(text)) }
    }

    fn paths(&self) -> Result<Vec<PathBuf>, String> {
        Ok(self.list()?.iter().map(|path| self.base.join(path)).collect())
    }

    fn page_out(&self) -> Result<Option<Destination>, String> {
        match self.raw {
            Raw::Text("any") => Ok(Some(Destination::Any)),
            Raw::Toml(DeValue::String(text)) if text == "any" => Ok(Some(Destination::Any)),
            _ => match self.boolean() {
                Ok(is_on) => Ok(is_on.then_some(Destination::Sealed)),
                Err(_) => Err(self.wrong("true, false or \"any\"")),
            },
        }
    }

    /// Parses a list of existing folders, and returns their canonical paths.
    fn folders(&self) -> Result<Vec<PathBuf>, String> {
        let full = |folder: String| {
            let path = self.base.join(&folder);
            match path.canonicalize() {
                Ok(full) if full.is_dir() => Ok(full),
                Ok(_) => Err(format!("contains `{folder}`, which is not a folder")),
                Err(error) => Err(format!("contains `{folder}`, which cannot be used: {error}")),
            }
        };
        self.list()?.into_iter().map(full).collect()
    }

    fn auto_or_path(&self) -> Result<Option<PathBuf>, String> {
        if self.text()? == "auto" { Ok(None) } else { self.path().map(Some) }
    }

    pub(super) fn name(&self) -> Result<String, String> {
        let text = self.text()?;
        validate::name("", text).map_err(|error| error.problem)?;
        Ok(text.to_owned())
    }

    fn listen(&self) -> Result<SocketAddr, String> {
        self.text()?.parse().map_err(|_| self.wrong("an IP address and a port, such as \"127.0.0.1:7070\""))
    }

    fn max_live(&self) -> Result<u32, String> {
        match self.raw {
            Raw::Text("auto") => Ok(auto_max_live(total_bytes())),
            Raw::Toml(DeValue::String(text)) if text == "auto" => Ok(auto_max_live(total_bytes())),
            _ => self
                .integer(SESSIONS_RANGE)
                .map_err(|problem| problem.replacen("must be", "must be \"auto\" or", 1)),
        }
    }

    fn memory(&self) -> Result<MemoryBudget, String> {
        const EXPECTED: &str = "\"auto\" or a size such as \"6GiB\"";
        let text = match self.raw {
            Raw::Toml(DeValue::Integer(integer)) if integer.radix() == 10 => integer.as_str(),
            Raw::Toml(DeValue::String(text)) => text,
            Raw::Text(text) => text,
            Raw::Toml(_) => return Err(self.wrong(EXPECTED)),
        };
        if text == "auto" {
            return Ok(MemoryBudget::Auto);
        }
        let bytes = bytes_in(text).ok_or_else(|| self.wrong(EXPECTED))?;
        if bytes < MIN_MEMORY_BUDGET_BYTES {
            return Err("must be at least \"128MiB\"".to_owned());
        }
        Ok(MemoryBudget::Bytes(bytes))
    }

    fn hosts(&self) -> Result<Vec<Authority>, String> {
        let read = |host: String| {
            Authority::parse(&host).ok_or_else(|| {
                format!("contains `{host}`, which is not a host: write `example.org` or `example.org:8443`")
            })
        };
        self.list()?.into_iter().map(read).collect()
    }

    /// Parses the webhook's URL. TLS is not supported.
    fn webhook(&self) -> Result<Url, String> {
        let url = Url::parse(self.text()?).ok().filter(|url| url.scheme() == "http" && url.has_host());
        url.ok_or_else(|| {
            "must be an `http` URL, such as `http://127.0.0.1:9000/hook`; for `https`, use a proxy in between"
                .to_owned()
        })
    }

    /// Parses the signing secret. The error never contains the value.
    fn webhook_secret(&self) -> Result<WebhookSecret, String> {
        let text = self.text().map_err(|_| "must be a quoted string".to_owned())?;
        if text.len() < MIN_SECRET_BYTES {
            return Err(format!(
                "must have at least {MIN_SECRET_BYTES} characters; `openssl rand -hex 32` generates a suitable one"
            ));
        }
        Ok(WebhookSecret(text.into()))
    }

    fn origins(&self) -> Result<Vec<Origin>, String> {
        let read = |text: String| {
            // Many people include the slash that browsers show.
            Origin::parse(text.strip_suffix('/').unwrap_or(&text)).ok_or_else(|| {
                format!("contains `{text}`, which is not an origin: write `https://example.org`")
            })
        };
        self.list()?.into_iter().map(read).collect()
    }

    pub(super) fn switches(&self) -> Result<Vec<String>, String> {
        let switches = self.list()?;
        match switches.iter().find(|switch| !switch.starts_with("--")) {
            Some(switch) => Err(format!("contains `{switch}`, which does not start with `--`")),
            None => Ok(switches),
        }
    }

    /// Parses a width and height, as `1024x768` or, as Chromium writes it, `1024,768`.
    pub(super) fn window_size(&self) -> Result<(u32, u32), String> {
        let side = |text: &str| {
            text.trim().parse().ok().filter(|pixels| validate::VIEWPORT_SIDE_PIXELS.contains(pixels))
        };
        self.text()?
            .split_once(['x', ','])
            .and_then(|(width, height)| Some((side(width)?, side(height)?)))
            .ok_or_else(|| self.wrong("a width and height such as \"1024x768\""))
    }
}

/// Formats a value of a file for an error message.
fn in_words(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Parses a size with or without a unit.
fn bytes_in(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}
