//! Who may be here.

use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pilotlight_testkit::harness::{Answer, Server};
use reqwest::Method;
use serde_json::json;

use crate::support::options;

async fn ask(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    let client = server.client().with_token("");
    let request = headers
        .iter()
        .fold(client.request(Method::GET, path), |request, (name, value)| request.header(*name, *value));
    client.send(request).await
}

#[tokio::test]
async fn all_but_two_routes_want_the_token() {
    let server = Server::start(options()).await;
    let token = server.client().token();
    let file = server.state_dir().join("token");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    for path in ["/health", "/ready"] {
        assert_eq!(ask(&server, path, &[]).await.status, 200, "{path}");
    }
    for path in
        ["/sessions", "/metrics", "/openapi.json", "/events", "/sites", "/no/such/route", "/sessions/x"]
    {
        let answer = ask(&server, path, &[]).await;
        assert_eq!(answer.refusal(), (401, "unauthorized"), "{path}: {}", answer.body);
    }
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("pilotlight:{token}")));
    for good in [format!("Bearer {token}"), basic] {
        let answer = ask(&server, "/sessions", &[("authorization", &good)]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert_eq!(ask(&server, &format!("/sessions?token={token}"), &[]).await.status, 200);
    let almost = format!("Bearer {}", &token[1..]);
    for bad in ["Bearer ", "Bearer wrong", &almost, "Basic cGlsb3RsaWdodDp3cm9uZw==", token] {
        let answer = ask(&server, "/sessions", &[("authorization", bad)]).await;
        assert_eq!(answer.refusal(), (401, "unauthorized"), "{bad}");
    }
    assert_eq!(ask(&server, "/sessions?token=wrong", &[]).await.status, 401);
    assert!(!server.log().contains(token), "the token is in the log");
}

#[tokio::test]
async fn foreign_hosts_and_pages_are_turned_away_whatever_their_token() {
    let more = "allowed_hosts = [\"pilot.example\"]\nallowed_origins = [\"https://pages.example\"]";
    let server = Server::start(options().server_config(more)).await;
    let bearer = format!("Bearer {}", server.client().token());
    let own = format!("http://{}", server.address());
    for path in ["/health", "/ready", "/sessions"] {
        for bad in ["evil.example", "evil.example:7070", "127.0.0.1.evil.example", "169.254.169.254"] {
            let answer = ask(&server, path, &[("host", bad), ("authorization", &bearer)]).await;
            assert_eq!(answer.refusal(), (403, "forbidden_host"), "{path} {bad}");
        }
        for bad in ["http://evil.example", "null", "https://pages.example.evil", "http://127.0.0.1:1"] {
            let answer = ask(&server, path, &[("origin", bad), ("authorization", &bearer)]).await;
            assert_eq!(answer.refusal(), (403, "forbidden_origin"), "{path} {bad}");
        }
        for good in [("origin", own.as_str()), ("origin", "https://pages.example"), ("host", "pilot.example")]
        {
            let answer = ask(&server, path, &[good, ("authorization", &bearer)]).await;
            assert_eq!(answer.status, 200, "{path} {good:?}: {}", answer.body);
        }
    }
}

/// What a page of another site can send without asking the browser: forms and plain text.
#[tokio::test]
async fn a_simple_cross_site_request_does_nothing() {
    let server = Server::start(options()).await;
    let body = json!({ "url": "http://127.0.0.1:9/" }).to_string();
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a"]
    {
        let request = server.client().request(Method::POST, "/sessions");
        let request = request.header("content-type", content_type).body(body.clone());
        let answer = server.client().send(request).await;
        assert_eq!(answer.refusal(), (415, "unsupported_media_type"), "{content_type}");
    }
    assert!(server.client().sessions().await.is_empty());
}

#[tokio::test]
async fn without_tokens_hosts_and_origins_still_count() {
    let server = Server::start(options().server_config("auth = \"none\"")).await;
    assert_eq!(ask(&server, "/sessions", &[]).await.status, 200);
    assert_eq!(ask(&server, "/sessions", &[("host", "evil.example")]).await.status, 403);
    assert_eq!(ask(&server, "/sessions", &[("origin", "http://evil.example")]).await.status, 403);
}
