use proptest::prelude::*;

use super::*;

/// As the Recorder of Chromium exports it: several alternatives for every element, best first.
const SIGN_IN: &str = include_str!("../../samples/sign-in.json");
/// Popups, frames, shadow roots, waits and keys.
const BOOKING: &str = include_str!("../../samples/booking.json");
/// What the others have not: an attribute of one's own for selectors, times, devices, conditions of the network.
const BERTH: &str = include_str!("../../samples/berth.json");

fn error(json: &str) -> String {
    let error = Flow::parse(json).unwrap_err();
    let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

/// The error of a flow with one good step and then this one.
fn step_error(step: &str) -> String {
    error(&format!(r#"{{"title": "t", "steps": [{{"type": "close"}}, {step}]}}"#))
}

#[test]
fn a_recorded_sign_in_is_read() {
    let flow = Flow::parse(SIGN_IN).unwrap();
    assert_eq!(flow.title, "Sign in");
    let kinds: Vec<_> = flow.steps.iter().map(Step::kind).collect();
    assert_eq!(kinds, ["setViewport", "navigate", "click", "change", "change", "keyDown", "keyUp", "click"]);
    assert_eq!(flow.placeholders().into_iter().collect::<Vec<_>>(), ["password", "username"]);
    let last = &flow.steps[7];
    assert!(last.navigates);
    assert_eq!(last.selectors()[0].to_string(), "aria/Sign in[role=\"button\"]");
    assert_eq!(last.selectors().len(), 5);
    let Action::Click { pointer, count: 1, .. } = &last.action else { panic!("{last:?}") };
    assert!((pointer.offset_x - 61.5).abs() < f64::EPSILON);
}

#[test]
fn every_step_type_is_read() {
    let flow = Flow::parse(BOOKING).unwrap();
    let kinds: BTreeSet<_> = flow.steps.iter().map(Step::kind).collect();
    assert_eq!(kinds.len(), 14, "{kinds:?}");
    let find = |kind: &str| flow.steps.iter().find(|step| step.kind() == kind).unwrap();
    assert_eq!(find("close").target.as_deref(), Some("https://portal.example/gate-hours"));
    assert_eq!(find("hover").frame, [0, 1]);
    assert_eq!(find("hover").timeout, Some(Duration::from_secs(12)));
    assert_eq!(find("change").selectors()[0].parts.len(), 2);
    let Action::WaitForElement { expected, .. } = &find("waitForElement").action else { panic!() };
    assert_eq!((expected.operator, expected.count, expected.visible), (Operator::Exactly, 3, true));
    assert_eq!(expected.attributes, [("data-state".to_owned(), "free".to_owned())]);
    let Action::Custom(Custom::Screenshot { name }) = &find("customStep").action else { panic!() };
    assert_eq!(name, "slots");
}

#[test]
fn what_is_seldom_recorded_is_read() {
    let flow = Flow::parse(BERTH).unwrap();
    let kinds: Vec<&str> = flow.steps.iter().map(Step::kind).collect();
    assert_eq!((flow.title.as_str(), kinds.len()), ("Book a berth", 15));
    assert_eq!(flow.timeout, Some(Duration::from_secs(7)));
    assert!(flow.steps[1].navigates);
    assert_eq!(flow.steps[6].frame, [0, 1]);
    assert_eq!(flow.steps[7].target.as_deref(), Some("https://berths.example/popup"));
    assert_eq!(flow.steps[2].selectors().len(), 5);
    assert_eq!(flow.steps[11].timeout, Some(Duration::from_secs(12)));
}

#[test]
fn every_custom_step_is_read() {
    let custom = |name: &str, parameters: &str| {
        let step = format!(r#"{{"type": "customStep", "name": "{name}", "parameters": {parameters}}}"#);
        let flow = Flow::parse(&format!(r#"{{"title": "t", "steps": [{step}]}}"#)).unwrap();
        let Action::Custom(custom) = flow.steps[0].action.clone() else { panic!("{flow:?}") };
        (custom, flow)
    };
    let (step, flow) =
        custom("extract", r##"{"name": "${which}", "selectors": ["#a"], "attribute": "href", "all": true}"##);
    let Custom::Extract(extract) = step else { panic!() };
    assert_eq!((extract.attribute.as_deref(), extract.all), (Some("href"), true));
    assert_eq!((flow.steps[0].selectors().len(), flow.placeholders().len()), (1, 1));
    let (step, _) = custom("download", r##"{"name": "gate-pass", "selectors": ["#a"]}"##);
    assert_eq!(step.output(), Some("gate-pass"));
    let (step, flow) = custom(
        "answerDialog",
        r#"{"text_contains": "Delete ${booking}?", "answer": "accept", "text": "${why}"}"#,
    );
    assert_eq!((step.name(), step.output()), ("answerDialog", None));
    assert_eq!(flow.placeholders().into_iter().collect::<Vec<_>>(), ["booking", "why"]);
    let selectors = vec![Selector::parse(".row").unwrap()];
    for (parameters, until) in [
        (r##"{"selectors": [".row"]}"##, Until::Match(selectors.clone())),
        (r##"{"selectors": [".row"], "stable": true}"##, Until::Stable(selectors.clone())),
        (
            r##"{"stable": [".row"], "within": ["#list"], "limit": 3, "pause": 500}"##,
            Until::Stable(selectors),
        ),
    ] {
        let (Custom::ScrollUntil(scroll), _) = custom("scrollUntil", parameters) else { panic!() };
        assert_eq!(scroll.until, until, "{parameters}");
    }
}

#[test]
fn mistakes_name_step_and_field() {
    let cases = [
        (r#"{"type": "click"}"#, "step 2 (click): `selectors` is missing; expected an array"),
        (r##"{"type": "click", "selectors": ["#a"], "offsetX": 1}"##, "step 2 (click): `offsetY` is missing"),
        (
            r##"{"type": "click", "selectors": ["#a"], "offsetX": "x", "offsetY": 1}"##,
            "step 2 (click): `offsetX` must be a number, but is `x`",
        ),
        (
            r##"{"type": "hover", "selectors": ["#a", 7]}"##,
            "`selectors[1]` must be a string or an array of strings",
        ),
        (
            r#"{"type": "hover", "selectors": [["a", ""]]}"#,
            "`selectors[0]` is not a selector: the selector `` is empty",
        ),
        (r#"{"type": "hover", "selectors": []}"#, "`selectors` is missing"),
        (
            r#"{"type": "swipe"}"#,
            "step 2: `type` is `swipe`, which is not a step type; expected one of setViewport",
        ),
        (r#"{"url": "x"}"#, "step 2: `type` is missing; expected a string"),
        ("7", "step 2: `step` must be an object, but is 7"),
        (r#"{"type": "navigate"}"#, "step 2 (navigate): `url` is missing"),
        (
            r#"{"type": "close", "timeout": 30001}"#,
            "`timeout` must be a number from 1 to 30000, but is 30001",
        ),
        (r#"{"type": "close", "timeout": -1}"#, "`timeout` must be a number from 1 to 30000"),
        (r#"{"type": "close", "frame": ["a"]}"#, "`frame` must be at most 16 child indices"),
        (
            r#"{"type": "close", "assertedEvents": [{"type": "paint"}]}"#,
            "`assertedEvents` must be events of type",
        ),
        (
            r#"{"type": "keyDown", "key": "${a b}"}"#,
            "step 2 (keyDown): a string has an invalid placeholder: `${a b}`",
        ),
        (
            r#"{"type": "setViewport", "width": 0, "height": 9, "isLandscape": true}"#,
            "`width` must be a number from 1 to 16384, but is 0",
        ),
        (
            r##"{"type": "waitForElement", "selectors": ["#a"], "operator": ">"}"##,
            "`operator` must be `>=`, `==` or `<=`, but is `>`",
        ),
        (
            r#"{"type": "customStep", "name": "dance", "parameters": {}}"#,
            "step 2 (customStep): `name` is `dance`, which is not a custom step; expected one of extract,",
        ),
        (
            r##"{"type": "customStep", "name": "extract", "parameters": {"selectors": ["#a"]}}"##,
            "step 2 (customStep): `name` is missing",
        ),
        (r#"{"type": "customStep", "name": "download"}"#, "step 2 (customStep): `selectors` is missing"),
        (
            r##"{"type": "customStep", "name": "scrollUntil", "parameters": {"selectors": ["#a"], "stable": ["#b"]}}"##,
            "`stable` must be true if `selectors` is given",
        ),
        (
            r#"{"type": "customStep", "name": "answerDialog", "parameters": {"text_contains": " ", "answer": "accept"}}"#,
            "step 2 (customStep): `text_contains` must not be empty",
        ),
        (
            r#"{"type": "customStep", "name": "answerDialog", "parameters": {"text_contains": "a", "answer": "ok"}}"#,
            "step 2 (customStep): `answer` must be `accept` or `dismiss`",
        ),
        (
            r##"{"type": "customStep", "name": "scrollUntil", "parameters": {"stable": ["#b"], "limit": 0}}"##,
            "`limit` must be a number from 1 to 1000, but is 0",
        ),
    ];
    for (step, expected) in cases {
        let error = step_error(step);
        assert!(error.contains(expected), "{step}\n  gave {error}\n  not {expected}");
    }
}

#[test]
fn what_is_no_flow_is_refused() {
    assert_eq!(error("[]"), "flow: `flow` must be an object, but is an array");
    assert!(error("{").starts_with("the flow is not JSON: EOF"));
    assert!(error(r#"{"title": "t"}"#).contains("`steps` is missing; expected an array of steps"));
    assert!(error(r#"{"title": "t", "steps": {}}"#).contains("`steps` must be an array, but is an object"));
    assert!(error(r#"{"steps": []}"#).contains("`title` is missing"));
    let long =
        format!(r#"{{"title": "t", "steps": [{}]}}"#, vec![r#"{"type":"close"}"#; MAX_STEPS + 1].join(","));
    assert!(error(&long).contains("`steps` has 1001 steps; the maximum is 1000"));
    assert!(error(&" ".repeat(MAX_FLOW_BYTES + 1)).contains("the maximum is 1048576"));
    let long = format!(r#"{{"type": "navigate", "url": "{}"}}"#, "x".repeat(MAX_STRING_BYTES + 1));
    assert!(step_error(&long).contains("`url` has 65537 bytes; the maximum is 65536"));
}

#[test]
fn a_typed_value_is_not_in_the_error() {
    let step = r##"{"type": "change", "selectors": [""], "value": "hunter2"}"##;
    assert!(!step_error(step).contains("hunter2"));
}

/// Any JSON, not very deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["click", "main", "aria/x", "${x}", "navigation"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn text_never_panics(text in ".{0,200}") {
        let _ = Flow::parse(&text);
    }

    /// The samples with one value anywhere replaced by something else.
    #[test]
    fn a_damaged_recording_never_panics(
        step in 0..20_usize,
        field in 0..8_usize,
        damage in any_json(),
        is_booking in any::<bool>(),
    ) {
        let mut value: Value = serde_json::from_str(if is_booking { BOOKING } else { SIGN_IN }).unwrap();
        let steps = value["steps"].as_array_mut().unwrap();
        let index = step % steps.len();
        let fields = steps[index].as_object_mut().unwrap();
        let name = fields.keys().nth(field % fields.len()).unwrap().clone();
        fields.insert(name, damage);
        if let Ok(flow) = Flow::from_value(&value) {
            let _ = flow.placeholders();
        }
    }
}
