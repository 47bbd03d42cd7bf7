//! `pilotlight store`.

use pilotlight_store::DamagedRecord;
use serde_json::{Value, json};

use super::args::{Common, StoreCommand};
use super::client::Client;
use super::output::Output;
use super::stop::Stop;
use crate::config::{Server, Sources};
use crate::exit::{FAILED, Failure};
use crate::store::{Closed, NotClosed};
use crate::table;

/// The heading of a list of records.
const HEADER: [&str; 3] = ["KIND", "ID", "PROBLEM"];

pub(super) fn run(
    common: &Common,
    sources: &Sources,
    command: StoreCommand,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let server = Server::load(sources).map_err(Failure::from)?;
    match command {
        StoreCommand::Check => check(&server, output),
        StoreCommand::Forget { id, export } => {
            let mut store = Closed::open(&server).map_err(Failure::from)?;
            let forgotten = store.forget(id, export.as_deref())?;
            let answer = json!({"success": true, "forgotten": records(&forgotten)});
            output.data(&answer, || format!("removed {}", lines(&forgotten)))
        }
        StoreCommand::Backup { file } => {
            match Closed::open(&server) {
                Ok(mut store) => store.backup(&file)?,
                // The server that has it makes the copy.
                Err(NotClosed::Taken(_)) => {
                    super::run::ask_server(&Client::find(common, sources)?, async |client| {
                        Ok(client.save("store/backup", &file).await?)
                    })?;
                }
                Err(error) => return Err(Failure::from(error).into()),
            }
            let answer = json!({"success": true, "file": file});
            output.data(&answer, || {
                format!("backup written to {}; store the master key separately", file.display())
            })
        }
    }
}

fn check(server: &Server, output: &mut Output<'_>) -> Result<(), Stop> {
    let checked = Closed::open(server).map_err(Failure::from)?.check()?;
    let answer = json!({
        "success": checked.damaged.is_empty(), "whole": checked.whole, "damaged": records(&checked.damaged),
    });
    output.data(&answer, || match checked.damaged.len() {
        0 => format!("all {} records can be read", checked.whole),
        _ => lines(&checked.damaged),
    })?;
    match checked.damaged.len() {
        0 => Ok(()),
        damaged => {
            let message = format!("{damaged} of {} records cannot be read", damaged + checked.whole);
            let hint =
                "restore a backup or the missing key, or remove the records with `pilotlight store forget`";
            Err(Failure::new(FAILED, message).with_hint(hint).into())
        }
    }
}

fn records(damaged: &[DamagedRecord]) -> Vec<Value> {
    let record = |record: &DamagedRecord| json!({"kind": record.kind.as_str(), "id": record.id, "problem": record.error.to_string()});
    damaged.iter().map(record).collect()
}

fn lines(damaged: &[DamagedRecord]) -> String {
    let line = |record: &DamagedRecord| {
        vec![record.kind.to_string(), record.id.to_string(), record.error.to_string()]
    };
    table::lines(&HEADER, damaged.iter().map(line))
}
