//! Browsers, windows and pages on a real Chromium. Every test needs `chromium-headless-shell` (some also full
//! Chromium and Xvfb) and fails with a clear sentence where it is missing.

mod browser;
mod portal;
mod support;
mod window;
