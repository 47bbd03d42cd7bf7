//! A command line under construction: all list-valued switches are merged into one, the last value wins, and
//! additions of a user are checked against the table.

use super::ProfileError;
use super::table::{FLAGS, Kind, Verdict};

/// Prefixes of switches that users may never set, with the reason.
const OWNED_PREFIXES: [(&str, &str); 1] =
    [("remote-debugging-", "Pilotlight holds the debugging pipe itself and never opens a debugging port")];

/// The switch of the log level, and its lowest value at which pages do not write into the log.
const LOG_LEVEL: (&str, u32) = ("log-level", 1);

/// One value of a list, or one switch: its name and value.
type Entry = (String, Option<String>);

/// The parts of a command line.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    switches: Vec<Entry>,
    enabled_features: Vec<Entry>,
    disabled_features: Vec<Entry>,
    js_flags: Vec<Entry>,
    blink_settings: Vec<Entry>,
}

impl Arguments {
    /// Sets one value; an earlier one of the same name is replaced.
    pub(super) fn set(&mut self, kind: Kind, name: &str, value: Option<&str>) {
        match kind {
            Kind::EnabledFeature => self.disabled_features.retain(|(known, _)| known != name),
            Kind::DisabledFeature => self.enabled_features.retain(|(known, _)| known != name),
            _ => {}
        }
        let list = match kind {
            Kind::Switch => &mut self.switches,
            Kind::EnabledFeature => &mut self.enabled_features,
            Kind::DisabledFeature => &mut self.disabled_features,
            Kind::JsFlag => &mut self.js_flags,
            Kind::BlinkSetting => &mut self.blink_settings,
            Kind::Preference | Kind::DriverOption => return,
        };
        let value = value.map(ToOwned::to_owned);
        match list.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => entry.1 = value,
            None => list.push((name.into(), value)),
        }
    }

    /// Adds a switch of a user, as on a command line.
    pub(super) fn add(&mut self, argument: &str, allow_unsafe: bool) -> Result<(), ProfileError> {
        let (name, value) = split(argument)?;
        for (kind, name, value) in parts(name, value) {
            check(argument, (kind, name, value), allow_unsafe)?;
            self.set(kind, name, value);
        }
        Ok(())
    }

    /// Returns whether a switch is set.
    pub(super) fn has_switch(&self, name: &str) -> bool {
        self.switches.iter().any(|(known, _)| known == name)
    }

    /// Returns the arguments, in a fixed order.
    pub(super) fn into_command_line(self) -> Vec<String> {
        let mut line: Vec<String> =
            self.switches.iter().map(|entry| format!("--{}", written(entry))).collect();
        let lists = [
            ("enable-features", self.enabled_features, ","),
            ("disable-features", self.disabled_features, ","),
            ("blink-settings", self.blink_settings, ","),
        ];
        for (name, entries, separator) in lists {
            if !entries.is_empty() {
                let values: Vec<_> = entries.iter().map(written).collect();
                line.push(format!("--{name}={}", values.join(separator)));
            }
        }
        if !self.js_flags.is_empty() {
            let flags: Vec<_> = self.js_flags.iter().map(|entry| format!("--{}", written(entry))).collect();
            line.push(format!("--js-flags={}", flags.join(" ")));
        }
        line
    }
}

fn written((name, value): &Entry) -> String {
    value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}"))
}

/// Chromium accepts `-name` for a switch as well, trims spaces around it, and ends switches at `--`
/// (`base/command_line.cc`); only one form is accepted here, so that nothing bypasses the checks.
fn split(argument: &str) -> Result<(&str, Option<&str>), ProfileError> {
    let malformed = || ProfileError::Malformed(argument.into());
    let body = argument.strip_prefix("--").ok_or_else(malformed)?;
    let (name, value) = match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts_well || !name.chars().all(allowed) || argument.contains(char::is_control) {
        return Err(malformed());
    }
    Ok((name, value))
}

/// Splits a list-valued switch; returns any other as it is.
fn parts<'a>(name: &'a str, value: Option<&'a str>) -> Vec<(Kind, &'a str, Option<&'a str>)> {
    let list = value.unwrap_or_default();
    let items = |kind, separators: &'static [char]| {
        let items = list.split(separators).map(str::trim).filter(|item| !item.is_empty());
        items.map(move |item| {
            let item = if kind == Kind::JsFlag { item.trim_start_matches('-') } else { item };
            match item.split_once('=') {
                Some((name, value)) => (kind, name, Some(value)),
                None => (kind, item, None),
            }
        })
    };
    match name {
        "enable-features" => items(Kind::EnabledFeature, &[',']).collect(),
        "disable-features" => items(Kind::DisabledFeature, &[',']).collect(),
        "blink-settings" => items(Kind::BlinkSetting, &[',']).collect(),
        "js-flags" => items(Kind::JsFlag, &[' ', ',']).collect(),
        _ => vec![(Kind::Switch, name, value)],
    }
}

/// What is not in the table is refused like what is unsafe: Chromium has about 1,500 switches and as many features,
/// and adds more with each release.
fn check(
    argument: &str,
    (kind, name, value): (Kind, &str, Option<&str>),
    allow_unsafe: bool,
) -> Result<(), ProfileError> {
    // `Feature<Trial` ties a feature to a field trial; the feature is what counts.
    let bare = name.split(['<', ':']).next().unwrap_or(name);
    let known = FLAGS.iter().find(|flag| flag.kind == kind && flag.name == bare);
    let owned = known.filter(|flag| flag.owned).map(|flag| flag.effect);
    let owned = owned.or_else(|| prefix_reason(kind, bare));
    if let Some(reason) = owned {
        return Err(ProfileError::Owned { argument: argument.into(), reason: reason.into() });
    }
    if allow_unsafe {
        return Ok(());
    }
    let Some(known) = known else {
        return Err(ProfileError::Unknown { argument: argument.into(), name: bare.into() });
    };
    let is_unsafe = [known.headless_shell, known.full].contains(&Verdict::Unsafe)
        || (kind == Kind::Switch && name == LOG_LEVEL.0 && !is_quiet(value));
    if is_unsafe {
        return Err(ProfileError::Unsafe { argument: argument.into(), reason: known.effect.into() });
    }
    Ok(())
}

fn is_quiet(level: Option<&str>) -> bool {
    level.and_then(|level| level.parse::<u32>().ok()).is_some_and(|level| level >= LOG_LEVEL.1)
}

fn prefix_reason(kind: Kind, name: &str) -> Option<&'static str> {
    let fits = |(prefix, _): &&(&str, &str)| kind == Kind::Switch && name.starts_with(prefix);
    OWNED_PREFIXES.iter().find(fits).map(|(_, reason)| *reason)
}
