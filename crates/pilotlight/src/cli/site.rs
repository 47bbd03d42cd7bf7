//! `pilotlight site`: what a recording will do and what about it will break or must not be, and how the sign-ins of
//! sites fare.

use std::fs;
use std::path::Path;

use pilotlight_api::{Seconds, SiteReportAnswer, SitesAnswer, validate};
use pilotlight_flow::Flow;
use pilotlight_flow::review::{Remarks, review};
use pilotlight_flow::schema::MAX_FLOW_BYTES;
use serde_json::{Value, json};

use super::client::{Client, typed};
use super::exit_codes::{FAILED, USAGE};
use super::failure::{Failure, Stop};
use super::output::{Output, printable};
use super::table;
use crate::config::read_text;
use crate::sentence::with_sources;

const HEADER: [&str; 3] = ["STEP", "WHAT IT DOES", "REMARKS"];
/// What a recorded password becomes.
const PASSWORD: &str = "${password}";

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

/// What the server has counted, of one site or of all.
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
        report.held_percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent} %")),
        report.signed_out.to_string(),
        span(report.lasted_median),
        span(report.holding_longest),
    ]
}

pub(super) fn record_check(file: &Path, write: bool, output: &mut Output<'_>) -> Result<(), Stop> {
    let text = read_text(file, MAX_FLOW_BYTES as u64)
        .map_err(|problem| Failure::new(FAILED, format!("{}: {problem}", file.display())))?;
    let no_flow = |why: String| Failure::new(FAILED, format!("{}: {why}", file.display()));
    let mut recording: Value =
        serde_json::from_str(&text).map_err(|error| no_flow(format!("not JSON: {error}")))?;
    let flow = Flow::from_value(&recording).map_err(|error| no_flow(with_sources(&error)))?;
    let remarks = review(&flow);
    let passwords: Vec<usize> =
        remarks.iter().filter(|remark| remark.has_password).map(|remark| remark.step).collect();
    let is_rewritten = write && !passwords.is_empty();
    if is_rewritten {
        replace_passwords(&mut recording, &passwords);
        rewrite(file, &recording)?;
    }
    let answer = json!({
        "success": passwords.is_empty() || is_rewritten,
        "title": flow.title,
        "placeholders": flow.placeholders(),
        "steps": remarks.iter().map(as_json).collect::<Vec<_>>(),
        "rewritten": is_rewritten,
    });
    output.data(&answer, || table::lines(&HEADER, remarks.iter().map(row)))?;
    if passwords.is_empty() || is_rewritten {
        return Ok(());
    }
    let steps: Vec<String> = passwords.iter().map(usize::to_string).collect();
    let sentence = format!("a password stands in step {} of the recording", steps.join(", "));
    Err(Failure::new(FAILED, sentence)
        .with_hint(format!(
            "write {PASSWORD} there, or let `--write` do it; the password belongs to the session"
        ))
        .into())
}

fn row(remarks: &Remarks) -> Vec<String> {
    let mut said: Vec<&str> = remarks.brittle.iter().map(String::as_str).collect();
    if remarks.has_password {
        said.insert(0, "HAS A PASSWORD IN IT");
    }
    let said = if said.is_empty() { "-".to_owned() } else { said.join("; ") };
    vec![remarks.step.to_string(), remarks.does.clone(), said]
}

fn as_json(remarks: &Remarks) -> Value {
    json!({
        "step": remarks.step, "does": remarks.does, "brittle": remarks.brittle,
        "has_password": remarks.has_password,
    })
}

fn replace_passwords(recording: &mut Value, steps: &[usize]) {
    for step in steps {
        recording["steps"][step - 1]["value"] = PASSWORD.into();
    }
}

fn rewrite(file: &Path, recording: &Value) -> Result<(), Failure> {
    let failed =
        |why: String| Failure::new(FAILED, format!("{} could not be written: {why}", file.display()));
    let text = serde_json::to_string_pretty(recording).map_err(|error| failed(error.to_string()))?;
    fs::write(file, text + "\n").map_err(|error| failed(error.to_string()))
}
