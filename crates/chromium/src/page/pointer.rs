//! Mouse and touch: finding the position of an element, and acting there.

use std::time::Duration;

use pilotlight_cdp::protocol::dom::{
    GetBoxModel, GetContentQuads, GetFrameOwner, Quad, ScrollIntoViewIfNeeded,
};
use pilotlight_cdp::protocol::input::{DispatchMouseEvent, DispatchTouchEvent, TouchPoint};
use pilotlight_cdp::protocol::page::GetLayoutMetrics;
use pilotlight_flow::page::{Button, Click};
use serde_json::{Value, json};

use super::Element;
use super::input::{INPUT_TIMEOUT, with_consequences};
use crate::error::WindowError;
use crate::state::lock;
use crate::window::{COMMAND_TIMEOUT, Window};

/// How often the position of a moving element is checked.
const LOOKS_MAX: usize = 30;
/// The time between two checks: one frame of animation.
const LOOK_INTERVAL: Duration = Duration::from_millis(16);
/// Where the element is scrolled to in turn while something covers it, such as a header that stays at the top.
const ALIGNMENTS: [&str; 3] = ["center", "end", "start"];
/// Scrolls the element to the place that is asked for.
const ALIGN: &str =
    "function (block) { this.scrollIntoView({ block, inline: 'nearest', behavior: 'instant' }); }";
/// Describes what a click at this part of the element's width and height reaches instead of it; `null` if it reaches the
/// element. That includes what is inside it, and its label; and what it is inside of, if it lets clicks through, as the
/// icons of buttons do. Documents around its frame are looked at as far as they have the same origin.
const COVER: &str = r#"function (across, down) {
    const above = (node) => node.assignedSlot ?? node.parentElement
        ?? (node.getRootNode() instanceof ShadowRoot ? node.getRootNode().host : null);
    const CONTROLS = 'a, button, label, summary, [role=button], [role=link], [role=tab], [role=menuitem], '
        + '[role=option], [role=checkbox], [role=radio], [role=switch]';
    const contains = (outer, node) => {
        while (node && node !== outer) node = above(node);
        return Boolean(node);
    };
    const topmost = (target, x, y) => {
        const roots = [target.getRootNode()];
        while (roots[0] instanceof ShadowRoot) roots.unshift(roots[0].host.getRootNode());
        let hit = null;
        for (const [index, root] of roots.entries()) {
            const inner = root.elementFromPoint?.(x, y) ?? null;
            if (!inner) break;
            hit = inner;
            if (index + 1 < roots.length && hit !== roots[index + 1].host) break;
        }
        return hit;
    };
    const reaches = (target, hit) => {
        if (!hit || contains(target, hit)) return true;
        // Over the text in a slot, a shadow root answers with its own host.
        for (let root = target.getRootNode(); root instanceof ShadowRoot; root = root.host.getRootNode()) {
            if (root.host === hit) return true;
        }
        const control = hit.closest(CONTROLS);
        if (control && contains(control, target)) return true;
        const [around, label] = [target.closest('label'), hit.closest('label')];
        if (label && (label === around || label.control === target)) return true;
        if (target.control && target.control === hit) return true;
        return contains(hit, target) && getComputedStyle(target).pointerEvents === 'none';
    };
    const describe = (hit) => {
        const name = hit.id ? `#${hit.id}` : [...hit.classList].slice(0, 2).map((name) => `.${name}`).join('');
        return `${hit.localName}${name}`.slice(0, 80);
    };
    const box = [...this.getClientRects()].find((box) => box.width > 0 && box.height > 0);
    if (!box) return null;
    let [x, y] = [box.left + across * box.width, box.top + down * box.height];
    for (let target = this; target; target = target.ownerDocument.defaultView.frameElement) {
        if (target !== this) {
            const frame = target.getBoundingClientRect();
            const style = getComputedStyle(target);
            // A frame may be shown larger or smaller than it is.
            const [wider, higher] = [frame.width / target.offsetWidth || 1, frame.height / target.offsetHeight || 1];
            x = frame.left + (x + target.clientLeft + parseFloat(style.paddingLeft)) * wider;
            y = frame.top + (y + target.clientTop + parseFloat(style.paddingTop)) * higher;
        }
        const hit = topmost(target, x, y);
        if (!reaches(target, hit)) return describe(hit);
    }
    return null;
}"#;
/// The longest that a button is held down.
const HOLD_MAX: Duration = Duration::from_secs(10);

/// A rectangle in CSS pixels of the page's viewport.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rect {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Rect {
    /// Returns the smallest rectangle around a quad; `None` if it is empty.
    fn around(quad: &Quad) -> Option<Self> {
        let (xs, ys): (Vec<f64>, Vec<f64>) =
            quad.chunks_exact(2).map(|corner| (corner[0], corner[1])).unzip();
        let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let rect = Self { left: least(&xs), top: least(&ys), right: most(&xs), bottom: most(&ys) };
        rect.has_extent().then_some(rect)
    }

    fn has_extent(&self) -> bool {
        self.right > self.left && self.bottom > self.top
    }

    fn moved(&self, x: f64, y: f64) -> Self {
        Self { left: self.left + x, top: self.top + y, right: self.right + x, bottom: self.bottom + y }
    }

    fn cut(&self, width: f64, height: f64) -> Option<Self> {
        let cut = Self {
            left: self.left.max(0.0),
            top: self.top.max(0.0),
            right: self.right.min(width),
            bottom: self.bottom.min(height),
        };
        cut.has_extent().then_some(cut)
    }

    fn middle(&self) -> (f64, f64) {
        (f64::midpoint(self.left, self.right), f64::midpoint(self.top, self.bottom))
    }

    fn contains(&self, (x, y): (f64, f64)) -> bool {
        (self.left..self.right).contains(&x) && (self.top..self.bottom).contains(&y)
    }
}

/// The position of an element: all of it, and the visible part.
struct Place {
    whole: Rect,
    seen: Rect,
}

/// Moves the mouse over the centre of the visible part of an element.
pub(super) async fn hover(window: &Window, element: &Element) -> Result<(), WindowError> {
    let place = come_to(window, element).await?;
    mouse(window, element, "mouseMoved", place.seen.middle(), "none", 0).await
}

/// Clicks or taps. Where the recorded point is not on the element now, or is covered, its middle is taken.
pub(super) async fn click(window: &Window, element: &Element, click: &Click) -> Result<(), WindowError> {
    let before = window.navigation_count();
    let point = find_point(window, element, click).await.map_err(|error| {
        // Nothing was done yet: a page that went on meanwhile was not clicked.
        let went_on = window.navigation_count() != before;
        if went_on { WindowError::Covered("a page that goes on".to_owned()) } else { error }
    })?;
    let clicking = async {
        if click.touch {
            tap(window, element, point, click).await
        } else {
            press(window, element, point, click).await
        }
    };
    with_consequences(window, &element.tab, clicking).await
}

/// Returns a point of the element that a click reaches.
async fn find_point(window: &Window, element: &Element, click: &Click) -> Result<(f64, f64), WindowError> {
    let mut cover = None;
    for alignment in std::iter::once(None).chain(ALIGNMENTS.map(Some)) {
        if let Some(alignment) = alignment {
            element.call(&window.shard, ALIGN, &[json!(alignment)]).await?;
        }
        let Place { whole, seen } = come_to(window, element).await?;
        let wanted = (whole.left + click.offset_x, whole.top + click.offset_y);
        let wanted = Some(wanted).filter(|wanted| seen.contains(*wanted));
        for (x, y) in wanted.into_iter().chain([seen.middle()]) {
            let width = whole.right - whole.left;
            let height = whole.bottom - whole.top;
            let place = [json!((x - whole.left) / width), json!((y - whole.top) / height)];
            match element.call(&window.shard, COVER, &place).await? {
                Value::String(by) => cover = Some(by),
                _ => return Ok((x, y)),
            }
        }
    }
    Err(WindowError::Covered(cover.unwrap_or_default()))
}

async fn press(
    window: &Window,
    element: &Element,
    point: (f64, f64),
    click: &Click,
) -> Result<(), WindowError> {
    let button = match click.button {
        Button::Primary => "left",
        Button::Auxiliary => "middle",
        Button::Secondary => "right",
        Button::Back => "back",
        Button::Forward => "forward",
    };
    mouse(window, element, "mouseMoved", point, "none", 0).await?;
    for count in 1..=click.count.max(1) {
        mouse(window, element, "mousePressed", point, button, count).await?;
        tokio::time::sleep(click.hold.min(HOLD_MAX)).await;
        mouse(window, element, "mouseReleased", point, button, count).await?;
    }
    Ok(())
}

async fn tap(
    window: &Window,
    element: &Element,
    (x, y): (f64, f64),
    click: &Click,
) -> Result<(), WindowError> {
    let touch = async |kind, touch_points| {
        let event = DispatchTouchEvent { kind, touch_points };
        element.tab.call(&window.shard.connection, &element.tab.session, event, INPUT_TIMEOUT).await
    };
    for _ in 0..click.count.max(1) {
        touch("touchStart", vec![TouchPoint { x, y }]).await?;
        tokio::time::sleep(click.hold.min(HOLD_MAX)).await;
        touch("touchEnd", vec![]).await?;
    }
    Ok(())
}

async fn mouse(
    window: &Window,
    element: &Element,
    kind: &'static str,
    (x, y): (f64, f64),
    button: &'static str,
    click_count: u8,
) -> Result<(), WindowError> {
    let tab = &element.tab;
    let modifiers = *lock(&tab.modifiers);
    let event = DispatchMouseEvent {
        kind,
        x,
        y,
        modifiers,
        button,
        click_count,
        buttons: None,
        delta_x: None,
        delta_y: None,
    };
    tab.call(&window.shard.connection, &tab.session, event, INPUT_TIMEOUT).await.map(|_| ())
}

/// Scrolls an element into view and waits, within limits, until it stops moving.
async fn come_to(window: &Window, element: &Element) -> Result<Place, WindowError> {
    let (connection, tab) = (&window.shard.connection, &element.tab);
    window.bring_to_front(tab).await?;
    let scroll = ScrollIntoViewIfNeeded { object_id: element.handle.id.clone() };
    tab.call(connection, &element.session, scroll, COMMAND_TIMEOUT).await?;
    let mut whole = rect_of(window, element).await?;
    for _ in 0..LOOKS_MAX {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let now = rect_of(window, element).await?;
        if now == whole {
            break;
        }
        whole = now;
    }
    let viewport =
        tab.call(connection, &tab.session, GetLayoutMetrics {}, COMMAND_TIMEOUT).await?.css_layout_viewport;
    let seen = whole
        .cut(viewport.client_width, viewport.client_height)
        .ok_or_else(|| not_visible("outside of the page"))?;
    Ok(Place { whole, seen })
}

async fn rect_of(window: &Window, element: &Element) -> Result<Rect, WindowError> {
    let (connection, tab) = (&window.shard.connection, &element.tab);
    let question = GetContentQuads { object_id: element.handle.id.clone() };
    let quads = tab.call(connection, &element.session, question, COMMAND_TIMEOUT).await?.quads;
    let mut rect = quads.iter().find_map(Rect::around).ok_or_else(|| not_visible("without extent"))?;
    // Each process reports coordinates in its own frame: those of the parent frames are added.
    let frames = tab.frames();
    let mut session = &element.session;
    while let Some(frame) = frames.iter().find(|frame| frame.session == *session) {
        let owner = GetFrameOwner { frame_id: frame.frame.clone() };
        let backend_node_id =
            tab.call(connection, &frame.parent, owner, COMMAND_TIMEOUT).await?.backend_node_id;
        let question = GetBoxModel { backend_node_id };
        let content = tab.call(connection, &frame.parent, question, COMMAND_TIMEOUT).await?.model.content;
        if let [x, y, ..] = content[..] {
            rect = rect.moved(x, y);
        }
        session = &frame.parent;
    }
    Ok(rect)
}

fn not_visible(why: &str) -> WindowError {
    WindowError::Refused { command: "the input".into(), reason: format!("the element is {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_are_cut_to_what_is_seen() {
        let rect = Rect::around(&vec![-10.0, 5.0, 30.0, 5.0, 30.0, 25.0, -10.0, 25.0]).unwrap();
        let seen = rect.cut(20.0, 20.0).unwrap();
        assert_eq!(seen.middle(), (10.0, 12.5));
        assert!(seen.contains((0.0, 5.0)) && !seen.contains((20.0, 5.0)));
        assert_eq!(rect.moved(100.0, 0.0).cut(50.0, 50.0), None);
        assert_eq!(Rect::around(&vec![1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]), None);
    }
}
