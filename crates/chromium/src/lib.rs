//! The browser: finding Chromium, launch profiles, processes, windows.
//!
//! One [`Browser`] is one Chromium process and holds any number of [`Window`]s, each a browser context with
//! cookies, storage and cache of its own. Everything about a browser is behind these handles; nothing here
//! decides when a window is opened or closed, and nothing here logs what is typed.

mod attach;
pub mod browser;
mod call;
mod capture;
pub mod client;
mod cookies;
pub mod dialogs;
mod driver;
mod engine;
mod error;
mod event;
pub mod find;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hidden;
pub mod launch;
pub mod launcher;
mod limits;
pub mod live;
pub mod page;
pub mod profiles;
mod proxy;
mod renderer;
mod reopen;
pub mod shim;
mod state;
pub mod window;

pub use browser::{Browser, Life, WindowOptions};
pub use capture::{CAPTURE_TIMEOUT, RestoreFields};
pub use client::{ClientConnection, NewPage};
pub use dialogs::FlowAnswers;
pub use engine::Engine;
pub use error::{LostWindow, StartError, WindowError};
pub use event::{AnsweredBy, AnsweredDialog, BrowserEvent, WindowId};
pub use limits::TABS_MAX;
pub use pilotlight_cdp::{LONG_WORK_BYTES, work_on};
pub use proxy::{Proxy, ProxyError};
pub use state::WindowSummary;
pub use window::{BareWindow, Beside, Format, PageAnswer, PageInfo, RequestWatch, Shown, Traffic, Window};
