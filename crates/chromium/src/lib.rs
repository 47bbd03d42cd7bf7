//! The browser: finding Chromium, launch profiles, processes, windows.
//!
//! One [`Browser`] is one Chromium process and holds any number of [`Window`]s, each a browser context with
//! cookies, storage and cache of its own. Everything about a browser is behind these handles; nothing here
//! decides when a window is opened or closed, and nothing here logs what is typed.

pub mod browser;
mod capture;
mod driver;
mod error;
pub mod find;
pub mod guest;
pub mod launch;
pub mod live;
pub mod page;
pub mod profiles;
mod proxy;
pub mod shim;
mod state;
pub mod window;

pub use browser::{Browser, BrowserEvent, WindowOptions};
pub use capture::CAPTURE_TIMEOUT;
pub use driver::TABS_MAX;
pub use error::{LostWindow, StartError, WindowError};
pub use find::Engine;
pub use guest::{Guest, NewPage};
pub use proxy::{Proxy, ProxyError};
pub use state::{WindowId, WindowSummary};
pub use window::{Format, PageInfo, Window};
