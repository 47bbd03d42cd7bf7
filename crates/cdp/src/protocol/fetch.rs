//! `Fetch`: held requests, and the questions of proxies for a password.

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

use crate::command::{Nothing, commands, notifications, objects};

commands! {
    /// Holds requests that fit a pattern. Questions for a password come only for held requests: Chromium
    /// refuses empty patterns together with `handle_auth_requests`.
    Enable = "Fetch.enable" -> Nothing {
        /// Which requests.
        patterns: Vec<RequestPattern>,
        /// Also ask for passwords.
        handle_auth_requests: bool,
    }

    /// Lets a held request go on.
    ContinueRequest = "Fetch.continueRequest" -> Nothing {
        /// Which.
        request_id: String,
    }

    /// Has a held request fail.
    FailRequest = "Fetch.failRequest" -> Nothing {
        /// Which.
        request_id: String,
        /// Such as `BlockedByClient`.
        error_reason: &'static str,
    }

    /// Answers a held request in the server's place.
    FulfillRequest = "Fetch.fulfillRequest" -> Nothing {
        /// Which.
        request_id: String,
        /// The HTTP status.
        response_code: u16,
        /// The headers.
        response_headers: Vec<Header>,
        /// The body in base 64.
        body: String,
    }

    /// Answers a question for a password.
    ContinueWithAuth = "Fetch.continueWithAuth" -> Nothing {
        /// Which.
        request_id: String,
        /// The answer.
        auth_challenge_response: AuthAnswer,
    }
}

/// Which requests are held.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestPattern {
    /// `*` for any.
    pub url_pattern: &'static str,
    /// Such as `Document`; any where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<&'static str>,
}

/// A header of an answer of ours.
#[derive(Debug, Clone, Serialize)]
pub struct Header {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: &'static str,
}

/// The answer to a question for a password.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "response")]
pub enum AuthAnswer {
    /// As Chromium does without us.
    Default,
    /// No password.
    CancelAuth,
    /// This one.
    ProvideCredentials {
        /// The user.
        username: String,
        /// The password; hidden in `Debug`.
        #[serde(serialize_with = "exposed")]
        password: SecretString,
    },
}

fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

objects! {
    /// Who asks for a password.
    AuthChallenge {
        /// `Server` or `Proxy`.
        source: Option<String>,
    }
}

notifications! {
    /// A request is held.
    RequestPaused = "Fetch.requestPaused" {
        /// Which.
        request_id: String,
        /// The frame that it is for.
        frame_id: Option<String>,
        /// `Document`, `XHR`, `Fetch`, `Image` and so on.
        resource_type: Option<String>,
    }

    /// A password is asked for.
    AuthRequired = "Fetch.authRequired" {
        /// Which request.
        request_id: String,
        /// Who asks.
        auth_challenge: AuthChallenge,
    }
}
