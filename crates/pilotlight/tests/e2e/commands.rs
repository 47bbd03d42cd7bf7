//! The command line against a server.

use pilotlight_testkit::portal::PASSWORD;
use serde_json::{Value, json};

use crate::support::{path, test_env, test_env_with};

#[tokio::test]
async fn sessions_are_opened_listed_shown_pinged_and_closed() {
    let env = test_env().await;
    let open =
        ["open", "--site", "portal", "--username", "acme", "--password-stdin", "--name", "a", "-o", "json"];
    let opened = env.server.command(&open, &format!("{PASSWORD}\n")).await.expect(0);
    assert_eq!(opened.json()["is_new"], true);
    let id = opened.json()["session_id"].as_str().unwrap().to_owned();
    assert_eq!(env.portal.sign_ins("acme"), 1);
    let again = env.server.command(&open, &format!("{PASSWORD}\n")).await.expect(0);
    assert_eq!(again.json()["is_new"], false);

    let listed = env.server.command(&["list", "-o", "json"], "").await.expect(0);
    assert_eq!(listed.json()["sessions"][0]["session_id"], id);
    let table = env.server.command(&["list"], "").await.expect(0).stdout;
    assert!(table.contains("NAME") && table.contains("acme") && table.contains("ready"), "{table}");

    let prefix = &id[..id.len() - 2];
    for session in [id.as_str(), prefix, "a"] {
        let shown = env.server.command(&["show", session, "-o", "json"], "").await.expect(0);
        assert_eq!(shown.json()["session_id"], id, "{session}");
    }
    let pinged = env.server.command(&["ping", "a", "-o", "json"], "").await.expect(0);
    assert_eq!(pinged.json()["session_id"], id);
    let refreshed = env.server.command(&["refresh", "a", "-o", "json"], "").await.expect(0);
    assert!(refreshed.json()["last_refresh"].is_string());

    let held = env.server.command(&["hold", "a", "--ttl", "10m"], "").await.expect(0);
    let refused = env.server.command(&["refresh", "a"], "").await.expect(1);
    assert!(refused.stdout.is_empty() && refused.stderr.contains("error: "), "{refused:?}");
    env.server.command(&["release", "a", held.stdout.trim()], "").await.expect(0);

    env.server.command(&["close", "a"], "").await.expect(0);
    assert!(env.client().sessions().await.is_empty());
    let gone = env.server.command(&["show", "a"], "").await.expect(1);
    assert!(gone.stderr.contains("hint: "), "{gone:?}");
}

#[tokio::test]
async fn exit_codes_tell_failures_apart() {
    let env = test_env_with(
        "[limits]\nmax_live = 1\nat_capacity = \"reject\"\nqueue_timeout = \"1s\"",
        Default::default(),
    )
    .await;
    let session = env.window("a", json!({})).await;
    let wrong = ["open", "--site", "portal", "--username", "acme", "--password-stdin"];
    let full = env.server.command(&wrong, "x\n").await.expect(75);
    assert!(full.stderr.contains("hint: "), "{full:?}");
    env.client().delete(&path(&session, "")).await.expect(200);
    let refused = env.server.command(&wrong, "wrong-wrong\n").await.expect(1);
    assert!(refused.stdout.is_empty() && !refused.stderr.contains("wrong-wrong"), "{refused:?}");

    env.server.command(&["list", "--colour"], "").await.expect(2);
    env.server.command(&["frobnicate"], "").await.expect(2);
    let nobody = crate::support::nobody_there();
    let unreachable = env.server.command(&["list", "--server", &nobody], "").await.expect(69);
    assert!(unreachable.stderr.contains("hint: "), "{unreachable:?}");
    let missing = env.server.command(&["list", "--config", "no-such.toml"], "").await.expect(78);
    assert!(missing.stderr.contains("no-such.toml"), "{missing:?}");
}

#[tokio::test]
async fn the_token_and_the_flags_are_printed() {
    let env = test_env().await;
    let token = env.server.command(&["token"], "").await.expect(0);
    assert_eq!(token.stdout.trim(), env.client().token());
    env.server.command(&["check-config"], "").await.expect(0);
    let flags = env.server.command(&["flags"], "").await.expect(0).stdout;
    for known in ["disable-gpu", "no-sandbox", "renderer-process-limit", "unsafe", "no effect"] {
        assert!(flags.contains(known), "{known} is missing:\n{flags}");
    }
    let completions = env.server.command(&["completions", "bash"], "").await.expect(0).stdout;
    assert!(completions.contains("pilotlight"));
}

#[tokio::test]
async fn a_sign_in_is_tried_step_by_step_without_a_server() {
    let env = test_env().await;
    let try_it = [
        "site",
        "try",
        "portal",
        "--username",
        "acme",
        "--password-stdin",
        "--pictures",
        "seen",
        "-o",
        "json",
    ];
    let tried = env.server.command(&try_it, &format!("{PASSWORD}\n")).await.expect(0);
    let lines = |text: &str| -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    };
    let told = lines(&tried.stdout);
    let steps = 5;
    assert_eq!(told.len(), steps + 5, "{tried:?}");
    assert!(told[..steps].iter().all(|step| step["error"].is_null() && step["took_ms"].is_u64()), "{told:?}");
    assert_eq!((&told[steps - 1]["step"], &told[steps + 4]["success"]), (&json!(steps), &json!(true)));
    // The portal's document shows who is signed in.
    for (line, asleep, signed_in) in [(0, "window", true), (1, "document", true), (2, "document", false)] {
        let line = &told[steps + line];
        assert_eq!((&line["asleep"], &line["signed_in"]), (&json!(asleep), &json!(signed_in)), "{line}");
        assert!(line["processor_ms"].as_u64().is_some_and(|milliseconds| milliseconds > 0), "{line}");
    }
    assert_eq!(told[steps + 3]["recommended_asleep"], "document");
    assert_eq!(env.portal.sign_ins("acme"), 1);
    for picture in ["03.png", "end.png"] {
        let picture = std::fs::read(env.server.folder().join("seen").join(picture)).unwrap();
        assert!(picture.starts_with(b"\x89PNG"), "no PNG");
    }

    let refused = env.server.command(&try_it, "wrong-wrong\n").await.expect(1);
    assert!(refused.stderr.contains("the user name or the password is wrong"), "{refused:?}");
    assert!(!format!("{refused:?}").contains("wrong-wrong"), "the password is told to others");
    env.portal.set_redesigned(true);
    let stuck = env.server.command(&try_it, &format!("{PASSWORD}\n")).await.expect(1);
    let last = lines(&stuck.stdout).pop().unwrap();
    assert_eq!(last["step"], 3, "{stuck:?}");
    assert!(last["error"].as_str().unwrap().contains("aria/User name"), "{stuck:?}");

    // A credential is the running server's; without one it is read from its store.
    let kept = ["site", "try", "portal", "--credential", "harbour"];
    let taken = env.server.command(&kept, "").await.expect(1);
    assert!(taken.stderr.contains("another server is using") && taken.stderr.contains("hint: "), "{taken:?}");
    env.server.command(&["site", "try", "nowhere"], "").await.expect(2);
}
