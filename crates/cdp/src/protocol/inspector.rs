//! `Inspector`: whether a page's renderer lives.

use crate::command::{Nothing, commands};

commands! {
    /// Answered even by a crashed page, for which `Inspector.targetCrashed` then comes as well
    /// (`content/browser/devtools/protocol/inspector_handler.cc`).
    Enable = "Inspector.enable" -> Nothing {}
}
