//! Conversions between the rules of an operation, its stored record, and the response to clients.

use std::net::SocketAddr;
use std::time::Duration;

use pilotlight_api::{ErrorCode, OperationAnswer, OperationScreenshot, OperationStatus};
use pilotlight_core::{Ending, Moment, Operation, Stage};
use pilotlight_store::OperationRecord;
use pilotlight_store::operation::StageRecord;
use serde_json::{Value, json};

use crate::clock::{timestamp, wall};

/// Restores the rules of a stored operation.
pub(super) fn recall(record: &OperationRecord) -> Operation {
    let stage = match &record.stage {
        StageRecord::Running => Stage::Running { phase: record.phase },
        StageRecord::Waiting { expires_at_ms } => {
            Stage::Waiting { phase: record.phase, expires_at: Moment(*expires_at_ms) }
        }
        StageRecord::Ended { ending, at_ms } => {
            Stage::Ended { ending: ending_of(ending), at: Moment(*at_ms) }
        }
    };
    let given = record.inputs.keys().cloned().collect();
    Operation::recorded(record.needs.clone(), given, Duration::from_millis(record.timeout_ms), stage)
}

/// Updates the record from the rules.
pub(super) fn note(record: &mut OperationRecord, stage: &Stage) {
    record.stage = match *stage {
        Stage::Running { phase } => {
            record.phase = phase;
            StageRecord::Running
        }
        Stage::Waiting { phase, expires_at } => {
            record.phase = phase;
            StageRecord::Waiting { expires_at_ms: expires_at.0 }
        }
        Stage::Ended { ending, at } => StageRecord::Ended { ending: word(ending).to_owned(), at_ms: at.0 },
    };
}

/// Converts the record's times to wall-clock time, with which the next server's time starts.
pub(super) fn in_wall_time(record: &OperationRecord) -> OperationRecord {
    let mut written = record.clone();
    let stage = match &mut written.stage {
        StageRecord::Running => None,
        StageRecord::Waiting { expires_at_ms } => Some(expires_at_ms),
        StageRecord::Ended { at_ms, .. } => Some(at_ms),
    };
    for at_ms in stage.into_iter().chain([&mut written.created_at_ms]) {
        *at_ms = wall(Moment(*at_ms)).0;
    }
    written
}

const ENDINGS: [Ending; 6] = [
    Ending::Done,
    Ending::Failed,
    Ending::Expired,
    Ending::Cancelled,
    Ending::SessionEnded,
    Ending::Interrupted,
];

/// Returns the stored name of an operation's ending.
pub(super) const fn word(ending: Ending) -> &'static str {
    match ending {
        Ending::Done => "done",
        Ending::Failed => "failed",
        Ending::Expired => "expired",
        Ending::Cancelled => "cancelled",
        Ending::SessionEnded => "session_ended",
        Ending::Interrupted => "interrupted",
    }
}

/// Returns the ending for a stored name.
pub(super) fn known_word(ended: &str) -> &'static str {
    word(ending_of(ended))
}

fn ending_of(ended: &str) -> Ending {
    // An ending from a newer version means at least that the operation must not continue.
    ENDINGS.into_iter().find(|ending| word(*ending) == ended).unwrap_or(Ending::Interrupted)
}

/// Returns whether the operation has ended.
pub(super) fn is_over(record: &OperationRecord) -> bool {
    matches!(record.stage, StageRecord::Ended { .. })
}

/// Returns when the operation ended.
pub(super) fn ended_at_ms(record: &OperationRecord) -> Option<u64> {
    match record.stage {
        StageRecord::Ended { at_ms, .. } => Some(at_ms),
        StageRecord::Running | StageRecord::Waiting { .. } => None,
    }
}

/// Returns the operation's status.
pub(super) fn status(record: &OperationRecord) -> OperationStatus {
    match &record.stage {
        StageRecord::Running => OperationStatus::Running,
        StageRecord::Waiting { .. } => OperationStatus::NeedsInput,
        StageRecord::Ended { ending, .. } => match ending_of(ending) {
            Ending::Done => OperationStatus::Done,
            Ending::Failed | Ending::Interrupted => OperationStatus::Failed,
            Ending::Expired => OperationStatus::Expired,
            Ending::Cancelled | Ending::SessionEnded => OperationStatus::Cancelled,
        },
    }
}

/// Returns the code and the message if the operation is not done.
fn trouble(record: &OperationRecord, missing: &[String]) -> Option<(ErrorCode, String)> {
    let ending = match &record.stage {
        StageRecord::Running => return None,
        StageRecord::Waiting { .. } => {
            return Some((ErrorCode::NeedsInput, format!("the operation needs `{}`", missing.join("`, `"))));
        }
        StageRecord::Ended { ending, .. } => ending_of(ending),
    };
    let phase = record.phase + 1;
    Some(match ending {
        Ending::Done => return None,
        Ending::Failed => match &record.fault {
            Some(fault) => {
                let code = serde_json::from_value(Value::from(fault.code.as_str()));
                (code.unwrap_or(ErrorCode::FlowFailed), format!("phase {phase}: {}", fault.sentence))
            }
            None => (ErrorCode::FlowFailed, format!("phase {phase} failed")),
        },
        Ending::Expired => (
            ErrorCode::OperationEnded,
            "the operation expired: the missing inputs were not sent in time".to_owned(),
        ),
        Ending::Cancelled => {
            let why = record.fault.as_ref().map(|fault| fault.sentence.clone());
            (ErrorCode::OperationEnded, why.unwrap_or_else(|| "the operation was cancelled".to_owned()))
        }
        Ending::SessionEnded => {
            (ErrorCode::SessionEnded, "the session of the operation has ended".to_owned())
        }
        Ending::Interrupted => (
            ErrorCode::OperationInterrupted,
            format!("the server stopped while phase {phase} was running; how far it got is unknown"),
        ),
    })
}

/// Returns the hint, where the code's default hint does not fit.
fn hint(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::FlowFailed => {
            "Check the last screenshot; the portal's page may have changed since the recording."
        }
        code => code.hint(),
    }
}

/// Returns the operation as a response of the server at `address`.
pub(super) fn answer(record: &OperationRecord, address: SocketAddr) -> OperationAnswer {
    let rules = recall(record);
    let missing: Vec<String> = rules.missing().into_iter().map(str::to_owned).collect();
    let trouble = trouble(record, &missing);
    let url = |name: &str| {
        let mut url = url::Url::parse("http://localhost").ok()?;
        url.path_segments_mut().ok()?.extend(["operations", &record.id.to_string(), "files", name]);
        Some(format!("http://{address}{}", url.path()))
    };
    let mut outputs = record.outputs.clone();
    outputs.extend(record.downloads.iter().map(|(name, download)| {
        (name.clone(), json!({ "name": download.name, "size": download.size, "url": url(&download.name) }))
    }));
    let screenshots = record.screenshots.iter().map(|screenshot| OperationScreenshot {
        name: screenshot.name.clone(),
        step: screenshot.step.clone(),
        url: url(&screenshot.name).unwrap_or_default(),
    });
    let at = |at_ms: u64| timestamp(Moment(at_ms));
    OperationAnswer {
        success: trouble.is_none(),
        operation_id: record.id,
        session_id: record.session,
        operation: record.operation.clone(),
        status: status(record),
        phase: record.phase + 1,
        phases: record.needs.len(),
        missing,
        expires_at: match record.stage {
            StageRecord::Waiting { expires_at_ms } => Some(at(expires_at_ms)),
            _ => None,
        },
        created_at: at(record.created_at_ms),
        ended_at: match record.stage {
            StageRecord::Ended { at_ms, .. } => Some(at(at_ms)),
            _ => None,
        },
        outputs,
        screenshots: screenshots.collect(),
        step: record.fault.as_ref().and_then(|fault| fault.step),
        hint: trouble.as_ref().map(|(code, _)| hint(*code).to_owned()),
        code: trouble.as_ref().map(|(code, _)| *code),
        error: trouble.map(|(_, message)| crate::sentence::capitalised(&message)),
    }
}
