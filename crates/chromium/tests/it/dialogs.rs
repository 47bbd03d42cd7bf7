//! What dialogs are answered, and by whom.

use std::sync::Arc;

use pilotlight_chromium::{AnsweredBy, AnsweredDialog, BrowserEvent, Window};
use pilotlight_flow::dialog::{DialogAnswer, DialogRule, ExpectedDialog};
use pilotlight_flow::page::Page;
use serde_json::{Value, json};

use crate::portal::Server;
use crate::support::{Fixture, LIMIT, until};

fn rules(json: &Value) -> Arc<[DialogRule]> {
    serde_json::from_value::<Vec<DialogRule>>(json.clone()).unwrap().into()
}

async fn answered(fixture: &mut Fixture) -> AnsweredDialog {
    loop {
        if let BrowserEvent::DialogAnswered { dialog, .. } = fixture.event().await {
            return *dialog;
        }
    }
}

async fn asks(window: &Window, script: &str) -> Value {
    window.evaluate(script, LIMIT).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_come_before_the_answer_that_does_no_harm() {
    let portal = Server::portal().await;
    let mut fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    assert_eq!(asks(&window, "confirm('Delete it?')").await, false);
    let first = answered(&mut fixture).await;
    let AnsweredDialog { kind, text, answer, by } = first;
    assert_eq!((kind.as_str(), text.as_str()), ("confirm", "Delete it?"));
    assert_eq!((answer, by), (DialogAnswer::Dismiss, AnsweredBy::Harmless));
    assert_eq!(asks(&window, "confirm('Stay signed in?')").await, true);
    assert_eq!(answered(&mut fixture).await.by, AnsweredBy::KeepsSession);

    window.set_dialog_rules(rules(&json!([
        {"text_contains": "Delete", "answer": "accept"},
        {"text_contains": "plate", "answer": "accept", "text": "B-HG 77"},
        {"text_contains": "name", "answer": "accept"},
    ])));
    assert_eq!(asks(&window, "confirm('Delete it?')").await, true);
    assert_eq!(answered(&mut fixture).await.by, AnsweredBy::Rule("Delete".to_owned()));
    assert_eq!(
        asks(&window, "[prompt('Which plate?'), prompt('Your name', 'acme')]").await,
        json!(["B-HG 77", "acme"])
    );
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_flow_has_ready_is_given_once_and_goes_with_the_flow() {
    let portal = Server::portal().await;
    let mut fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    let expected = || ExpectedDialog::new("Delete it?", DialogAnswer::Accept, None).unwrap();
    let flow = window.flow_answers();
    window.expect_dialog(expected()).unwrap();
    assert_eq!(
        asks(&window, "[confirm('Pay?'), confirm('Delete it?'), confirm('Delete it?')]").await,
        json!([false, true, false])
    );
    let mut by = Vec::new();
    for _ in 0..3 {
        by.push(answered(&mut fixture).await.by);
    }
    assert_eq!(by, [AnsweredBy::Harmless, AnsweredBy::Step, AnsweredBy::Harmless]);
    window.expect_dialog(expected()).unwrap();
    drop(flow);
    assert_eq!(asks(&window, "confirm('Delete it?')").await, false);
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_steers_is_asked_and_after_them_the_rules() {
    let portal = Server::portal().await;
    let mut fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    let steering = window.steer();
    let page = window.live_page(None).unwrap();
    let ask = "void setTimeout(() => { document.title = String(confirm('Stay signed in?')) }, 0)";
    asks(&window, ask).await;
    until("the person is asked", || page.dialog().is_some()).await;
    page.answer(false, None).await.unwrap();
    let dialog = answered(&mut fixture).await;
    assert_eq!((dialog.answer, dialog.by), (DialogAnswer::Dismiss, AnsweredBy::Person));
    assert_eq!(asks(&window, "document.title").await, "false");
    asks(&window, ask).await;
    until("the person is asked again", || page.dialog().is_some()).await;
    drop(steering);
    let dialog = answered(&mut fixture).await;
    assert_eq!((dialog.answer, dialog.by), (DialogAnswer::Accept, AnsweredBy::KeepsSession));
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_left_its_dialogs_once_it_is_told_of_them() {
    let portal = Server::portal().await;
    let mut fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    let mut connection = window.connect_client().await.unwrap();
    // It would never know.
    assert_eq!(asks(&window, "confirm('Stay signed in?')").await, true);
    assert_eq!(answered(&mut fixture).await.by, AnsweredBy::KeepsSession);
    connection.answers_dialogs();
    asks(&window, "void setTimeout(() => confirm('Stay signed in?'), 0)").await;
    let page = window.live_page(None).unwrap();
    until("the dialog is there", || page.shows_dialog()).await;
    drop(connection);
    let dialog = answered(&mut fixture).await;
    assert_eq!((dialog.answer, dialog.by), (DialogAnswer::Accept, AnsweredBy::KeepsSession));
    fixture.browser.close().await;
}
