//! One element: a handle in our own world, and where it is.

use std::sync::Arc;
use std::time::Duration;

use pilotlight_cdp::protocol::dom::{
    GetBoxModel, GetContentQuads, GetFrameOwner, Quad, ScrollIntoViewIfNeeded,
};
use pilotlight_cdp::protocol::runtime::{Argument, CallFunctionOn};
use serde_json::Value;

use super::document::Document;
use crate::error::WindowError;
use crate::state::Tab;
use crate::window::{COMMAND_TIMEOUT, Window, evaluated_value, run};

/// Gives the element the keyboard and selects what it holds, so that typing replaces it.
const FOCUS_AND_SELECT: &str = "function () {
    this.focus();
    if (this.isContentEditable) {
        getSelection().selectAllChildren(this);
    } else if (typeof this.select === 'function') {
        this.select();
    }
    return this.isContentEditable ? this.textContent !== '' : this.value !== '';
}";

/// A point in the page's viewport, in CSS pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// The upright rectangle around what is laid out of an element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Area {
    fn around(quad: &Quad) -> Option<Self> {
        let (xs, ys): (Vec<f64>, Vec<f64>) =
            quad.chunks_exact(2).map(|corner| (corner[0], corner[1])).unzip();
        let least = |values: &[f64]| values.iter().copied().reduce(f64::min);
        let most = |values: &[f64]| values.iter().copied().reduce(f64::max);
        Some(Self { left: least(&xs)?, top: least(&ys)?, right: most(&xs)?, bottom: most(&ys)? })
    }

    fn is_empty(&self) -> bool {
        self.right - self.left < 1.0 || self.bottom - self.top < 1.0
    }

    fn moved(self, by: Point) -> Self {
        Self {
            left: self.left + by.x,
            right: self.right + by.x,
            top: self.top + by.y,
            bottom: self.bottom + by.y,
        }
    }

    pub(super) fn middle(&self) -> Point {
        Point { x: f64::midpoint(self.left, self.right), y: f64::midpoint(self.top, self.bottom) }
    }

    /// A point given from the top left corner. One outside, recorded when the element was larger, becomes
    /// the middle.
    pub(super) fn at(&self, offset_x: f64, offset_y: f64) -> Point {
        let point = Point { x: self.left + offset_x, y: self.top + offset_y };
        let inside =
            (self.left..=self.right).contains(&point.x) && (self.top..=self.bottom).contains(&point.y);
        if inside { point } else { self.middle() }
    }
}

/// A handle to an element of a page.
#[derive(Debug, Clone)]
pub struct Element {
    document: Document,
    object_id: String,
}

impl Element {
    pub(super) fn new(document: Document, object_id: String) -> Self {
        Self { document, object_id }
    }

    pub(super) fn tab(&self) -> &Arc<Tab> {
        &self.document.tab
    }

    /// Calls a function with the element as `this`, and gives its result as JSON.
    pub(super) async fn call(
        &self,
        window: &Window,
        function: &str,
        arguments: &[Value],
        timeout: Duration,
    ) -> Result<Value, WindowError> {
        let call = CallFunctionOn {
            function_declaration: function.into(),
            object_id: Some(self.object_id.clone()),
            execution_context_id: None,
            arguments: arguments.iter().cloned().map(Argument::Value).collect(),
            return_by_value: true,
            await_promise: true,
            user_gesture: true,
        };
        evaluated_value(run(&window.shard, self.tab(), &self.document.session, call, timeout).await?)
    }

    /// Scrolls it into view and says where it then is in the page's viewport.
    pub(super) async fn bring_into_view(&self, window: &Window) -> Result<Area, WindowError> {
        window.bring_to_front(self.tab()).await?;
        let (connection, session) = (&window.shard.connection, &self.document.session);
        let object_id = || self.object_id.clone();
        let scroll = ScrollIntoViewIfNeeded { object_id: object_id() };
        self.tab().call(connection, session, scroll, COMMAND_TIMEOUT).await?;
        let quads = GetContentQuads { object_id: object_id() };
        let quads = self.tab().call(connection, session, quads, COMMAND_TIMEOUT).await?.quads;
        let area = quads.iter().filter_map(Area::around).find(|area| !area.is_empty());
        let area = area.ok_or_else(|| WindowError::Refused {
            command: "the click".into(),
            reason: "the element takes up no room on the page".into(),
        })?;
        Ok(area.moved(self.frame_offset(window).await?))
    }

    /// Where the viewport of the element's session begins in that of the page: frames of other sites have
    /// sessions of their own in full Chromium.
    async fn frame_offset(&self, window: &Window) -> Result<Point, WindowError> {
        let connection = &window.shard.connection;
        let mut offset = Point { x: 0.0, y: 0.0 };
        let mut session = self.document.session.clone();
        while session != self.tab().session {
            let frames = self.tab().frames();
            let Some(frame) = frames.into_iter().find(|frame| frame.session == session) else {
                return Err(WindowError::Closed);
            };
            let owner = GetFrameOwner { frame_id: frame.frame };
            let owner = self.tab().call(connection, &frame.parent, owner, COMMAND_TIMEOUT).await?;
            let boxes = GetBoxModel { backend_node_id: owner.backend_node_id };
            let boxes = self.tab().call(connection, &frame.parent, boxes, COMMAND_TIMEOUT).await?;
            let area = Area::around(&boxes.model.content).ok_or(WindowError::Closed)?;
            offset = Point { x: offset.x + area.left, y: offset.y + area.top };
            session = frame.parent;
        }
        Ok(offset)
    }

    /// Makes it take what is typed, in place of what it holds.
    pub(super) async fn focus_and_select(&self, window: &Window) -> Result<(), WindowError> {
        self.bring_into_view(window).await?;
        self.call(window, FOCUS_AND_SELECT, &[], COMMAND_TIMEOUT).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_click_lands_inside() {
        let area = Area::around(&vec![10.0, 10.0, 50.0, 10.0, 50.0, 30.0, 10.0, 30.0]).unwrap();
        assert_eq!(area.at(5.0, 5.0), Point { x: 15.0, y: 15.0 });
        assert_eq!(area.at(500.0, 5.0), Point { x: 30.0, y: 20.0 });
        assert!(!area.is_empty() && Area::around(&vec![1.0, 1.0, 1.0, 1.0]).unwrap().is_empty());
        assert_eq!(Area::around(&vec![]), None);
    }
}
