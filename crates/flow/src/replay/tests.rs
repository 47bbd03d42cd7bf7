use std::time::Duration;

use super::*;
use crate::fake::{FakeElement, FakePage, OnClick, SLOW_LATER};

const SIGN_IN: &str = include_str!("../../samples/sign-in.json");
const SECRET: &str = "correct \"horse\"";

fn flow(steps: &str) -> Flow {
    Flow::parse(&format!(r#"{{"title": "t", "steps": [{steps}]}}"#)).unwrap()
}

fn values() -> Values {
    Values::new().with("username", "acme").with("password", SECRET)
}

async fn run(page: &FakePage, steps: &str) -> Result<(), ReplayError> {
    replay(page, &flow(steps), &values(), &ReplayOptions::default(), |_| {}).await
}

/// An error with all of its sources.
fn told(error: &ReplayError) -> String {
    let mut told = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        told = format!("{told}: {cause}");
        source = cause.source();
    }
    told
}

fn click(selector: &str) -> String {
    format!(r#"{{"type": "click", "selectors": ["{selector}"], "offsetX": 1, "offsetY": 1}}"#)
}

fn click_that_navigates(selector: &str) -> String {
    click(selector).replace(r#""offsetX""#, r#""assertedEvents": [{"type": "navigation"}], "offsetX""#)
}

fn button(on_click: OnClick) -> FakeElement {
    FakeElement { on_click, ..FakeElement::new(&["#go"]) }
}

#[test]
fn a_replay_can_be_spawned() {
    fn is_send<T: Send>(_: T) {}
    let (page, flow, values, options) =
        (FakePage::new("http://portal/"), flow(""), values(), ReplayOptions::default());
    is_send(replay(&page, &flow, &values, &options, |_| {}));
}

#[tokio::test(start_paused = true)]
async fn a_recorded_sign_in_is_replayed() {
    let page = FakePage::new("about:blank");
    page.add("#username");
    page.add("aria/Password");
    page.put(FakeElement {
        on_click: OnClick::Load("https://portal.example/"),
        ..FakeElement::new(&["text/Sign in"])
    });
    let flow = Flow::parse(SIGN_IN).unwrap();
    let mut seen = Vec::new();
    let options = ReplayOptions::default();
    let observe = |event| {
        if let Event::Begins(step) = event {
            seen.push((step.number, step.kind));
        }
    };
    replay(&page, &flow, &values(), &options, observe).await.unwrap();
    assert_eq!(
        page.log(),
        [
            "viewport 1290x957",
            "navigate https://portal.example/login",
            "click #username x1",
            "fill #username",
            "fill aria/Password",
            "down Tab",
            "up Tab",
            "click text/Sign in x1",
            "settled https://portal.example/",
        ]
    );
    assert_eq!((page.value("#username").as_str(), page.value("aria/Password").as_str()), ("acme", SECRET));
    assert_eq!(seen[7], (8, "click"));
}

#[tokio::test(start_paused = true)]
async fn an_element_that_comes_late_is_waited_for() {
    let page = FakePage::new("http://portal/");
    page.put(FakeElement { from: Instant::now() + Duration::from_secs(4), ..FakeElement::new(&["#go"]) });
    run(&page, &click("#go")).await.unwrap();
    assert_eq!(page.log(), ["click #go x1"]);
}

#[tokio::test(start_paused = true)]
async fn the_first_alternative_that_can_be_acted_on_wins() {
    let page = FakePage::new("http://portal/");
    page.put(FakeElement { visible: false, ..FakeElement::new(&["#hidden"]) });
    page.put(FakeElement { enabled: false, ..FakeElement::new(&["#disabled"]) });
    page.put(FakeElement { moving: true, ..FakeElement::new(&["#moving"]) });
    page.add("#good");
    let step = r##"{"type": "doubleClick", "selectors": ["#!!", "#hidden", "#disabled", "#moving", "#good"], "offsetX": 1, "offsetY": 1}"##;
    run(&page, step).await.unwrap();
    assert_eq!(page.log(), ["click #good x2"]);
}

#[tokio::test(start_paused = true)]
async fn an_element_stays_in_its_place_whichever_alternative_finds_it() {
    let page = FakePage::new("http://portal/");
    let slow = format!("#slow{SLOW_LATER}");
    page.put(FakeElement::new(&[&slow, "#other"]));
    let step =
        format!(r##"{{"type": "click", "selectors": ["{slow}", "#other"], "offsetX": 1, "offsetY": 1}}"##);
    let start = Instant::now();
    run(&page, &step).await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_the_way_is_said_after_the_timeout() {
    let page = FakePage::new("http://portal/");
    page.put(FakeElement { visible: false, ..FakeElement::new(&["#hidden"]) });
    page.put(FakeElement { enabled: false, ..FakeElement::new(&["#disabled"]) });
    page.put(FakeElement { moving: true, ..FakeElement::new(&["#moving"]) });
    let cases = [
        ("#hidden", "step 1 (click) failed; tried `#hidden`: the element is not visible"),
        ("#disabled", "step 1 (click) failed; tried `#disabled`: the element is disabled"),
        ("#moving", "step 1 (click) failed; tried `#moving`: the element does not stop moving"),
        ("#none", "step 1 (click) failed; tried `#none`: no element matched in time"),
        (
            "#!!",
            "step 1 (click) failed; tried `#!!`: browser error: the script failed: `#!!` is not a valid selector",
        ),
    ];
    for (selector, expected) in cases {
        let start = Instant::now();
        let error = run(&page, &click(selector)).await.unwrap_err();
        assert_eq!(told(&error), expected);
        assert_eq!(start.elapsed(), DEFAULT_STEP_TIMEOUT);
    }
    assert!(page.log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_new_tab_that_a_recording_began_in_is_left_out() {
    let page = FakePage::new("about:blank");
    let visit = |url: &str| format!(r#"{{"type": "navigate", "url": "{url}"}}"#);
    run(&page, &[visit("chrome://new-tab-page/"), visit("http://portal/")].join(", ")).await.unwrap();
    assert_eq!(page.log(), ["navigate http://portal/"]);
}

#[tokio::test(start_paused = true)]
async fn what_covers_an_element_is_waited_for_and_is_not_clicked() {
    let page = FakePage::new("http://portal/");
    page.add("#spinner");
    page.put(button(OnClick::CoveredBy("#spinner")));
    let error = run(&page, &click("#go")).await.unwrap_err();
    assert_eq!(
        told(&error),
        "step 1 (click) failed; tried `#go`: browser error: the element is covered by #spinner"
    );
    assert!(page.log().is_empty());
    let hide_soon = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        page.hide("#spinner");
    };
    let steps = click("#go");
    let (clicked, ()) = tokio::join!(run(&page, &steps), hide_soon);
    clicked.unwrap();
    assert_eq!(page.log(), ["click #go x1"]);
}

#[tokio::test(start_paused = true)]
async fn timeouts_can_be_raised_by_the_recording_and_by_the_caller() {
    let page = FakePage::new("http://portal/");
    let options = ReplayOptions { step_timeout: Duration::from_secs(7), ..ReplayOptions::default() };
    for (timeout, expected) in [("", 7), (r#", "timeout": 1000"#, 7), (r#", "timeout": 9000"#, 9)] {
        let start = Instant::now();
        let steps = format!(r#"{{"type": "hover", "selectors": ["b"]{timeout}}}"#);
        replay(&page, &flow(&steps), &values(), &options, |_| {}).await.unwrap_err();
        assert_eq!(start.elapsed(), Duration::from_secs(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_where_a_placeholder_is_unknown() {
    let page = FakePage::new("http://portal/");
    page.add("#go");
    let change = r##"{"type": "change", "selectors": ["#go"], "value": "${totp}"}"##;
    let error = run(&page, &format!("{}, {change}", click("#go"))).await.unwrap_err();
    assert_eq!(
        told(&error),
        "step 2 (change) failed; tried `#go`: a string of the step cannot be filled in: there is no value for `${totp}`"
    );
    assert!(page.log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_asserted_navigation_is_demanded_and_a_history_entry_is_one() {
    let page = FakePage::new("http://portal/");
    page.put(button(OnClick::Nothing));
    let error = run(&page, &click_that_navigates("#go")).await.unwrap_err();
    assert!(matches!(error.cause, StepError::NoNavigation));

    let page = FakePage::new("http://portal/");
    page.put(button(OnClick::Push("http://portal/#/list")));
    run(&page, &click_that_navigates("#go")).await.unwrap();
    assert_eq!(page.log(), ["click #go x1", "settled http://portal/#/list"]);
}

#[tokio::test(start_paused = true)]
async fn a_click_is_never_done_twice_and_one_that_was_refused_is_done_once() {
    // The next page has a button of the same name.
    let page = FakePage::new("http://portal/1");
    page.put(button(OnClick::LoadAndVanish("http://portal/2")));
    run(&page, &click("#go")).await.unwrap();
    assert_eq!(page.log(), ["click #go x1", "settled http://portal/2"]);

    let page = FakePage::new("http://portal/");
    page.put(button(OnClick::Refuse(3)));
    run(&page, &click("#go")).await.unwrap();
    assert_eq!(page.log(), ["click #go x1"]);

    let page = FakePage::new("http://portal/");
    page.put(button(OnClick::Close));
    run(&page, &click("#go")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn values_never_come_out() {
    let page = FakePage::new("http://portal/");
    let field = FakeElement::new(&["#password"]);
    page.put(field);
    page.put(button(OnClick::Repeat));
    let change = r##"{"type": "change", "selectors": ["#password"], "value": "${password}"}"##;
    let throw = r#"{"type": "waitForExpression", "expression": "throw '${password}'"}"#;
    let down = r#"{"type": "navigate", "url": "http://down/?p=${password}"}"#;
    let steps = [format!("{change}, {}", click("#go")), throw.to_owned(), down.to_owned()];
    for steps in steps {
        let error = run(&page, &steps).await.unwrap_err();
        let shown = format!("{} {error:?} {:?}", told(&error), flow(&steps));
        assert!(!shown.contains("horse"), "{shown}");
        assert!(shown.contains("${password}"), "{shown}");
    }
    assert_eq!(page.value("#password"), SECRET);
}

#[tokio::test(start_paused = true)]
async fn a_select_field_is_chosen_from() {
    let page = FakePage::new("http://portal/");
    let options = Some(vec!["LBCT".to_owned(), "acme".to_owned()]);
    page.put(FakeElement { options, ..FakeElement::new(&["#terminal"]) });
    let change =
        |value: &str| format!(r##"{{"type": "change", "selectors": ["#terminal"], "value": "{value}"}}"##);
    run(&page, &change("${username}")).await.unwrap();
    assert_eq!(page.value("#terminal"), "acme");
    let error = run(&page, &change("TTI")).await.unwrap_err();
    assert!(matches!(error.cause, StepError::NoSuchOption));
}

#[tokio::test(start_paused = true)]
async fn wait_for_element_counts_compares_and_inverts() {
    let page = FakePage::new("http://portal/");
    for state in ["free", "free", "taken"] {
        let attributes = vec![("state".to_owned(), state.to_owned())];
        page.put(FakeElement { attributes, ..FakeElement::new(&[".slot"]) });
    }
    page.put(FakeElement { visible: false, ..FakeElement::new(&[".slot"]) });
    let cases = [
        ("", Ok(())),
        (r#", "count": 3"#, Ok(())),
        (r#", "operator": "==", "count": 3"#, Ok(())),
        (r#", "operator": "==", "count": 2"#, Err("3 elements matched in time; expected == 2")),
        (r#", "operator": "<=", "count": 2"#, Err("3 elements matched in time; expected <= 2")),
        (r#", "count": 4"#, Err("3 elements matched in time; expected >= 4")),
        (r#", "operator": "==", "count": 2, "attributes": {"state": "free"}"#, Ok(())),
        (r#", "visible": false"#, Err("1 elements matched in time; expected not >= 1")),
        (r#", "visible": false, "attributes": {"state": "late"}"#, Ok(())),
    ];
    for (fields, expected) in cases {
        let step = format!(r#"{{"type": "waitForElement", "selectors": [".none", ".slot"]{fields}}}"#);
        let result = run(&page, &step).await.map_err(|error| error.cause.to_string());
        // "At least" looks no further than it must.
        let expected = expected.map_err(|text| text.replace("1 elements", "2 elements"));
        assert_eq!(result, expected, "{fields}");
    }
}

#[tokio::test(start_paused = true)]
async fn wait_for_expression_waits_for_truth() {
    let page = FakePage::new("http://portal/");
    let step = r#"{"type": "waitForExpression", "expression": "window.user === '${username}'"}"#;
    let error = run(&page, step).await.unwrap_err();
    assert_eq!(told(&error), "step 1 (waitForExpression) failed: the expression did not become true in time");
    page.set_true("window.user === 'acme'");
    run(&page, step).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_other_steps_reach_the_page() {
    let page = FakePage::new("http://portal/");
    page.add("#list");
    let steps = r##"
        {"type": "hover", "selectors": ["#list"]},
        {"type": "scroll", "selectors": ["#list"], "y": 120.5},
        {"type": "scroll", "x": 1, "y": 640},
        {"type": "emulateNetworkConditions", "download": 50000, "upload": 1, "latency": 1},
        {"type": "close", "target": "http://portal/popup"}"##;
    page.targets_from(Instant::now() + Duration::from_secs(2));
    run(&page, steps).await.unwrap();
    let expected = [
        "hover #list",
        "scroll 0.0 120.5",
        "window.scroll({ left: 1.0, top: 640.0, behavior: 'instant' })",
        "network 50000",
        "close http://portal/popup",
    ];
    assert_eq!(page.log(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_popup_that_does_not_come_and_a_page_that_is_lost_are_errors() {
    let page = FakePage::new("http://portal/");
    let error = run(&page, r#"{"type": "close", "target": "http://portal/popup"}"#).await.unwrap_err();
    assert_eq!(told(&error), "step 1 (close) failed: browser error: the page is closed: closed");
    page.lose();
    let error = run(&page, &click("#go")).await.unwrap_err();
    assert!(matches!(error.cause, StepError::Page(PageError::Gone(_))), "{error:?}");
}

/// What the replay of `steps` makes, in words.
async fn made(page: &FakePage, steps: &str, pictures: bool) -> Vec<String> {
    let mut made = Vec::new();
    let observe = |event| match event {
        Event::Begins(step) => made.push(format!("{} begins", step.number)),
        Event::Done(step) => made.push(format!("{} done", step.number)),
        Event::Skipped(step) => made.push(format!("{} skipped", step.number)),
        Event::Made(Product::Output { name, value }) => made.push(format!("{name} = {value}")),
        Event::Made(Product::Screenshot { name, .. }) => {
            made.push(format!("picture {}", name.as_deref().unwrap_or("of the step")));
        }
        Event::Made(Product::Download { name, download }) => {
            made.push(format!("{name}: {}, {} bytes", download.suggested_name, download.size));
        }
    };
    let options = ReplayOptions { pictures, ..ReplayOptions::default() };
    replay(page, &flow(steps), &values(), &options, observe).await.unwrap();
    made
}

fn custom(name: &str, parameters: &str) -> String {
    format!(r#"{{"type": "customStep", "name": "{name}", "parameters": {parameters}}}"#)
}

#[tokio::test(start_paused = true)]
async fn custom_steps_give_what_they_make() {
    let page = FakePage::new("http://portal/");
    for value in ["first", "second"] {
        page.put(FakeElement { value: value.to_owned(), ..FakeElement::new(&[".row"]) });
    }
    page.put(button(OnClick::Download));
    let steps = [
        custom("extract", r##"{"name": "for ${username}", "selectors": ["#none", ".row"]}"##),
        custom("extract", r##"{"name": "rows", "selectors": [".row"], "all": true}"##),
        custom("extract", r##"{"name": "no rows", "selectors": ["#none"], "all": true}"##),
        custom("screenshot", r#"{"name": "end"}"#),
        custom("download", r##"{"name": "pass", "selectors": ["#go"]}"##),
    ];
    assert_eq!(
        made(&page, &steps.join(","), false).await,
        [
            "1 begins",
            r#"for acme = "first""#,
            "1 done",
            "2 begins",
            r#"rows = ["first","second"]"#,
            "2 done",
            "3 begins",
            "no rows = []",
            "3 done",
            "4 begins",
            "picture end",
            "4 done",
            "5 begins",
            "pass: pass.pdf, 4 bytes",
            "5 done",
        ]
    );
    assert_eq!(made(&page, &click("#go"), true).await, ["1 begins", "picture of the step", "1 done"]);
}

#[tokio::test(start_paused = true)]
async fn passwords_that_stand_in_a_recording_never_come_out() {
    let page = FakePage::new("http://portal/");
    let selectors = r#"[["aria/Senha"], ["text/hunter2-secret"]]"#;
    let types = format!(r#"{{"type": "change", "selectors": {selectors}, "value": "${{password}}"}}"#);
    let error = run(&page, &types).await.unwrap_err();
    assert_eq!(error.selectors, ["aria/Senha", "text/${password}"]);
    assert!(!format!("{error:?} {}", told(&error)).contains("hunter2"), "{error:?}");
    let opens = r#"{"type": "navigate", "url": "http://down/?pwd=hunter2-secret"}"#;
    let error = run(&page, opens).await.unwrap_err();
    assert!(!format!("{error:?} {}", told(&error)).contains("hunter2"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_dialog_is_ready_before_the_step_that_opens_it() {
    let page = FakePage::new("http://portal/");
    page.put(button(OnClick::Nothing));
    let accept = custom("answerDialog", r#"{"text_contains": "Delete ${username}?", "answer": "accept"}"#);
    run(&page, &[accept, click("#go")].join(",")).await.unwrap();
    assert_eq!(page.log(), ["dialog Delete acme? accept", "click #go x1"]);
    let typed = r#"{"text_contains": "Your plate", "answer": "accept", "text": "for ${username}"}"#;
    run(&page, &custom("answerDialog", typed)).await.unwrap();
    assert_eq!(page.log().last().unwrap(), "dialog Your plate accept for acme");
    // What is filled in with nothing would be a part of every text.
    let values = Values::new().with("what", " ");
    let steps = flow(&custom("answerDialog", r#"{"text_contains": "${what}", "answer": "accept"}"#));
    let error = replay(&page, &steps, &values, &ReplayOptions::default(), |_| {}).await.unwrap_err();
    assert!(told(&error).ends_with("the text of the dialog to answer is empty"), "{}", told(&error));
}

#[tokio::test(start_paused = true)]
async fn a_custom_step_that_finds_nothing_fails() {
    let page = FakePage::new("http://portal/");
    page.put(button(OnClick::Nothing));
    for (name, parameters, expected) in [
        ("extract", r##"{"name": "x", "selectors": ["#none"]}"##, "no element matched in time"),
        ("download", r##"{"name": "x", "selectors": ["#go"]}"##, "no download started in time"),
        ("scrollUntil", r##"{"selectors": ["#none"]}"##, "no element matched in time"),
    ] {
        let error = run(&page, &custom(name, parameters)).await.unwrap_err();
        assert!(told(&error).ends_with(expected), "{}", told(&error));
    }
}

fn optional(step: &str) -> String {
    step.replacen('{', r#"{"optional": true, "#, 1)
}

async fn skipped(page: &FakePage, steps: &str) -> (Result<(), ReplayError>, Vec<usize>) {
    let mut skipped = Vec::new();
    let observe = |event| {
        if let Event::Skipped(step) = event {
            skipped.push(step.number);
        }
    };
    let replayed = replay(page, &flow(steps), &values(), &ReplayOptions::default(), observe).await;
    (replayed, skipped)
}

#[tokio::test(start_paused = true)]
async fn an_optional_step_is_done_where_its_element_is_there() {
    let steps = [optional(&click("#banner")), optional(&click("#other")), click("#go")].join(", ");
    let page = FakePage::new("http://portal/");
    page.add("#go");
    let start = Instant::now();
    let (replayed, left_out) = skipped(&page, &steps).await;
    replayed.unwrap();
    assert_eq!((page.log(), left_out), (vec!["click #go x1".to_owned()], vec![1, 2]));
    assert!(start.elapsed() < Duration::from_secs(2), "one wait for both: {:?}", start.elapsed());
    // One that comes a little later than the rest of the page.
    let page = FakePage::new("http://portal/");
    page.add("#go");
    let from = Instant::now() + Duration::from_millis(500);
    page.put(FakeElement { from, ..FakeElement::new(&["#banner"]) });
    let (replayed, left_out) = skipped(&page, &steps).await;
    replayed.unwrap();
    assert_eq!((page.log(), left_out), (vec!["click #banner x1".into(), "click #go x1".into()], vec![2]));
}

#[tokio::test(start_paused = true)]
async fn an_optional_step_waits_for_the_page_and_not_longer_than_a_step_may_take() {
    let steps = [optional(&click("#banner")), click("#go")].join(", ");
    let page = FakePage::new("http://portal/");
    page.put(FakeElement { from: Instant::now() + Duration::from_secs(3), ..FakeElement::new(&["#banner"]) });
    page.put(FakeElement { from: Instant::now() + Duration::from_secs(4), ..FakeElement::new(&["#go"]) });
    let (replayed, left_out) = skipped(&page, &steps).await;
    replayed.unwrap();
    assert_eq!((page.log().len(), left_out), (2, vec![]));
    let (page, start) = (FakePage::new("http://portal/"), Instant::now());
    let (replayed, left_out) = skipped(&page, &optional(&click("#banner"))).await;
    replayed.unwrap();
    assert_eq!((left_out, start.elapsed()), (vec![1], DEFAULT_STEP_TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn an_optional_step_that_comes_late_is_done_where_it_covers_what_follows() {
    let steps = [optional(&click("#banner")), click("#go")].join(", ");
    let page = FakePage::new("http://portal/");
    page.put(button(OnClick::CoveredBy("#banner")));
    let from = Instant::now() + Duration::from_secs(3);
    page.put(FakeElement { from, on_click: OnClick::Hide, ..FakeElement::new(&["#banner"]) });
    let (replayed, left_out) = skipped(&page, &steps).await;
    replayed.unwrap();
    assert_eq!((page.log(), left_out), (vec!["click #banner x1".into(), "click #go x1".into()], vec![1]));
    // The same where the steps are replayed one by one.
    let page = FakePage::new("http://portal/");
    page.put(button(OnClick::CoveredBy("#banner")));
    let from = Instant::now() + Duration::from_secs(3);
    page.put(FakeElement { from, on_click: OnClick::Hide, ..FakeElement::new(&["#banner"]) });
    for step in 0..2 {
        let (flow, options) = (flow(&steps), ReplayOptions::default());
        replay_part(&page, &flow, step..step + 1, &values(), &options, |_| {}).await.unwrap();
    }
    assert_eq!(page.log(), ["click #banner x1", "click #go x1"]);
    // Nothing else is done about what covers an element.
    let page = FakePage::new("http://portal/");
    page.put(button(OnClick::CoveredBy("#spinner")));
    page.add("#spinner");
    let error = skipped(&page, &steps).await.0.unwrap_err();
    assert!(told(&error).contains("covered by #spinner"), "{}", told(&error));
}

#[tokio::test(start_paused = true)]
async fn an_optional_step_that_came_too_late_can_be_tried_again() {
    let page = FakePage::new("http://portal/");
    let flow = flow(&optional(&click("#stay")));
    let (values, options) = (values(), ReplayOptions::default());
    assert!(!replay_if_present(&page, &flow, 0, &values, &options, |_| {}).await.unwrap());
    page.add("#stay");
    assert!(replay_if_present(&page, &flow, 0, &values, &options, |_| {}).await.unwrap());
    assert_eq!(page.log(), ["click #stay x1"]);
}

#[test]
fn a_step_without_an_element_cannot_be_optional() {
    let steps = r#"{"title": "t", "steps": [{"type": "keyDown", "key": "a", "optional": true}]}"#;
    let error = Flow::parse(steps).unwrap_err().to_string();
    assert!(error.contains("step 1 (keyDown): `optional` requires a step with `selectors`"), "{error}");
}
