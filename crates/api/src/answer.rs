//! Answers that are not a session.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::session::MemoryMeasure;
use crate::site::SiteDefinition;

/// The answer to `POST /ping_session/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PingAnswer {
    /// Always true.
    pub success: bool,
    /// The session that was pinged.
    pub session_id: Uuid,
    /// When it was last used: now.
    pub last_used: Timestamp,
}

/// The answer to taking or extending a hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HoldAnswer {
    /// Always true.
    pub success: bool,
    /// Identifies the hold; whoever has it may extend it and give it back.
    pub hold_id: Uuid,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// The answer to `POST /sessions/{id}/evaluate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvaluateAnswer {
    /// Always true.
    pub success: bool,
    /// The value of the expression; null for `undefined`.
    pub result: serde_json::Value,
}

/// An answer that has nothing to tell but that it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageAnswer {
    /// Always true.
    pub success: bool,
    /// What was done, in a sentence.
    pub message: String,
}

impl MessageAnswer {
    /// A success with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { success: true, message: message.into() }
    }

    /// The answer to closing a session, word for word as the contract has it.
    pub fn session_closed() -> Self {
        Self::new("Session closed successfully")
    }
}

/// The answer about one site.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SiteAnswer {
    /// Always true.
    pub success: bool,
    /// The site's name.
    pub name: String,
    /// What is known of it.
    #[serde(flatten)]
    pub site: SiteDefinition,
}

/// The answer to `GET /sites/{name}/report`: how its sign-ins fared since the server started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteReportAnswer {
    /// Always true.
    pub success: bool,
    /// The site's name.
    pub name: String,
    /// Since when is counted.
    pub since: Timestamp,
    /// Its living sessions.
    pub sessions: u64,
    /// Those of them that are signed in, as far as is known.
    pub signed_in: u64,
    /// Sign-ins that worked.
    pub sign_ins: u64,
    /// Sign-ins that did not.
    pub sign_ins_failed: u64,
    /// Refreshes that found the sign-in alive.
    pub refreshes: u64,
    /// Refreshes that did not work.
    pub refreshes_failed: u64,
    /// How often the portal was found to have signed somebody out.
    pub signed_out: u64,
    /// Of every hundred times that was looked, how often the sign-in had held; null where nobody looked yet.
    pub held_percent: Option<u64>,
    /// How long the sign-ins that ended had lasted at most, in seconds, the half of them not longer than this.
    pub lasted_median: Option<u64>,
    /// The longest of them, in seconds.
    pub lasted_longest: Option<u64>,
    /// How long the oldest sign-in that still holds has lasted so far, in seconds.
    pub holding_longest: Option<u64>,
}

/// The answer to `GET /sites`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SitesAnswer {
    /// Always true.
    pub success: bool,
    /// The names of all sites, in order.
    pub sites: Vec<String>,
}

/// How the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// All is well.
    Healthy,
    /// It works, but sessions need attention, the machine is short of memory, or the store cannot be written.
    Degraded,
}

/// The answer to `GET /health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// How the server is.
    pub status: HealthStatus,
    /// Always `pilotlight`.
    pub service: String,
    /// The server's version.
    pub version: String,
    /// Living sessions.
    pub active_sessions: u32,
    /// `limits.max_sessions`.
    pub max_sessions: u32,
    /// Both as text: `3/50`.
    pub session_capacity: String,
    /// Living sessions that never expire.
    pub persistent_sessions: u32,
    /// The server's time.
    pub timestamp: Timestamp,
}

/// What the machine carries, and has carried lately.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MachineAnswer {
    /// Always true.
    pub success: bool,
    /// Processors.
    pub cores: u32,
    /// The machine's memory in bytes; null where it does not say.
    pub memory_bytes: Option<u64>,
    /// What browsers and we ourselves take; null before it was first measured.
    pub taken: Option<TakenAnswer>,
    /// How many windows there may be at once.
    pub max_live: u32,
    /// How many sessions there may be.
    pub max_sessions: u32,
    /// The browser processes that have windows.
    pub shards: Vec<ShardAnswer>,
    /// The last hour, oldest first.
    pub samples: Vec<LoadSample>,
}

/// Memory that is taken, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct TakenAnswer {
    /// What all browsers may take at the moment: `limits.memory_budget`, or less where the machine is short.
    pub budget_bytes: u64,
    /// What all browsers take, what is swapped and compressed among it.
    pub used_bytes: u64,
    /// What of theirs is swapped out, before compression.
    pub swapped_bytes: u64,
    /// What that takes compressed, in memory.
    pub compressed_bytes: u64,
    /// How it was counted.
    pub measure: MemoryMeasure,
    /// The part of `used_bytes` that windows have whose page runs.
    pub live_bytes: u64,
    /// The part of it that frozen windows have.
    pub frozen_bytes: u64,
    /// What the server takes.
    pub server_bytes: u64,
    /// What all shims take together.
    pub shims_bytes: u64,
}

/// A browser process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ShardAnswer {
    /// Its name.
    pub shard: String,
    /// How many sessions have their windows in it.
    pub windows: u32,
    /// Memory of those windows in bytes, as last measured.
    pub memory_bytes: u64,
}

/// How it stood at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct LoadSample {
    /// When.
    pub time: Timestamp,
    /// How busy the processors were since the sample before, of 100; null where the machine does not say.
    pub cpu_percent: Option<f64>,
    /// Memory that is left, in bytes; null where the machine does not say.
    pub available_bytes: Option<u64>,
    /// Memory of all windows in bytes, as last measured.
    pub windows_bytes: u64,
    /// Memory of all browsers in bytes, as last measured; null before.
    pub used_bytes: Option<u64>,
    /// What they could take then, in bytes.
    pub budget_bytes: Option<u64>,
    /// Sessions with a window that works.
    pub live: u32,
    /// Sessions whose window is frozen.
    pub frozen: u32,
    /// Sessions that hibernate.
    pub hibernated: u32,
}

/// What the server's machine offers for windows that cost little.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DoctorAnswer {
    /// Whether nothing is missing that windows need at all.
    pub success: bool,
    /// All memory that there is for us, in bytes; null where the kernel does not say.
    pub memory_bytes: Option<u64>,
    /// What of it can still be had, in bytes.
    pub available_bytes: Option<u64>,
    /// How cold pages leave memory here.
    pub reclaiming: String,
    /// One by one.
    pub levers: Vec<Lever>,
}

/// One thing that helps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lever {
    /// Its name for scripts.
    pub lever: String,
    /// Whether it is there.
    pub state: LeverState,
    /// What was found.
    pub found: String,
    /// What it is good for.
    pub brings: String,
    /// How to get it; null where it is there.
    pub remedy: Option<String>,
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeverState {
    /// It is.
    Present,
    /// It is not, and everything works without.
    Missing,
    /// It is not, and no window opens without.
    Needed,
}

/// The answer to `GET /sessions/{id}/failure`: the latest sign-in, or refresh by a flow, that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FailureAnswer {
    /// Always true.
    pub success: bool,
    /// The step that could not be done; null where the flow went through, and the portal let nobody in.
    pub step: Option<FailedStep>,
    /// Why, in a sentence.
    pub error: String,
    /// When.
    pub taken_at: Timestamp,
    /// What the page showed then; null where no picture could be taken, or the password would be in it.
    pub picture_url: Option<String>,
}

/// The step of a recording that could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailedStep {
    /// Counted from 1.
    pub number: u32,
    /// Its type, by the Recorder's name.
    pub kind: String,
    /// The selectors that were tried, as they were recorded.
    pub selectors: Vec<String>,
}
