//! The custom steps: reading the page, pictures, endless lists, downloads, answers to dialogs.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use super::element::Touch;
use super::{Product, Run, StepError, again, filled};
use crate::dialog::ExpectedDialog;
use crate::page::{Click, MAX_MATCHES, Page};
use crate::schema::{Custom, Extract, ScrollUntil, Until};
use crate::selector::{Part, Selector};

/// How often a list is looked at that may grow.
const LIST_INTERVAL: Duration = Duration::from_millis(200);
/// The largest output of one step, in bytes of JSON.
const MAX_OUTPUT_BYTES: usize = 4 * 1024 * 1024;

/// What an element shows: a table's rows, a field's value (never a password), or else its text.
pub(crate) const READ: &str = "function (attribute) {
  if (attribute !== null) return this.getAttribute(attribute);
  const text = (element) => (element.innerText ?? element.textContent ?? '').trim();
  // Names do not depend on how a style sheet shows them.
  const written = (element) => (element.textContent ?? '').replace(/\\s+/g, ' ').trim();
  const role = (element) => element.getAttribute('role');
  if (this instanceof HTMLTableElement || ['table', 'grid', 'treegrid'].includes(role(this))) {
    const parts = (element, own, roles) => own ? [...own]
      : [...element.querySelectorAll(roles.map((role) => `[role=\"${role}\"]`).join())];
    const cells = (row) => parts(row, row.cells, ['cell', 'gridcell', 'columnheader', 'rowheader']);
    const heads = (cell) => cell.tagName === 'TH' || role(cell) === 'columnheader';
    const rows = parts(this, this.rows, ['row']).map(cells).filter((row) => row.length > 0);
    const header = rows.length > 0 && rows[0].every(heads) ? rows.shift().map(written) : null;
    if (!header) return rows.map((row) => row.map(text));
    const names = [];
    for (const [index, name] of header.entries()) {
      names.push(name === '' || names.includes(name) ? `column ${index + 1}` : name);
    }
    return rows.map((row) => Object.fromEntries(row.map((cell, index) =>
      [names[index] ?? `column ${index + 1}`, text(cell)])));
  }
  if (this instanceof HTMLInputElement) {
    if (this.type === 'password') return null;
    return ['checkbox', 'radio'].includes(this.type) ? this.checked : this.value;
  }
  if (this instanceof HTMLTextAreaElement) return this.value;
  if (this instanceof HTMLSelectElement) return this.selectedOptions[0]?.label ?? null;
  return text(this);
}";

/// Tells of the area that the element scrolls in its height and whether its end is seen, scrolling it first where
/// asked to: to its end, or by what is seen of it. Of a page that does not scroll it is the largest area that does.
pub(crate) const AREA: &str = "function (move, toEnd) {
  const scrolls = (element) => element.scrollHeight > element.clientHeight + 1
    && ['auto', 'scroll', 'overlay'].includes(getComputedStyle(element).overflowY);
  let area = this;
  while (area && !scrolls(area)) area = area.parentElement ?? area.getRootNode().host ?? null;
  const page = document.scrollingElement ?? document.documentElement;
  if (!area && this === document.documentElement && page.scrollHeight <= innerHeight + 1) {
    const size = (element) => element.clientWidth * element.clientHeight;
    area = [...document.querySelectorAll('*')].filter(scrolls).sort((a, b) => size(b) - size(a))[0];
  }
  area ??= page;
  const top = toEnd ? area.scrollHeight : area.scrollTop + area.clientHeight * 0.9;
  if (move) area.scrollTo({ top, behavior: 'instant' });
  return {
    height: area.scrollHeight,
    atEnd: area.scrollTop + area.clientHeight >= area.scrollHeight - 2,
  };
}";

/// A list that is gone down.
struct List {
    selectors: Vec<Selector>,
    within: Vec<Selector>,
    to_end: bool,
}

/// How much of it there is: rows that are not told apart, or are taken out above, still make it higher.
#[derive(Clone, Copy)]
struct Extent {
    matches: usize,
    height: u64,
}

impl Extent {
    fn has_grown_since(self, before: Self) -> bool {
        self.matches > before.matches || self.height > before.height
    }
}

impl<P: Page> Run<'_, P> {
    pub(super) async fn custom(&self, custom: &Custom) -> Result<Option<Product>, StepError> {
        let name = filled(self.values, custom.output().unwrap_or_default())?;
        Ok(Some(match custom {
            Custom::Extract(extract) => Product::Output { name, value: self.extract(extract).await? },
            Custom::Screenshot { .. } => {
                let png = self.page.screenshot(&self.scope).await?;
                Product::Screenshot { name: Some(name), png }
            }
            Custom::ScrollUntil(scroll) => return self.scroll_until(scroll).await.map(|()| None),
            Custom::Download { selectors, .. } => {
                let downloads = self.page.watch_downloads().await?;
                self.touch(selectors, Touch::Click(Click::middle())).await?;
                let downloaded = self.page.downloaded(downloads, self.load_timeout).await?;
                Product::Download { name, download: downloaded.ok_or(StepError::NoDownload)? }
            }
            Custom::AnswerDialog { text_contains, answer, text } => {
                let typed = text.as_deref().map(|text| self.values.fill(text)).transpose()?;
                let dialog = ExpectedDialog::new(&filled(self.values, text_contains)?, *answer, typed);
                self.page.expect_dialog(dialog.ok_or(StepError::NoDialogText)?)?;
                return Ok(None);
            }
        }))
    }

    async fn extract(&self, extract: &Extract) -> Result<Value, StepError> {
        let selectors = self.filled_selectors(&extract.selectors)?;
        let attribute = extract.attribute.as_deref().map(|name| filled(self.values, name)).transpose()?;
        let mut last = StepError::NotFound;
        loop {
            match timeout_at(self.deadline, self.read(&selectors, attribute.as_deref(), extract.all)).await {
                Ok(Ok(Some(value))) if value.to_string().len() > MAX_OUTPUT_BYTES => {
                    return Err(StepError::TooMuch("more than 4 MiB"));
                }
                Ok(Ok(Some(value))) => return Ok(value),
                Ok(Ok(None)) => last = StepError::NotFound,
                Ok(Err(too_much @ StepError::TooMuch(_))) => return Err(too_much),
                Ok(Err(cause)) => last = cause,
                Err(_) => {}
            }
            if !again(self.deadline).await {
                break;
            }
        }
        match last {
            StepError::NotFound if extract.all => Ok(Value::Array(Vec::new())),
            cause => Err(cause),
        }
    }

    /// What matches shows; `None` where nothing matches.
    async fn read(
        &self,
        selectors: &[Selector],
        attribute: Option<&str>,
        all: bool,
    ) -> Result<Option<Value>, StepError> {
        let mut elements = self.matches(selectors).await?;
        if !all {
            elements.truncate(1);
        }
        if elements.len() >= MAX_MATCHES {
            return Err(StepError::TooMuch("too many elements match"));
        }
        let mut values = Vec::with_capacity(elements.len());
        for element in &elements {
            values.push(self.page.call(element, READ, &[json!(attribute)]).await?);
        }
        Ok(match (all, values.is_empty()) {
            (_, true) => None,
            (true, false) => Some(Value::Array(values)),
            (false, false) => values.pop(),
        })
    }

    /// What the first selector that matches anything matches.
    async fn matches(&self, selectors: &[Selector]) -> Result<Vec<P::Element>, StepError> {
        let mut problem = None;
        for selector in selectors {
            match self.page.find(&self.scope, selector).await {
                Ok(elements) if elements.is_empty() => {}
                Ok(elements) => return Ok(elements),
                // A selector that this page cannot look up must not spoil the others.
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        problem.map_or(Ok(Vec::new()), |error| Err(error.into()))
    }

    /// Every scroll has its own time, so that a long list is gone down in as long as it takes.
    async fn scroll_until(&self, scroll: &ScrollUntil) -> Result<(), StepError> {
        let is_stable = matches!(scroll.until, Until::Stable(_));
        let (Until::Match(selectors) | Until::Stable(selectors)) = &scroll.until;
        let list = List {
            selectors: self.filled_selectors(selectors)?,
            within: self.filled_selectors(&scroll.within)?,
            to_end: is_stable,
        };
        let is_found = |extent: Extent| !is_stable && extent.matches > 0;
        // Where the list has not begun to load, a scroll would find no end of it.
        let mut before = self.extent(&list).await?;
        while is_stable && before.matches == 0 && again(self.deadline).await {
            before = self.extent(&list).await?;
        }
        for _ in 0..scroll.limit {
            if is_found(before) {
                return Ok(());
            }
            let is_at_end = self.look_at_area(&list, true).await?.1;
            // In the middle of a list, what is loaded already comes at once.
            let deadline = Instant::now() + if is_at_end { scroll.pause } else { LIST_INTERVAL };
            let mut now = self.extent(&list).await?;
            while !now.has_grown_since(before) && Instant::now() < deadline {
                sleep(LIST_INTERVAL).await;
                now = self.extent(&list).await?;
            }
            if is_at_end && !now.has_grown_since(before) {
                return if is_stable { Ok(()) } else { Err(StepError::NotFound) };
            }
            before = now;
        }
        match (is_found(before), is_stable) {
            (true, _) => Ok(()),
            (false, true) => Err(StepError::Endless(scroll.limit)),
            (false, false) => Err(StepError::ScrolledInVain(scroll.limit)),
        }
    }

    async fn extent(&self, list: &List) -> Result<Extent, StepError> {
        let matches = self.matches(&list.selectors).await?.len();
        Ok(Extent { matches, height: self.look_at_area(list, false).await?.0 })
    }

    /// The height of the area that scrolls, and whether its end is seen, scrolling it first where asked to.
    async fn look_at_area(&self, list: &List, scrolls: bool) -> Result<(u64, bool), StepError> {
        let element = match (list.within.is_empty(), list.to_end) {
            (false, _) => {
                Some(self.matches(&list.within).await?.into_iter().next().ok_or(StepError::NotFound)?)
            }
            (true, true) => self.matches(&list.selectors).await?.pop(),
            (true, false) => None,
        };
        let element = match element {
            Some(element) => element,
            None => {
                let page = [Selector { parts: vec![Part::Css("html".to_owned())] }];
                self.matches(&page).await?.pop().ok_or(StepError::NotFound)?
            }
        };
        let answer = self.page.call(&element, AREA, &[json!(scrolls), json!(list.to_end)]).await?;
        Ok((answer["height"].as_u64().unwrap_or(0), answer["atEnd"] == true))
    }
}
