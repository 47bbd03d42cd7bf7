//! `/metrics`: Prometheus text, made from what is published at the moment of the scrape.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use pilotlight_api::{ErrorCode, MemoryMeasure, SessionState, SignInStatus};
use pilotlight_linux::Memory;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::App;
use super::problem::Problem;

/// The media type of the format that is written.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All states of a session.
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

/// All ways of measuring memory.
const MEASURES: [MemoryMeasure; 2] = [MemoryMeasure::Proportional, MemoryMeasure::Private];

/// Bytes by measure.
type ByMeasure = Family<[(&'static str, &'static str); 1], Gauge>;

/// Metrics for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "server", responses(
    (status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text", body = String)))]
pub(super) async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, Problem> {
    let text = text(&app).map_err(|error| Problem::new(ErrorCode::Internal, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text))
}

fn text(app: &App) -> Result<String, std::fmt::Error> {
    let directory = app.keeper.directory();
    let sessions = Family::<[(&str, &str); 1], Gauge>::default();
    // A state without sessions is reported as 0.
    for state in STATES {
        sessions.get_or_create(&[("state", state.as_str())]).set(0);
    }
    let by_sign_in = Family::<[(&str, &str); 1], Gauge>::default();
    for status in SignInStatus::ALL {
        by_sign_in.get_or_create(&[("status", status.as_str())]).set(0);
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
        if session.state != SessionState::Ended {
            by_sign_in.get_or_create(&[("status", session.sign_in.status.as_str())]).inc();
        }
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
    registry.register(
        "sessions",
        "Number of sessions by state, including sessions that ended within the last hour",
        sessions,
    );
    let help = "Number of sessions that have not ended, by sign-in status";
    registry.register("sessions_by_sign_in", help, by_sign_in);
    registry.register("sessions_in_use", "Number of sessions in use", gauge(in_use));
    registry.register(
        "browsers",
        "Number of Chromium processes that have windows",
        gauge(length(shards.len())),
    );
    let help = "Last measured memory of all windows, by measure";
    registry.register("windows_memory_bytes", help, memory);
    let help = "Swapped-out memory of all windows, before compression";
    registry.register("windows_swapped_bytes", help, swapped);
    if let Some(reading) = app.machine.memory_monitor.reading() {
        let mut add = |name: &str, help: &str, bytes: u64| {
            registry.register(name, help, gauge(i64::try_from(bytes).unwrap_or(i64::MAX)));
        };
        add("memory_budget_bytes", "Current memory budget of all browsers", reading.budget_bytes);
        add(
            "browsers_memory_bytes",
            "Memory used by all browsers, including compressed memory",
            reading.used_bytes(),
        );
        add(
            "browsers_swapped_bytes",
            "Swapped-out memory of all browsers, before compression",
            reading.browsers.swapped_bytes,
        );
        add(
            "browsers_compressed_bytes",
            "Size of the browsers' swapped-out memory after compression, in memory",
            reading.compressed_bytes,
        );
        add("live_windows_bytes", "Memory of live windows", reading.running.bytes);
        add("frozen_windows_bytes", "Memory of frozen windows", reading.frozen.bytes);
        add("server_memory_bytes", "Memory of the server process", reading.server.bytes);
        add("shims_memory_bytes", "Memory of all shim processes", reading.shims.bytes);
    }
    if let Some(now) = Memory::now() {
        let bytes = |bytes: u64| gauge(i64::try_from(bytes).unwrap_or(i64::MAX));
        let help = "Total memory of the machine or the cgroup";
        registry.register("memory_total_bytes", help, bytes(now.total_bytes));
        let help = "Memory available without swapping";
        registry.register("memory_available_bytes", help, bytes(now.available_bytes));
    }
    let late = directory.late_refresh(app.keeper.clock().now());
    let lag = Gauge::<f64, AtomicU64>::default();
    lag.set(late.map_or(0.0, |(by, _)| by.as_secs_f64()));
    let help = "How late the refresh is that has been due longest and has not begun";
    registry.register("refresh_lag_seconds", help, lag);
    let refreshes = Family::<[(&str, &str); 2], Counter>::default();
    for (how, outcome, count) in directory.refreshes.iter() {
        refreshes.get_or_create(&[("how", how), ("outcome", outcome)]).inc_by(count);
    }
    let help = "Number of refreshes since the server started, by way and outcome";
    registry.register("refreshes", help, refreshes);
    let store_healthy = i64::from(app.store.health().borrow().is_none());
    let help = "Whether the last write to the store succeeded (1) or not (0)";
    registry.register("store_healthy", help, gauge(store_healthy));
    let help = "Number of store records that could not be read at startup";
    registry.register("store_damaged_records", help, gauge(length(app.damaged.count())));
    let help = "Number of sites defined over REST that cannot be used";
    registry.register("broken_sites", help, gauge(length(app.planner.sites.broken().len())));
    let limit = i64::from(app.max_sessions);
    registry.register("max_sessions", "Configured maximum number of sessions", gauge(limit));
    registry.register(
        "events",
        "Number of events since the server started",
        ConstCounter::new(app.keeper.events().last()),
    );
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
