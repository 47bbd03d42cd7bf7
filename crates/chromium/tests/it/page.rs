//! Pages as replays see them: selectors, fields, input, frames, popups.

use std::collections::HashMap;
use std::time::Duration;

use pilotlight_chromium::find::Engine;
use pilotlight_chromium::profiles::Profile;
use pilotlight_chromium::{Window, WindowOptions};
use pilotlight_flow::condition::Condition;
use pilotlight_flow::page::{Button, Click, NetworkConditions, Page, PageError, Scope, Viewport};
use pilotlight_flow::selector::{Part, Selector};
use serde_json::{Value, json};

use crate::portal::{Answer, Server};
use crate::support::{Fixture, LIMIT, until};

const FORM: &str = r#"<!doctype html><title>Form</title>
<style>body { margin: 0 } #far { margin-top: 3000px; scroll-margin: 0 } html { scroll-behavior: smooth }</style>
<form action="/sent"><label>User name <input id="user" value="before"></label>
<input id="password" type="password"><input id="mail" type="email"><input id="number" type="number" value="7">
<textarea id="area">before</textarea><div id="free" contenteditable><b>before</b></div>
<select id="choice"><option value="a">First</option><option value="b"> Second </option></select>
<input id="check" type="checkbox"><input id="radio" type="radio"><input id="date" type="date"><input id="color" type="color">
<input id="file" type="file"><input id="off" disabled><button id="send">Send  <i>it</i></button></form>
<section><p>Hello <span>dear   world</span></p><p hidden>Hello dear world</p></section>
<div id="host"></div><button id="far">Far away</button>
<script>
  const log = window.log = [];
  for (const kind of ['click', 'dblclick', 'contextmenu', 'mouseover', 'keydown', 'keyup', 'input', 'change', 'touchend']) {
    document.addEventListener(kind, (event) => log.push([kind, event.composedPath()[0].id, event.key ?? null, event.isTrusted]), true);
  }
  const outer = document.querySelector('#host').attachShadow({mode: 'open'});
  outer.innerHTML = '<div id="middle"></div><button aria-label="Inner save" id="save">Save</button>';
  outer.querySelector('#middle').attachShadow({mode: 'open'}).innerHTML = '<input id="deep"><em class="deep">deep text</em>';
</script>"#;

/// Things lie over what is to be clicked: a spinner, a header that stays, an invisible field beside its label.
const COVERED: &str = r#"<!doctype html><title>Covered</title><style>body { margin: 0 } header { position: fixed; top: 0; height: 60px; width: 100%; background: white }
#spinner { position: fixed; inset: 0 } #under { display: block; margin: 200px 0 3000px; height: 40px } #box { position: absolute; opacity: 0 } i { pointer-events: none }</style>
<header id="bar">Portal</header><div class="spinner large" id="spinner"></div><button id="under">Under</button>
<button id="icon"><i id="mark">x</i> Go</button><input type="checkbox" id="box"><label for="box" id="label">Agree to it all</label>
<div id="host"></div><iframe id="frame" srcdoc="<button id=inner>Inner</button>"></iframe>
<iframe style="transform: scale(0.5); transform-origin: 0 0; border: 9px solid" height="400" srcdoc="<button id=small style='margin-top: 330px'>Small</button>"></iframe>
<script>
  const log = window.log = [];
  document.addEventListener('click', (event) => log.push(event.composedPath()[0].id), true);
  document.querySelector('#host').attachShadow({mode: 'open'}).innerHTML = '<button id="deep"><span>Deep</span></button>';
</script>"#;

/// Fields that take nothing until they have the focus, or were clicked.
const READ_ONLY: &str = r#"<!doctype html><title>Read-only</title>
<input id="focus" readonly onfocus="this.removeAttribute('readonly')"><input id="late" readonly onfocus="setTimeout(() => { this.readOnly = false; }, 200)">
<input id="mouse" readonly onmousedown="this.readOnly = false"><input id="always" readonly value="kept">"#;

/// Elements that nobody sees, for one reason each, and what is in a shadow root or a frame.
const UNSEEN: &str = r#"<!doctype html><meta name="user" content="acme"><title>Unseen</title>
<p id="none" style="display: none">a</p><p id="hidden" style="visibility: hidden">b</p>
<div style="opacity: 0"><p id="clear">c</p></div><div style="position: absolute; top: -10000px"><p id="away">d</p></div>
<p id="empty" style="height: 0; overflow: hidden"></p><p id="below" style="margin-top: 4000px">e</p><div id="host"></div>
<iframe srcdoc="<p id=inner>in the frame</p>"></iframe><iframe style="visibility: hidden" srcdoc="<p id=inner>captcha</p>"></iframe>
<script>
  document.querySelector('#host').attachShadow({mode: 'open'}).innerHTML =
    '<style>i { color: red }</style><p id="deep">Welcome <i>back</i></p><p hidden>hidden words</p>';
</script>"#;

async fn site() -> Server {
    Server::start(|request| {
        Some(match request.target.split('?').next().unwrap_or_default() {
            "/form" => Answer::html(FORM),
            "/covered" => Answer::html(COVERED),
            "/unseen" => Answer::html(UNSEEN),
            "/read-only" => Answer::html(READ_ONLY),
            "/inner" => Answer::html("<!doctype html><title>inner</title><body style='margin:0'><input id=in><button id=go onclick='window.clicked = 1'>go</button><script>var secret = location.pathname</script>"),
            "/outer" => {
                let host = request.header("host").unwrap_or_default().replace("127.0.0.1", "localhost");
                Answer::html(format!("<!doctype html><body style='margin:0'><div style='height:1200px'>tall</div><iframe style='margin:30px;border:5px solid' width=400 src='http://{host}/nested'></iframe>"))
            }
            "/nested" => {
                let host = request.header("host").unwrap_or_default().replace("localhost", "127.0.0.1");
                Answer::html(format!("<!doctype html><title>nested</title><p>nested</p><iframe style='margin:10px' width=300 src='http://{host}/inner'></iframe>"))
            }
            "/slow" => return None,
            _ => Answer::html("<!doctype html><title>Sent</title><h1>Thank you</h1>"),
        })
    })
    .await
}

fn selector(parts: &[Part]) -> Selector {
    Selector { parts: parts.to_vec() }
}

fn css(value: &str) -> Selector {
    selector(&[Part::Css(value.into())])
}

fn primary() -> Click {
    Click {
        offset_x: 3.0,
        offset_y: 3.0,
        button: Button::Primary,
        count: 1,
        hold: Duration::ZERO,
        touch: false,
    }
}

fn main_page() -> Scope {
    Scope::default()
}

fn frame(path: &[usize]) -> Scope {
    Scope { target: None, frame: path.to_vec() }
}

async fn one(window: &Window, scope: &Scope, selector: &Selector) -> <Window as Page>::Element {
    let mut found = window.find(scope, selector).await.unwrap();
    assert_eq!(found.len(), 1, "{selector:?}");
    found.remove(0)
}

async fn js(window: &Window, expression: &str) -> Value {
    Page::evaluate(window, &main_page(), expression).await.unwrap()
}

async fn form(fixture: &Fixture, site: &Server) -> Window {
    let viewport = Some((800, 600));
    let window =
        fixture.browser.open_window(WindowOptions { viewport, ..WindowOptions::default() }).await.unwrap();
    window.navigate(&site.url("/form"), LIMIT).await.unwrap();
    window
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_selector_finds_its_elements() {
    let site = site().await;
    let fixture = Fixture::start().await;
    let window = form(&fixture, &site).await;
    let aria = |name: &str, role: Option<&str>| Part::Aria { name: name.into(), role: role.map(Into::into) };
    let text = |text: &str| Part::Text(text.into());
    for (parts, ids) in [
        (vec![Part::Css("#user".into())], vec!["user"]),
        (vec![Part::Css("#deep".into())], vec![]),
        (
            vec![Part::Css("#host".into()), Part::Css("#middle".into()), Part::Css("#deep".into())],
            vec!["deep"],
        ),
        (vec![Part::Css("form".into()), Part::Css("input[type=email]".into())], vec!["mail"]),
        (vec![Part::Pierce("#deep".into())], vec!["deep"]),
        (vec![Part::XPath("//button[contains(., 'Send')]".into())], vec!["send"]),
        (vec![Part::XPath("//label/input".into())], vec!["user"]),
        (vec![Part::Css("#host".into()), Part::XPath(".//self::button".into())], vec!["save"]),
        (vec![text("Far away")], vec!["far"]),
        (vec![text("Save")], vec!["save"]),
        (vec![text("no such text")], vec![]),
        (vec![text("Send it")], vec!["send"]),
        (vec![aria("User name", None)], vec!["user"]),
        (vec![aria("User name", Some("textbox"))], vec!["user"]),
        (vec![aria("Inner save", Some("button"))], vec!["save"]),
        (vec![Part::Css("#host".into()), aria("Inner save", None)], vec!["save"]),
        (vec![aria("", Some("checkbox"))], vec!["check"]),
        (vec![aria("User name", Some("button"))], vec![]),
    ] {
        let found = window.find(&main_page(), &selector(&parts)).await.unwrap();
        let mut found_ids = Vec::new();
        for element in &found {
            found_ids.push(window.call(element, "function () { return this.id; }", &[]).await.unwrap());
        }
        assert_eq!(found_ids, ids, "{parts:?}");
    }
    let spans = window.find(&main_page(), &selector(&[text("dear world")])).await.unwrap();
    let function = "async function (a, b) { return [this.nodeName, a + b]; }";
    let answer = window.call(&spans[0], function, &[json!(1), json!(2)]).await.unwrap();
    assert_eq!(answer, json!(["SPAN", 3]));
    let error = window.find(&main_page(), &css("##")).await.unwrap_err();
    assert!(
        matches!(&error, PageError::Script(message) if message.contains("not a valid selector")),
        "{error}"
    );
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_field_is_filled() {
    let site = site().await;
    let fixture = Fixture::start().await;
    let window = form(&fixture, &site).await;
    let long = "x".repeat(5000);
    for (id, text, value) in [
        ("user", "Jane Döe, 100 % + 'quoted' <b>", json!("Jane Döe, 100 % + 'quoted' <b>")),
        ("user", "", json!("")),
        ("password", "p4$$ wörd", json!("p4$$ wörd")),
        ("mail", "a@b.test", json!("a@b.test")),
        ("number", "42.5", json!("42.5")),
        ("area", "two\nlines", json!("two\nlines")),
        ("area", &long, json!(long)),
        ("choice", "b", json!("b")),
        ("choice", "First", json!("a")),
        ("date", "2026-11-22", json!("2026-11-22")),
        ("color", "#ff8800", json!("#ff8800")),
    ] {
        let element = one(&window, &main_page(), &css(&format!("#{id}"))).await;
        js(&window, "void (log.length = 0)").await;
        window.fill(&element, text).await.unwrap();
        assert_eq!(js(&window, &format!("document.querySelector('#{id}').value")).await, value, "{id}");
        let told = js(&window, &format!("log.some(([kind, id]) => kind === 'input' && id === '{id}')")).await;
        assert_eq!(told, json!(true), "{id}");
    }
    let free = one(&window, &main_page(), &css("#free")).await;
    window.fill(&free, "after").await.unwrap();
    assert_eq!(js(&window, "document.querySelector('#free').innerText").await, json!("after"));
    let deep = one(&window, &main_page(), &selector(&[Part::Pierce("#deep".into())])).await;
    window.fill(&deep, "inside").await.unwrap();
    assert_eq!(window.call(&deep, "function () { return this.value; }", &[]).await.unwrap(), json!("inside"));
    for (text, checked) in [("true", true), ("on", true), ("false", false)] {
        let check = one(&window, &main_page(), &css("#check")).await;
        window.fill(&check, text).await.unwrap();
        assert_eq!(js(&window, "document.querySelector('#check').checked").await, json!(checked));
    }
    let radio = one(&window, &main_page(), &css("#radio")).await;
    window.fill(&radio, "on").await.unwrap();
    assert_eq!(js(&window, "document.querySelector('#radio').checked").await, json!(true));
    for id in ["file", "off", "send", "host", "choice", "date"] {
        let element = one(&window, &main_page(), &css(&format!("#{id}"))).await;
        let error = window.fill(&element, "geheim").await.unwrap_err();
        assert!(matches!(error, PageError::Script(_)), "{id}: {error}");
        assert!(!format!("{error} {error:?} {element:?}").contains("geheim"));
    }
    assert_eq!(js(&window, "document.title").await, json!("Form"), "nothing was sent off");
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_and_keys_are_real_and_their_navigations_are_known() {
    let site = site().await;
    let fixture = Fixture::start().await;
    let window = form(&fixture, &site).await;
    let clicked = "log.filter(([kind]) => ['click', 'dblclick', 'contextmenu', 'touchend'].includes(kind)).map(([kind, id, , real]) => [kind, id, real])";
    let far = one(&window, &main_page(), &css("#far")).await;
    window.click(&far, &primary()).await.unwrap();
    let save = one(&window, &main_page(), &selector(&[Part::Pierce("#save".into())])).await;
    window.click(&save, &Click { offset_x: 9999.0, ..primary() }).await.unwrap();
    assert_eq!(js(&window, clicked).await, json!([["click", "far", true], ["click", "save", true]]));
    js(&window, "void (log.length = 0)").await;
    window.click(&far, &Click { count: 2, ..primary() }).await.unwrap();
    window.click(&far, &Click { button: Button::Secondary, ..primary() }).await.unwrap();
    let kinds = json!([
        ["click", "far", true],
        ["click", "far", true],
        ["dblclick", "far", true],
        ["contextmenu", "far", true]
    ]);
    assert_eq!(js(&window, clicked).await, kinds);
    let user = one(&window, &main_page(), &css("#user")).await;
    window.hover(&user).await.unwrap();
    assert_eq!(js(&window, "log.at(-1).slice(0, 2)").await, json!(["mouseover", "user"]));
    let hidden = window.find(&main_page(), &css("p[hidden]")).await.unwrap();
    assert!(matches!(window.click(&hidden[0], &primary()).await, Err(PageError::Refused { .. })));

    // Keys: everything selected and typed over, then the field left.
    window.click(&user, &primary()).await.unwrap();
    for (key, down) in [
        ("Control", true),
        ("a", true),
        ("a", false),
        ("Control", false),
        ("Q", true),
        ("Q", false),
        ("Tab", true),
        ("Tab", false),
    ] {
        if down { window.key_down(&main_page(), key).await } else { window.key_up(&main_page(), key).await }
            .unwrap();
    }
    assert_eq!(
        js(&window, "[document.querySelector('#user').value, document.activeElement.id]").await,
        json!(["Q", "password"])
    );
    assert!(matches!(window.key_down(&main_page(), "NoSuchKey").await, Err(PageError::Refused { .. })));

    let before = window.navigations(&main_page()).await.unwrap();
    js(&window, "location.hash = 'moved'; history.pushState(1, '', '?pushed'); 1").await;
    window.hover(&user).await.unwrap();
    assert_eq!(
        window.navigations(&main_page()).await.unwrap(),
        before,
        "moves within a document do not count"
    );
    for act in ["click", "key"] {
        window.navigate(&site.url("/form"), LIMIT).await.unwrap();
        let before = window.navigations(&main_page()).await.unwrap();
        if act == "click" {
            let send = one(&window, &main_page(), &css("#send")).await;
            window.click(&send, &primary()).await.unwrap();
        } else {
            let user = one(&window, &main_page(), &css("#user")).await;
            window.click(&user, &primary()).await.unwrap();
            window.key_down(&main_page(), "Enter").await.unwrap();
        }
        assert!(window.navigations(&main_page()).await.unwrap() > before, "{act}");
        window.settled(&main_page(), LIMIT).await.unwrap();
        assert_eq!(js(&window, "document.title").await, json!("Sent"), "{act}");
        assert_eq!(window.summary().title, "Sent");
    }
    assert!(matches!(window.call(&user, "function () { return 1; }", &[]).await, Err(PageError::Gone(_))));
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn touch_and_viewport_and_network_follow_the_recording() {
    let site = site().await;
    let fixture = Fixture::start().await;
    let window = form(&fixture, &site).await;
    let viewport =
        Viewport { width: 412, height: 600, device_scale_factor: 2.0, is_mobile: true, has_touch: true };
    window.set_viewport(&main_page(), &viewport).await.unwrap();
    assert_eq!(js(&window, "[screen.width, devicePixelRatio]").await, json!([412, 2]));
    let user = one(&window, &main_page(), &css("#user")).await;
    window.click(&user, &Click { touch: true, ..primary() }).await.unwrap();
    assert_eq!(
        js(&window, "log.some(([kind, id]) => kind === 'touchend' && id === 'user')").await,
        json!(true)
    );
    let latency = Duration::from_millis(300);
    let slow = NetworkConditions { download: -1.0, upload: -1.0, latency };
    window.set_network(&main_page(), &slow).await.unwrap();
    let took = "(async () => { const start = performance.now(); await fetch('/x'); return performance.now() - start })()";
    assert!(js(&window, took).await.as_f64().unwrap() >= 290.0);
    fixture.browser.close().await;
}

/// How often a frame is clicked until it sees it.
const CLICKS_MAX: usize = 3;

/// Frames in the process of their page and frames in processes of their own behave the same.
async fn frames_work(engine: Engine) {
    let site = site().await;
    let fixture = Fixture::with(Profile::Dense.into(), engine, HashMap::new()).await;
    let window = fixture.window().await;
    window.navigate(&site.url("/outer"), LIMIT).await.unwrap();
    let renderers = window.renderer_pids().await.unwrap().len();
    assert_eq!(renderers > 1, engine == Engine::Headless, "{engine}: {renderers} renderers");
    assert_eq!(Page::evaluate(&window, &frame(&[0]), "document.title").await.unwrap(), json!("nested"));
    let inner = frame(&[0, 0]);
    assert_eq!(Page::evaluate(&window, &inner, "secret").await.unwrap(), json!("/inner"));
    let go = one(&window, &inner, &css("#go")).await;
    // A click travels through the browser process to that of the frame; its reply may overtake it. On a busy
    // machine one right after the load has been seen to be lost: Chromium finds the frame by what was drawn.
    let clicked = "new Promise(done => {
        const end = performance.now() + 3000;
        (function look() {
            window.clicked || performance.now() > end ? done(window.clicked ?? 0) : setTimeout(look, 5);
        })();
    })";
    let mut seen = json!(0);
    for _ in 0..CLICKS_MAX {
        window.click(&go, &primary()).await.unwrap();
        seen = Page::evaluate(&window, &inner, clicked).await.unwrap();
        if seen != json!(0) {
            break;
        }
    }
    assert_eq!(seen, json!(1), "{engine}");
    let input = one(&window, &inner, &css("#in")).await;
    window.fill(&input, "Text").await.unwrap();
    assert_eq!(
        window.call(&input, "function () { return this.value; }", &[]).await.unwrap(),
        json!("Text"),
        "{engine}"
    );
    let nested = site.url("/nested").replace("127.0.0.1", "localhost");
    let by_url = Scope { target: Some(nested.clone()), frame: vec![] };
    assert_eq!(window.find(&by_url, &selector(&[Part::Text("nested".into())])).await.unwrap().len(), 1);
    assert_eq!(window.url(&by_url).await.unwrap(), nested);
    assert!(matches!(window.find(&frame(&[5]), &css("p")).await, Err(PageError::Gone(_))));
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_inside_the_pages_process_are_reached() {
    frames_work(Engine::HeadlessShell).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_in_processes_of_their_own_are_reached() {
    frames_work(Engine::Headless).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn popups_are_targets_by_their_url() {
    let site = site().await;
    for engine in [Engine::HeadlessShell, Engine::Headless] {
        let fixture = Fixture::with(Profile::Dense.into(), engine, HashMap::new()).await;
        let window = fixture.window().await;
        window.navigate(&site.url("/form"), LIMIT).await.unwrap();
        js(&window, "void open('/form?popup')").await;
        let popup = Scope { target: Some(site.url("/form?popup")), frame: vec![] };
        until("the popup is there", || window.pages().iter().any(|page| page.url == site.url("/form?popup")))
            .await;
        window.settled(&popup, LIMIT).await.unwrap();
        for (scope, text) in [(&popup, "in the popup"), (&main_page(), "in the page"), (&popup, "again")] {
            let user = one(&window, scope, &css("#user")).await;
            window.fill(&user, text).await.unwrap();
            let value =
                Page::evaluate(&window, scope, "document.querySelector('#user').value").await.unwrap();
            assert_eq!(value, json!(text), "{engine}");
        }
        Page::close(&window, &popup).await.unwrap();
        assert_eq!(window.summary().tabs, 1);
        assert!(matches!(window.url(&popup).await, Err(PageError::Gone(_))));
        fixture.browser.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settling_is_bounded() {
    let site = site().await;
    let fixture = Fixture::start().await;
    let window = form(&fixture, &site).await;
    let before = window.navigations(&main_page()).await.unwrap();
    js(&window, "location.href = '/slow'; 1").await;
    let deadline = tokio::time::Instant::now() + LIMIT;
    while window.navigations(&main_page()).await.unwrap() == before {
        assert!(tokio::time::Instant::now() < deadline, "the navigation was not noticed");
        tokio::task::yield_now().await;
    }
    let short = Duration::from_millis(200);
    assert!(
        matches!(window.settled(&main_page(), short).await, Err(PageError::Timeout(waited)) if waited == short)
    );
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_covered_is_not_clicked() {
    let site = site().await;
    let fixture = Fixture::start().await;
    let viewport = Some((800, 600));
    let window =
        fixture.browser.open_window(WindowOptions { viewport, ..WindowOptions::default() }).await.unwrap();
    window.navigate(&site.url("/covered"), LIMIT).await.unwrap();
    let pierce = |value: &str| selector(&[Part::Pierce(value.into())]);
    let inner = one(&window, &frame(&[0]), &css("#inner")).await;
    let under = one(&window, &main_page(), &css("#under")).await;
    for element in [&under, &one(&window, &main_page(), &pierce("#deep")).await, &inner] {
        let error = window.click(element, &Click::middle()).await.unwrap_err();
        assert!(matches!(&error, PageError::Covered(by) if by == "div#spinner"), "{error}");
    }
    assert_eq!(js(&window, "log").await, json!([]), "nothing was clicked");
    // The header alone: the button is below it until the page is scrolled to another place.
    js(&window, "document.querySelector('#spinner').remove()").await;
    js(&window, "scrollTo(0, 210)").await;
    window.click(&under, &primary()).await.unwrap();
    for (id, reached) in [("mark", "icon"), ("box", "label"), ("deep", "")] {
        let element = one(&window, &main_page(), &pierce(&format!("#{id}"))).await;
        js(&window, "void (log.length = 0)").await;
        if id == "box" {
            // Its label lies over it.
            js(
                &window,
                "void (document.querySelector('#label').style.cssText = 'position: absolute; left: 0')",
            )
            .await;
            js(&window, "void (document.querySelector('#box').style.left = '0')").await;
        }
        window.click(&element, &Click::middle()).await.unwrap();
        assert_eq!(js(&window, "log[0]").await, json!(reached), "{id}");
    }
    assert_eq!(js(&window, "document.querySelector('#box').checked").await, json!(true));
    let small = one(&window, &frame(&[1]), &css("#small")).await;
    for element in [&inner, &small] {
        let watch = "function () { this.onclick = () => { this.title = 'clicked'; }; }";
        window.call(element, watch, &[]).await.unwrap();
        window.click(element, &Click::middle()).await.unwrap();
        let title = window.call(element, "function () { return this.title; }", &[]).await.unwrap();
        assert_eq!(title, json!("clicked"));
    }
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_are_read_only_until_they_are_entered_are_filled_in() {
    let site = site().await;
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.navigate(&site.url("/read-only"), LIMIT).await.unwrap();
    for id in ["focus", "late", "mouse"] {
        let field = one(&window, &main_page(), &css(&format!("#{id}"))).await;
        window.fill(&field, "acme").await.unwrap();
        assert_eq!(
            js(&window, &format!("document.querySelector('#{id}').value")).await,
            json!("acme"),
            "{id}"
        );
    }
    let always = one(&window, &main_page(), &css("#always")).await;
    let error = window.fill(&always, "acme").await.unwrap_err();
    assert!(error.to_string().contains("it is read-only"), "{error}");
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_mean_what_a_person_sees() {
    let site = site().await;
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.navigate(&site.url("/unseen"), LIMIT).await.unwrap();
    let holds = async |condition: Value| {
        let condition: Condition = serde_json::from_value(condition).unwrap();
        condition.holds(&window).await.unwrap()
    };
    for id in ["none", "hidden", "clear", "away", "empty"] {
        let selector = format!("#{id}");
        assert!(!holds(json!({ "selector": selector })).await, "{id}");
        assert!(holds(json!({ "selector": selector, "visible": false })).await, "{id}");
    }
    for (condition, expected) in [
        (json!({ "selector": "meta[name=user]", "visible": false }), true),
        (json!({ "selector": "#below" }), true),
        (json!({ "selector": "pierce/#deep" }), true),
        (json!({ "text": "Welcome back" }), true),
        (json!({ "text": "hidden words" }), false),
        (json!({ "text": "color: red" }), false),
        (json!({ "text": "in the frame" }), false),
        (json!({ "text": "in the frame", "frame": [0] }), true),
        (json!({ "selector": "#inner", "frame": [0] }), true),
        (json!({ "selector": "#inner", "frame": [1] }), false),
        (json!({ "selector": "#inner", "frame": [7] }), false),
        (json!({ "none": [{ "selector": "#inner", "frame": [7] }] }), true),
    ] {
        assert_eq!(holds(condition.clone()).await, expected, "{condition}");
    }
    fixture.browser.close().await;
}
