//! The command line against a server.

use pilotlight_testkit::portal::PASSWORD;
use serde_json::json;

use crate::support::{house, house_with, path};

#[tokio::test]
async fn sessions_are_opened_listed_shown_pinged_and_closed() {
    let house = house().await;
    let open =
        ["open", "--site", "portal", "--username", "acme", "--password-stdin", "--name", "a", "-o", "json"];
    let opened = house.server.command(&open, &format!("{PASSWORD}\n")).await.expect(0);
    assert_eq!(opened.json()["is_new"], true);
    let id = opened.json()["session_id"].as_str().unwrap().to_owned();
    assert_eq!(house.portal.sign_ins("acme"), 1);
    let again = house.server.command(&open, &format!("{PASSWORD}\n")).await.expect(0);
    assert_eq!(again.json()["is_new"], false);

    let listed = house.server.command(&["list", "-o", "json"], "").await.expect(0);
    assert_eq!(listed.json()["sessions"][0]["session_id"], id);
    let table = house.server.command(&["list"], "").await.expect(0).stdout;
    assert!(table.contains("NAME") && table.contains("acme") && table.contains("ready"), "{table}");

    let prefix = &id[..id.len() - 2];
    for session in [id.as_str(), prefix, "a"] {
        let shown = house.server.command(&["show", session, "-o", "json"], "").await.expect(0);
        assert_eq!(shown.json()["session_id"], id, "{session}");
    }
    let pinged = house.server.command(&["ping", "a", "-o", "json"], "").await.expect(0);
    assert_eq!(pinged.json()["session_id"], id);
    let refreshed = house.server.command(&["refresh", "a", "-o", "json"], "").await.expect(0);
    assert!(refreshed.json()["last_refresh"].is_string());

    let held = house.server.command(&["hold", "a", "--ttl", "10m"], "").await.expect(0);
    let refused = house.server.command(&["refresh", "a"], "").await.expect(1);
    assert!(refused.stdout.is_empty() && refused.stderr.contains("error: "), "{refused:?}");
    house.server.command(&["release", "a", held.stdout.trim()], "").await.expect(0);

    house.server.command(&["close", "a"], "").await.expect(0);
    assert!(house.client().sessions().await.is_empty());
    let gone = house.server.command(&["show", "a"], "").await.expect(1);
    assert!(gone.stderr.contains("hint: "), "{gone:?}");
}

#[tokio::test]
async fn exit_codes_tell_failures_apart() {
    let house = house_with(
        "[limits]\nmax_live = 1\nat_capacity = \"reject\"\nqueue_timeout = \"1s\"",
        Default::default(),
    )
    .await;
    let session = house.window("a", json!({})).await;
    let wrong = ["open", "--site", "portal", "--username", "acme", "--password-stdin"];
    let full = house.server.command(&wrong, "x\n").await.expect(75);
    assert!(full.stderr.contains("hint: "), "{full:?}");
    house.client().delete(&path(&session, "")).await.expect(200);
    let refused = house.server.command(&wrong, "wrong-wrong\n").await.expect(1);
    assert!(refused.stdout.is_empty() && !refused.stderr.contains("wrong-wrong"), "{refused:?}");

    house.server.command(&["list", "--colour"], "").await.expect(2);
    house.server.command(&["frobnicate"], "").await.expect(2);
    let nobody = crate::support::nobody_there();
    let unreachable = house.server.command(&["list", "--server", &nobody], "").await.expect(69);
    assert!(unreachable.stderr.contains("hint: "), "{unreachable:?}");
    let missing = house.server.command(&["list", "--config", "no-such.toml"], "").await.expect(78);
    assert!(missing.stderr.contains("no-such.toml"), "{missing:?}");
}

#[tokio::test]
async fn the_token_and_the_flags_are_printed() {
    let house = house().await;
    let token = house.server.command(&["token"], "").await.expect(0);
    assert_eq!(token.stdout.trim(), house.client().token());
    house.server.command(&["check-config"], "").await.expect(0);
    let flags = house.server.command(&["flags"], "").await.expect(0).stdout;
    for known in ["disable-gpu", "no-sandbox", "renderer-process-limit", "unsafe", "no effect"] {
        assert!(flags.contains(known), "{known} is missing:\n{flags}");
    }
    let completions = house.server.command(&["completions", "bash"], "").await.expect(0).stdout;
    assert!(completions.contains("pilotlight"));
}
