use pilotlight_flow::{Condition, Flow};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, Response, StatusCode, redirect};
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

/// A browser of a few lines: it keeps one cookie and follows nothing.
struct Browser {
    client: Client,
    url: String,
    cookie: String,
}

impl Browser {
    fn new(portal: &Portal) -> Self {
        let client = Client::builder().redirect(redirect::Policy::none()).no_proxy().build().unwrap();
        Self { client, url: portal.url(), cookie: String::new() }
    }

    async fn get(&self, path: &str) -> Response {
        let request = self.client.get(format!("{}{path}", self.url)).header(COOKIE, &self.cookie);
        request.send().await.unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> Response {
        self.client.post(format!("{}{path}", self.url)).json(body).send().await.unwrap()
    }

    /// Sends the form, and gives the path it leads to.
    async fn sign_in(&mut self, user: &str, password: &str) -> String {
        let body = format!("username={user}&password={password}");
        let form = "application/x-www-form-urlencoded";
        let request = self.client.post(format!("{}login", self.url)).header(COOKIE, &self.cookie);
        let answer = request.header("content-type", form).body(body).send().await.unwrap();
        self.take_cookie(&answer);
        location(&answer)
    }

    fn take_cookie(&mut self, answer: &Response) {
        if let Some(cookie) = answer.headers().get(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.contains("HttpOnly") && !cookie.contains("Expires"), "{cookie}");
            self.cookie = cookie.split(';').next().unwrap().to_owned();
        }
    }
}

fn location(answer: &Response) -> String {
    answer.headers().get(LOCATION).map(|path| path.to_str().unwrap().to_owned()).unwrap_or_default()
}

async fn portal() -> Portal {
    Portal::start(PortalOptions::default()).await.unwrap()
}

#[tokio::test]
async fn one_signs_in_and_out() {
    let portal = portal().await;
    let mut browser = Browser::new(&portal);
    assert_eq!(location(&browser.get("").await), "/login");
    assert_eq!(browser.get("api/keep_alive").await.status(), StatusCode::UNAUTHORIZED);
    let page = browser.get("login").await.text().await.unwrap();
    assert!(page.contains("<label for=\"username\">User name") && !page.contains("id=\"error\""));

    assert_eq!(browser.sign_in("acme", "let-me-in").await, "/");
    let page = browser.get("").await.text().await.unwrap();
    assert!(page.contains("id=\"user\" type=\"button\">acme</button>") && page.contains("mat-toolbar"));
    assert!(!page.contains("{{"), "a mark was not filled in");
    for path in ["appointments", "popup", "api/keep_alive"] {
        assert_eq!(browser.get(path).await.status(), StatusCode::OK, "{path}");
    }
    assert_eq!(location(&browser.get("login").await), "/");
    assert_eq!(portal.requests("acme"), 5);

    let answer = browser.get("logout").await;
    assert_eq!(location(&answer), "/login");
    assert_eq!(location(&browser.get("").await), "/login");
    let counts = portal.counts("acme");
    assert_eq!((counts.sign_ins, counts.sign_outs, counts.sessions), (1, 1, 0));
    portal.stop().await;
}

#[tokio::test]
async fn each_writing_at_the_workbench_changes_the_cookie_of_the_session() {
    let portal = portal().await;
    let mut browser = Browser::new(&portal);
    assert_eq!(location(&browser.get("workbench").await), "/login");
    assert_eq!(browser.get("api/workbench").await.status(), StatusCode::UNAUTHORIZED);
    browser.sign_in("acme", "let-me-in").await;
    let page = browser.get("workbench").await.text().await.unwrap();
    assert!(page.contains("id=\"user\" type=\"button\">acme</button>") && !page.contains("{{"));

    let write = async |browser: &Browser, value: &str| {
        let request = browser.client.post(format!("{}api/workbench", browser.url));
        request.header(COOKIE, &browser.cookie).json(&json!({ "value": value })).send().await.unwrap()
    };
    let before = browser.cookie.clone();
    let answer = write(&browser, "north").await;
    let cookies: Vec<_> =
        answer.headers().get_all(SET_COOKIE).iter().map(|one| one.to_str().unwrap()).collect();
    assert_eq!((cookies.len(), cookies[1]), (2, "portal_work=north; Path=/; Max-Age=86400; SameSite=Lax"));
    browser.take_cookie(&answer);
    assert_ne!(browser.cookie, before);
    let read: Value = browser.get("api/workbench").await.json().await.unwrap();
    assert_eq!(read, json!({ "session_cookie": "north", "persistent_cookie": null }));
    assert_eq!(write(&browser, "no; such").await.status(), StatusCode::UNPROCESSABLE_ENTITY);

    browser.cookie = before;
    assert_eq!(browser.get("api/workbench").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(write(&browser, "south").await.status(), StatusCode::UNAUTHORIZED);
    let counts = portal.counts("acme");
    assert_eq!((counts.writes, counts.sign_ins, counts.sessions), (1, 1, 1));
}

#[tokio::test]
async fn a_wrong_password_stays_on_the_log_in() {
    let portal = portal().await;
    let mut browser = Browser::new(&portal);
    assert_eq!(browser.sign_in("acme", "wrong").await, "/login?failed=1");
    assert!(browser.get("login?failed=1").await.text().await.unwrap().contains("id=\"error\""));
    assert!(portal.set_password("acme", "other"));
    assert_eq!(browser.sign_in("acme", "let-me-in").await, "/login?failed=1");
    assert_eq!(browser.sign_in("acme", "other").await, "/");
    assert_eq!(portal.counts("acme").failed_sign_ins, 2);
}

#[tokio::test]
async fn a_name_cannot_bring_markup() {
    let portal = portal().await;
    let mut browser = Browser::new(&portal);
    browser.sign_in("%3Cscript%3Ealert(1)%3C/script%3E", "let-me-in").await;
    let page = browser.get("").await.text().await.unwrap();
    assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script>alert"));
}

#[tokio::test]
async fn an_idle_session_expires() {
    let session_timeout = Duration::from_millis(200);
    let portal = Portal::start(PortalOptions { session_timeout, ..PortalOptions::default() }).await.unwrap();
    let mut browser = Browser::new(&portal);
    browser.sign_in("acme", "let-me-in").await;
    tokio::time::timeout(Duration::from_secs(5), async {
        while portal.counts("acme").expired == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(location(&browser.get("").await), "/login");
    assert_eq!(browser.get("api/keep_alive").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn sign_ins_at_once_are_counted() {
    let sign_in_delay = Duration::from_millis(300);
    let portal = Portal::start(PortalOptions { sign_in_delay, ..PortalOptions::default() }).await.unwrap();
    let mut browsers: Vec<_> = (0..3).map(|_| Browser::new(&portal)).collect();
    let [first, second, third] = &mut browsers[..] else { panic!() };
    tokio::join!(
        first.sign_in("acme", "let-me-in"),
        second.sign_in("acme", "let-me-in"),
        third.sign_in("other", "let-me-in"),
    );
    assert_eq!(portal.statistics().total.signing_in_peak, 3);
    assert_eq!((portal.counts("acme").signing_in_peak, portal.counts("other").signing_in_peak), (2, 1));
    assert_eq!((portal.sign_ins("acme"), portal.total_sign_ins()), (2, 3));
}

#[tokio::test]
async fn a_captcha_is_solved_by_a_person_only() {
    let portal = Portal::start(PortalOptions { captcha: true, ..PortalOptions::default() }).await.unwrap();
    let mut browser = Browser::new(&portal);
    assert!(browser.get("login").await.text().await.unwrap().contains("<iframe src=\"/captcha\""));
    assert_eq!(browser.sign_in("acme", "let-me-in").await, "/login");
    let solved = browser.post("captcha", &Value::Null).await;
    browser.take_cookie(&solved);
    assert!(!browser.get("login").await.text().await.unwrap().contains("<iframe"));
    assert_eq!(browser.sign_in("acme", "let-me-in").await, "/");
}

#[tokio::test]
async fn it_is_controlled_over_http_too() {
    let portal = portal().await;
    let mut browser = Browser::new(&portal);
    browser.sign_in("acme", "let-me-in").await;
    assert_eq!(
        browser.post("control/log_everybody_out", &Value::Null).await.status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(location(&browser.get("").await), "/login");

    browser.post("control/captcha", &json!({ "captcha": true })).await;
    assert!(browser.get("login").await.text().await.unwrap().contains("<iframe"));
    browser.post("control/captcha", &json!({ "captcha": false })).await;
    browser.post("control/password", &json!({ "user": "acme", "password": "new" })).await;
    assert_eq!(browser.sign_in("acme", "new").await, "/");

    browser.post("control/down", &json!({ "down": true })).await;
    assert_eq!(browser.get("").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let statistics: Statistics = browser.get("control/statistics").await.json().await.unwrap();
    assert_eq!(statistics, portal.statistics());
    assert_eq!((statistics.total.sign_ins, statistics.total.dropped), (2, 1));
    browser.post("control/down", &json!({ "down": false })).await;
    assert_eq!(browser.get("").await.status(), StatusCode::OK);

    let unknown = browser.post("control/down", &json!({ "dawn": true })).await;
    assert_eq!(unknown.status(), StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_taken_port_is_a_clear_error_and_a_stopped_portal_frees_it() {
    let portal = portal().await;
    let port = portal.address.port();
    let options = PortalOptions { port, ..PortalOptions::default() };
    let error = Portal::start(options.clone()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("the demo portal cannot listen on 127.0.0.1:{port}"));
    portal.stop().await;
    Portal::start(options).await.unwrap();
}

#[test]
fn the_example_site_fits_the_portal() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Site {
        start_url: String,
        sign_in: String,
        signed_in: Condition,
        needs_attention: Condition,
        refresh: Value,
        operations: Value,
    }
    let example = example_site("http://127.0.0.1:4711/");
    let site: Site = toml::from_str(&example.site_toml).unwrap();
    assert_eq!(site.start_url, "http://127.0.0.1:4711/");
    assert_eq!(site.sign_in, SIGN_IN_PATH);
    assert_eq!(site.refresh["how"], "reload");
    let named: Vec<&str> = example.flows.iter().map(|(path, _)| path.as_str()).collect();
    for operation in site.operations.as_object().unwrap().values() {
        for phase in operation["phases"].as_array().unwrap() {
            assert!(named.contains(&phase["flow"].as_str().unwrap()), "{phase}");
        }
    }
    assert_ne!(site.signed_in, site.needs_attention);
    let flow = Flow::parse(&example.sign_in_json).unwrap();
    assert_eq!(flow.placeholders().into_iter().collect::<Vec<_>>(), ["password", "username"]);
    assert!(!format!("{example:?}").contains(EXAMPLE_ADDRESS));
    assert!(EXAMPLE_ADDRESS.ends_with(&EXAMPLE_PORT.to_string()));
}

#[tokio::test]
async fn the_heavy_page_is_for_those_who_are_signed_in_and_has_all_its_parts() {
    let portal = portal().await;
    let mut browser = Browser::new(&portal);
    assert_eq!(location(&browser.get("heavy").await), "/login");
    browser.sign_in("acme", PASSWORD).await;
    for page in ["heavy", "heavy/anew"] {
        let page = browser.get(page).await.text().await.unwrap();
        assert!(page.contains(">acme</button>") && !page.contains("{{"), "{page}");
        let parts: Vec<&str> =
            page.split("src=\"/").skip(1).map(|part| part.split('"').next().unwrap()).collect();
        assert_eq!(parts.len(), 9, "{parts:?}");
        for part in parts {
            let answer = browser.get(part).await;
            assert_eq!(answer.status(), StatusCode::OK, "{part}");
            let is_script = part.starts_with("heavy.js");
            let bytes = answer.bytes().await.unwrap().len();
            assert!(bytes > if is_script { 1_000_000 } else { 100_000 }, "{part}: {bytes}");
        }
    }
}

#[tokio::test]
async fn what_is_sent_is_noted_with_its_method_path_and_body_and_without_passwords() {
    let portal = portal().await;
    let mut browser = Browser::new(&portal);
    browser.sign_in("acme", PASSWORD).await;
    browser.get("sending/order").await;
    let order = browser.client.post(format!("{}sending/order?x=1", portal.url()));
    let answer = order.header(COOKIE, &browser.cookie).body("item=truck").send().await.unwrap();
    assert!(answer.text().await.unwrap().contains("item=truck"));
    browser.client.delete(format!("{}sending/act", portal.url())).send().await.unwrap();
    let sent = portal.sent();
    assert_eq!(sent.lines(), ["POST /login", "POST /sending/order?x=1 item=truck", "DELETE /sending/act"]);
    assert_eq!(sent.lines_of("acme"), ["POST /sending/order?x=1 item=truck"]);
    assert_eq!((sent.gets, sent.forgotten), (1, 0), "what tests ask is not noted");
    let told: Sent = browser.get("control/sent").await.json().await.unwrap();
    assert_eq!(told, sent);
}
