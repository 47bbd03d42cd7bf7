//! `pilotlight flags`: prints the built-in table of Chromium's switches and preferences.

use pilotlight_chromium::profiles::Profile;
use pilotlight_chromium::profiles::table::{FLAGS, Flag};
use serde_json::{Value, json};

use super::output::Output;
use super::stop::Stop;
use crate::table;

const HEADER: [&str; 6] =
    ["GROUP", "SWITCH OR PREFERENCE", "HEADLESS SHELL", "FULL CHROMIUM", "PROFILES", "WHAT IT DOES"];

pub(super) fn print(output: &mut Output<'_>) -> Result<(), Stop> {
    let rows: Vec<Value> = FLAGS.iter().map(as_json).collect();
    output.data(&rows, || table::lines(&HEADER, FLAGS.iter().map(row)))
}

fn profiles(flag: &Flag) -> Vec<&'static str> {
    flag.profiles.iter().map(|profile: &Profile| profile.name()).collect()
}

fn group(flag: &Flag) -> String {
    format!("{:?}", flag.group).to_lowercase()
}

fn row(flag: &Flag) -> Vec<String> {
    let profiles = if flag.owned { "all (set by Pilotlight)".to_owned() } else { profiles(flag).join(" ") };
    vec![
        group(flag),
        flag.written(),
        flag.headless_shell.words().to_owned(),
        flag.full.words().to_owned(),
        if profiles.is_empty() { "-".to_owned() } else { profiles },
        flag.effect.to_owned(),
    ]
}

fn as_json(flag: &Flag) -> Value {
    json!({
        "name": flag.name, "written": flag.written(), "group": group(flag),
        "headless_shell": flag.headless_shell.words(), "full": flag.full.words(),
        "profiles": profiles(flag), "set_by_pilotlight": flag.owned, "effect": flag.effect,
    })
}
