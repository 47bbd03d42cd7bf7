//! A page for the tests: a handful of elements in memory, each known by the texts of its selectors.
//!
//! It answers the scripts of `replay` by comparing their source, and writes down what was done to it.

use std::fs::File;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::condition::{SHOWN, has_text};
use crate::dialog::ExpectedDialog;
use crate::page::{Click, Download, NetworkConditions, Page, PageError, Scope, Viewport};
use crate::replay::{custom, element as scripts};
use crate::selector::Selector;

/// What a selector contains of which all lookups but the first take longer than alternatives are given.
pub(crate) const SLOW_LATER: &str = "-slow-later";

#[derive(Debug, Clone)]
pub(crate) struct FakeElement {
    pub(crate) selectors: Vec<String>,
    pub(crate) visible: bool,
    pub(crate) enabled: bool,
    pub(crate) moving: bool,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) options: Option<Vec<String>>,
    pub(crate) value: String,
    /// Not there before this moment.
    pub(crate) from: Instant,
    pub(crate) on_click: OnClick,
}

#[derive(Debug, Clone, Default)]
pub(crate) enum OnClick {
    #[default]
    Nothing,
    /// Loads another document, which has the same elements.
    Load(&'static str),
    /// The same, and the answer to the click is lost with the old document.
    LoadAndVanish(&'static str),
    /// Changes the URL without a load.
    Push(&'static str),
    /// Fails so many times before it works.
    Refuse(usize),
    /// Something covers the element until this one is no longer there.
    CoveredBy(&'static str),
    /// The element goes away.
    Hide,
    /// Begins a download.
    Download,
    /// The page is no more.
    Close,
    /// Fails with words that repeat what was typed.
    Repeat,
}

impl FakeElement {
    pub(crate) fn new(selectors: &[&str]) -> Self {
        Self {
            selectors: selectors.iter().map(ToString::to_string).collect(),
            visible: true,
            enabled: true,
            moving: false,
            attributes: Vec::new(),
            options: None,
            value: String::new(),
            from: Instant::now(),
            on_click: OnClick::Nothing,
        }
    }
}

#[derive(Debug)]
struct State {
    url: String,
    text: String,
    elements: Vec<FakeElement>,
    navigations: u64,
    looks: u64,
    gone: bool,
    /// When popups and frames with a target are there.
    targets_from: Option<Instant>,
    /// How many frames the main document has, which show the same elements.
    frames: usize,
    downloads: usize,
    truths: Vec<String>,
    log: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct FakePage(Mutex<State>);

impl FakePage {
    pub(crate) fn new(url: &str) -> Self {
        Self(Mutex::new(State {
            url: url.to_owned(),
            text: String::new(),
            elements: Vec::new(),
            navigations: 0,
            looks: 0,
            gone: false,
            targets_from: None,
            frames: 0,
            downloads: 0,
            truths: Vec::new(),
            log: Vec::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn add(&self, selector: &str) {
        self.put(FakeElement::new(&[selector]));
    }

    pub(crate) fn put(&self, element: FakeElement) {
        self.state().elements.push(element);
    }

    pub(crate) fn hide(&self, selector: &str) {
        let mut state = self.state();
        let named =
            state.elements.iter_mut().filter(|element| element.selectors.iter().any(|own| own == selector));
        named.for_each(|element| element.visible = false);
    }

    pub(crate) fn set_url(&self, url: &str) {
        self.state().url = url.to_owned();
    }

    pub(crate) fn set_text(&self, text: &str) {
        self.state().text = text.to_owned();
    }

    pub(crate) fn set_frames(&self, frames: usize) {
        self.state().frames = frames;
    }

    pub(crate) fn lose(&self) {
        self.state().gone = true;
    }

    pub(crate) fn targets_from(&self, from: Instant) {
        self.state().targets_from = Some(from);
    }

    /// Makes an expression true.
    pub(crate) fn set_true(&self, expression: &str) {
        self.state().truths.push(expression.to_owned());
    }

    /// What was done, in order.
    pub(crate) fn log(&self) -> Vec<String> {
        self.state().log.clone()
    }

    pub(crate) fn value(&self, selector: &str) -> String {
        let state = self.state();
        let found = state.elements.iter().find(|element| element.selectors.iter().any(|own| own == selector));
        found.map(|element| element.value.clone()).unwrap_or_default()
    }

    /// The state, unless the page of `scope` is not there.
    fn there(&self, scope: &Scope) -> Result<MutexGuard<'_, State>, PageError> {
        let state = self.state();
        let has_target =
            scope.target.is_none() || state.targets_from.is_some_and(|from| Instant::now() >= from);
        let has_frame = scope.frame.iter().all(|index| *index < state.frames);
        if state.gone || !has_target || !has_frame {
            Err(PageError::Gone("closed".into()))
        } else {
            Ok(state)
        }
    }

    fn element<'a>(&'a self, handle: &Handle) -> Result<(MutexGuard<'a, State>, usize), PageError> {
        let state = self.there(&Scope::default())?;
        if state.navigations == handle.document {
            Ok((state, handle.index))
        } else {
            Err(PageError::Gone("the document went".into()))
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Handle {
    document: u64,
    index: usize,
}

impl Page for FakePage {
    type Element = Handle;
    type Downloads = usize;

    async fn navigate(&self, scope: &Scope, url: &str) -> Result<(), PageError> {
        let mut state = self.there(scope)?;
        if url.starts_with("http://down") {
            let reason = "net::ERR_CONNECTION_REFUSED".to_owned();
            return Err(PageError::Unreachable { url: url.to_owned(), reason });
        }
        state.navigations += 1;
        state.url = url.to_owned();
        state.log.push(format!("navigate {url}"));
        Ok(())
    }

    async fn set_viewport(&self, scope: &Scope, viewport: &Viewport) -> Result<(), PageError> {
        self.there(scope)?.log.push(format!("viewport {}x{}", viewport.width, viewport.height));
        Ok(())
    }

    async fn set_network(&self, scope: &Scope, conditions: &NetworkConditions) -> Result<(), PageError> {
        self.there(scope)?.log.push(format!("network {}", conditions.download));
        Ok(())
    }

    async fn find(&self, scope: &Scope, selector: &Selector) -> Result<Vec<Handle>, PageError> {
        let wanted = selector.to_string();
        if wanted.contains(SLOW_LATER) && self.there(scope)?.looks > 0 {
            sleep(Duration::from_secs(2)).await;
        }
        let mut state = self.there(scope)?;
        state.looks += 1;
        if wanted.contains("!!") {
            return Err(PageError::Script(format!("`{wanted}` is not a valid selector")));
        }
        let matches =
            |element: &FakeElement| Instant::now() >= element.from && element.selectors.contains(&wanted);
        if wanted == "html" {
            return Ok(vec![Handle { document: state.navigations, index: 0 }]);
        }
        let found = state.elements.iter().enumerate().filter(|(_, element)| matches(element));
        Ok(found.map(|(index, _)| Handle { document: state.navigations, index }).collect())
    }

    async fn call(&self, handle: &Handle, function: &str, arguments: &[Value]) -> Result<Value, PageError> {
        let (mut state, index) = self.element(handle)?;
        if function == SHOWN.as_str() {
            return Ok(json!(state.elements[index].visible));
        }
        let looks = state.looks;
        let element = &mut state.elements[index];
        Ok(match function {
            scripts::READY if !element.visible => json!({ "state": "hidden" }),
            scripts::READY if !element.enabled && arguments[0] == true => json!({ "state": "disabled" }),
            scripts::READY => json!({ "state": "ready", "box": [if element.moving { looks } else { 0 }] }),
            scripts::MATCHES => {
                let has = |pair: &Value| element.attributes.iter().any(|own| json!(own) == *pair);
                json!(element.visible && arguments[1].as_array().unwrap().iter().all(has))
            }
            scripts::FIELD => json!(if element.options.is_some() { "chosen" } else { "typed" }),
            scripts::SET => {
                let value = arguments[0].as_str().unwrap().to_owned();
                let known = element.options.as_ref().is_some_and(|options| options.contains(&value));
                if known {
                    element.value = value;
                }
                json!(known)
            }
            scripts::SCROLL => {
                state.log.push(format!("scroll {} {}", arguments[0], arguments[1]));
                Value::Null
            }
            custom::READ => json!(element.value),
            // A page of one screen.
            custom::AREA => json!({ "height": 600, "atEnd": true }),
            other => return Err(PageError::Script(format!("unknown script {other}"))),
        })
    }

    async fn evaluate(&self, scope: &Scope, expression: &str) -> Result<Value, PageError> {
        let mut state = self.there(scope)?;
        if let Some(rest) = expression.strip_prefix(has_text("").trim_end_matches("\"\")")) {
            let text: String = serde_json::from_str(rest.trim_end_matches(')')).unwrap();
            return Ok(json!(state.text.contains(&text)));
        }
        if expression.contains("throw") {
            return Err(PageError::Script(format!("SyntaxError in {expression}")));
        }
        if expression.starts_with("window.scroll") {
            state.log.push(expression.to_owned());
        }
        Ok(json!(state.truths.iter().any(|truth| expression.contains(&format!("await ({truth}\n)")))))
    }

    async fn hover(&self, handle: &Handle) -> Result<(), PageError> {
        let (mut state, index) = self.element(handle)?;
        let name = state.elements[index].selectors[0].clone();
        state.log.push(format!("hover {name}"));
        Ok(())
    }

    async fn click(&self, handle: &Handle, click: &Click) -> Result<(), PageError> {
        let (mut state, index) = self.element(handle)?;
        let element = &mut state.elements[index];
        let entry = format!("click {} x{}", element.selectors[0], click.count);
        match element.on_click.clone() {
            OnClick::Nothing => {}
            OnClick::Load(url) => {
                state.navigations += 1;
                state.url = url.to_owned();
            }
            OnClick::LoadAndVanish(url) => {
                state.navigations += 1;
                state.url = url.to_owned();
                state.log.push(entry);
                return Err(PageError::Gone("the document went".into()));
            }
            OnClick::Push(url) => state.url = url.to_owned(),
            OnClick::Refuse(0) => element.on_click = OnClick::Nothing,
            OnClick::Refuse(times) => {
                element.on_click = OnClick::Refuse(times - 1);
                let (command, reason) = ("DOM.getContentQuads".to_owned(), "no layout".to_owned());
                return Err(PageError::Refused { command, reason });
            }
            // A cover may be there before the button that removes it.
            OnClick::CoveredBy(cover) => {
                let named = |other: &FakeElement| other.selectors.iter().any(|own| own == cover);
                if state.elements.iter().any(|other| other.visible && named(other)) {
                    return Err(PageError::Covered(cover.to_owned()));
                }
            }
            OnClick::Hide => element.visible = false,
            OnClick::Download => state.downloads += 1,
            OnClick::Close => state.gone = true,
            OnClick::Repeat => {
                let typed: Vec<_> = state.elements.iter().map(|element| element.value.clone()).collect();
                return Err(PageError::Script(format!("cannot submit {typed:?}")));
            }
        }
        state.log.push(entry);
        Ok(())
    }

    async fn fill(&self, handle: &Handle, text: &str) -> Result<(), PageError> {
        let (mut state, index) = self.element(handle)?;
        state.elements[index].value = text.to_owned();
        let name = state.elements[index].selectors[0].clone();
        state.log.push(format!("fill {name}"));
        Ok(())
    }

    async fn key_down(&self, scope: &Scope, key: &str) -> Result<(), PageError> {
        self.there(scope)?.log.push(format!("down {key}"));
        Ok(())
    }

    async fn key_up(&self, scope: &Scope, key: &str) -> Result<(), PageError> {
        self.there(scope)?.log.push(format!("up {key}"));
        Ok(())
    }

    async fn navigations(&self, scope: &Scope) -> Result<u64, PageError> {
        Ok(self.there(scope)?.navigations)
    }

    async fn settled(&self, scope: &Scope, _timeout: Duration) -> Result<(), PageError> {
        let mut state = self.there(scope)?;
        let url = state.url.clone();
        state.log.push(format!("settled {url}"));
        Ok(())
    }

    async fn url(&self, scope: &Scope) -> Result<String, PageError> {
        Ok(self.there(scope)?.url.clone())
    }

    async fn screenshot(&self, scope: &Scope) -> Result<Vec<u8>, PageError> {
        self.there(scope).map(|_| b"PNG".to_vec())
    }

    async fn watch_downloads(&self) -> Result<usize, PageError> {
        Ok(self.state().downloads)
    }

    async fn downloaded(&self, before: usize, _timeout: Duration) -> Result<Option<Download>, PageError> {
        let file = || File::open("/dev/null").unwrap();
        let has_begun = self.state().downloads > before;
        Ok(has_begun.then(|| Download { suggested_name: "pass.pdf".to_owned(), size: 4, file: file() }))
    }

    fn expect_dialog(&self, dialog: ExpectedDialog) -> Result<(), PageError> {
        let mut state = self.there(&Scope::default())?;
        let answer = if dialog.answer.accepts() { "accept" } else { "dismiss" };
        let typed = dialog.typed.as_ref().map(|typed| format!(" {}", typed.expose_secret()));
        let told = ["Delete acme?", "Your plate"].into_iter().find(|text| dialog.is(text));
        let entry = format!("dialog {} {answer}{}", told.unwrap_or("?"), typed.unwrap_or_default());
        state.log.push(entry);
        Ok(())
    }

    async fn close(&self, scope: &Scope) -> Result<(), PageError> {
        let mut state = self.there(scope)?;
        state.log.push(format!("close {}", scope.target.as_deref().unwrap_or("main")));
        Ok(())
    }
}
