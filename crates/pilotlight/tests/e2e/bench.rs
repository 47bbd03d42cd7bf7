//! `pilotlight bench` measures and cleans up. The measured values are not asserted.

use std::process::Stdio;

use pilotlight_testkit::harness::{Process, Role, descendants, expect_that, run, wait_for, wait_until_gone};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::SOON;

const BINARY: &str = env!("CARGO_BIN_EXE_pilotlight");

#[tokio::test]
async fn waking_is_measured_against_loading() {
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path().to_str().unwrap();
    let mut permissions = std::fs::metadata(scratch).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(scratch, permissions).unwrap();
    let arguments = ["bench", "wake", "--rounds", "2", "-o", "json"];
    let report =
        run(BINARY.as_ref(), folder.path(), &arguments, &[("TMPDIR", scratch)], "").await.expect(0).json();
    let rows = report["rows"].as_array().unwrap();
    let cases: Vec<_> = rows.iter().map(|row| row["case"].as_str().unwrap()).collect();
    assert_eq!(cases, ["home page", "heavy page", "heavy page, caches empty"]);
    for row in rows {
        for side in ["measured", "baseline"] {
            let positive = |value: &Value| value.as_f64().is_some_and(|number| number > 0.0);
            let samples = row[side]["samples"].as_array().unwrap();
            assert!(samples.len() == 2 && samples.iter().all(positive), "{row}");
            assert!(
                positive(&row[side]["median"]) && row[side]["worst"].as_f64() >= row[side]["median"].as_f64(),
                "{row}"
            );
        }
        let ratio = row["measured"]["median"].as_f64().unwrap() / row["baseline"]["median"].as_f64().unwrap();
        assert_eq!(row["ratio"].as_f64(), Some(ratio), "{row}");
    }
    assert!(report["chromium"].as_str().unwrap().contains("Chrom"), "{report}");
    let of_its_own = |process: &Process| process.command.iter().any(|word| word.contains(scratch));
    let left: Vec<_> = descendants(1).into_iter().filter(of_its_own).collect();
    wait_until_gone(&left, SOON).await;
    assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0, "its folder is gone");
}

#[tokio::test]
async fn the_gateway_is_measured_against_a_direct_connection() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["bench", "cdp", "--rounds", "1", "-o", "json"];
    let report = run(BINARY.as_ref(), folder.path(), &arguments, &[], "").await.expect(0).json();
    let rows = report["rows"].as_array().unwrap();
    let cases: Vec<_> = rows.iter().map(|row| row["case"].as_str().unwrap()).collect();
    assert_eq!(cases, ["200 page actions", "large screenshots", "network events"]);
    assert!(rows.iter().all(|row| row["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0)), "{report}");
}

#[tokio::test]
async fn keeping_hibernated_sessions_signed_in_is_measured_in_each_way() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["bench", "keep", "--sessions", "2", "--span", "15s", "--every", "5s", "-o", "json"];
    let report = run(BINARY.as_ref(), folder.path(), &arguments, &[], "").await.expect(0).json();
    let rows = report["rows"].as_array().unwrap();
    let ways: Vec<_> = rows.iter().filter_map(|row| row["case"].as_str()?.split(", ").nth(1)).collect();
    assert_eq!((ways.len(), ways.first(), ways.last()), (18, Some(&"document"), Some(&"window")), "{report}");
    for row in rows.iter().filter(|row| row["baseline"] != Value::Null) {
        for side in ["measured", "baseline"] {
            assert!(row[side]["median"].as_f64().is_some_and(|number| number > 0.0), "{row}");
        }
    }
}

#[tokio::test]
async fn switches_are_measured_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["flags", "--measure", "--windows", "1", "--only", "disable-gpu-compositing", "zygote", "-o", "json"];
    let report = run(BINARY.as_ref(), folder.path(), &arguments, &[], "").await.expect(0).json();
    let rows = report["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["(none)", "--disable-gpu-compositing", "profile dense"], "no unsafe one: {report}");
    for row in rows {
        assert_eq!(row["error"], Value::Null, "{row}");
        for number in ["start_ms", "load_ms", "megabytes"] {
            assert!(row[number].as_f64().is_some_and(|number| number > 0.0), "{row}");
        }
    }
    assert_eq!(rows[0]["change_percent"], 0.0);

    let elsewhere = ["flags", "--measure", "--windows", "1", "--only", "nothing", "-o", "json", "--url"];
    let elsewhere = [&elsewhere[..], &["http://127.0.0.1:9/"]].concat();
    let report = run(BINARY.as_ref(), folder.path(), &elsewhere, &[], "").await.expect(0).json();
    let error = report["rows"][0]["error"].as_str().unwrap();
    assert!(error.contains("failed to load the page"), "{error}");
}

#[tokio::test]
async fn told_to_stop_it_leaves_no_process() {
    let mut command = Command::new(BINARY);
    command.args(["bench", "--rounds", "1000"]).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let mut bench = command.spawn().unwrap();
    let id = i32::try_from(bench.id().unwrap()).unwrap();
    let processes = wait_for("a page", SOON, async || {
        let processes = descendants(id);
        let has_page = processes.iter().any(|process| process.role() == Role::Renderer);
        expect_that(has_page, processes)
    })
    .await;
    kill_process(Pid::from_raw(id).unwrap(), Signal::INT).unwrap();
    let status = timeout(SOON, bench.wait()).await.expect("Ctrl-C does not end it").unwrap();
    assert_eq!(status.code(), Some(1), "{status}");
    wait_until_gone(&processes, SOON).await;
}
