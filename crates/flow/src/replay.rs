//! Replays a flow on a page, the way the Recorder's own runner does.
//!
//! Every step has a deadline. Until then all alternative selectors are tried in turn, and the first
//! element that can be acted on wins. A navigation that the action starts is waited for. An action is
//! never done twice: it is tried again only where the browser said that it did not happen.
//!
//! Placeholders are checked before the first step and filled in at the moment of use. What is filled in
//! never reaches a log, an error or the progress callback: errors name selectors as they were recorded,
//! and a browser's own words are cleaned of values.

pub(crate) mod custom;
pub(crate) mod element;
mod error;

use std::ops::Range;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use self::element::Touch;
pub use self::error::{ReplayError, StepError};
use crate::page::{Click, Download, Page, PageError, Scope};
use crate::placeholders::{PlaceholderError, TOTP, Values};
use crate::schema::{Action, Expected, Flow, Operator, Pointer, Step};
use crate::selector::Selector;

/// How long a step may take where neither it nor its flow says so; the Recorder's default.
pub const DEFAULT_STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a page may take to load.
pub const DEFAULT_LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How often an element, an expression or a navigation is looked for.
pub const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The pause after `keyDown` and `keyUp`, so that the page can react; the Recorder's own.
pub const KEY_PAUSE: Duration = Duration::from_millis(100);

/// How patiently a flow is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayOptions {
    /// How long every step may take at least. A recording can ask for more, not for less: the times in
    /// it are the Recorder's defaults, chosen for somebody's faster machine.
    pub step_timeout: Duration,
    /// How long a page may take to load.
    pub load_timeout: Duration,
    /// Whether a picture is taken after every step.
    pub pictures: bool,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self { step_timeout: DEFAULT_STEP_TIMEOUT, load_timeout: DEFAULT_LOAD_TIMEOUT, pictures: false }
    }
}

/// What a replay tells of itself while it goes on.
#[derive(Debug)]
pub enum Event {
    /// A step begins.
    Begins(Progress),
    /// The step that began last has made something.
    Made(Product),
    /// The step that began last is done, and what it began has been waited for.
    Done(Progress),
}

/// What a step makes.
#[derive(Debug)]
pub enum Product {
    /// What the page shows.
    Output {
        /// What the step calls it.
        name: String,
        /// Texts, lists, tables.
        value: Value,
    },
    /// A picture of the page.
    Screenshot {
        /// What the step calls it; `None` for the one after every step (see [`ReplayOptions::pictures`]).
        name: Option<String>,
        /// As PNG.
        png: Vec<u8>,
    },
    /// A file.
    Download {
        /// What the step calls it.
        name: String,
        /// The file.
        download: Download,
    },
}

/// Where a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Counted from 1.
    pub number: usize,
    /// How many there are.
    pub total: usize,
    /// The Recorder's name of its type.
    pub kind: &'static str,
}

/// Does the steps of `flow` in order on `page`, telling `observe` what happens.
///
/// Stops at the first step that fails. A step that nobody can do (an unknown placeholder) is found before the
/// first one is done. Nothing is left behind in the page, so that another flow may go on there.
pub async fn replay<P: Page>(
    page: &P,
    flow: &Flow,
    values: &Values,
    options: &ReplayOptions,
    observe: impl FnMut(Event) + Send,
) -> Result<(), ReplayError> {
    replay_part(page, flow, 0..flow.steps.len(), values, options, observe).await
}

/// [`replay`] of some of the steps, for whoever has something to do in between. That all of the flow can be done is
/// still seen first.
pub async fn replay_part<P: Page>(
    page: &P,
    flow: &Flow,
    steps: Range<usize>,
    values: &Values,
    options: &ReplayOptions,
    mut observe: impl FnMut(Event) + Send,
) -> Result<(), ReplayError> {
    for (index, step) in flow.steps.iter().enumerate() {
        check(step, values).map_err(|cause| ReplayError::new(index + 1, step, cause))?;
    }
    for (index, step) in flow.steps.iter().enumerate().filter(|(index, _)| steps.contains(index)) {
        let number = index + 1;
        let progress = Progress { number, total: flow.steps.len(), kind: step.kind() };
        observe(Event::Begins(progress));
        let recorded = step.timeout.or(flow.timeout).unwrap_or_default();
        let step_timeout = recorded.max(options.step_timeout);
        let load_timeout = options.load_timeout.max(step_timeout);
        let values = values.at_this_moment(step.uses(TOTP)).await;
        let made = run_step(page, step, &values, step_timeout, load_timeout)
            .await
            .map_err(|cause| ReplayError::new(number, step, cause.without(step, &values)))?;
        made.map(Event::Made).into_iter().for_each(&mut observe);
        // A page that cannot be pictured has not failed: a popup that is done has closed itself.
        if options.pictures
            && let Ok(png) = page.screenshot(&Scope::default()).await
        {
            observe(Event::Made(Product::Screenshot { name: None, png }));
        }
        observe(Event::Done(progress));
    }
    Ok(())
}

/// Whether the step can be done at all.
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

/// A template filled in as an ordinary string, for what the page is given to look for.
fn filled(values: &Values, template: &str) -> Result<String, PlaceholderError> {
    values.fill(template).map(|text| text.expose_secret().to_owned())
}

/// Waits a moment before the next try; `false` once `deadline` has passed.
async fn again(deadline: Instant) -> bool {
    let now = Instant::now();
    if now >= deadline {
        return false;
    }
    tokio::time::sleep_until(deadline.min(now + POLL_INTERVAL)).await;
    true
}

/// One step that is being done.
struct Run<'a, P> {
    page: &'a P,
    scope: Scope,
    values: &'a Values,
    deadline: Instant,
    load_timeout: Duration,
    must_navigate: bool,
}

/// The page before an action, to tell afterwards whether it navigated.
struct Mark {
    navigations: u64,
    url: String,
}

impl<P: Page> Run<'_, P> {
    async fn step(&self, action: &Action) -> Result<(), StepError> {
        let mark = match action {
            // These are over once the page says so.
            Action::Navigate { url } => return self.navigate(url).await,
            Action::SetViewport(viewport) => {
                return Ok(self.page.set_viewport(&self.scope, viewport).await?);
            }
            Action::EmulateNetworkConditions(conditions) => {
                return Ok(self.page.set_network(&self.scope, conditions).await?);
            }
            Action::Close => return Ok(self.page.close(&self.scope).await?),
            // It makes something, and navigates by accident alone.
            Action::Custom(_) => return Ok(()),
            // These may begin a navigation.
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

    /// Does `action`, and gives the page as it was right before.
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

    /// Waits until the popup or frame that the step speaks of is there.
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

    /// Whether the page has begun to load another document since `mark`, or, where the recording has a
    /// navigation, has changed its URL: to the Recorder, a page that rewrites its history navigates too.
    async fn has_navigated(&self, mark: &Mark) -> Result<bool, PageError> {
        Ok(self.page.navigations(&self.scope).await? != mark.navigations
            || (self.must_navigate && self.page.url(&self.scope).await? != mark.url))
    }

    /// Waits for the navigation that the action began, or must begin.
    async fn finish_navigation(&self, mark: &Mark) -> Result<(), StepError> {
        loop {
            match self.has_navigated(mark).await {
                Ok(true) => break,
                Ok(false) if !self.must_navigate => return Ok(()),
                Ok(false) if !again(self.deadline).await => return Err(StepError::NoNavigation),
                Ok(false) => {}
                // The action closed its own page: a popup that is done.
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
        // Its truth is found in the page, because what it gives need not be JSON. The line break ends a
        // comment at its end.
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
        // One more than needed is enough to compare.
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
