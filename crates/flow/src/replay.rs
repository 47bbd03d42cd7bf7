//! Replays a flow on a page, the way the Recorder's own runner does.
//!
//! Every step has a deadline. Until then, all alternative selectors are tried in turn, and the first element that can
//! be acted on is used. A navigation that the action starts is awaited. An action is never executed twice: it is
//! retried only if the browser reported that it did not happen.
//!
//! Placeholders are checked before the first step and filled in at the moment of use. Filled-in values never appear
//! in a log, an error or the progress callback: errors contain selectors as recorded, and values are removed from the
//! browser's messages.

pub(crate) mod custom;
pub(crate) mod element;
mod error;
mod optional;

use std::ops::Range;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use self::element::Touch;
pub use self::error::{ReplayError, StepError};
use self::optional::Absent;
use crate::page::{Click, Download, Page, PageError, Scope};
use crate::placeholders::{PlaceholderError, TOTP, Values};
use crate::recorded::{self, Purpose};
use crate::schema::{Action, Expected, Flow, Operator, Pointer, Step, is_new_tab};
use crate::selector::Selector;

/// The default time limit of a step; the Recorder's default.
pub const DEFAULT_STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for loading a page.
pub const DEFAULT_LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval of checks for an element, an expression or a navigation.
pub const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Pause after `keyDown` and `keyUp`, so that the page can react; the same as the Recorder's.
pub const KEY_PAUSE: Duration = Duration::from_millis(100);

/// Options of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayOptions {
    /// The minimum time limit of every step. A recording can ask for more, but not for less: its time limits are the
    /// Recorder's defaults, which assume a fast machine.
    pub step_timeout: Duration,
    /// Time limit for loading a page.
    pub load_timeout: Duration,
    /// Whether to take a screenshot after every step.
    pub pictures: bool,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self { step_timeout: DEFAULT_STEP_TIMEOUT, load_timeout: DEFAULT_LOAD_TIMEOUT, pictures: false }
    }
}

/// The progress of a replay.
#[derive(Debug)]
pub enum Event {
    /// A step starts.
    Begins(Progress),
    /// The current step has produced something.
    Made(Product),
    /// The current step is done, including navigations that it started.
    Done(Progress),
    /// The current step is optional, and its element was not there.
    Skipped(Progress),
}

/// What a step produces.
#[derive(Debug)]
pub enum Product {
    /// An output.
    Output {
        /// The name given by the step.
        name: String,
        /// Text, lists, tables.
        value: Value,
    },
    /// A screenshot.
    Screenshot {
        /// The name given by the step; `None` for the automatic one after every step (see
        /// [`ReplayOptions::pictures`]).
        name: Option<String>,
        /// The image as PNG.
        png: Vec<u8>,
    },
    /// A downloaded file.
    Download {
        /// The name given by the step.
        name: String,
        /// The file.
        download: Download,
    },
}

/// The position of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Counted from 1.
    pub number: usize,
    /// Number of steps.
    pub total: usize,
    /// The Recorder's name of its type.
    pub kind: &'static str,
}

/// Executes the steps of `flow` in order on `page`, reporting progress to `observe`.
///
/// Stops at the first step that fails. A step that cannot be executed (an unknown placeholder) is detected before the
/// first one is executed. Nothing is left in the page, so that another flow can continue there.
pub async fn replay<P: Page>(
    page: &P,
    flow: &Flow,
    values: &Values,
    options: &ReplayOptions,
    observe: impl FnMut(Event) + Send,
) -> Result<(), ReplayError> {
    replay_part(page, flow, 0..flow.steps.len(), values, options, observe).await
}

/// Like [`replay`], for some of the steps, for callers that act in between. The whole flow is still checked first.
pub async fn replay_part<P: Page>(
    page: &P,
    flow: &Flow,
    steps: Range<usize>,
    values: &Values,
    options: &ReplayOptions,
    mut observe: impl FnMut(Event) + Send,
) -> Result<(), ReplayError> {
    // Recorded secrets must not be revealed either, in any field.
    let secrets = recorded::secrets(flow, Purpose::SignIn);
    for (index, step) in flow.steps.iter().enumerate() {
        check(step, values).map_err(|cause| ReplayError::new(index + 1, step, cause, &secrets))?;
    }
    let part = Part { page, flow, values, options, secrets };
    let mut absent = Absent::default();
    for index in steps.start..steps.end.min(flow.steps.len()) {
        let done = if flow.steps[index].is_optional {
            part.optional_step(index, &mut absent, &mut observe).await
        } else {
            part.required_step(index, &mut observe).await
        };
        done.map_err(|cause| part.error(index, cause))?;
    }
    Ok(())
}

/// Executes the optional step at this index, counted from 0, if its element is there now. Returns whether it was. Where
/// [`replay_part`] has executed the steps before, this gives a step that may come late another chance.
pub async fn replay_if_present<P: Page>(
    page: &P,
    flow: &Flow,
    index: usize,
    values: &Values,
    options: &ReplayOptions,
    mut observe: impl FnMut(Event) + Send,
) -> Result<bool, ReplayError> {
    let secrets = recorded::secrets(flow, Purpose::SignIn);
    let part = Part { page, flow, values, options, secrets };
    part.try_step(index, &mut observe).await.map_err(|cause| part.error(index, cause))
}

/// The steps of a flow that are being replayed.
struct Part<'a, P> {
    page: &'a P,
    flow: &'a Flow,
    values: &'a Values,
    options: &'a ReplayOptions,
    /// Passwords in the flow itself.
    secrets: Vec<String>,
}

impl<P: Page> Part<'_, P> {
    fn progress(&self, index: usize) -> Progress {
        Progress { number: index + 1, total: self.flow.steps.len(), kind: self.flow.steps[index].kind() }
    }

    fn step_timeout(&self, step: &Step) -> Duration {
        step.timeout.or(self.flow.timeout).unwrap_or_default().max(self.options.step_timeout)
    }

    /// Executes a step and reports it.
    async fn step(&self, index: usize, observe: &mut (impl FnMut(Event) + Send)) -> Result<(), StepError> {
        let (step, progress) = (&self.flow.steps[index], self.progress(index));
        observe(Event::Begins(progress));
        let step_timeout = self.step_timeout(step);
        let load_timeout = self.options.load_timeout.max(step_timeout);
        let values = self.values.at_this_moment(step.uses(TOTP)).await;
        let made = run_step(self.page, step, &values, step_timeout, load_timeout).await;
        let made = made.map_err(|cause| cause.without(step, &values, &self.secrets))?;
        made.map(Event::Made).into_iter().for_each(&mut *observe);
        // A failed screenshot is not an error: a popup may have closed itself.
        if self.options.pictures
            && let Ok(png) = self.page.screenshot(&Scope::default()).await
        {
            observe(Event::Made(Product::Screenshot { name: None, png }));
        }
        observe(Event::Done(progress));
        Ok(())
    }

    fn error(&self, index: usize, cause: StepError) -> ReplayError {
        ReplayError::new(index + 1, &self.flow.steps[index], cause, &self.secrets)
    }
}

/// Checks that the step can be executed.
fn check(step: &Step, values: &Values) -> Result<(), StepError> {
    let mut result = Ok(());
    step.visit_strings(&mut |text| {
        if result.is_ok() {
            result = values.check(text);
        }
    });
    result.map_err(StepError::Placeholder)
}

async fn run_step<P: Page>(
    page: &P,
    step: &Step,
    values: &Values,
    step_timeout: Duration,
    load_timeout: Duration,
) -> Result<Option<Product>, StepError> {
    let target = step.target.as_deref().map(|target| filled(values, target)).transpose()?;
    let run = Run {
        page,
        scope: Scope { target, frame: step.frame.clone() },
        values,
        deadline: Instant::now() + step_timeout,
        load_timeout,
        must_navigate: step.navigates,
    };
    run.wait_for_target().await?;
    match &step.action {
        Action::Custom(custom) => run.custom(custom).await,
        action => run.step(action).await.map(|()| None),
    }
}

/// Fills in a template as an ordinary string, for text that the page searches for.
fn filled(values: &Values, template: &str) -> Result<String, PlaceholderError> {
    values.fill(template).map(|text| text.expose_secret().to_owned())
}

/// Waits before the next attempt; returns `false` if `deadline` has passed.
async fn again(deadline: Instant) -> bool {
    let now = Instant::now();
    if now >= deadline {
        return false;
    }
    tokio::time::sleep_until(deadline.min(now + POLL_INTERVAL)).await;
    true
}

/// A step in progress.
struct Run<'a, P> {
    page: &'a P,
    scope: Scope,
    values: &'a Values,
    deadline: Instant,
    load_timeout: Duration,
    must_navigate: bool,
}

/// The state of the page before an action, to detect navigations.
struct Mark {
    navigations: u64,
    url: String,
}

impl<P: Page> Run<'_, P> {
    async fn step(&self, action: &Action) -> Result<(), StepError> {
        let mark = match action {
            // These steps are done when the page says so.
            Action::Navigate { url } => return self.navigate(url).await,
            Action::SetViewport(viewport) => {
                return Ok(self.page.set_viewport(&self.scope, viewport).await?);
            }
            Action::EmulateNetworkConditions(conditions) => {
                return Ok(self.page.set_network(&self.scope, conditions).await?);
            }
            Action::Close => return Ok(self.page.close(&self.scope).await?),
            // This step produces something; navigations are accidental.
            Action::Custom(_) => return Ok(()),
            // These steps may start a navigation.
            Action::Click { selectors, pointer, count } => {
                self.touch(selectors, Touch::Click(click(pointer, *count))).await?
            }
            Action::Change { selectors, value } => {
                self.touch(selectors, Touch::Fill(self.values.fill(value)?)).await?
            }
            Action::Hover { selectors } => self.touch(selectors, Touch::Hover).await?,
            Action::Scroll { selectors, x, y } if selectors.is_empty() => {
                self.marked(self.scroll_document(*x, *y)).await?
            }
            Action::Scroll { selectors, x, y } => self.touch(selectors, Touch::Scroll(*x, *y)).await?,
            Action::KeyDown { key } => self.marked(self.key(key, true)).await?,
            Action::KeyUp { key } => self.marked(self.key(key, false)).await?,
            Action::WaitForElement { selectors, expected } => {
                self.marked(self.wait_for_element(selectors, expected)).await?
            }
            Action::WaitForExpression { expression } => {
                self.marked(self.wait_for_expression(expression)).await?
            }
        };
        self.finish_navigation(&mark).await
    }

    /// Executes `action`, and returns the state of the page right before it.
    async fn marked(
        &self,
        action: impl Future<Output = Result<(), StepError>> + Send,
    ) -> Result<Mark, StepError> {
        let mark = self.mark().await?;
        action.await?;
        Ok(mark)
    }

    async fn key(&self, key: &str, is_down: bool) -> Result<(), StepError> {
        let key = filled(self.values, key)?;
        if is_down {
            self.page.key_down(&self.scope, &key).await?;
        } else {
            self.page.key_up(&self.scope, &key).await?;
        }
        tokio::time::sleep(KEY_PAUSE).await;
        Ok(())
    }

    async fn scroll_document(&self, x: f64, y: f64) -> Result<(), StepError> {
        let (x, y) = (Value::from(x), Value::from(y));
        let script = format!("window.scroll({{ left: {x}, top: {y}, behavior: 'instant' }})");
        self.page.evaluate(&self.scope, &script).await?;
        Ok(())
    }

    /// Waits until the popup or frame of the step exists.
    async fn wait_for_target(&self) -> Result<(), StepError> {
        if self.scope.target.is_none() {
            return Ok(());
        }
        loop {
            match self.page.url(&self.scope).await {
                Ok(_) => return Ok(()),
                Err(error) if !again(self.deadline).await => return Err(error.into()),
                Err(_) => {}
            }
        }
    }

    async fn navigate(&self, url: &str) -> Result<(), StepError> {
        // What matters is where the recording went from there.
        if is_new_tab(url) {
            return Ok(());
        }
        let url = self.values.fill(url)?;
        let navigation = self.page.navigate(&self.scope, url.expose_secret());
        Ok(timeout(self.load_timeout, navigation)
            .await
            .map_err(|_| PageError::Timeout(self.load_timeout))??)
    }

    async fn mark(&self) -> Result<Mark, PageError> {
        Ok(Mark {
            navigations: self.page.navigations(&self.scope).await?,
            url: self.page.url(&self.scope).await?,
        })
    }

    /// Returns whether the page has started to load another document since `mark`, or, if a navigation was recorded,
    /// has changed its URL: for the Recorder, changing the history is a navigation, too.
    async fn has_navigated(&self, mark: &Mark) -> Result<bool, PageError> {
        Ok(self.page.navigations(&self.scope).await? != mark.navigations
            || (self.must_navigate && self.page.url(&self.scope).await? != mark.url))
    }

    /// Waits for a navigation that the action started, or must start.
    async fn finish_navigation(&self, mark: &Mark) -> Result<(), StepError> {
        loop {
            match self.has_navigated(mark).await {
                Ok(true) => break,
                Ok(false) if !self.must_navigate => return Ok(()),
                Ok(false) if !again(self.deadline).await => return Err(StepError::NoNavigation),
                Ok(false) => {}
                // The action closed its own page, as popups do.
                Err(PageError::Gone(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        match self.page.settled(&self.scope, self.load_timeout).await {
            Ok(()) | Err(PageError::Gone(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn wait_for_expression(&self, expression: &str) -> Result<(), StepError> {
        // Converted to a boolean in the page, because the result need not be JSON. The line break ends a comment at
        // its end.
        let expression = filled(self.values, expression)?;
        let script = format!("(async () => Boolean(await ({expression}\n)))()");
        let mut last = StepError::ExpressionFalse;
        loop {
            match timeout_at(self.deadline, self.page.evaluate(&self.scope, &script)).await {
                Ok(Ok(Value::Bool(true))) => return Ok(()),
                Ok(Ok(_)) => last = StepError::ExpressionFalse,
                Ok(Err(error)) => last = error.into(),
                Err(_) => return Err(last),
            }
            if !again(self.deadline).await {
                return Err(last);
            }
        }
    }

    async fn wait_for_element(&self, selectors: &[Selector], expected: &Expected) -> Result<(), StepError> {
        let selectors = self.filled_selectors(selectors)?;
        let arguments = element::matching_arguments(self.values, expected)?;
        // One more than needed is enough for the comparison.
        let enough = expected.count.saturating_add(1);
        let mut last = StepError::NotFound;
        loop {
            match timeout_at(self.deadline, self.count(&selectors, &arguments, enough)).await {
                Ok(Ok(found)) if compare(expected.operator, found, expected.count) == expected.visible => {
                    return Ok(());
                }
                Ok(Ok(found)) => last = StepError::count(expected, found),
                Ok(Err(cause)) => last = cause,
                Err(_) => return Err(last),
            }
            if !again(self.deadline).await {
                return Err(last);
            }
        }
    }

    fn filled_selectors(&self, selectors: &[Selector]) -> Result<Vec<Selector>, PlaceholderError> {
        let fill = |selector: &Selector| {
            let parts = selector.parts.iter().map(|part| part.try_map(|text| filled(self.values, text)));
            Ok(Selector { parts: parts.collect::<Result<_, _>>()? })
        };
        selectors.iter().map(fill).collect()
    }
}

fn click(pointer: &Pointer, count: u8) -> Click {
    Click {
        offset_x: pointer.offset_x,
        offset_y: pointer.offset_y,
        button: pointer.button,
        count,
        hold: pointer.hold,
        touch: pointer.touch,
    }
}

fn compare(operator: Operator, found: usize, count: usize) -> bool {
    match operator {
        Operator::AtLeast => found >= count,
        Operator::Exactly => found == count,
        Operator::AtMost => found <= count,
    }
}

#[cfg(test)]
mod tests;
