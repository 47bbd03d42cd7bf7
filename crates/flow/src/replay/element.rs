//! Finding an element that can be acted on, and acting on it.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::{timeout, timeout_at};

use super::{Mark, Run, StepError, again, filled};
use crate::page::{Click, Page, PageError};
use crate::placeholders::{PlaceholderError, Values};
use crate::schema::Expected;
use crate::selector::Selector;

/// Tells whether the element can be acted on, scrolling it into view first: a word, and for `ready` its
/// box. Arguments: whether it must be enabled.
pub(crate) const READY: &str = "function (mustBeEnabled) {
  if (!this.isConnected) return { state: 'detached' };
  let box = this.getBoundingClientRect();
  const shown = box.width > 0 && box.height > 0 && getComputedStyle(this).visibility === 'visible';
  if (!shown) return { state: 'hidden' };
  if (mustBeEnabled && this.matches(':disabled')) return { state: 'disabled' };
  const inView = box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
  if (!inView) {
    this.scrollIntoView({ block: 'center', inline: 'center', behavior: 'instant' });
    box = this.getBoundingClientRect();
  }
  return { state: 'ready', box: [box.x, box.y, box.width, box.height] };
}";

/// Tells whether the element is visible and has these properties and attributes.
pub(crate) const MATCHES: &str = "function (properties, attributes) {
  const box = this.getBoundingClientRect();
  const shown = box.width > 0 && box.height > 0 && getComputedStyle(this).visibility === 'visible';
  const agrees = (wanted, actual) => wanted !== null && typeof wanted === 'object'
    ? actual !== null && actual !== undefined && Object.keys(wanted).every((key) => agrees(wanted[key], actual[key]))
    : wanted === actual;
  return shown && agrees(properties, this)
    && attributes.every(([name, value]) => this.getAttribute(name) === value);
}";

/// Tells how a field takes a value: `typed` (or ticked: what the page fills as a person would), `chosen` or `set`.
pub(crate) const FIELD: &str = "function () {
  if (this instanceof HTMLSelectElement) return 'chosen';
  const typeable = ['checkbox', 'radio', 'text', 'url', 'tel', 'search', 'password', 'number', 'email'];
  return this instanceof HTMLInputElement && !typeable.includes(this.type) ? 'set' : 'typed';
}";

/// Gives a field its value as a person's choice would, events included; `false` where a select field has
/// no such option. The prototype's setter is used because frameworks replace the element's own.
pub(crate) const SET: &str = "function (value) {
  if (this instanceof HTMLSelectElement && ![...this.options].some((option) => option.value === value)) return false;
  this.focus();
  const setter = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(this), 'value')?.set;
  if (setter) setter.call(this, value); else this.value = value;
  this.dispatchEvent(new Event('input', { bubbles: true }));
  this.dispatchEvent(new Event('change', { bubbles: true }));
  return true;
}";

/// Scrolls the content of the element.
pub(crate) const SCROLL: &str = "function (x, y) { this.scrollLeft = x; this.scrollTop = y; }";

/// How long one of several alternative selectors may be looked up. While a page loads, names and roles take Chromium
/// seconds, and the others must get their turn.
const ALTERNATIVE_TIMEOUT: Duration = Duration::from_secs(1);
const MOVING: &str = "does not stop moving";

/// What is done to an element.
pub(super) enum Touch {
    Click(Click),
    Fill(SecretString),
    Hover,
    Scroll(f64, f64),
}

impl Touch {
    fn needs_enabled(&self) -> bool {
        matches!(self, Self::Click(_) | Self::Fill(_))
    }
}

impl<P: Page> Run<'_, P> {
    /// Waits for an element, acts on it once, and gives the page as it was right before.
    pub(super) async fn touch(&self, selectors: &[Selector], touch: Touch) -> Result<Mark, StepError> {
        let selectors = self.filled_selectors(selectors)?;
        let mut earlier = None;
        loop {
            let element = match self.wait_until_ready(&selectors, touch.needs_enabled()).await {
                Ok(element) => element,
                // Why it did not work before says more than why there was no time for another try.
                Err(cause) => return Err(earlier.unwrap_or(cause)),
            };
            let mark = self.mark().await?;
            let Err(cause) = self.touch_once(&element, &touch).await else { return Ok(mark) };
            match cause {
                // It may still be filled, or go away: nothing was done.
                StepError::NoSuchOption | StepError::Page(PageError::Covered(_)) => {}
                // Either the element went before we came, or our own action made the page go. Only in the
                // first case may it be done again.
                StepError::Page(PageError::Gone(_) | PageError::Refused { .. }) => {
                    if !matches!(self.has_navigated(&mark).await, Ok(false)) {
                        return Ok(mark);
                    }
                }
                _ => return Err(cause),
            }
            earlier = Some(cause);
            again(self.deadline).await;
        }
    }

    async fn touch_once(&self, element: &P::Element, touch: &Touch) -> Result<(), StepError> {
        match touch {
            Touch::Click(click) => self.page.click(element, click).await?,
            Touch::Hover => self.page.hover(element).await?,
            Touch::Scroll(x, y) => {
                self.page.call(element, SCROLL, &[json!(x), json!(y)]).await?;
            }
            Touch::Fill(value) => {
                let value = value.expose_secret();
                if self.page.call(element, FIELD, &[]).await? == "typed" {
                    self.page.fill(element, value).await?;
                } else if self.page.call(element, SET, &[json!(value)]).await? == false {
                    return Err(StepError::NoSuchOption);
                }
            }
        }
        Ok(())
    }

    async fn wait_until_ready(
        &self,
        selectors: &[Selector],
        must_be_enabled: bool,
    ) -> Result<P::Element, StepError> {
        let mut boxes = vec![None; selectors.len()];
        let mut last = StepError::NotFound;
        loop {
            let look = self.find_ready(selectors, must_be_enabled, &mut boxes);
            match timeout_at(self.deadline, look).await {
                Ok(Ok(element)) => return Ok(element),
                Ok(Err(cause)) => last = cause,
                Err(_) => return Err(last),
            }
            if !again(self.deadline).await {
                return Err(last);
            }
        }
    }

    /// The first match of the first selector whose match can be acted on: visible, enabled where that
    /// matters, and in the same box as at the last look (`boxes`, by selector; another one may have found it). Otherwise
    /// what stood in the way.
    pub(super) async fn find_ready(
        &self,
        selectors: &[Selector],
        must_be_enabled: bool,
        boxes: &mut [Option<Value>],
    ) -> Result<P::Element, StepError> {
        let mut obstacle = StepError::NotFound;
        // What this look finds says nothing of whether it moves.
        let earlier = boxes.to_vec();
        for (index, selector) in selectors.iter().enumerate() {
            let found = self.page.find(&self.scope, selector);
            let found = if selectors.len() > 1 {
                // The others tell whether the element is there.
                timeout(ALTERNATIVE_TIMEOUT, found).await.unwrap_or_else(|_| Ok(Vec::new()))
            } else {
                found.await
            };
            let element = match found {
                Ok(found) => found.into_iter().next(),
                // A selector that this page cannot look up must not spoil the others.
                Err(error) => {
                    if matches!(obstacle, StepError::NotFound) {
                        obstacle = error.into();
                    }
                    None
                }
            };
            let Some(element) = element else { continue };
            let answer = self.page.call(&element, READY, &[json!(must_be_enabled)]).await?;
            let state = answer["state"].as_str();
            let now = (state == Some("ready")).then(|| answer["box"].clone());
            let stays = earlier.contains(&now);
            let before = boxes.get_mut(index).and_then(|last| std::mem::replace(last, now));
            obstacle = StepError::NotReady(match (state, before) {
                (Some("ready"), _) if stays => return Ok(element),
                // Seen for the first time: a second look will tell whether it stays.
                (Some("ready"), None) => return Err(StepError::NotReady(MOVING)),
                (Some("ready"), Some(_)) => MOVING,
                (Some("disabled"), _) => "is disabled",
                (Some("detached"), _) => "keeps being replaced",
                _ => "is not visible",
            });
        }
        Err(obstacle)
    }

    /// How many elements match the first selector that matches any, up to `enough`.
    pub(super) async fn count(
        &self,
        selectors: &[Selector],
        arguments: &[Value],
        enough: usize,
    ) -> Result<usize, StepError> {
        let mut problem = None;
        for selector in selectors {
            let elements = match self.page.find(&self.scope, selector).await {
                Ok(elements) if elements.is_empty() => continue,
                Ok(elements) => elements,
                Err(error) => {
                    problem = problem.or(Some(error));
                    continue;
                }
            };
            let mut count = 0;
            for element in &elements {
                if count < enough && self.page.call(element, MATCHES, arguments).await? == true {
                    count += 1;
                }
            }
            return Ok(count);
        }
        problem.map_or(Ok(0), |error| Err(error.into()))
    }
}

/// The arguments of [`MATCHES`].
pub(super) fn matching_arguments(
    values: &Values,
    expected: &Expected,
) -> Result<Vec<Value>, PlaceholderError> {
    let mut properties = Value::Object(expected.properties.clone());
    fill_in(values, &mut properties)?;
    let attributes =
        expected.attributes.iter().map(|(name, value)| Ok(json!([name, filled(values, value)?])));
    Ok(vec![properties, attributes.collect::<Result<_, _>>()?])
}

fn fill_in(values: &Values, value: &mut Value) -> Result<(), PlaceholderError> {
    match value {
        Value::String(text) => *text = filled(values, text)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill_in(values, item))?,
        Value::Object(fields) => fields.values_mut().try_for_each(|field| fill_in(values, field))?,
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}
