//! A window as a replay sees it: `flow`'s page, over the DevTools protocol.
//!
//! Everything looks at the page as it is now; whoever replays does the waiting. Elements are looked up and
//! called in a world of our own, which the page can neither see nor change; expressions of a recording alone
//! run in the page's own. Text that is typed is never logged and never in an error.

mod document;
mod element;
mod input;
mod keys;

use std::time::Duration;

use pilotlight_cdp::protocol::browser::{
    EmulateNetworkConditions, NetworkEnable, SetDeviceMetricsOverride, SetTouchEmulationEnabled,
};
use pilotlight_cdp::protocol::target::CloseTarget;
use pilotlight_flow::page::{Click, NetworkConditions, Page, PageError, Scope, Viewport};
use pilotlight_flow::selector::Selector;
use serde_json::Value;

use crate::error::WindowError;
use crate::window::{COMMAND_TIMEOUT, Window, navigate_tab};

pub use element::Element;

/// How long a page of a replay may take to load, and a script of it to run.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(30);

impl Page for Window {
    type Element = Element;

    async fn navigate(&self, scope: &Scope, url: &str) -> Result<(), PageError> {
        let tab = self.tab_of(scope)?;
        Ok(navigate_tab(&self.shard, &tab, url, SCRIPT_TIMEOUT).await?)
    }

    async fn set_viewport(&self, scope: &Scope, viewport: &Viewport) -> Result<(), PageError> {
        let tab = self.tab_of(scope)?;
        let size = SetDeviceMetricsOverride {
            width: viewport.width,
            height: viewport.height,
            device_scale_factor: viewport.device_scale_factor,
            mobile: viewport.is_mobile,
        };
        let touch = SetTouchEmulationEnabled { enabled: viewport.has_touch };
        tab.call(&self.shard.connection, &tab.session, size, COMMAND_TIMEOUT).await?;
        tab.call(&self.shard.connection, &tab.session, touch, COMMAND_TIMEOUT).await?;
        Ok(())
    }

    async fn set_network(&self, scope: &Scope, conditions: &NetworkConditions) -> Result<(), PageError> {
        let tab = self.tab_of(scope)?;
        let conditions = EmulateNetworkConditions {
            offline: false,
            latency: conditions.latency.as_secs_f64() * 1000.0,
            download_throughput: conditions.download,
            upload_throughput: conditions.upload,
        };
        // Without the domain the conditions have no effect.
        let enable = NetworkEnable { max_total_buffer_size: 0 };
        tab.call(&self.shard.connection, &tab.session, enable, COMMAND_TIMEOUT).await?;
        tab.call(&self.shard.connection, &tab.session, conditions, COMMAND_TIMEOUT).await?;
        Ok(())
    }

    async fn find(&self, scope: &Scope, selector: &Selector) -> Result<Vec<Element>, PageError> {
        Ok(self.document_of(scope).await?.find(self, selector).await?)
    }

    async fn call(&self, element: &Element, function: &str, arguments: &[Value]) -> Result<Value, PageError> {
        Ok(element.call(self, function, arguments, SCRIPT_TIMEOUT).await?)
    }

    async fn evaluate(&self, scope: &Scope, expression: &str) -> Result<Value, PageError> {
        Ok(self.document_of(scope).await?.evaluate(self, expression, SCRIPT_TIMEOUT).await?)
    }

    async fn hover(&self, element: &Element) -> Result<(), PageError> {
        let middle = element.bring_into_view(self).await?.middle();
        Ok(self.move_mouse(element.tab(), middle).await?)
    }

    async fn click(&self, element: &Element, click: &Click) -> Result<(), PageError> {
        let area = element.bring_into_view(self).await?;
        let point = area.at(click.offset_x, click.offset_y);
        Ok(self.click_at(element.tab(), point, click).await?)
    }

    async fn fill(&self, element: &Element, text: &str) -> Result<(), PageError> {
        self.bring_to_front(element.tab()).await?;
        element.focus_and_select(self).await?;
        Ok(self.type_text(element.tab(), text).await?)
    }

    async fn key_down(&self, scope: &Scope, key: &str) -> Result<(), PageError> {
        Ok(self.key(&*self.tab_of(scope)?, key, true).await?)
    }

    async fn key_up(&self, scope: &Scope, key: &str) -> Result<(), PageError> {
        Ok(self.key(&*self.tab_of(scope)?, key, false).await?)
    }

    async fn navigations(&self, scope: &Scope) -> Result<u64, PageError> {
        Ok(self.tab_of(scope)?.status.borrow().navigations)
    }

    async fn settled(&self, scope: &Scope, timeout: Duration) -> Result<(), PageError> {
        let tab = self.tab_of(scope)?;
        let settling = async {
            // A navigation that was asked for may come to nothing, and no event tells of that.
            while tab.status.borrow().is_loading() {
                let again = tab.status.borrow().look_again_at();
                let wait =
                    again.map_or(timeout, |at| at.saturating_duration_since(tokio::time::Instant::now()));
                match tab.wait_for(wait.max(Duration::from_millis(1)), |status| !status.is_loading()).await {
                    Ok(()) | Err(WindowError::Timeout(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        let settled = tokio::time::timeout(timeout, settling).await;
        Ok(settled.unwrap_or(Err(WindowError::Timeout(timeout)))?)
    }

    async fn url(&self, scope: &Scope) -> Result<String, PageError> {
        Ok(self.tab_of(scope)?.status.borrow().url.clone())
    }

    async fn close(&self, scope: &Scope) -> Result<(), PageError> {
        let tab = self.tab_of(scope)?;
        let close = CloseTarget { target_id: tab.target.clone() };
        let closed = self.shard.connection.call_within(None, close, COMMAND_TIMEOUT).await;
        closed.map(drop).map_err(|error| WindowError::from(error).into())
    }
}
