//! The credentials that sessions can use: sealed in the store, and looked up at every sign-in, so that changes apply
//! to all sessions.
//!
//! Secrets are used only for sign-ins.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use pilotlight_api::{Credential, CredentialDefinition};
use pilotlight_flow::Flow;
use pilotlight_flow::placeholders::{TOTP, Values};
use pilotlight_flow::totp::{Totp, TotpError};
use pilotlight_store::{CredentialRecord, StoreError, StoreHandle};
use secrecy::SecretString;
use tokio::sync::Mutex;
use uuid::Uuid;

/// The maximum number of credentials.
const MAX_CREDENTIALS: usize = 10_000;

/// Why a credential cannot be stored or removed.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The TOTP secret is invalid.
    #[error("the TOTP secret is invalid")]
    Totp(#[from] TotpError),
    /// The credential does not exist.
    #[error("there is no such credential")]
    Unknown,
    /// There are too many credentials.
    #[error("there are {MAX_CREDENTIALS} credentials already")]
    TooMany,
    /// The credential could not be stored.
    #[error("the credential could not be stored")]
    Store(#[from] StoreError),
}

/// A credential.
#[derive(Clone)]
struct Known {
    record: CredentialRecord,
    totp: Option<Totp>,
}

impl Known {
    fn shown(&self) -> Credential {
        Credential {
            name: self.record.name.clone(),
            username: self.record.username.clone(),
            has_password: self.record.password.is_some(),
            has_totp_secret: self.totp.is_some(),
        }
    }
}

/// All credentials by name.
pub struct Credentials {
    store: StoreHandle,
    known: RwLock<BTreeMap<String, Known>>,
    /// Held while a credential is being written.
    writing: Mutex<()>,
}

/// Formats only the names.
impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.read().keys()).finish()
    }
}

impl Credentials {
    /// Creates the list from stored records.
    #[must_use]
    pub fn new(store: StoreHandle, records: Vec<CredentialRecord>) -> Self {
        let known = records.into_iter().map(|record| {
            let totp = record.totp_secret.as_ref().map(Totp::parse).transpose().unwrap_or_else(|error| {
                tracing::error!(credential = record.name, %error, "a stored TOTP secret is invalid");
                None
            });
            // An earlier server may have typed the current code, and portals do not accept a code twice.
            totp.iter().for_each(Totp::skip_present_code);
            (record.name.clone(), Known { record, totp })
        });
        Self { store, known: RwLock::new(known.collect()), writing: Mutex::new(()) }
    }

    /// Returns all credentials without their secrets, sorted by name.
    #[must_use]
    pub fn list(&self) -> Vec<Credential> {
        self.read().values().map(Known::shown).collect()
    }

    /// Returns a credential without its secrets.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Credential> {
        self.read().get(name).map(Known::shown)
    }

    /// Creates or replaces a credential, after storing it.
    ///
    /// # Errors
    /// Returns why nothing was changed.
    pub async fn define(
        &self,
        name: &str,
        definition: CredentialDefinition,
    ) -> Result<Credential, CredentialsError> {
        let _writing = self.writing.lock().await;
        let before = self.read().get(name).cloned();
        if before.is_none() && self.read().len() >= MAX_CREDENTIALS {
            return Err(CredentialsError::TooMany);
        }
        let made = definition.totp_secret.as_ref().map(Totp::parse).transpose()?;
        let record = CredentialRecord {
            id: before.as_ref().map_or_else(Uuid::now_v7, |before| before.record.id),
            name: name.to_owned(),
            username: definition.username,
            password: definition.password,
            totp_secret: definition.totp_secret,
        };
        self.store.save_credential(record.clone()).await?;
        // An unchanged TOTP secret keeps its record of used codes.
        let totp =
            before.and_then(|before| before.totp).filter(|before| made.as_ref() == Some(before)).or(made);
        let known = Known { record, totp };
        let shown = known.shown();
        self.known.write().insert(name.to_owned(), known);
        Ok(shown)
    }

    /// Deletes a credential.
    ///
    /// # Errors
    /// Returns why the credential still exists.
    pub async fn remove(&self, name: &str) -> Result<(), CredentialsError> {
        let _writing = self.writing.lock().await;
        let id = self.read().get(name).map(|known| known.record.id).ok_or(CredentialsError::Unknown)?;
        self.store.remove_credential(id).await?;
        self.known.write().remove(name);
        Ok(())
    }

    fn read(&self) -> parking_lot::RwLockReadGuard<'_, BTreeMap<String, Known>> {
        self.known.read()
    }
}

/// What a session signs in with.
#[derive(Debug, Clone)]
pub enum Login {
    /// Values from the request that created the session.
    Own {
        /// The user name.
        username: Option<String>,
        /// The password.
        password: Option<SecretString>,
    },
    /// A stored credential, which is looked up when it is used.
    Named {
        /// The name.
        name: String,
        /// The credentials.
        credentials: Arc<Credentials>,
    },
}

impl Login {
    /// Returns the name of the credential, if it is one.
    #[must_use]
    pub fn credential(&self) -> Option<&str> {
        match self {
            Self::Own { .. } => None,
            Self::Named { name, .. } => Some(name),
        }
    }

    /// Returns the user name.
    #[must_use]
    pub fn username(&self) -> Option<String> {
        match self {
            Self::Own { username, .. } => username.clone(),
            Self::Named { name, credentials } => Some(credentials.get(name)?.username),
        }
    }

    /// Returns the current password.
    #[must_use]
    pub fn password(&self) -> Option<SecretString> {
        match self {
            Self::Own { password, .. } => password.clone(),
            Self::Named { name, credentials } => credentials.read().get(name)?.record.password.clone(),
        }
    }

    /// Returns the password from the request that created the session.
    #[must_use]
    pub fn own_password(&self) -> Option<&SecretString> {
        match self {
            Self::Own { password, .. } => password.as_ref(),
            Self::Named { .. } => None,
        }
    }

    /// Discards the password from the request that created the session.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        match self {
            Self::Own { username, .. } => Self::Own { username: username.clone(), password: None },
            named @ Self::Named { .. } => named.clone(),
        }
    }

    /// Returns the values that a flow is filled in with.
    #[must_use]
    pub fn values(&self) -> Values {
        let mut values = Values::new();
        if let Some(username) = self.username() {
            values.insert("username", username.into());
        }
        if let Some(password) = self.password() {
            values.insert("password", password);
        }
        if let Self::Named { name, credentials } = self
            && let Some(totp) = credentials.read().get(name).and_then(|known| known.totp.clone())
        {
            values.set_totp(totp);
        }
        values
    }

    /// Returns the first placeholder of a flow that has no value.
    #[must_use]
    pub fn lacks(&self, flow: &Flow) -> Option<&'static str> {
        let (wanted, values) = (flow.placeholders(), self.values());
        ["username", "password", TOTP]
            .into_iter()
            .find(|placeholder| wanted.contains(*placeholder) && !values.contains(placeholder))
    }
}

#[cfg(test)]
mod tests {
    use pilotlight_store::MemoryStore;
    use secrecy::ExposeSecret;

    use super::*;

    fn definition(password: &str, totp: Option<&str>) -> CredentialDefinition {
        CredentialDefinition {
            username: "acme".to_owned(),
            password: Some(password.into()),
            totp_secret: totp.map(Into::into),
        }
    }

    #[tokio::test]
    async fn a_correction_reaches_who_holds_the_name() {
        let store = StoreHandle::start(MemoryStore::default()).unwrap();
        let credentials = Arc::new(Credentials::new(store.clone(), Vec::new()));
        let login = Login::Named { name: "harbour".to_owned(), credentials: Arc::clone(&credentials) };
        let typed = |value| serde_json::json!({"type": "change", "selectors": ["#a"], "value": value});
        let steps = ["${username}", "${password}", "${totp}"].map(typed);
        let flow = Flow::from_value(&serde_json::json!({"title": "sign in", "steps": steps})).unwrap();
        assert_eq!(login.lacks(&flow), Some("username"));
        credentials.define("harbour", definition("old", None)).await.unwrap();
        assert_eq!(login.lacks(&flow), Some("totp"));
        let shown = credentials.define("harbour", definition("new", Some("GEZDGNBVGY3TQOJQ"))).await.unwrap();
        assert!(shown.has_password && shown.has_totp_secret);
        assert_eq!(login.values().fill("${username}:${password}").unwrap().expose_secret(), "acme:new");
        assert_eq!(login.lacks(&flow), None);
        assert!(!format!("{credentials:?} {login:?}").contains("new"));
        assert_eq!(store.load().await.unwrap().credentials.len(), 1);
        credentials.remove("harbour").await.unwrap();
        assert!(matches!(credentials.remove("harbour").await, Err(CredentialsError::Unknown)));
        assert!(store.load().await.unwrap().credentials.is_empty() && login.username().is_none());
    }
}
