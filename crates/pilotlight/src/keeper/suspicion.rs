//! Sessions without conditions: their status is unknown, but a page may look signed out. It shows a password field,
//! or it was loaded again and led to another address.
//!
//! Either may be wrong, so that it is reported and nothing else is done.

use pilotlight_core::{Moment, Session, SignInStatus, Suspicion};
use url::Url;

/// Whether somebody can see a field for a password that he has: in the main document, its shadow roots and its frames of
/// the same origin. A field for a new password is none, and neither is one that is hidden until it is wanted. Only the first
/// elements are looked at for shadow roots, so that the largest page costs a few milliseconds.
pub(super) const SHOWS_PASSWORD_FIELD: &str = r#"(() => {
  const FIELDS = "input[type=password i]:not([autocomplete~='new-password' i]), input[autocomplete~='current-password' i]";
  let elementsLeft = 5_000;
  const isShown = (element) => {
    const box = element.getBoundingClientRect();
    const { scrollX, scrollY } = element.ownerDocument.defaultView;
    return box.width > 1 && box.height > 1 && box.right + scrollX > 0 && box.bottom + scrollY > 0
      && element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  };
  const shows = (root) => {
    if ([...root.querySelectorAll(FIELDS)].some(isShown)) return true;
    for (const frame of root.querySelectorAll('iframe, frame')) {
      if (isShown(frame) && frame.contentDocument && shows(frame.contentDocument)) return true;
    }
    const elements = root.querySelectorAll('*');
    for (let index = 0; index < elements.length && elementsLeft > 0; index += 1, elementsLeft -= 1) {
      const { shadowRoot } = elements[index];
      if (shadowRoot && shows(shadowRoot)) return true;
    }
    return false;
  };
  return shows(document);
})()"#;

/// What the rules know of a session that its activities need.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownBefore {
    /// When a sign-in was typed whose outcome is not known yet.
    pub(super) tried_at: Option<Moment>,
    /// The address to which its page has moved, if it looks signed out because of that.
    pub(super) moved_to: Option<String>,
    /// Whether its window is open only for a refresh.
    pub(super) is_asleep: bool,
}

impl KnownBefore {
    pub(super) fn of(session: &Session) -> Self {
        let moved_to = match session.sign_in.suspicion() {
            Some(Suspicion::Moved { to }) => Some(to.clone()),
            Some(Suspicion::PasswordField) | None => None,
        };
        Self { tried_at: session.tried_at(), moved_to, is_asleep: session.has_refresh_window() }
    }

    /// Returns where a page has moved that was loaded again at `from` and is at `now`. One that leaves the place to which
    /// it had moved before is on its way back.
    pub(super) fn moved(&self, from: &str, now: &str) -> Option<String> {
        let (from, now) = (place(from)?, place(now)?);
        (from != now && self.moved_to.as_ref() != Some(&from)).then_some(now)
    }

    /// Returns the status of a page at `url`: one that has moved looks signed out for as long as it is where it moved to.
    pub(super) fn applied(&self, status: SignInStatus, url: &str) -> SignInStatus {
        match place(url) {
            Some(to) if status == SignInStatus::Unknown && self.moved_to.as_ref() == Some(&to) => {
                SignInStatus::LooksSignedOut(Suspicion::Moved { to })
            }
            _ => status,
        }
    }
}

/// Returns the address of a web page without what may change while it is the same page: its query and parameters. A
/// fragment that begins with a slash is part of the path.
fn place(address: &str) -> Option<String> {
    let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let path = url.path().split(';').next().unwrap_or_default().trim_end_matches('/');
    let route = url.fragment().filter(|fragment| fragment.trim_start_matches('!').starts_with('/'));
    let route = route.and_then(|route| route.split('?').next()).map(|route| format!("#{route}"));
    Some(format!("{}{path}{}", url.origin().ascii_serialization(), route.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSIDE: &str = "https://portal.test/app/orders?page=2";

    fn moved(from: &str, now: &str) -> Option<String> {
        KnownBefore::default().moved(from, now)
    }

    #[test]
    fn a_page_has_moved_where_its_path_is_another() {
        let login = Some("https://portal.test/login".to_owned());
        assert_eq!(moved(INSIDE, "https://portal.test/login?next=%2Fapp"), login);
        assert_eq!(moved("https://portal.test/", "https://portal.test/login"), login);
        let elsewhere = moved(INSIDE, "https://identity.test/app/orders");
        assert_eq!(elsewhere.as_deref(), Some("https://identity.test/app/orders"));
        let by_route = moved("https://portal.test/#/orders", "https://portal.test/#!/login?x=1");
        assert_eq!(by_route.as_deref(), Some("https://portal.test#!/login"));
    }

    #[test]
    fn what_changes_beside_the_path_is_no_move() {
        for same in [
            INSIDE,
            "https://portal.test/app/orders/?page=3#top",
            "https://portal.test/app/orders;jsessionid=1",
        ] {
            assert_eq!(moved(INSIDE, same), None, "{same}");
        }
        for no_page in ["about:blank", "data:text/html,x", "chrome-error://chromewebdata/", ""] {
            assert_eq!(moved(INSIDE, no_page), None, "{no_page}");
            assert_eq!(moved(no_page, INSIDE), None, "{no_page}");
        }
    }

    #[test]
    fn a_page_that_has_moved_looks_signed_out_until_it_is_elsewhere() {
        let to = "https://portal.test/login".to_owned();
        let known = KnownBefore { moved_to: Some(to.clone()), ..KnownBefore::default() };
        let still = SignInStatus::LooksSignedOut(Suspicion::Moved { to });
        let at_login = "https://portal.test/login?again";
        assert_eq!(known.applied(SignInStatus::Unknown, at_login), still);
        assert_eq!(known.applied(SignInStatus::Unknown, INSIDE), SignInStatus::Unknown);
        assert_eq!(known.applied(SignInStatus::SignedIn, at_login), SignInStatus::SignedIn);
        assert_eq!(known.moved(at_login, INSIDE), None, "it was let in");
        let away = known.moved(INSIDE, "https://portal.test/goodbye");
        assert_eq!(away.as_deref(), Some("https://portal.test/goodbye"));
    }
}
