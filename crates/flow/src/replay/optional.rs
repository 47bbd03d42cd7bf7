//! Steps whose element is not always there: banners, "Stay signed in?", choices of an account.
//!
//! Whether one is there is told by what the page shows, and by the clock only if the page shows neither its element nor
//! that of a later step.

use tokio::time::Instant;

use super::{Event, Part, Run, StepError, again, filled};
use crate::page::{Page, PageError, Scope};
use crate::schema::Step;
use std::time::Duration;

/// How long the element of a later step is there before an optional step is left out: banners come a little later than
/// the page that they cover.
const LATER_STEP_FOR: Duration = Duration::from_secs(1);

/// What is known of optional steps that were left out.
#[derive(Debug, Default)]
pub(super) struct Absent {
    /// A required step whose element was there long enough: what is optional before it is no longer waited for.
    settled_before: Option<usize>,
}

impl<P: Page> Part<'_, P> {
    /// Executes an optional step as soon as its element is there. If that of a later step is there instead, or nothing in
    /// time, the step is left out.
    pub(super) async fn optional_step(
        &self,
        index: usize,
        absent: &mut Absent,
        observe: &mut (impl FnMut(Event) + Send),
    ) -> Result<(), StepError> {
        let required = self.next_required(index);
        if self.is_there(index, required, absent).await && self.optional_is_done(index, observe).await? {
            return Ok(());
        }
        observe(Event::Skipped(self.progress(index)));
        Ok(())
    }

    /// Executes a required step. If something covers its element, an optional step before it may remove it that came too
    /// late: then the step is executed once more, because nothing was done.
    pub(super) async fn required_step(
        &self,
        index: usize,
        observe: &mut (impl FnMut(Event) + Send),
    ) -> Result<(), StepError> {
        let Err(cause) = self.step(index, observe).await else { return Ok(()) };
        if !matches!(cause, StepError::Page(PageError::Covered(_))) {
            return Err(cause);
        }
        let mut was_late = false;
        // One that types is never repeated: the portal may have heard of it.
        let steps = &self.flow.steps;
        for late in (0..index).filter(|index| steps[*index].is_optional && !steps[*index].types()) {
            was_late |= self.try_step(late, observe).await?;
        }
        if was_late { self.step(index, observe).await } else { Err(cause) }
    }

    /// Executes an optional step if its element is there now. Returns whether it was.
    pub(super) async fn try_step(
        &self,
        index: usize,
        observe: &mut (impl FnMut(Event) + Send),
    ) -> Result<bool, StepError> {
        let mut look = Look::new(self, &self.flow.steps[index]);
        // The second look tells whether it stays in its place.
        let is_there = look.is_ready().await || look.is_ready().await;
        Ok(is_there && self.optional_is_done(index, observe).await?)
    }

    /// Returns whether the step was done; its element may go away before.
    async fn optional_is_done(
        &self,
        index: usize,
        observe: &mut (impl FnMut(Event) + Send),
    ) -> Result<bool, StepError> {
        match self.step(index, observe).await {
            // It was done, and this page stays where it is.
            Ok(()) | Err(StepError::NoNavigation) => Ok(true),
            Err(StepError::NotFound | StepError::NotReady(_) | StepError::Page(PageError::Covered(_))) => {
                Ok(false)
            }
            Err(cause) => Err(cause),
        }
    }

    fn next_required(&self, index: usize) -> Option<usize> {
        let later = self.flow.steps.iter().enumerate().skip(index + 1);
        later.filter(|(_, step)| !step.is_optional).map(|(index, _)| index).next()
    }

    /// Waits until the element of the step is there, or that of a later step up to `required` has been there for a while,
    /// or the step's time is over.
    async fn is_there(&self, index: usize, required: Option<usize>, absent: &mut Absent) -> bool {
        let steps = &self.flow.steps;
        let deadline = Instant::now() + self.step_timeout(&steps[index]);
        let last = required.unwrap_or(steps.len() - 1);
        let mut look = Look::new(self, &steps[index]);
        let mut later: Vec<_> = steps[index + 1..=last].iter().map(|step| Look::new(self, step)).collect();
        let mut later_since = None;
        let is_settled = required.is_some() && absent.settled_before == required;
        loop {
            if look.is_ready().await {
                return true;
            }
            let mut shows_later = false;
            for step in &mut later {
                shows_later = shows_later || step.is_ready().await;
            }
            let since = *later_since.get_or_insert_with(Instant::now);
            match shows_later {
                true if is_settled || since.elapsed() >= LATER_STEP_FOR => {
                    absent.settled_before = required;
                    return false;
                }
                true => {}
                false => later_since = None,
            }
            if !again(deadline).await {
                return false;
            }
        }
    }
}

/// Looks for the element of a step.
struct Look<'a, P> {
    run: Option<Run<'a, P>>,
    step: &'a Step,
    boxes: Vec<Option<serde_json::Value>>,
}

impl<'a, P: Page> Look<'a, P> {
    fn new(part: &Part<'a, P>, step: &'a Step) -> Self {
        // What cannot be filled in is not there.
        let target = step.target.as_deref().map(|target| filled(part.values, target)).transpose();
        let run = target.ok().map(|target| Run {
            page: part.page,
            scope: Scope { target, frame: step.frame.clone() },
            values: part.values,
            deadline: Instant::now(),
            load_timeout: part.options.load_timeout,
            must_navigate: false,
        });
        Self { run, step, boxes: vec![None; step.selectors().len()] }
    }

    /// Returns whether an element can be acted on: visible, and in the same place as at the last look.
    async fn is_ready(&mut self) -> bool {
        let Some(run) = &self.run else { return false };
        let Ok(selectors) = run.filled_selectors(self.step.selectors()) else { return false };
        run.find_ready(&selectors, true, &mut self.boxes).await.is_ok()
    }
}
