//! One phase: its flow is replayed, and what it makes is kept.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pilotlight_api::ErrorCode;
use pilotlight_chromium::Window;
use pilotlight_flow::page::{Page, PageError, Scope};
use pilotlight_flow::placeholders::Values;
use pilotlight_flow::replay::{Event, Product, ReplayError, ReplayOptions, StepError, replay};
use pilotlight_store::operation::{DownloadRecord, FaultRecord, ScreenshotRecord};
use serde_json::{Map, Value};
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::clerk::Work;
use super::folder::Folder;
use crate::sentence::with_sources;

/// The longest that a phase may take. Its steps have times of their own, which end it much sooner.
pub(super) const PHASE_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// What a phase has made so far. It is there too of one that was given up.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) outputs: Map<String, Value>,
    pub(super) downloads: BTreeMap<String, DownloadRecord>,
    pub(super) screenshots: Vec<ScreenshotRecord>,
    /// It failed where one is not signed in.
    pub(super) is_signed_out: bool,
    /// What could not be kept.
    lost: Option<String>,
}

/// A phase that is about to be run.
pub(super) struct Phase {
    /// Counted from 0.
    pub(super) index: usize,
    pub(super) work: Arc<Work>,
    pub(super) values: Values,
    pub(super) folder: Folder,
    pub(super) made: Arc<Mutex<Made>>,
}

impl Phase {
    /// Runs it, which ends in time.
    pub(super) async fn run(self, window: Window) -> Result<(), FaultRecord> {
        let mut step = 0;
        let observe = |event| match event {
            Event::Begins(progress) => step = progress.number,
            Event::Made(product) => block_in_place(|| self.keep(product, step)),
            Event::Done(_) => {}
        };
        let options = ReplayOptions { pictures: true, ..ReplayOptions::default() };
        let Some(flow) = self.work.flows.get(self.index) else {
            return Err(fault(None, ErrorCode::Internal, "there is no such phase".to_owned()));
        };
        let replayed = timeout(PHASE_TIMEOUT, replay(&window, flow, &self.values, &options, observe));
        let mut fault = match replayed.await {
            Ok(Ok(())) => match self.made().lost.take() {
                None => return Ok(()),
                Some(sentence) => fault(None, ErrorCode::Internal, sentence),
            },
            Ok(Err(error)) => of_replay(&error),
            Err(_) => fault(Some(step), ErrorCode::Timeout, "the phase took too long".to_owned()),
        };
        if let Some(why) = self.not_signed_in(&window).await {
            fault.sentence += why;
            self.made().is_signed_out = true;
        }
        // A page that cannot be pictured has said already what is wrong.
        if let Ok(png) = Page::screenshot(&window, &Scope::default()).await {
            block_in_place(|| self.keep_picture(format!("{} failed", self.label(step)), &png, step));
        }
        Err(fault)
    }

    /// What the page shows of the sign-in, where that is why nothing fits.
    async fn not_signed_in(&self, window: &Window) -> Option<&'static str> {
        let site = &self.work.site.definition;
        if let Some(person) = &site.needs_attention
            && person.holds(window).await.ok()?
        {
            return Some("; the portal asks for a person");
        }
        let is_signed_in = site.signed_in.as_ref()?.holds(window).await.ok()?;
        (!is_signed_in).then_some("; the portal has signed the session out")
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a step's picture is called, in the order of the steps.
    fn label(&self, step: usize) -> String {
        format!("{}-{step:02}", self.index + 1)
    }

    fn keep(&self, product: Product, step: usize) {
        match product {
            Product::Output { name, value } => {
                self.made().outputs.insert(name, value);
            }
            Product::Screenshot { name, png } => {
                self.keep_picture(name.unwrap_or_else(|| self.label(step)), &png, step);
            }
            Product::Download { name, mut download } => {
                match self.folder.keep(&download.suggested_name, &mut download.file) {
                    Ok((file, size)) => {
                        self.made().downloads.insert(name, DownloadRecord { name: file, size });
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
                self.made().screenshots.push(ScreenshotRecord { name, step });
            }
            Err(error) => self.lost(&error),
        }
    }

    fn lost(&self, error: &io::Error) {
        let sentence = format!("what the operation made could not be kept: {error}");
        self.made().lost.get_or_insert(sentence);
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

pub(super) fn fault(step: Option<usize>, code: ErrorCode, sentence: String) -> FaultRecord {
    FaultRecord { step, code: code.as_str().to_owned(), sentence }
}
