//! Flows replayed on a real page: the custom steps, and recordings as Chrome exports them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use pilotlight_chromium::Window;
use pilotlight_chromium::find::Engine;
use pilotlight_chromium::profiles::Profile;
use pilotlight_demo_portal::{Booking, PASSWORD, Portal, PortalOptions};
use pilotlight_flow::replay::{Event, Product, ReplayOptions, replay, replay_part};
use pilotlight_flow::{Flow, Totp, Values};
use serde_json::{Value, json};

use crate::portal::{Answer, Server};
use crate::support::Fixture;

/// Lists and a download, of the kinds that portals have.
const YARD: &str = r#"<!doctype html><title>Yard</title>
<p id="greeting">  Hello
 yard </p>
<a id="pass" href="/pass" download="whatever">Gate pass</a>
<input id="seal" value="S-1"><input id="pin" type="password" value="4711"><input id="hot" type="checkbox" checked>
<select id="gate"><option>Gate 1</option><option selected>Gate 2</option></select>
<table id="slots"><thead><tr><th>Time</th><th></th></tr></thead><tbody><tr><td>07:00</td><td>free</td></tr>
<tr><td>08:00</td><td>full</td></tr></tbody></table>
<table id="bare"><tr><td>a</td><td>b</td></tr></table>
<div role="table" id="aria"><div role="row"><span role="columnheader">Box</span></div>
<div role="row"><span role="cell">MSKU</span></div></div>
<div id="list" style="height:200px;overflow:auto"><div class="row">0</div></div>
<div id="virtual" style="height:100px;overflow:auto"><div id="tall" style="height:4000px;position:relative"></div></div>
<script>
  const list = document.querySelector('#list');
  let rows = 1, loading = false;
  const more = () => {
    if (loading || rows >= 60) return;
    loading = true;
    setTimeout(() => {
      for (let i = 0; i < 20 && rows < 60; i++) list.insertAdjacentHTML('beforeend', `<div class="row" style="height:40px">${rows++}</div>`);
      loading = false;
    }, 60);
  };
  more();
  list.addEventListener('scroll', () => {
    if (list.scrollTop + list.clientHeight > list.scrollHeight - 60) more();
  });
  const area = document.querySelector('#virtual'), tall = document.querySelector('#tall');
  const draw = () => {
    const first = Math.floor(area.scrollTop / 40);
    tall.innerHTML = Array.from({length: 5}, (_, i) => `<i id="v${first + i}" style="position:absolute;top:${(first + i) * 40}px">${first + i}</i>`).join('');
  };
  area.addEventListener('scroll', draw);
  draw();
</script>"#;

async fn yard() -> Server {
    Server::start(|request| {
        Some(match request.target.as_str() {
            "/pass" => Answer {
                headers: vec![
                    "Content-Type: application/pdf".into(),
                    "Content-Disposition: attachment; filename=\"../gate pass.pdf\"".into(),
                ],
                ..Answer::html("%PDF-1.7 pass")
            },
            _ => Answer::html(YARD),
        })
    })
    .await
}

fn custom(name: &str, parameters: &Value) -> Value {
    json!({"type": "customStep", "name": name, "parameters": parameters})
}

async fn replayed(window: &Window, steps: Vec<Value>) -> Vec<Product> {
    let flow = Flow::from_value(&json!({"title": "t", "steps": steps})).unwrap();
    let mut products = Vec::new();
    let observe = |event| {
        if let Event::Made(product) = event {
            products.push(product);
        }
    };
    replay(window, &flow, &Values::new(), &ReplayOptions::default(), observe).await.unwrap();
    products
}

async fn outputs(window: &Window, steps: Vec<Value>) -> Vec<(String, Value)> {
    let output = |product| match product {
        Product::Output { name, value } => (name, value),
        other => panic!("{other:?}"),
    };
    replayed(window, steps).await.into_iter().map(output).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_shows_is_read_as_json() {
    let (fixture, site) = (Fixture::start().await, yard().await);
    let window = fixture.window().await;
    let cases = [
        ("#greeting", json!("Hello yard")),
        ("#seal", json!("S-1")),
        ("#pin", json!(null)),
        ("#hot", json!(true)),
        ("#gate", json!("Gate 2")),
        ("#slots", json!([{"Time": "07:00", "column 2": "free"}, {"Time": "08:00", "column 2": "full"}])),
        ("#bare", json!([["a", "b"]])),
        ("#aria", json!([{"Box": "MSKU"}])),
    ];
    let mut steps = vec![json!({"type": "navigate", "url": site.url("/")})];
    steps.extend(
        cases.iter().map(|(css, _)| custom("extract", &json!({"name": css, "selectors": ["#not", css]}))),
    );
    steps.push(custom("extract", &json!({"name": "href", "selectors": ["#pass"], "attribute": "href"})));
    steps.push(custom("extract", &json!({"name": "cells", "selectors": ["#slots td"], "all": true})));
    let found = outputs(&window, steps).await;
    for ((name, value), (css, expected)) in found.iter().zip(&cases) {
        assert_eq!((name.as_str(), value), (*css, expected));
    }
    assert_eq!(found[cases.len()].1, json!("/pass"));
    assert_eq!(found[cases.len() + 1].1, json!(["07:00", "free", "08:00", "full"]));
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_and_virtual_lists_are_gone_down() {
    let (fixture, site) = (Fixture::start().await, yard().await);
    let window = fixture.window().await;
    let steps = vec![
        json!({"type": "navigate", "url": site.url("/")}),
        custom("scrollUntil", &json!({"stable": [".row"]})),
        custom("extract", &json!({"name": "rows", "selectors": [".row"], "all": true})),
        custom("scrollUntil", &json!({"selectors": ["#v90"], "within": ["#virtual"]})),
        custom("extract", &json!({"name": "far", "selectors": ["#v90"]})),
    ];
    let found = outputs(&window, steps).await;
    assert_eq!(found[0].1.as_array().unwrap().len(), 60);
    assert_eq!(found[1].1, json!("90"));
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_handed_out_and_leaves_nothing() {
    let site = Arc::new(yard().await);
    for engine in [Engine::HeadlessShell, Engine::Headless] {
        let fixture = Fixture::with(Profile::Dense.into(), engine, std::collections::HashMap::new()).await;
        let window = fixture.window().await;
        let steps = vec![
            json!({"type": "navigate", "url": site.url("/")}),
            custom("download", &json!({"name": "pass", "selectors": ["aria/Gate pass"]})),
            custom("screenshot", &json!({"name": "after"})),
        ];
        let mut products = replayed(&window, steps).await.into_iter();
        let Some(Product::Download { name, mut download }) = products.next() else { panic!() };
        let mut text = String::new();
        download.file.read_to_string(&mut text).unwrap();
        assert_eq!((name.as_str(), text.as_str(), download.size), ("pass", "%PDF-1.7 pass", 13));
        assert!(download.suggested_name.ends_with("gate pass.pdf"), "{}", download.suggested_name);
        let Some(Product::Screenshot { name, png }) = products.next() else { panic!() };
        assert_eq!((name.as_deref(), &png[1..4]), (Some("after"), &b"PNG"[..]));
        fixture.browser.close().await;
    }
}

/// Signs in to the demo portal, and gives its flows by name.
async fn at_portal(window: &Window) -> (Portal, BTreeMap<String, Flow>) {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let site = portal.site();
    let values = Values::new().with("username", "acme").with("password", PASSWORD);
    let sign_in = Flow::parse(&site.sign_in_json).unwrap();
    replay(window, &sign_in, &values, &ReplayOptions::default(), |_| {}).await.unwrap();
    let flows = site.flows.into_iter().map(|(path, flow)| (path, Flow::parse(&flow).unwrap()));
    (portal, flows.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appointment_is_booked_phase_by_phase() {
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    let (portal, flows) = at_portal(&window).await;
    let values = Values::new()
        .with("terminal", "Pier T")
        .with("container", "MSKU4822107")
        .with("own_chassis", "true")
        .with("truck_plate", "HH-AB 123")
        .with("time", "16:30");
    let mut products = Vec::new();
    for phase in ["portal/1-container.json", "portal/2-truck.json", "portal/3-time.json"] {
        let observe = |event| {
            if let Event::Made(product) = event {
                products.push(product);
            }
        };
        replay(&window, &flows[phase], &values, &ReplayOptions::default(), observe).await.unwrap();
    }
    let bookings = portal.bookings();
    let [booking] = &bookings[..] else { panic!("{bookings:?}") };
    let wanted = Booking {
        number: "HG-0001".into(),
        user: "acme".into(),
        terminal: "Pier T".into(),
        container: "MSKU4822107".into(),
        own_chassis: true,
        truck_plate: "HH-AB 123".into(),
        date: "12 March 2031".into(),
        time: "16:30".into(),
    };
    assert_eq!(*booking, wanted);
    let [
        Product::Output { value: confirmation, .. },
        Product::Output { value: summary, .. },
        Product::Download { download, .. },
        Product::Screenshot { .. },
    ] = &products[..]
    else {
        panic!("{products:?}")
    };
    assert_eq!(*confirmation, json!("HG-0001"));
    assert_eq!(summary[4], json!({"Field": "Time", "Value": "12 March 2031, 16:30"}));
    assert_eq!(download.suggested_name, "gate-pass-HG-0001.txt");
    fixture.browser.close().await;
}

/// Chips go, a calendar turns its pages, and one choice takes another's place.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_picked_is_picked_anew() {
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    let (portal, flows) = at_portal(&window).await;
    let values = Values::new()
        .with("terminal", "West Basin")
        .with("container", "MSKU4822107")
        .with("own_chassis", "false")
        .with("truck_plate", "HH-AB 123")
        .with("time", "06:30");
    let options = ReplayOptions::default();
    replay(&window, &flows["portal/1-container.json"], &values, &options, |_| {}).await.unwrap();
    let click = |name: &str| json!({"type": "click", "selectors": [format!("aria/{name}")], "offsetX": 9, "offsetY": 9});
    let key = |kind: &str| json!({"type": kind, "key": "Enter"});
    let wrong_plate = vec![
        json!({"type": "change", "selectors": ["aria/Truck plate"], "value": "HH-XX 9"}),
        key("keyDown"),
        key("keyUp"),
        click("Remove HH-XX 9"),
        json!({"type": "waitForElement", "selectors": ["mat-chip-row"], "visible": false}),
    ];
    replayed(&window, wrong_plate).await;
    replay(&window, &flows["portal/2-truck.json"], &values, &options, |_| {}).await.unwrap();
    let turned = ["Open calendar", "Next month", "Next month", "Previous month", "30 April 2031"];
    let days = ["Open calendar", "12 March 2031"].into_iter().chain(turned);
    replayed(&window, days.map(click).collect()).await;
    // The day is chosen; the rest is as ever.
    let time = &flows["portal/3-time.json"];
    replay_part(&window, time, 2..time.steps.len(), &values, &options, |_| {}).await.unwrap();
    let bookings = portal.bookings();
    let [booking] = &bookings[..] else { panic!("{bookings:?}") };
    assert_eq!((booking.truck_plate.as_str(), booking.date.as_str()), ("HH-AB 123", "30 April 2031"));
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_table_is_read_to_its_end() {
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    let (_portal, flows) = at_portal(&window).await;
    let mut moves = Value::Null;
    let observe = |event| {
        if let Event::Made(Product::Output { value, .. }) = event {
            moves = value;
        }
    };
    replay(&window, &flows["portal/moves.json"], &Values::new(), &ReplayOptions::default(), observe)
        .await
        .unwrap();
    assert_eq!(moves.as_array().unwrap().len(), 100);
    assert_eq!(moves[99], json!({"Number": "M-099", "Container": "CMAU5503918", "Gate": "4"}));
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_given_and_never_twice() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let totp = Totp::parse(&"otpauth://totp/acme?secret=GEZDGNBVGY3TQOJQ&period=3".into()).unwrap();
    assert!(portal.set_second_factor("acme", Some(totp.clone())));
    let mut values = Values::new().with("username", "acme").with("password", PASSWORD);
    values.set_totp(totp);
    let sign_in = Flow::parse(&portal.site().with_second_factor().sign_in_json).unwrap();
    let fixture = Fixture::start().await;
    for sign_ins in 1..=2 {
        let window = fixture.window().await;
        replay(&window, &sign_in, &values, &ReplayOptions::default(), |_| {}).await.unwrap();
        assert_eq!((portal.sign_ins("acme"), portal.counts("acme").refused_codes), (sign_ins, 0));
    }
    fixture.browser.close().await;
}
