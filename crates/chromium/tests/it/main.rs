//! Browsers, windows and pages on a real Chromium. Every test needs `chromium-headless-shell` (some also full
//! Chromium and Xvfb) and fails with a clear sentence where it is missing.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "what is measured is shown with `--nocapture`")]

mod app;
mod bare;
mod browser;
mod capture;
mod capture_changes;
mod confined;
mod dialogs;
mod flow;
mod heartbeat;
mod page;
mod portal;
mod recordings;
mod reload;
mod shim;
mod spare;
mod support;
mod window;
