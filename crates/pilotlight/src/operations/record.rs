//! From the rules of an operation to what is written down of it, and from there to what clients are told.

use std::net::SocketAddr;
use std::time::Duration;

use pilotlight_api::{ErrorCode, OperationAnswer, OperationScreenshot, OperationStatus};
use pilotlight_core::{Ending, Moment, Operation, Stage};
use pilotlight_store::OperationRecord;
use pilotlight_store::operation::StageRecord;
use serde_json::{Value, json};

use crate::keeper::timestamp;

/// The rules of an operation that was written down.
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

/// Notes where the rules are.
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

const ENDINGS: [Ending; 6] = [
    Ending::Done,
    Ending::Failed,
    Ending::Expired,
    Ending::Cancelled,
    Ending::SessionEnded,
    Ending::Interrupted,
];

/// How an operation ended, in the word that is written down.
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

/// How an operation ended that was written down.
pub(super) fn known_word(ended: &str) -> &'static str {
    word(ending_of(ended))
}

fn ending_of(ended: &str) -> Ending {
    // A word of a newer version says at least that nobody should go on with it.
    ENDINGS.into_iter().find(|ending| word(*ending) == ended).unwrap_or(Ending::Interrupted)
}

/// Whether nothing happens in it any more.
pub(super) fn is_over(record: &OperationRecord) -> bool {
    matches!(record.stage, StageRecord::Ended { .. })
}

/// Where it is, by the contract's word.
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

/// What keeps it from being done, where something does: the code, and a sentence.
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
        Ending::Expired => {
            (ErrorCode::OperationEnded, "nobody gave in time what the operation waited for".to_owned())
        }
        Ending::Cancelled => {
            let why = record.fault.as_ref().map(|fault| fault.sentence.clone());
            (ErrorCode::OperationEnded, why.unwrap_or_else(|| "the operation was given up".to_owned()))
        }
        Ending::SessionEnded => {
            (ErrorCode::SessionEnded, "the session of the operation has ended".to_owned())
        }
        Ending::Interrupted => (
            ErrorCode::OperationInterrupted,
            format!("the server ended while phase {phase} ran, so nobody knows how far it came"),
        ),
    })
}

/// What to do where the code's own hint speaks of something else.
fn hint(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::FlowFailed => {
            "Look at its last screenshot; the portal's page may have changed since it was recorded."
        }
        code => code.hint(),
    }
}

/// The operation as clients are told of it by the server at `address`.
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
        error: trouble.map(|(_, sentence)| crate::sentence::capitalised(&sentence)),
    }
}
