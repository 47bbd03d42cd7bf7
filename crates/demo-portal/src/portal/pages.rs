//! The portal's pages: HTML with a few marks to fill in.

use std::time::Duration;

use serde_json::json;

use super::{InPlace, heavy, yard};

/// Lies over a whole page and takes its clicks.
const COVER: &str = "<div style=\"position: fixed; inset: 0\"></div>";

/// What pages have in common, by its mark.
const PARTS: [(&str, &str); 3] = [
    ("head", include_str!("pages/head.html")),
    ("toolbar", include_str!("pages/toolbar.html")),
    ("style", include_str!("pages/style.css")),
];

/// What the log-in page says besides its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Login {
    /// What went wrong; empty for nothing.
    pub(super) error: &'static str,
    pub(super) has_captcha: bool,
    /// The form has other fields, which no recording of the old one finds.
    pub(super) is_redesigned: bool,
}

pub(super) fn dashboard(user: &str) -> String {
    page(include_str!("pages/dashboard.html"), &[("user", &escape(user))])
}

pub(super) fn appointments(user: &str) -> String {
    page(include_str!("pages/appointments.html"), &[("user", &escape(user))])
}

pub(super) fn popup(user: &str) -> String {
    page(include_str!("pages/popup.html"), &[("user", &escape(user))])
}

pub(super) fn appointment(user: &str) -> String {
    let marks = [("user", &*escape(user)), ("script", include_str!("pages/appointment.js"))];
    page(include_str!("pages/appointment.html"), &marks)
}

pub(super) fn moves(user: &str) -> String {
    page(include_str!("pages/moves.html"), &[("user", &escape(user))])
}

pub(super) fn workbench(user: &str) -> String {
    page(include_str!("pages/workbench.html"), &[("user", &escape(user))])
}

pub(super) fn heavy(user: &str) -> String {
    heavy_of_version(user, "1")
}

/// With parts that no cache knows.
pub(super) fn heavy_anew(user: &str) -> String {
    heavy_of_version(user, &format!("{:032x}", rand::random::<u128>()))
}

fn heavy_of_version(user: &str, version: &str) -> String {
    let marks = [("user", &*escape(user)), ("pictures", &heavy::pictures()), ("version", version)];
    page(include_str!("pages/heavy.html"), &marks)
}

pub(super) fn expiring(user: &str) -> String {
    page(include_str!("pages/expiring.html"), &[("user", &escape(user))])
}

pub(super) fn bookings(user: &str) -> String {
    page(include_str!("pages/bookings.html"), &[("user", &escape(user))])
}

pub(super) fn yard(user: &str) -> String {
    let marks = [("user", &*escape(user)), ("pictures", &yard::pictures())];
    page(include_str!("pages/yard.html"), &marks)
}

pub(super) fn sending(mark: &str) -> String {
    page(include_str!("pages/sending.html"), &[("user", mark)])
}

pub(super) fn goodbye(mark: &str) -> String {
    page(include_str!("pages/goodbye.html"), &[("user", mark)])
}

/// What shows that somebody is signed in.
pub(super) fn mark(user: &str) -> String {
    format!("<button id=\"user\" type=\"button\">{}</button>", escape(user))
}

/// The answer to a form.
pub(super) fn answer(mark: &str, title: &str, text: &str) -> String {
    let text = escape(text);
    format!(
        "<!doctype html><meta charset=\"utf-8\"><link rel=\"icon\" href=\"data:,\"><title>{title}</title>{mark}<h1 id=\"answer\">{text}</h1>"
    )
}

pub(super) fn stay() -> String {
    page(include_str!("pages/stay.html"), &[])
}

/// Covers the page for a while.
pub(super) fn spinner(lasts: Duration) -> String {
    let script =
        format!("setTimeout(() => document.querySelector('#spinner').remove(), {})", lasts.as_millis());
    format!("<div id=\"spinner\" style=\"position: fixed; inset: 0\"></div><script>{script}</script>")
}

/// Covers the page after a while, until it is clicked away, which the cookie remembers.
pub(super) fn banner(after: Duration, cookie: &str) -> String {
    let accept =
        format!("document.cookie = '{cookie}=1; path=/; max-age=86400'; this.parentElement.remove()");
    let banner = format!(
        "<div id=\"banner\" hidden><button id=\"accept\" type=\"button\" onclick=\"{accept}\">Accept all cookies</button></div>"
    );
    let show = "const banner = document.querySelector('#banner'); banner.hidden = false; banner.style = 'position: fixed; inset: 0'";
    format!("{banner}<script>setTimeout(() => {{ {show}; }}, {})</script>", after.as_millis())
}

pub(super) fn captcha() -> String {
    page(include_str!("pages/captcha.html"), &[])
}

pub(super) fn login(login: Login) -> String {
    let captcha = if login.has_captcha { "<iframe src=\"/captcha\" title=\"captcha\"></iframe>" } else { "" };
    let form =
        page(include_str!("pages/login.html"), &[("error", &alert(login.error)), ("captcha", captcha)]);
    if !login.is_redesigned {
        return form;
    }
    form.replace("\"username\"", "\"account\"").replace(">User name<", ">Account<")
}

/// What a form has that stays in its page.
pub(super) fn in_place(style: InPlace) -> String {
    let behaviour = json!({
        "empties": style.empties,
        "messageAfterMs": style.message_after.map(|after| after.as_secs_f64() * 1000.0),
    });
    let behaviour = behaviour.to_string();
    let cover = if style.is_covered { COVER } else { "" };
    page(include_str!("pages/in-place.html"), &[("behaviour", &*behaviour), ("cover", cover)])
}

pub(super) fn code(error: &str) -> String {
    page(include_str!("pages/code.html"), &[("error", &alert(error))])
}

fn alert(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<p id=\"error\" role=\"alert\">{text}</p>") }
}

/// Fills in every `{{mark}}`: first the parts that pages share, which may have marks themselves.
fn page(template: &str, marks: &[(&str, &str)]) -> String {
    let fill = |page: String, (mark, text): &(&str, &str)| page.replace(&format!("{{{{{mark}}}}}"), text);
    let shared = PARTS.iter().fold(template.to_owned(), fill);
    marks.iter().fold(shared, fill)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
