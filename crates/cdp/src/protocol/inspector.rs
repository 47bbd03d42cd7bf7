//! `Inspector`: whether a page's renderer lives.

use crate::command::{Nothing, commands};

commands! {
    /// Answers from the renderer. Where that died, `Inspector.targetCrashed` comes at once and no answer.
    Enable = "Inspector.enable" -> Nothing {}
}
