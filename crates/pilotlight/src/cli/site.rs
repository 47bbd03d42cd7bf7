//! `pilotlight site record-check`: what a recording will do, and what about it will break or must not be.

use std::fs;
use std::path::Path;

use pilotlight_flow::Flow;
use pilotlight_flow::review::{Remarks, review};
use pilotlight_flow::schema::MAX_FLOW_BYTES;
use serde_json::{Value, json};

use super::args::SiteCommand;
use super::exit_codes::FAILED;
use super::failure::{Failure, Stop};
use super::output::Output;
use super::table;
use crate::config::read_text;
use crate::sentence::with_sources;

const HEADER: [&str; 3] = ["STEP", "WHAT IT DOES", "REMARKS"];
/// What a recorded password becomes.
const PASSWORD: &str = "${password}";

pub(super) fn run(command: SiteCommand, output: &mut Output<'_>) -> Result<(), Stop> {
    let SiteCommand::RecordCheck { file, write } = command;
    let text = read_text(&file, MAX_FLOW_BYTES as u64)
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
        rewrite(&file, &recording)?;
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
