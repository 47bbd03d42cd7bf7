//! Hidden pages of a window, which clients do not see.

use std::collections::HashSet;

use pilotlight_cdp::SessionId;
use pilotlight_cdp::protocol::target::AttachedToTarget;
use url::Url;

/// The path of a stub in its origin: one that no site has, so that it can be recognised.
pub(crate) const STUB_PATH: &str = "/.well-known/pilotlight-stub";
/// The URL with which a hidden page begins.
pub(crate) const BLANK: &str = "about:blank#pilotlight-stub";

/// The hidden pages of a window. A page is attached to before its creator is known, so while a hidden one is being
/// created, others wait.
#[derive(Debug, Default)]
pub(crate) struct Hidden {
    pub(crate) pending: usize,
    pub(crate) targets: HashSet<String>,
    pub(crate) waiting: Vec<AttachedToTarget>,
}

/// The kind of a new page.
#[derive(Debug)]
pub(crate) enum Sorted {
    /// Hidden: it runs, and a separate session controls it.
    Hidden(AttachedToTarget),
    /// Opened by a hidden page, and not requested.
    OfHidden(AttachedToTarget),
    /// It has to wait until that is known.
    Waits,
    /// An ordinary page.
    Shown(AttachedToTarget),
}

impl Hidden {
    pub(crate) fn sort(&mut self, attached: AttachedToTarget) -> Sorted {
        if self.targets.contains(&attached.target_info.target_id) {
            return Sorted::Hidden(attached);
        }
        if attached.target_info.opener_id.as_ref().is_some_and(|opener| self.targets.contains(opener)) {
            return Sorted::OfHidden(attached);
        }
        // A session that was opened for one query of a known page is never paused.
        if self.pending == 0 || !attached.waiting_for_debugger {
            return Sorted::Shown(attached);
        }
        self.waiting.push(attached);
        Sorted::Waits
    }

    /// Adds a hidden page of an earlier server, which is about to be closed.
    pub(crate) fn disown(&mut self, target: String) {
        self.targets.insert(target);
    }

    /// Notes that a waiting page was closed.
    pub(crate) fn forget(&mut self, session: &SessionId) {
        self.waiting.retain(|waiting| waiting.session_id != *session);
    }
}

/// Returns whether a page with this URL is a hidden one, whoever created it.
pub(crate) fn is_stub(url: &str) -> bool {
    url == BLANK || Url::parse(url).is_ok_and(|url| url.path() == STUB_PATH)
}

#[cfg(test)]
mod tests {
    use pilotlight_cdp::Notification;
    use serde_json::json;

    use super::*;

    fn attached(target: &str, waiting: bool) -> AttachedToTarget {
        let info = json!({"targetId": target, "type": "page", "title": "", "url": ""});
        let event =
            json!({"sessionId": format!("of {target}"), "targetInfo": info, "waitingForDebugger": waiting});
        serde_json::from_value(event).unwrap_or_else(|error| panic!("{}: {error}", AttachedToTarget::METHOD))
    }

    #[test]
    fn hidden_pages_are_known_by_their_url() {
        for url in [BLANK, "https://a.test/.well-known/pilotlight-stub"] {
            assert!(is_stub(url), "{url}");
        }
        for url in [
            "about:blank",
            "about:blank#popup",
            "https://a.test/",
            "https://a.test/?/.well-known/pilotlight-stub",
        ] {
            assert!(!is_stub(url), "{url}");
        }
    }

    #[test]
    fn what_a_hidden_page_opens_is_no_page_of_the_window() {
        let mut hidden = Hidden::default();
        hidden.targets.insert("hidden".into());
        let mut popup = attached("popup", true);
        popup.target_info.opener_id = Some("hidden".into());
        assert!(matches!(hidden.sort(popup), Sorted::OfHidden(_)));
        let mut popup = attached("popup", true);
        popup.target_info.opener_id = Some("shown".into());
        assert!(matches!(hidden.sort(popup), Sorted::Shown(_)));
    }

    #[test]
    fn pages_wait_only_while_a_hidden_one_is_being_made() {
        let mut hidden = Hidden::default();
        assert!(matches!(hidden.sort(attached("popup", true)), Sorted::Shown(_)));
        hidden.pending += 1;
        assert!(matches!(hidden.sort(attached("either", true)), Sorted::Waits));
        assert!(matches!(hidden.sort(attached("gone", true)), Sorted::Waits));
        assert!(matches!(hidden.sort(attached("asked", false)), Sorted::Shown(_)));
        hidden.forget(&SessionId::from("of gone"));
        let waiting: Vec<_> = hidden.waiting.iter().map(|page| &*page.target_info.target_id).collect();
        assert_eq!(waiting, ["either"]);
        hidden.targets.insert("either".into());
        assert!(matches!(hidden.sort(attached("either", true)), Sorted::Hidden(_)));
    }
}
