//! What the machine carries: `/machine`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use pilotlight_api::{DoctorAnswer, ErrorCode, MachineAnswer, ShardAnswer, TakenAnswer};

use super::App;
use super::problem::Problem;
use crate::doctor::examine;
use crate::keeper::memory_measure;
use crate::memory::total_bytes;
use crate::memory_monitor::Reading;

/// Returns the use of memory, processors and browsers, now and over the last hour.
#[utoipa::path(get, path = "/machine", tag = "server", responses(
    (status = 200, description = "The machine's load", body = MachineAnswer)))]
pub(super) async fn show(State(app): State<App>) -> Json<MachineAnswer> {
    let mut shards: BTreeMap<String, ShardAnswer> = BTreeMap::new();
    for session in app.keeper.directory().sessions.values().map(|published| published.now()) {
        if let Some(shard) = session.shard {
            let entry =
                shards.entry(shard.clone()).or_insert(ShardAnswer { shard, ..ShardAnswer::default() });
            entry.windows += 1;
            entry.memory_bytes += session.memory_bytes.unwrap_or(0);
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Json(MachineAnswer {
        success: true,
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        memory_bytes: total_bytes(),
        taken: app.machine.memory_monitor.reading().map(taken),
        max_live: app.machine.max_live,
        max_sessions: app.max_sessions,
        shards: shards.into_values().collect(),
        samples: app.machine.samples(),
    })
}

/// Checks the machine for what browsers need and for memory-saving features, and says how to enable what is missing.
#[utoipa::path(get, path = "/doctor", tag = "server", responses(
    (status = 200, description = "The results of the checks", body = DoctorAnswer)))]
pub(super) async fn doctor(State(app): State<App>) -> Result<Json<DoctorAnswer>, Problem> {
    let intended = app.intended.clone();
    let examined = tokio::task::spawn_blocking(move || examine(intended)).await;
    examined.map(Json).map_err(|_| Problem::new(ErrorCode::Internal, "The checks were aborted"))
}

fn taken(reading: Reading) -> TakenAnswer {
    TakenAnswer {
        budget_bytes: reading.budget_bytes,
        used_bytes: reading.used_bytes(),
        swapped_bytes: reading.browsers.swapped_bytes,
        compressed_bytes: reading.compressed_bytes,
        measure: memory_measure(reading.browsers.measure),
        live_bytes: reading.running.bytes,
        frozen_bytes: reading.frozen.bytes,
        server_bytes: reading.server.bytes,
        shims_bytes: reading.shims.bytes,
    }
}
