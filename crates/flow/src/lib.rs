//! Flows in the Chrome DevTools Recorder's format: schema, selectors, placeholders, conditions, replay.
pub mod page;
pub mod selector;
