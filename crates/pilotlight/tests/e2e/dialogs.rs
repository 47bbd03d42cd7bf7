//! Dialogs of pages are answered so that sessions stay signed in, and nothing else is confirmed.

use pilotlight_api::{Event, EventKind, Session, SessionState};
use pilotlight_flow::DialogAnswer;
use pilotlight_testkit::harness::{Server, expect_that, wait_for};
use pilotlight_testkit::portal::{ExampleSite, Portal, PortalOptions};
use serde_json::{Value, json};

use crate::support::{SOON, TestEnv, account, options, path, test_env};

const DELETES: &str = r##"{"title": "Delete an appointment", "steps": [
    {"type": "navigate", "url": "PORTALbookings"},
    ANSWER
    {"type": "click", "selectors": [["#delete-${number}"]], "offsetX": 5, "offsetY": 5},
    {"type": "waitForElement", "selectors": [["#delete-${number}"]], "operator": "==", "count": 0}
]}"##;
const ANSWER: &str = r#"{"type": "customStep", "name": "answerDialog",
    "parameters": {"text_contains": "Delete the appointment ${number}?", "answer": "accept"}},"#;

/// A server whose site says more than the example does.
async fn env_of(change: impl FnOnce(&Portal, &mut ExampleSite)) -> TestEnv {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let mut site = portal.site();
    change(&portal, &mut site);
    let server = Server::start(options().site("portal", site)).await;
    TestEnv { server, portal }
}

/// Has the session's page ask after a moment, and returns what it was answered: "yes" keeps the portal's session,
/// "no" signs out.
async fn asked(env: &TestEnv, session: &Session, question: &str) -> Value {
    let url = reqwest::Url::parse_with_params(
        &format!("{}expiring", env.portal.url()),
        [("after", "300"), ("question", question)],
    );
    let navigate = json!({ "url": url.unwrap().as_str() });
    env.client().post(&path(session, "/navigate"), &navigate).await.expect(200);
    wait_for("the answer to the dialog", SOON, async || {
        let answered = env.client().evaluate(session, "sessionStorage.getItem('answered')").await;
        expect_that(!answered.is_null(), answered)
    })
    .await
}

async fn told(env: &TestEnv, session: &Session) -> Event {
    let mut events = env.client().events(&path(session, "/events?after=0")).await;
    events.kind(EventKind::DialogAnswered, SOON).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_asked_to_stay_signed_in_stays() {
    let env = test_env().await;
    for (user, question) in [
        ("one", "Your session is about to expire. Stay signed in?"),
        ("two", "Ihre Sitzung läuft in 60 Sekunden ab.\nMöchten Sie angemeldet bleiben?"),
    ] {
        let session = env.sign_in(user).await;
        assert_eq!(asked(&env, &session, question).await, "yes", "{question}");
        let refreshed = env.client().post_nothing(&path(&session, "/refresh")).await.expect(200).session();
        assert_eq!((refreshed.state, env.portal.sign_ins(user)), (SessionState::Ready, 1), "{question}");
        let event = told(&env, &session).await;
        let dialog = event.dialog.expect("the dialog");
        assert_eq!((event.reason.as_str(), dialog.kind.as_str()), ("keeps_session", "confirm"));
        assert_eq!((dialog.answer, dialog.text), (DialogAnswer::Accept, question.replace('\n', " ")));
    }
    // What a page says may be anything.
    assert!(!env.server.log().contains("about to expire"), "{}", env.server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_nobody_wanted_is_answered_with_no() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    assert_eq!(asked(&env, &session, "Delete let-me-in?").await, "no");
    let event = told(&env, &session).await;
    let dialog = event.dialog.expect("the dialog");
    assert_eq!((event.reason.as_str(), dialog.answer), ("default", DialogAnswer::Dismiss));
    assert_eq!(dialog.text, "Delete ${password}?", "a password is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_says_what_its_dialogs_are_answered() {
    let rules = r#"dialogs = [
        { text_contains = "End that session?", answer = "accept" },
        { text_matches = "(?i)stay\\s+signed in", answer = "dismiss" },
    ]
"#;
    let env = env_of(|_, site| site.site_toml.insert_str(0, rules)).await;
    env.portal.set_asks_to_end_another(true);
    let session = env.client().create(&account("acme")).await;
    assert_eq!((session.state, env.portal.sign_ins("acme")), (SessionState::Ready, 1));
    let event = told(&env, &session).await;
    let dialog = event.dialog.expect("the dialog");
    assert_eq!((event.reason.as_str(), dialog.rule.as_deref()), ("site_rule", Some("End that session?")));
    // A site knows better than any list of words.
    assert_eq!(asked(&env, &session, "Stay  signed in?").await, "no");
    let shown = env.client().get("/sites/portal").await.expect(200).body;
    assert_eq!(shown["dialogs"][0], json!({ "text_contains": "End that session?", "answer": "accept" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_answers_the_dialog_that_it_opens_and_no_other() {
    let env = env_of(|portal, site| {
        for (name, answer) in [("delete", ANSWER), ("ask", "")] {
            let flow = DELETES.replace("PORTAL", &portal.url()).replace("ANSWER", answer);
            let operation = format!(
                "[operations.{name}]\nphases = [{{ flow = \"portal/{name}.json\", needs = [\"number\"] }}]\n"
            );
            site.flows.push((format!("portal/{name}.json"), flow));
            site.site_toml.push_str(&operation);
        }
    })
    .await;
    let session = env.sign_in("acme").await;
    let (first, second) = (env.portal.book("acme").unwrap(), env.portal.book("acme").unwrap());
    let run = async |name: &str, number: &str| {
        let body = json!({ "operation": name, "inputs": { "number": number } });
        env.client().post(&path(&session, "/operations"), &body).await
    };
    run("delete", &first.number).await.expect(200);
    assert_eq!(env.portal.bookings(), std::slice::from_ref(&second));
    let event = told(&env, &session).await;
    assert_eq!((event.reason.as_str(), event.dialog.unwrap().answer), ("step", DialogAnswer::Accept));
    // Nothing of it stays ready for the next one.
    assert_ne!(run("ask", &second.number).await.status, 200);
    assert_eq!(env.portal.bookings(), [second]);
}
