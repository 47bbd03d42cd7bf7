//! The commands for operations: run, continue, cancel, list.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use pilotlight_api::{ContinueOperation, OperationAnswer, OperationStatus, OperationsAnswer, RunOperation};
use reqwest::Method;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::client::{Client, typed};
use super::output::{Output, Waiting, tell};
use super::stop::Stop;
use crate::exit::{FAILED, Failure, USAGE};
use crate::sentence::printable;
use crate::table;

/// The largest file of inputs that is read.
const MAX_INPUTS_BYTES: u64 = 4 << 20;

/// The inputs of an operation, and where to save its files.
#[derive(Debug, Args)]
pub(super) struct Given {
    /// Input of the operation; can be given several times. Other users of this machine can see it in the process list
    #[arg(short, long = "input", value_name = "NAME=VALUE", value_parser = pair)]
    inputs: Vec<(String, String)>,
    /// File with a JSON object of inputs, or `-` for stdin
    #[arg(long, value_name = "FILE")]
    inputs_file: Option<PathBuf>,
    /// Idempotency key: a repeated command with the same key is executed only once
    #[arg(long)]
    key: Option<String>,
    /// Save all files of the operation to this ZIP archive
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Given {
    fn inputs(&self) -> Result<BTreeMap<String, Value>, Failure> {
        let mut inputs = match &self.inputs_file {
            Some(file) => read(file)?,
            None => BTreeMap::new(),
        };
        inputs.extend(self.inputs.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))));
        Ok(inputs)
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, Value>, Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::new(USAGE, format!("cannot read the inputs in {}: {error}", path.display()))
    };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_INPUTS_BYTES).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MAX_INPUTS_BYTES).read_to_string(&mut text))
    };
    read.map_err(|error| failed(&error))?;
    serde_json::from_str(&text).map_err(|error| failed(&error))
}

pub(super) async fn run(
    client: &Client,
    session: &str,
    operation: String,
    given: Given,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let request = RunOperation { operation, inputs: given.inputs()? };
    let id = client.session_id(session).await?;
    let waiting = Waiting::for_what(&format!("running {}", printable(&request.operation)));
    let path = format!("sessions/{id}/operations");
    let answer = client.operation(&path, &request, given.key.as_deref()).await?;
    drop(waiting);
    show(client, &answer, given.bundle.as_deref(), output).await
}

pub(super) async fn go_on(
    client: &Client,
    operation: Uuid,
    given: Given,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let request = ContinueOperation { inputs: given.inputs()? };
    let waiting = Waiting::for_what("continuing");
    let path = format!("operations/{operation}");
    let answer = client.operation(&path, &request, given.key.as_deref()).await?;
    drop(waiting);
    show(client, &answer, given.bundle.as_deref(), output).await
}

pub(super) async fn cancel(client: &Client, operation: Uuid, output: &mut Output<'_>) -> Result<(), Stop> {
    let answer = client.tell(Method::DELETE, &format!("operations/{operation}")).await?;
    output.data(&answer, || format!("{operation} cancelled"))
}

pub(super) async fn list(
    client: &Client,
    session: Option<String>,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let path = match session {
        Some(session) => format!("sessions/{}/operations", client.session_id(&session).await?),
        None => "operations".to_owned(),
    };
    let answer = client.get(&path).await?;
    let OperationsAnswer { operations, .. } = typed(&answer)?;
    if operations.is_empty() {
        tell("no operations");
        return output.data(&answer, String::new);
    }
    let rows = operations.iter().map(|operation| {
        vec![
            operation.operation_id.to_string(),
            printable(&operation.operation),
            operation.session_id.to_string(),
            operation.status.as_str().to_owned(),
            format!("{}/{}", operation.phase, operation.phases),
            format!("{:.0}", operation.created_at),
            printable(&operation.missing.join(" ")),
        ]
    });
    let header = ["ID", "OPERATION", "SESSION", "STATUS", "PHASE", "BEGUN", "MISSING"];
    output.data(&answer, || table::lines(&header, rows))
}

/// Prints the result. An operation that is not done is also reported as a failure.
async fn show(
    client: &Client,
    answer: &Value,
    bundle: Option<&Path>,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let operation: OperationAnswer = typed(answer)?;
    output.data(answer, || lines(&operation.outputs))?;
    if let Some(path) = bundle {
        client.save(&format!("operations/{}/bundle.zip", operation.operation_id), path).await?;
    }
    let id = operation.operation_id;
    let hint = match operation.status {
        OperationStatus::Done => return Ok(()),
        OperationStatus::NeedsInput => {
            let missing: Vec<String> =
                operation.missing.iter().map(|name| format!("--input {name}=…")).collect();
            Some(format!("pilotlight continue {id} {}", missing.join(" ")))
        }
        _ => operation.hint,
    };
    let message = operation.error.unwrap_or_else(|| format!("it is {}", operation.status.as_str()));
    Err(Failure { exit_code: FAILED, message, hint }.into())
}

/// Formats outputs for people: one per line, lists and tables as JSON.
fn lines(outputs: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (name, value) in outputs {
        let value = match value.as_str() {
            Some(value) => value.to_owned(),
            None => value.to_string(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}: {}", printable(name), printable(&value));
    }
    text
}
