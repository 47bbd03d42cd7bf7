//! Responses other than sessions.

use std::collections::BTreeMap;

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
    /// The hold's id, needed to extend and release it.
    pub hold_id: Uuid,
    /// When the hold expires.
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

/// A response with only a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageAnswer {
    /// Always true.
    pub success: bool,
    /// What was done, in one sentence.
    pub message: String,
}

impl MessageAnswer {
    /// Creates a response with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { success: true, message: message.into() }
    }

    /// Returns the response to closing a session. Clients rely on its exact wording.
    pub fn session_closed() -> Self {
        Self::new("Session closed successfully")
    }
}

/// A site.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SiteAnswer {
    /// Always true.
    pub success: bool,
    /// The site's name.
    pub name: String,
    /// The site's definition.
    #[serde(flatten)]
    pub site: SiteDefinition,
}

/// The answer to `GET /sites/{name}/report`: statistics of its sign-ins since the server started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteReportAnswer {
    /// Always true.
    pub success: bool,
    /// The site's name.
    pub name: String,
    /// Start of the statistics.
    pub since: Timestamp,
    /// Number of its sessions that have not ended.
    pub sessions: u64,
    /// Number of those sessions that are signed in, as far as is known.
    pub signed_in: u64,
    /// Number of successful sign-ins.
    pub sign_ins: u64,
    /// Number of failed sign-ins.
    pub sign_ins_failed: u64,
    /// Number of refreshes that found the session signed in.
    pub refreshes: u64,
    /// Number of failed refreshes.
    pub refreshes_failed: u64,
    /// How often a session was found signed out by the portal.
    pub signed_out: u64,
    /// Percentage of checks that found the session signed in; null before the first check.
    pub signed_in_percent: Option<u64>,
    /// Median duration of sign-ins that ended, in seconds.
    pub median_duration: Option<u64>,
    /// Longest duration of a sign-in that ended, in seconds.
    pub longest_duration: Option<u64>,
    /// Duration of the longest current sign-in so far, in seconds.
    pub longest_current: Option<u64>,
}

/// The answer to `GET /sites`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SitesAnswer {
    /// Always true.
    pub success: bool,
    /// The names of all sites, sorted.
    pub sites: Vec<String>,
    /// Sites defined over REST that can no longer be used, with the error. Define them again or delete them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub broken: BTreeMap<String, String>,
}

/// The server's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Everything works.
    Healthy,
    /// The server works, but with problems; `reasons` lists them.
    Degraded,
}

/// The answer to `GET /health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// The server's health.
    pub status: HealthStatus,
    /// Why the server is degraded, one sentence each; empty if it is healthy.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// Always `pilotlight`.
    pub service: String,
    /// The server's version.
    pub version: String,
    /// Number of sessions that have not ended.
    pub active_sessions: u32,
    /// `limits.max_sessions`.
    pub max_sessions: u32,
    /// `active_sessions` and `max_sessions` as text, such as `3/50`.
    pub session_capacity: String,
    /// Number of active sessions that never expire.
    pub persistent_sessions: u32,
    /// The server's time.
    pub timestamp: Timestamp,
}

/// The load of the machine, now and over the last hour.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MachineAnswer {
    /// Always true.
    pub success: bool,
    /// Number of processors.
    pub cores: u32,
    /// The machine's memory in bytes; null if unknown.
    pub memory_bytes: Option<u64>,
    /// Memory used by browsers and by Pilotlight; null before the first measurement.
    pub taken: Option<TakenAnswer>,
    /// Maximum number of open windows.
    pub max_live: u32,
    /// Maximum number of sessions.
    pub max_sessions: u32,
    /// The browser processes that have windows.
    pub shards: Vec<ShardAnswer>,
    /// Samples of the last hour, oldest first.
    pub samples: Vec<LoadSample>,
}

/// Used memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct TakenAnswer {
    /// Current budget of all browsers: `limits.memory_budget`, or less if the machine is low on memory.
    pub budget_bytes: u64,
    /// Memory used by all browsers, including compressed memory.
    pub used_bytes: u64,
    /// Swapped-out memory of all browsers, before compression.
    pub swapped_bytes: u64,
    /// Size of the swapped-out memory after compression, in memory.
    pub compressed_bytes: u64,
    /// How memory is measured.
    pub measure: MemoryMeasure,
    /// The part of `used_bytes` that live windows use.
    pub live_bytes: u64,
    /// The part of `used_bytes` that frozen windows use.
    pub frozen_bytes: u64,
    /// Memory of the server process.
    pub server_bytes: u64,
    /// Memory of all shim processes.
    pub shims_bytes: u64,
}

/// A browser process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ShardAnswer {
    /// Its name.
    pub shard: String,
    /// Number of windows in it.
    pub windows: u32,
    /// Last measured memory of its windows, in bytes.
    pub memory_bytes: u64,
}

/// The load at one time.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct LoadSample {
    /// Time of the sample.
    pub time: Timestamp,
    /// Processor utilization since the previous sample, in percent; null if unknown.
    pub cpu_percent: Option<f64>,
    /// Available memory in bytes; null if unknown.
    pub available_bytes: Option<u64>,
    /// Last measured memory of all windows, in bytes.
    pub windows_bytes: u64,
    /// Last measured memory of all browsers, in bytes; null before the first measurement.
    pub used_bytes: Option<u64>,
    /// Memory budget of all browsers at that time, in bytes.
    pub budget_bytes: Option<u64>,
    /// Number of sessions that are neither frozen nor hibernated.
    pub live: u32,
    /// Number of sessions with a frozen window.
    pub frozen: u32,
    /// Number of hibernated sessions.
    pub hibernated: u32,
}

/// The results of the checks of the server's machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DoctorAnswer {
    /// Whether everything that windows require is present.
    pub success: bool,
    /// Total memory of the machine or the cgroup, in bytes; null if unknown.
    pub memory_bytes: Option<u64>,
    /// Available memory, in bytes; null if unknown.
    pub available_bytes: Option<u64>,
    /// How memory of frozen windows is moved out of RAM.
    pub reclaiming: String,
    /// The individual checks.
    #[serde(alias = "levers")]
    pub checks: Vec<MachineCheck>,
}

/// A check for one feature of the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MachineCheck {
    /// The stable name of the check.
    #[serde(alias = "lever")]
    pub name: String,
    /// Whether the feature is present.
    pub state: CheckState,
    /// What was found.
    pub found: String,
    /// The benefit of the feature.
    #[serde(alias = "brings")]
    pub benefit: String,
    /// How to enable the feature; null if it is present.
    #[serde(alias = "remedy")]
    pub fix: Option<String>,
}

/// Whether a feature is present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// The feature is present.
    Present,
    /// The feature is missing, but optional.
    Missing,
    /// The feature is missing, and windows cannot be opened without it.
    Needed,
}

/// The answer to `GET /sessions/{id}/failure`: the latest failed sign-in, or failed refresh by a flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FailureAnswer {
    /// Always true.
    pub success: bool,
    /// The step that failed; null if all steps succeeded but the session was not signed in.
    pub step: Option<FailedStep>,
    /// Why it failed, in one sentence.
    pub error: String,
    /// When it failed.
    pub taken_at: Timestamp,
    /// URL of a screenshot of the page; null if none could be taken, or if it would show the password.
    pub picture_url: Option<String>,
}

/// The failed step of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailedStep {
    /// The step's number, counted from 1.
    pub number: u32,
    /// The step's type, as named by the Recorder.
    pub kind: String,
    /// The selectors that were tried, as recorded.
    pub selectors: Vec<String>,
}

/// The answer to signing in to the dashboard.
#[derive(Serialize)]
pub struct DashboardKey {
    /// Always true.
    pub success: bool,
    /// The key that the page sends as a bearer token. It is returned only once.
    pub key: String,
}

impl std::fmt::Debug for DashboardKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DashboardKey").finish_non_exhaustive()
    }
}

/// A one-time ticket for requests for which the dashboard cannot set a header.
#[derive(Serialize)]
pub struct DashboardTicket {
    /// Always true.
    pub success: bool,
    /// The value of `ticket` in the query of one request.
    pub ticket: String,
    /// Validity in seconds.
    pub expires_in: u64,
}

impl std::fmt::Debug for DashboardTicket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DashboardTicket").finish_non_exhaustive()
    }
}

/// A one-time sign-in link to the dashboard.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct DashboardLink {
    /// Always true.
    pub success: bool,
    /// The link. It works once and invalidates earlier links.
    pub link: String,
    /// Validity in seconds.
    pub expires_in: u64,
}

impl std::fmt::Debug for DashboardLink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DashboardLink").finish_non_exhaustive()
    }
}
