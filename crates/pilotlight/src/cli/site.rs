//! `pilotlight site`: checks recordings and reports how reliable the sign-ins of sites are.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pilotlight_api::{Seconds, SiteReportAnswer, SitesAnswer, validate};
use pilotlight_flow::Flow;
use pilotlight_flow::review::{Remarks, review};
use pilotlight_flow::schema::MAX_FLOW_BYTES;
use serde_json::{Value, json};

use super::args::CheckRecordingArgs;
use super::client::{Client, typed};
use super::output::{Output, tell};
use super::recording::{Known, PASSWORD, USERNAME, clean};
use super::secret;
use super::stop::Stop;
use crate::config::read_text;
use crate::exit::{FAILED, Failure, USAGE};
use crate::sentence::{printable, with_sources};
use crate::table;

const HEADER: [&str; 3] = ["STEP", "WHAT IT DOES", "REMARKS"];

const REPORT_HEADER: [&str; 9] = [
    "SITE",
    "SESSIONS",
    "SIGNED IN",
    "SIGN-INS",
    "FAILED",
    "HELD",
    "SIGNED OUT",
    "LASTED (MEDIAN)",
    "HOLDS SINCE",
];

/// Prints the server's sign-in statistics of one site or of all sites.
pub(super) async fn report(
    client: &Client,
    name: Option<String>,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let names = match name {
        Some(name) => vec![name],
        None => typed::<SitesAnswer>(&client.get("sites").await?)?.sites,
    };
    let (mut answers, mut rows) = (Vec::new(), Vec::new());
    for name in names {
        validate::name("NAME", &name).map_err(|error| Failure::new(USAGE, error.to_string()))?;
        let answer = client.get(&format!("sites/{name}/report")).await?;
        rows.push(report_row(&typed(&answer)?));
        answers.push(answer);
    }
    let answer = json!({"success": true, "reports": answers});
    output.data(&answer, || table::lines(&REPORT_HEADER, rows.into_iter()))
}

fn report_row(report: &SiteReportAnswer) -> Vec<String> {
    let span = |seconds: Option<u64>| {
        seconds.map_or_else(|| "-".to_owned(), |seconds| Seconds::new(seconds).to_string())
    };
    vec![
        printable(&report.name),
        report.sessions.to_string(),
        report.signed_in.to_string(),
        report.sign_ins.to_string(),
        report.sign_ins_failed.to_string(),
        report.signed_in_percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent} %")),
        report.signed_out.to_string(),
        span(report.median_duration),
        span(report.longest_current),
    ]
}

/// Prints what a recording does. With `--write`, replaces the recorded user name and password.
pub(super) fn check_recording(arguments: &CheckRecordingArgs, output: &mut Output<'_>) -> Result<(), Stop> {
    let file = &arguments.file;
    let no_flow = |why: String| Failure::new(FAILED, format!("{}: {why}", file.display()));
    let mut text = read_text(file, MAX_FLOW_BYTES as u64)
        .map_err(|problem| Failure::new(FAILED, problem.to_string()))?;
    let read = |text: &str| Flow::parse(text).map_err(|error| no_flow(with_sources(&error)));
    let mut flow = read(&text)?;
    let mut places = BTreeMap::new();
    if arguments.write {
        let password = arguments.password_stdin.then(|| secret::password(true)).transpose()?;
        let known =
            Known { username: arguments.username.clone(), password, keeps_username: arguments.keep_username };
        let cleaned = clean(&text, &flow, &known).map_err(|error| no_flow(format!("not JSON: {error}")))?;
        let has = |placeholder: &str| cleaned.places.keys().any(|(put, _)| *put == placeholder);
        if known.username.is_some() && !has(USERNAME) {
            return Err(no_flow("the given user name does not occur in it".to_owned()).into());
        }
        if known.password.is_some() && !has(PASSWORD) {
            return Err(no_flow("the given password does not occur in it".to_owned()).into());
        }
        flow = read(&cleaned.text)?;
        if cleaned.text != text {
            rewrite(file, &cleaned.text)?;
        }
        (text, places) = (cleaned.text, cleaned.places);
    }
    drop(text);
    let remarks = review(&flow);
    let of = |has: fn(&Remarks) -> bool| -> Vec<usize> {
        remarks.iter().filter(|remark| has(remark)).map(|remark| remark.step).collect()
    };
    let passwords = of(|remark| remark.has_password);
    let answer = json!({
        "success": passwords.is_empty(),
        "title": flow.title,
        "placeholders": flow.placeholders(),
        "steps": remarks.iter().map(as_json).collect::<Vec<_>>(),
        "rewritten": !places.is_empty(),
        "written": places.iter().map(|((placeholder, step), strings)| json!({
            "placeholder": placeholder, "step": step, "strings": strings,
        })).collect::<Vec<_>>(),
    });
    output.data(&answer, || table::lines(&HEADER, remarks.iter().map(row)))?;
    if arguments.write {
        tell(&written(file, &places));
    }
    if !passwords.is_empty() {
        let message = format!("the recording contains a password in step {}", listed(&passwords));
        let hint = format!("replace it with {PASSWORD}, or use `--write`; the session has the password");
        return Err(Failure::new(FAILED, message).with_hint(hint).into());
    }
    Ok(())
}

fn listed(steps: &[usize]) -> String {
    steps.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

/// Describes the replacements for people.
fn written(file: &Path, places: &BTreeMap<(&'static str, usize), usize>) -> String {
    let put = |placeholder: &str| {
        let steps: Vec<usize> =
            places.keys().filter(|(put, _)| *put == placeholder).map(|(_, step)| *step).collect();
        (!steps.is_empty()).then(|| format!("{placeholder} in step {}", listed(&steps)))
    };
    let put: Vec<String> = [USERNAME, PASSWORD].into_iter().filter_map(put).collect();
    if put.is_empty() {
        return format!("{} is unchanged: there is nothing to replace", file.display());
    }
    format!("{} now has {}", file.display(), put.join(" and "))
}

fn row(remarks: &Remarks) -> Vec<String> {
    let mut said: Vec<&str> = remarks.brittle.iter().map(String::as_str).collect();
    if remarks.may_be_absent {
        said.insert(0, "may not always be there: add `\"optional\": true` to the step");
    }
    if remarks.has_username {
        said.insert(0, "types a fixed user name");
    }
    if remarks.has_password {
        said.insert(0, "CONTAINS A PASSWORD");
    }
    let said = if said.is_empty() { "-".to_owned() } else { said.join("; ") };
    vec![remarks.step.to_string(), remarks.does.clone(), said]
}

fn as_json(remarks: &Remarks) -> Value {
    json!({
        "step": remarks.step, "does": remarks.does, "brittle": remarks.brittle,
        "has_password": remarks.has_password, "has_username": remarks.has_username,
        "may_be_absent": remarks.may_be_absent,
    })
}

fn rewrite(file: &Path, text: &str) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::new(FAILED, format!("cannot write {}: {error}", file.display()));
    fs::write(file, text).map_err(failed)
}
