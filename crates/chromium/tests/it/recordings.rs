//! Recordings in the shape in which the Recorder exports them, replayed on pages that note what reaches them:
//! frames, popups, shadow roots, waits, keys, touch, and navigations that must come.

use std::collections::HashMap;

use pilotlight_chromium::Window;
use pilotlight_chromium::find::Engine;
use pilotlight_chromium::profiles::{CustomProfile, Profile};
use pilotlight_flow::page::{Page, Scope};
use pilotlight_flow::replay::{Event, Product, ReplayOptions, replay};
use pilotlight_flow::{Flow, Values};
use serde_json::{Value, json};

use crate::portal::{Answer, Server};
use crate::support::{Fixture, LIMIT};

const SIGN_IN: &str = include_str!("../../../flow/samples/sign-in.json");
const BERTH: &str = include_str!("../../../flow/samples/berth.json");
const BOOKING: &str = include_str!("../../../flow/samples/booking.json");

const SIGN_IN_PAGE: &str = r#"<!doctype html><title>Harbour Gate · Sign in</title><main><form action="/">
<label>User name <input name="username" id="username"></label>
<label>Password <input name="password" id="password" type="password"></label><button>Sign in</button></form></main>"#;

/// Every site of the recordings, by path.
async fn sites() -> Server {
    Server::start(|request| {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        Some(Answer::html(match path {
            "/" => format!("<!doctype html><title>Harbour Gate</title><script>log = ['{query}']</script>"),
            // Both portals have one; the recordings tell them apart by their hosts.
            "/login" if request.header("host").is_some_and(|host| host.starts_with("localhost")) => {
                include_str!("recordings/berth.html").into()
            }
            "/login" => SIGN_IN_PAGE.into(),
            "/calendar" => "<iframe src='/month'></iframe><iframe src='/picker'></iframe>".into(),
            "/picker" => include_str!("recordings/picker.html").into(),
            "/popup" => {
                "<p id=slot ondblclick=\"opener.top.log.push(['dblclick', this.id, null])\">Slot".into()
            }
            "/appointments" => include_str!("recordings/booking.html").into(),
            "/piers" => "<iframe src='/month'></iframe><iframe src='/pier'></iframe>".into(),
            "/pier" => {
                "<p id=pier-t onmouseover=\"top.log.push(['mouseover', this.id, null])\">Pier T".into()
            }
            _ => "<!doctype html><title>Month</title>".into(),
        }))
    })
    .await
}

/// What the page has noted once the recording is replayed, and the names of the pictures that were taken.
async fn replayed(window: &Window, sites: &Server, recording: &str) -> (Value, Vec<String>) {
    let portal = sites.url("");
    let recording = recording
        .replace("https://portal.example", &portal)
        .replace("https://berths.example", &portal.replace("127.0.0.1", "localhost"));
    let values = Values::new()
        .with("username", "acme")
        .with("password", "p4ss")
        .with("terminal", "Pier T")
        .with("container", "MSKU4822107");
    let options = ReplayOptions { step_timeout: LIMIT, ..ReplayOptions::default() };
    let mut pictures = Vec::new();
    let observe = |event| {
        if let Event::Made(Product::Screenshot { name: Some(name), .. }) = event {
            pictures.push(name);
        }
    };
    replay(window, &Flow::parse(&recording).unwrap(), &values, &options, observe).await.unwrap();
    (Page::evaluate(window, &Scope::default(), "log").await.unwrap(), pictures)
}

async fn recordings_reach_their_pages(engine: Engine) {
    let sites = sites().await;
    // Full Chromium blocks popups that nobody clicks for, and one of the recordings has such.
    let profile = CustomProfile { add: vec!["--disable-popup-blocking".into()], ..Profile::Dense.into() };
    let fixture = Fixture::with(profile, engine, HashMap::new()).await;
    let window = fixture.window().await;

    let (noted, _) = replayed(&window, &sites, SIGN_IN).await;
    assert_eq!(noted, json!(["username=acme&password=p4ss"]), "{engine}");

    let (noted, pictures) = replayed(&window, &sites, BOOKING).await;
    let expected = json!([
        ["scroll", 640, 121],
        ["mouseover", "pier-t", null],
        ["touchend", "slot-2", null],
        ["change", "container", "MSKU4822107"],
        ["touchend", "slot-2", null],
        ["contextmenu", "book", null],
        ["keydown", "book", "Enter"],
    ]);
    assert_eq!((noted, pictures), (expected, vec!["slots".to_owned()]), "{engine}");
    assert_eq!(window.summary().tabs, 1, "{engine}: the popup is closed");

    // On a window of its own: the one before has the other recording's network and screen.
    let window = fixture.window().await;
    let (noted, _) = replayed(&window, &sites, BERTH).await;
    let expected = json!([
        ["click", "berth", ""],
        ["focusout", "berth", "A-7"],
        ["click", "Tuesday", null],
        ["dblclick", "slot", null],
        ["mouseover", "tides", null],
        ["scroll", 900, 40],
    ]);
    assert_eq!(noted, expected, "{engine}");
    assert_eq!(window.summary().tabs, 1, "{engine}: the popup is closed");
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_reach_their_pages_in_the_headless_shell() {
    recordings_reach_their_pages(Engine::HeadlessShell).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_reach_their_pages_in_chromium() {
    recordings_reach_their_pages(Engine::Headless).await;
}
