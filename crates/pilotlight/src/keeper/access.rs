//! The login of a session: whether it can sign in, and how its account is recognised.

use pilotlight_core::{Access, AccountId, LoginId};
use pilotlight_flow::placeholders::TOTP;
use url::Url;

use super::session_target::SessionTarget;
use crate::credentials::Login;
use crate::fingerprint::Fingerprint;

/// Why a session cannot sign in at its site.
#[derive(Debug, thiserror::Error)]
pub enum CannotSignIn {
    /// There is no such credential.
    #[error("there is no credential `{0}`")]
    UnknownCredential(String),
    /// The site's sign-in needs a value that is missing.
    #[error("field `{0}` is missing: the site's sign-in needs it")]
    Missing(&'static str),
    /// The site's sign-in needs a value that the credential does not have.
    #[error("the credential in field `credential` has no `${{{0}}}`, which the site's sign-in needs")]
    Lacks(&'static str),
    /// The site's sign-in would use another account.
    #[error("the site's sign-in has a fixed user name, which is not the requested one")]
    UsernameNotUsed,
}

impl SessionTarget {
    /// Checks that the site's flow can be filled in. A site without a flow is signed in to by a person.
    pub(crate) fn can_sign_in(&self) -> Result<(), CannotSignIn> {
        if let Login::Named { name, credentials } = &self.login
            && credentials.get(name).is_none()
        {
            return Err(CannotSignIn::UnknownCredential(name.clone()));
        }
        if self.site.as_ref().zip(self.login.username()).is_some_and(|(site, name)| site.misnames(&name)) {
            return Err(CannotSignIn::UsernameNotUsed);
        }
        let flow = self.site.as_ref().and_then(|site| site.sign_in.as_ref());
        match flow.and_then(|flow| self.login.lacks(flow)) {
            None => Ok(()),
            Some(TOTP) if self.login.credential().is_none() => Err(CannotSignIn::Missing("credential")),
            Some(field) if self.login.credential().is_none() => Err(CannotSignIn::Missing(field)),
            Some(placeholder) => Err(CannotSignIn::Lacks(placeholder)),
        }
    }

    /// Returns the current login of the session. One portal may be configured as several sites: an account belongs to
    /// the portal.
    pub(crate) fn access(&self, fingerprint: &Fingerprint) -> Access {
        let flow = self.site.as_ref().and_then(|site| site.sign_in.as_ref());
        let can_sign_in = flow.is_some() && self.can_sign_in().is_ok();
        let portal = Url::parse(&self.start_url).ok().filter(|_| self.site.is_some());
        let Some((portal, user)) = portal.zip(self.login.username()) else {
            return Access { can_sign_in, ..Access::default() };
        };
        let portal = portal.origin().ascii_serialization();
        Access {
            account: Some(AccountId(fingerprint.of(&[&portal, &user]))),
            login: Some(LoginId(fingerprint.identity(&portal, &user, self.login.password().as_ref()))),
            can_sign_in,
        }
    }
}
