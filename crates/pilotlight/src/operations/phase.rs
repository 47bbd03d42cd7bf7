//! Runs a phase of an operation: replays its flow and stores its output.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use pilotlight_api::ErrorCode;
use pilotlight_chromium::Window;
use pilotlight_flow::page::{Page, PageError, Scope};
use pilotlight_flow::placeholders::Values;
use pilotlight_flow::replay::{Event, Product, ReplayError, ReplayOptions, StepError, replay};
use pilotlight_store::operation::{DownloadRecord, FaultRecord, ScreenshotRecord};
use serde_json::{Map, Value};
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::folder::Folder;
use super::task::OperationPlan;
use crate::sentence::with_sources;

/// Time limit of a phase. Each step has its own, much shorter limit.
pub(super) const PHASE_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// The output of a phase so far. It is kept if the phase is cancelled.
#[derive(Debug, Default)]
pub(super) struct PhaseOutput {
    pub(super) outputs: Map<String, Value>,
    pub(super) downloads: BTreeMap<String, DownloadRecord>,
    pub(super) screenshots: Vec<ScreenshotRecord>,
    /// Whether the phase failed because the session is signed out.
    pub(super) is_signed_out: bool,
    /// The error if an output could not be stored.
    lost: Option<String>,
}

/// A phase to run.
pub(super) struct Phase {
    /// The phase's number, counted from 0.
    pub(super) index: usize,
    pub(super) plan: Arc<OperationPlan>,
    pub(super) values: Values,
    pub(super) folder: Folder,
    pub(super) output: Arc<Mutex<PhaseOutput>>,
}

impl Phase {
    /// Runs the phase, within its time limit.
    pub(super) async fn run(self, window: Window) -> Result<(), FaultRecord> {
        let mut step = 0;
        let observe = |event| match event {
            Event::Begins(progress) => step = progress.number,
            Event::Made(product) => block_in_place(|| self.keep(product, step)),
            Event::Done(_) | Event::Skipped(_) => {}
        };
        let options = ReplayOptions { pictures: true, ..ReplayOptions::default() };
        let Some(flow) = self.plan.flows.get(self.index) else {
            return Err(fault(None, ErrorCode::Internal, "the phase does not exist".to_owned()));
        };
        let _answers = window.flow_answers();
        let replayed = timeout(PHASE_TIMEOUT, replay(&window, flow, &self.values, &options, observe));
        let mut fault = match replayed.await {
            Ok(Ok(())) => match self.output().lost.take() {
                None => return Ok(()),
                Some(message) => fault(None, ErrorCode::Internal, message),
            },
            Ok(Err(error)) => of_replay(&error),
            Err(_) => fault(Some(step), ErrorCode::Timeout, "the phase timed out".to_owned()),
        };
        if let Some(why) = self.not_signed_in(&window).await {
            fault.sentence += why;
            self.output().is_signed_out = true;
        }
        // If no screenshot can be taken, the fault already says what is wrong.
        if let Ok(png) = Page::screenshot(&window, &Scope::default()).await {
            block_in_place(|| self.keep_picture(format!("{} failed", self.label(step)), &png, step));
        }
        Err(fault)
    }

    /// Returns the reason if the phase failed because the session is not signed in.
    async fn not_signed_in(&self, window: &Window) -> Option<&'static str> {
        let site = &self.plan.site.definition;
        if let Some(person) = &site.needs_attention
            && person.holds(window).await.ok()?
        {
            return Some("; the page needs a person");
        }
        let is_signed_in = site.signed_in.as_ref()?.holds(window).await.ok()?;
        (!is_signed_in).then_some("; the portal has signed the session out")
    }

    fn output(&self) -> MutexGuard<'_, PhaseOutput> {
        self.output.lock()
    }

    /// Returns the name of a step's screenshot, which sorts in the order of the steps.
    fn label(&self, step: usize) -> String {
        format!("{}-{step:02}", self.index + 1)
    }

    fn keep(&self, product: Product, step: usize) {
        match product {
            Product::Output { name, value } => {
                self.output().outputs.insert(name, value);
            }
            Product::Screenshot { name, png } => {
                self.keep_picture(name.unwrap_or_else(|| self.label(step)), &png, step);
            }
            Product::Download { name, mut download } => {
                match self.folder.keep(&download.suggested_name, &mut download.file) {
                    Ok((file, size)) => {
                        self.output().downloads.insert(name, DownloadRecord { name: file, size });
                    }
                    Err(error) => self.lost(&error),
                }
            }
        }
    }

    fn keep_picture(&self, name: String, mut png: &[u8], step: usize) {
        match self.folder.keep(&format!("{name}.png"), &mut png) {
            Ok((name, _)) => {
                let step = format!("{}.{step}", self.index + 1);
                self.output().screenshots.push(ScreenshotRecord { name, step });
            }
            Err(error) => self.lost(&error),
        }
    }

    fn lost(&self, error: &io::Error) {
        let message = format!("a file of the operation could not be stored: {error}");
        self.output().lost.get_or_insert(message);
    }
}

fn of_replay(error: &ReplayError) -> FaultRecord {
    let code = match &error.cause {
        StepError::Page(PageError::Unreachable { .. }) => ErrorCode::PortalUnreachable,
        StepError::Page(PageError::Timeout(_)) => ErrorCode::Timeout,
        _ => ErrorCode::FlowFailed,
    };
    fault(Some(error.number), code, with_sources(error))
}

pub(super) fn fault(step: Option<usize>, code: ErrorCode, message: String) -> FaultRecord {
    FaultRecord { step, code: code.as_str().to_owned(), sentence: message }
}
