//! Nothing of ours sends anything but a GET that no client and no person asked for.

use pilotlight_api::{Session, SessionState};
use pilotlight_testkit::harness::{Process, Role, Server, expect_that, wait_for};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use serde_json::{Value, json};

use crate::support::{SOON, TestEnv, account, options, path, test_env, with};

/// What fields are given without an event, as a person's typing is found later.
pub(crate) const FILL: &str = "(() => {
    const by = (id) => document.getElementById(id);
    by('select').value = 'cancel'; by('several').options[1].selected = true;
    by('text').value = 'typed'; by('area').value = 'two\\nlines'; by('box').checked = true;
    by('second').checked = true; by('edit').textContent = 'edited';
    native.set.call(by('controlled'), 'kept');
    scrollTo(0, 700);
    return 1;
})()";
/// The same, and where the page is scrolled to.
const FILLED: &str = "(() => {
    const by = (id) => document.getElementById(id);
    return [by('select').value, by('several').options[1].selected, by('text').value, by('area').value,
        by('box').checked, by('second').checked, by('edit').textContent, by('controlled').value, scrollY];
})()";

fn filled() -> Value {
    json!(["cancel", true, "typed", "two\nlines", true, true, "edited", "kept", 700])
}

impl TestEnv {
    /// Waits until the portal was sent two requests that are no GET, and sees that refreshes send no other.
    async fn refreshes_add_nothing_to_two(&self, session: &Session, second: &str) {
        wait_for(second, SOON, async || {
            let sent = self.portal.sent();
            expect_that(sent.others.len() == 2, sent)
        })
        .await;
        for _ in 0..2 {
            self.refresh(session).await;
        }
        assert_eq!(self.portal.sent().others.len(), 2);
    }

    pub(crate) fn at(&self, page: &str) -> String {
        format!("{}{page}", self.portal.url())
    }

    /// Has a session go to a page of the portal.
    pub(crate) async fn go(&self, session: &Session, page: &str) {
        let there = json!({ "url": self.at(page) });
        self.client().post(&path(session, "/navigate"), &there).await.expect(200);
    }

    /// Presses what has this id, and waits until the page that it leads to is there.
    pub(crate) async fn press(&self, session: &Session, id: &str, leads_to: &str) {
        self.client().evaluate(session, &format!("void document.getElementById('{id}').click()")).await;
        let wanted = self.at(leads_to);
        wait_for(&format!("the page {leads_to}"), SOON, async || {
            let body = json!({ "expression": "location.href + ' ' + document.readyState" });
            let shown = self.client().post(&path(session, "/evaluate"), &body).await;
            expect_that(shown.body["result"] == format!("{wanted} complete"), shown)
        })
        .await;
    }

    async fn refresh(&self, session: &Session) -> Session {
        self.client().post_nothing(&path(session, "/refresh")).await.expect(200).session()
    }

    /// A plain window at the page that sends.
    async fn at_sending(&self, more: Value) -> Session {
        let body = json!({ "url": self.at("sending"), "refresh_interval": 0 });
        self.client().create(&with(body, more)).await
    }

    /// Waits until a page's own requests have come: those of a moment ago are before this one.
    async fn heard_all(&self, session: &Session) {
        self.client().evaluate(session, "fetch('/sending/list').then(() => 1)").await;
    }

    /// Waits until everything of the session's window is written down as it is now.
    async fn is_written_down(&self, session: &Session) {
        self.client().post(&path(session, "/hold"), &json!({ "ttl": 1 })).await.expect(201);
        self.is_free(session).await;
        wait_for("its state to be written down", SOON, async || {
            let now = self.client().session(session).await;
            expect_that(now.storage_bytes.is_some(), now)
        })
        .await;
    }
}

#[tokio::test]
async fn a_refresh_repeats_no_form_and_leaves_its_answer_as_it_is() {
    let env = test_env().await;
    for (button, leads_to, then) in [
        ("order", "sending/order", ""),
        ("order", "sending/order#part", "void (location.hash = 'part')"),
        ("moved", "sending/order", ""),
    ] {
        for signs_in in [false, true] {
            let user = format!("{button}-{}-{signs_in}", then.len());
            let session = if signs_in {
                env.sign_in(&user).await
            } else {
                env.at_sending(json!({ "name": user })).await
            };
            env.go(&session, "sending").await;
            let before = env.portal.sent().others.len();
            env.press(&session, button, "sending/order").await;
            if !then.is_empty() {
                env.client().evaluate(&session, then).await;
            }
            env.client().evaluate(&session, "window.mark = 'here'").await;
            let sent = env.portal.sent();
            assert_eq!(sent.others.len() - before, if button == "moved" { 2 } else { 1 });
            for _ in 0..2 {
                let gets = env.portal.sent().gets;
                let refreshed = env.refresh(&session).await;
                assert_eq!(refreshed.tabs, 1, "{user}");
                assert!(env.portal.sent().gets > gets, "{user}: the portal heard nothing");
            }
            assert_eq!(env.portal.sent().lines(), sent.lines(), "{user}");
            let shown = env.client().evaluate(&session, "[window.mark ?? null, location.href]").await;
            assert_eq!(shown, json!(["here", env.at(leads_to)]), "{user}");
            if signs_in {
                assert_eq!(env.portal.sign_ins(&user), 1);
            }
        }
    }
}

#[tokio::test]
async fn a_refresh_repeats_nothing_that_a_client_has_loaded_again() {
    let env = test_env().await;
    let session = env.at_sending(json!({ "name": "again" })).await;
    env.press(&session, "order", "sending/order").await;
    // A client may repeat what it wants.
    env.client().evaluate(&session, "window.mark = 'here', void location.reload()").await;
    env.refreshes_add_nothing_to_two(&session, "the page that a client loads again").await;
}

#[tokio::test]
async fn a_refresh_repeats_no_form_of_a_frame_or_of_a_new_tab() {
    let env = test_env().await;
    let session = env.at_sending(json!({ "name": "frames" })).await;
    env.client().evaluate(&session, "void document.getElementById('beside').click()").await;
    wait_for("the new tab", SOON, async || {
        let now = env.client().session(&session).await;
        expect_that(now.tabs == 2, now)
    })
    .await;
    env.go(&session, "sending/frames").await;
    env.client().evaluate(&session, "void frames[0].document.getElementById('order').click()").await;
    env.refreshes_add_nothing_to_two(&session, "the order of the frame").await;
}

#[tokio::test]
async fn a_window_s_own_page_is_loaded_again_by_a_get_with_its_fragment() {
    let env = test_env().await;
    let site = json!({ "start_url": env.at("sending"), "refresh": { "where": "page" } });
    env.client().put("/sites/own-page", &site).await.expect(200);
    let body = json!({ "site": "own-page", "name": "fragment", "refresh_interval": 0 });
    let session = env.client().create(&body).await;
    env.press(&session, "kept", "sending/list").await;
    for fragment in ["", "#/part?x=1"] {
        env.client().evaluate(&session, &format!("void (location.hash = '{fragment}')")).await;
        for _ in 0..2 {
            env.client().evaluate(&session, "window.mark = 'here'").await;
            let refreshed = env.refresh(&session).await;
            assert_eq!(refreshed.url, Some(env.at(&format!("sending/list{fragment}"))));
            let shown = env.client().evaluate(&session, "[window.mark ?? null, location.hash]").await;
            assert_eq!(shown, json!([null, fragment]));
        }
    }
    assert_eq!(env.portal.sent().lines(), ["POST /sending/kept item=barge"]);
    // What was redirected is taken for a page and loaded by a GET, which its address does not take.
    env.go(&session, "sending").await;
    env.press(&session, "moved", "sending/order").await;
    let sent = env.portal.sent();
    assert_eq!(env.refresh(&session).await.url, Some(env.at("sending")));
    assert_eq!(env.portal.sent().lines(), sent.lines());
}

#[tokio::test]
async fn a_crashed_page_that_a_form_made_is_brought_back_without_the_form() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    env.go(&session, "sending").await;
    env.press(&session, "order", "sending/order").await;
    let sent = env.portal.sent();
    let renderers: Vec<Process> =
        env.server.processes().into_iter().filter(|process| process.role() == Role::Renderer).collect();
    assert!(!renderers.is_empty(), "no renderer is there");
    renderers.iter().for_each(Process::kill);
    // Its address takes no GET: the site's own page is shown.
    wait_for("the page to be back", SOON, async || {
        let body = json!({ "expression": "document.querySelector('#user').textContent" });
        let shown = env.client().post(&path(&session, "/evaluate"), &body).await;
        expect_that(shown.body["result"] == "acme", shown)
    })
    .await;
    env.reaches(&session, SessionState::Ready).await;
    assert_eq!(env.portal.sent().lines(), sent.lines());
    assert_eq!(env.portal.sign_ins("acme"), 1);
}

#[tokio::test]
async fn the_next_server_repeats_no_form_either() {
    let mut env = test_env().await;
    let session = env.sign_in("acme").await;
    env.go(&session, "sending").await;
    env.press(&session, "order", "sending/order").await;
    env.client().evaluate(&session, "window.mark = 'here'").await;
    let sent = env.portal.sent();
    env.server.kill_server();
    env = env.start_again().await.0;
    env.reaches(&session, SessionState::Ready).await;
    env.refresh(&session).await;
    assert_eq!(env.client().evaluate(&session, "window.mark ?? null").await, "here");
    // What is put away comes back by GET.
    env.order(&session, "/hibernate").await;
    env.order(&session, "/wake").await;
    env.client().post_nothing(&path(&session, "/restart")).await.expect(200);
    assert_eq!(env.portal.sent().lines(), sent.lines());
    assert_eq!(env.portal.sign_ins("acme"), 1);
}

#[tokio::test]
async fn a_signed_out_page_that_a_form_made_is_noticed_beside_it_and_signed_in_again() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    env.go(&session, "sending").await;
    env.press(&session, "order", "sending/order").await;
    env.portal.log_everybody_out();
    env.client().post_nothing(&path(&session, "/refresh")).await.expect(200);
    env.reaches(&session, SessionState::Ready).await;
    wait_for("the second sign-in", SOON, async || {
        let sign_ins = env.portal.sign_ins("acme");
        expect_that(sign_ins == 2, sign_ins)
    })
    .await;
    let orders = env.portal.sent().lines().iter().filter(|line| line.contains("order")).count();
    assert_eq!(orders, 1);
}

#[tokio::test]
async fn waking_fills_fields_in_without_a_word_to_the_page() {
    for engine in ["headless-shell", "headless"] {
        let portal = Portal::start(PortalOptions::default()).await.unwrap();
        let server = Server::start(options().config(&format!("[chromium]\nengine = \"{engine}\""))).await;
        let env = TestEnv { server, portal };
        let session = env.at_sending(json!({ "name": "fields" })).await;
        env.client().evaluate(&session, FILL).await;
        env.is_written_down(&session).await;
        env.order(&session, "/hibernate").await;
        env.order(&session, "/wake").await;
        assert_eq!(env.client().evaluate(&session, FILLED).await, filled(), "{engine}");
        env.heard_all(&session).await;
        assert_eq!(env.client().evaluate(&session, "heard").await, json!([]), "{engine}");
        assert_eq!(env.portal.sent().lines(), [""; 0], "{engine}");
        // The same after its browser was killed.
        env.is_written_down(&session).await;
        let browsers = env.server.processes().into_iter().filter(|process| process.role() == Role::Browser);
        browsers.for_each(|browser| browser.kill());
        wait_for("the fields in another window", SOON, async || {
            let shown =
                env.client().post(&path(&session, "/evaluate"), &json!({ "expression": FILLED })).await;
            expect_that(shown.body["result"] == filled(), shown)
        })
        .await;
        env.heard_all(&session).await;
        assert_eq!(env.portal.sent().lines(), [""; 0], "{engine}");
    }
}

#[tokio::test]
async fn a_site_says_how_its_fields_come_back() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let mut options = options();
    for how in ["silent", "events", "no"] {
        let mut site = portal.site();
        site.site_toml = format!("restore_fields = \"{how}\"\n{}", site.site_toml);
        options = options.site(how, site);
    }
    let env = TestEnv { server: Server::start(options).await, portal };
    for (how, value, heard) in [
        ("silent", "typed", json!([])),
        ("events", "typed", json!(["input text", "change text"])),
        ("no", "", json!([])),
    ] {
        let body = with(account(how), json!({ "site": how, "refresh_interval": 0 }));
        let session = env.client().create(&body).await;
        env.go(&session, "sending").await;
        env.client()
            .evaluate(&session, "document.getElementById('text').value = 'typed', scrollTo(0, 700)")
            .await;
        env.order(&session, "/hibernate").await;
        env.order(&session, "/wake").await;
        let shown =
            env.client().evaluate(&session, "[document.getElementById('text').value, heard, scrollY]").await;
        assert_eq!(shown, json!([value, heard, 700]), "{how}");
        env.heard_all(&session).await;
        let lines = env.portal.sent().lines_of(how);
        assert_eq!(lines.is_empty(), how != "events", "{lines:?}");
    }
    let refused = json!({ "start_url": env.portal.url(), "restore_fields": "loudly" });
    assert_eq!(env.client().put("/sites/other", &refused).await.status, 422);
}

#[tokio::test]
async fn a_page_that_sends_by_itself_is_heard_as_often_as_it_is_loaded() {
    let env = test_env().await;
    for method in ["get", "post"] {
        let body = json!({ "url": env.at(&format!("sending/by_itself?method={method}")), "name": method, "refresh_interval": 0 });
        let session = env.client().create(&body).await;
        wait_for("the page that it goes on to", SOON, async || {
            let now = env.client().session(&session).await;
            expect_that(now.title.as_deref() == Some("Landed"), now)
        })
        .await;
    }
    // The page's own act, once for the one time that it was asked for.
    assert_eq!(env.portal.sent().lines(), ["POST /sending/landed"]);
}

/// Beacons of a page that is hidden or left are the page's own; nothing else is sent.
#[tokio::test]
async fn a_page_that_is_stopped_or_put_away_sends_nothing_but_its_own_goodbye() {
    let env = test_env().await;
    let body = json!({ "url": env.at("sending/goodbye"), "name": "goodbye", "refresh_interval": 0 });
    let session = env.client().create(&body).await;
    env.order(&session, "/freeze").await;
    env.order(&session, "/wake").await;
    env.client().get(&path(&session, "/screenshot")).await.expect(200);
    env.order(&session, "/hibernate").await;
    env.order(&session, "/wake").await;
    env.heard_all(&session).await;
    let lines = env.portal.sent().lines();
    println!("a page that is stopped and put away says: {lines:#?}");
    let own = ["visibilitychange", "freeze", "resume", "pagehide", "unload"];
    let is_own = |line: &String| {
        line.strip_prefix("POST /sending/goodbye ")
            .is_some_and(|said| own.iter().any(|own| said.starts_with(own)))
    };
    assert!(lines.iter().all(is_own), "{lines:#?}");
    // Nothing asks a page whether it may be left.
    assert!(!lines.iter().any(|line| line.contains("beforeunload")), "{lines:#?}");
}

#[tokio::test]
async fn what_a_client_sends_itself_is_sent_once() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    env.go(&session, "sending").await;
    for id in ["put", "delete"] {
        env.client().evaluate(&session, &format!("void document.getElementById('{id}').click()")).await;
    }
    env.heard_all(&session).await;
    env.refresh(&session).await;
    env.client().evaluate(&session, FILL).await;
    env.order(&session, "/hibernate").await;
    env.order(&session, "/wake").await;
    env.order(&session, "/freeze").await;
    env.refresh(&session).await;
    env.heard_all(&session).await;
    assert_eq!(env.portal.sent().lines_of("acme"), ["PUT /sending/act item", "DELETE /sending/act item"]);
    assert_eq!(env.client().post("/sessions", &account("acme")).await.expect(200).body["is_new"], false);
    assert_eq!(env.portal.sign_ins("acme"), 1);
}
