//! Typed commands and events. A payload is modelled only as far as it is used: unknown fields are ignored, and
//! enumerations of Chromium are plain strings, since every release adds values.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A command that Pilotlight sends itself. Its serialised form is the protocol's `params`.
pub trait Command: Serialize {
    /// The protocol's name, for example `Page.navigate`.
    const METHOD: &str;
    /// The part of the reply that is used.
    type Reply: DeserializeOwned;
}

/// An event that is parsed.
pub trait Notification: DeserializeOwned {
    /// The protocol's name, for example `Page.frameNavigated`.
    const METHOD: &str;
}

/// The reply of a command without results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub struct Nothing {}

/// Defines commands. `Debug` shows only the name: parameters contain passwords and typed text.
macro_rules! commands {
    ($($(#[$meta:meta])* $name:ident = $method:literal -> $reply:ty {
        $($(#[$field_meta:meta])* $field:ident : $kind:ty),* $(,)?
    })*) => {$(
        $(#[$meta])*
        #[derive(Clone, serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name { $($(#[$field_meta])* pub $field: $kind),* }

        impl $crate::Command for $name {
            const METHOD: &str = $method;
            type Reply = $reply;
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str($method)
            }
        }
    )*};
}

/// Defines the used parts of replies and nested objects.
macro_rules! objects {
    ($($(#[$meta:meta])* $name:ident {
        $($(#[$field_meta:meta])* $field:ident : $kind:ty),* $(,)?
    })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name { $($(#[$field_meta])* pub $field: $kind),* }
    )*};
}

/// Defines events.
macro_rules! notifications {
    ($($(#[$meta:meta])* $name:ident = $method:literal {
        $($(#[$field_meta:meta])* $field:ident : $kind:ty),* $(,)?
    })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name { $($(#[$field_meta])* pub $field: $kind),* }

        impl $crate::Notification for $name {
            const METHOD: &str = $method;
        }
    )*};
}

pub(crate) use {commands, notifications, objects};
