//! Credentials that sessions sign in with. Secrets are accepted, but never returned.

use pilotlight_flow::Totp;
use pilotlight_flow::totp::MAX_SECRET_BYTES;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::validate::{self, FieldError, MAX_PASSWORD_BYTES, MAX_USERNAME_BYTES};

/// The body of `PUT /credentials/{name}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialDefinition {
    /// The user name.
    pub username: String,
    /// The password.
    #[serde(default, with = "crate::secret", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password, write_only)]
    pub password: Option<SecretString>,
    /// The TOTP secret of the second factor, for `${totp}`: in base32, or as an `otpauth://` URI.
    #[serde(default, with = "crate::secret", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password, write_only)]
    pub totp_secret: Option<SecretString>,
}

impl CredentialDefinition {
    /// Validates each field.
    pub fn validate(&self) -> Result<(), FieldError> {
        if self.username.is_empty() {
            return Err(FieldError::new("username", "is empty"));
        }
        validate::text("username", &self.username, MAX_USERNAME_BYTES)?;
        for (field, secret, max_bytes) in [
            ("password", &self.password, MAX_PASSWORD_BYTES),
            ("totp_secret", &self.totp_secret, MAX_SECRET_BYTES),
        ] {
            let length = secret.as_ref().map_or(0, |secret| secret.expose_secret().len());
            if length > max_bytes {
                return Err(FieldError::new(field, format!("is longer than {max_bytes} bytes")));
            }
        }
        let totp = self.totp_secret.as_ref().map(Totp::parse).transpose();
        totp.map(drop).map_err(|error| FieldError::new("totp_secret", format!("cannot be used: {error}")))
    }
}

/// A credential without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Credential {
    /// The credential's name.
    pub name: String,
    /// The user name.
    pub username: String,
    /// Whether it has a password.
    pub has_password: bool,
    /// Whether it has a TOTP secret.
    pub has_totp_secret: bool,
}

/// A response with one credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CredentialAnswer {
    /// Always true.
    pub success: bool,
    /// The credential.
    #[serde(flatten)]
    pub credential: Credential,
}

/// The answer to `GET /credentials`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CredentialsAnswer {
    /// Always true.
    pub success: bool,
    /// All credentials, sorted by name.
    pub credentials: Vec<Credential>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_credential_is_refused_without_being_repeated() {
        for (json, field) in [
            (serde_json::json!({"username": "", "password": "a"}), "username"),
            (serde_json::json!({"username": "a", "password": "s3cret".repeat(200)}), "password"),
            (serde_json::json!({"username": "a", "totp_secret": "s3cret!"}), "totp_secret"),
        ] {
            let definition: CredentialDefinition = serde_json::from_value(json).unwrap();
            let error = definition.validate().unwrap_err();
            assert_eq!(error.field, field);
            assert!(!format!("{error} {definition:?}").contains("s3cret"));
        }
        let error =
            serde_json::from_str::<CredentialDefinition>(r#"{"username":"a","password":5}"#).unwrap_err();
        assert!(error.to_string().contains("expected a string"));
    }
}
