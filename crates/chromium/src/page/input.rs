//! The keyboard, and the effect of any input: whether it began a navigation.

use std::time::Duration;

use pilotlight_cdp::Scope;
use pilotlight_cdp::protocol::input::{DispatchKeyEvent, InsertText, clipboard_key};
use pilotlight_cdp::protocol::runtime::Evaluate;

use super::keys::{self, CONTROL, Key, SHIFT};
use crate::call::begins_navigation;
use crate::error::WindowError;
use crate::state::{Tab, lock};
use crate::window::Window;

/// How long a page may take to handle an input event.
pub(super) const INPUT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer texts are inserted at once instead of key by key, in characters.
pub(super) const TYPED_CHARACTERS_MAX: usize = 100;
/// How long a navigation that input began is waited for.
const CONSEQUENCES_TIMEOUT: Duration = Duration::from_secs(1);
/// Events of a page that may wait meanwhile.
const CONSEQUENCES_QUEUE: usize = 4096;

/// The direction of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Down,
    Up,
}

/// Presses or releases a key by name.
pub(super) async fn key(
    window: &Window,
    tab: &Tab,
    name: &str,
    direction: Direction,
) -> Result<(), WindowError> {
    let key = keys::key(name).ok_or_else(|| WindowError::Refused {
        command: "the key".into(),
        reason: "no key has that name".into(),
    })?;
    window.bring_to_front(tab).await?;
    let modifiers = {
        let mut modifiers = lock(&tab.modifiers);
        match direction {
            Direction::Down => *modifiers |= key.modifier,
            Direction::Up => *modifiers &= !key.modifier,
        }
        *modifiers
    };
    with_consequences(window, tab, dispatch(window, tab, key, modifiers, direction)).await
}

async fn dispatch(
    window: &Window,
    tab: &Tab,
    key: Key,
    modifiers: u8,
    direction: Direction,
) -> Result<(), WindowError> {
    // With Alt, Control or Meta a key is a command and types nothing.
    let types = direction == Direction::Down && modifiers & !SHIFT == 0;
    let text = key.text.filter(|_| types);
    let selects_all = direction == Direction::Down && modifiers == CONTROL && key.code == "KeyA";
    let clipboard = clipboard_key(&key.key, key.key_code.into(), modifiers.into());
    if direction == Direction::Down && clipboard.is_some() {
        return Err(WindowError::Refused {
            command: "the key".into(),
            reason: "the clipboard is every window's of the browser; set values instead".into(),
        });
    }
    let event = DispatchKeyEvent {
        kind: match (direction, &text) {
            (Direction::Up, _) => "keyUp",
            (Direction::Down, Some(_)) => "keyDown",
            (Direction::Down, None) => "rawKeyDown",
        },
        modifiers,
        text,
        key: key.key,
        code: key.code,
        windows_virtual_key_code: key.key_code,
        location: key.location,
        commands: if selects_all { vec!["selectAll"] } else { vec![] },
    };
    tab.call(&window.shard.connection, &tab.session, event, INPUT_TIMEOUT).await.map(|_| ())
}

/// Types into the focused element: key by key if the text is short and on the keyboard.
pub(super) async fn type_text(window: &Window, tab: &Tab, text: &str) -> Result<(), WindowError> {
    if text.chars().count() > TYPED_CHARACTERS_MAX {
        return insert(window, tab, text).await;
    }
    for character in text.chars() {
        // A line break as a key would submit forms.
        match keys::of_character(character).filter(|_| !character.is_control()) {
            Some(key) => {
                let down = dispatch(window, tab, key.clone(), 0, Direction::Down);
                let up = dispatch(window, tab, key, 0, Direction::Up);
                tokio::try_join!(down, up)?;
            }
            None => insert(window, tab, character.encode_utf8(&mut [0; 4])).await?,
        }
    }
    Ok(())
}

/// Presses and releases one key.
pub(super) async fn press(window: &Window, tab: &Tab, name: &str) -> Result<(), WindowError> {
    key(window, tab, name, Direction::Down).await?;
    key(window, tab, name, Direction::Up).await
}

async fn insert(window: &Window, tab: &Tab, text: &str) -> Result<(), WindowError> {
    let insert = InsertText { text: text.into() };
    tab.call(&window.shard.connection, &tab.session, insert, INPUT_TIMEOUT).await.map(|_| ())
}

/// Performs an input and returns once it is known whether it began a navigation. A page requests a navigation while
/// it handles the input, so the request was made when it answers a later query.
pub(super) async fn with_consequences(
    window: &Window,
    tab: &Tab,
    action: impl Future<Output = Result<(), WindowError>>,
) -> Result<(), WindowError> {
    let connection = &window.shard.connection;
    let before = tab.status.borrow().navigations;
    let mut events = connection.subscribe(Scope::Session(tab.session.clone()), CONSEQUENCES_QUEUE);
    action.await?;
    let question = Evaluate {
        expression: "0".into(),
        context_id: None,
        return_by_value: true,
        await_promise: false,
        user_gesture: false,
    };
    if let Err(error) = tab.call(connection, &tab.session, question, CONSEQUENCES_TIMEOUT).await {
        tracing::debug!(%error, "the page was closed by the input");
    }
    let mut began = false;
    while let Some(event) = events.try_next() {
        began |= begins_navigation(tab, &event);
    }
    if began
        && let Err(error) = tab.wait_for(CONSEQUENCES_TIMEOUT, |status| status.navigations > before).await
    {
        tracing::debug!(%error, "the page was closed by the input");
    }
    Ok(())
}

/// Returns once the page is not loading, or, with `at_dom`, once its document is parsed to its end.
pub(super) async fn settled(tab: &Tab, at_dom: bool) -> Result<(), WindowError> {
    let mut status = tab.status.subscribe();
    loop {
        let look_again_at = {
            let now = status.borrow_and_update();
            if now.gone {
                return Err(WindowError::Closed);
            }
            if now.crashed {
                return Err(WindowError::Crashed);
            }
            if now.has_settled(at_dom) {
                return Ok(());
            }
            now.look_again_at()
        };
        match look_again_at {
            Some(at) => _ = tokio::time::timeout_at(at, status.changed()).await,
            None if status.changed().await.is_err() => return Err(WindowError::Closed),
            None => {}
        }
    }
}
