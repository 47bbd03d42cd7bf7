//! `/metrics`: Prometheus text, made from what is published at the moment of the scrape.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use pilotlight_api::{ErrorCode, MemoryMeasure, SessionState};
use pilotlight_levers::Memory;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::App;
use super::problem::Problem;

/// The media type of the format that is written.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The states that there can be.
const STATES: [SessionState; 8] = [
    SessionState::Starting,
    SessionState::SigningIn,
    SessionState::Ready,
    SessionState::Frozen,
    SessionState::Hibernated,
    SessionState::Recovering,
    SessionState::NeedsAttention,
    SessionState::Ended,
];

/// How memory is counted, as far as it is known.
const MEASURES: [MemoryMeasure; 2] = [MemoryMeasure::Proportional, MemoryMeasure::Private];

/// Bytes by how they were counted.
type ByMeasure = Family<[(&'static str, &'static str); 1], Gauge>;

/// Numbers for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "server", responses(
    (status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text", body = String)))]
pub(super) async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, Problem> {
    let text = text(&app).map_err(|error| Problem::new(ErrorCode::Internal, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text))
}

fn text(app: &App) -> Result<String, std::fmt::Error> {
    let directory = app.keeper.directory();
    let sessions = Family::<[(&str, &str); 1], Gauge>::default();
    // A state that nobody is in is 0, and not missing.
    for state in STATES {
        sessions.get_or_create(&[("state", state.as_str())]).set(0);
    }
    let (memory, swapped) = (ByMeasure::default(), ByMeasure::default());
    for measure in MEASURES {
        memory.get_or_create(&[("measure", measure.as_str())]).set(0);
        swapped.get_or_create(&[("measure", measure.as_str())]).set(0);
    }
    let mut in_use = 0;
    let mut shards: BTreeMap<String, u64> = BTreeMap::new();
    for session in directory.sessions.values().map(|published| published.now()) {
        sessions.get_or_create(&[("state", session.state.as_str())]).inc();
        in_use += i64::from(session.in_use);
        if let Some(measure) = session.memory_measure {
            let add = |family: &ByMeasure, bytes: Option<u64>| {
                let bytes = i64::try_from(bytes.unwrap_or(0)).unwrap_or(i64::MAX);
                family.get_or_create(&[("measure", measure.as_str())]).inc_by(bytes);
            };
            add(&memory, session.memory_bytes);
            add(&swapped, session.swapped_bytes);
        }
        if let Some(shard) = session.shard {
            *shards.entry(shard).or_default() += 1;
        }
    }
    let mut registry = Registry::with_prefix("pilotlight");
    registry.register("sessions", "Sessions by state, those ended within the last hour among them", sessions);
    registry.register("sessions_in_use", "Sessions that somebody holds", gauge(in_use));
    registry.register("browsers", "Chromium processes with windows", gauge(length(shards.len())));
    let sentence = "Memory of all windows as last measured, by how it was counted";
    registry.register("windows_memory_bytes", sentence, memory);
    let sentence = "What of the windows' memory is swapped out, before compression";
    registry.register("windows_swapped_bytes", sentence, swapped);
    if let Some(reading) = app.machine.gauge.reading() {
        let mut add = |name: &str, sentence: &str, bytes: u64| {
            registry.register(name, sentence, gauge(i64::try_from(bytes).unwrap_or(i64::MAX)));
        };
        add("memory_budget_bytes", "What all browsers may take at the moment", reading.budget_bytes);
        add("browsers_memory_bytes", "What they take, what is compressed among it", reading.used_bytes());
        add(
            "browsers_swapped_bytes",
            "What of it is swapped out, before compression",
            reading.browsers.swapped_bytes,
        );
        add("browsers_compressed_bytes", "What that takes compressed, in memory", reading.compressed_bytes);
        add("live_windows_bytes", "What windows take whose page runs", reading.running.bytes);
        add("frozen_windows_bytes", "What windows take that stand still", reading.frozen.bytes);
        add("server_memory_bytes", "What the server takes", reading.server.bytes);
        add("shims_memory_bytes", "What all shims take together", reading.shims.bytes);
    }
    if let Some(now) = Memory::now() {
        let bytes = |bytes: u64| gauge(i64::try_from(bytes).unwrap_or(i64::MAX));
        let sentence = "Memory that there is, the machine's or the cgroup's";
        registry.register("memory_total_bytes", sentence, bytes(now.total_bytes));
        let sentence = "Memory that can be had without swapping";
        registry.register("memory_available_bytes", sentence, bytes(now.available_bytes));
    }
    let store_healthy = i64::from(app.archive.health().borrow().is_none());
    let sentence = "Whether what is new was written down at the last try";
    registry.register("store_healthy", sentence, gauge(store_healthy));
    let limit = i64::from(app.max_sessions);
    registry.register("max_sessions", "The configured limit of sessions", gauge(limit));
    registry.register("events", "Events since the start", ConstCounter::new(app.keeper.events().last()));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn gauge(value: i64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

fn length(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
