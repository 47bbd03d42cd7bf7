//! The command line against a server of fixed answers, and its parts by themselves.

use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use clap::{CommandFactory, Parser};
use jiff::Timestamp;
use pilotlight_api::{Session, SessionState, SessionsQuery};
use serde_json::{Value, json};

use super::args::{Cli, ClientCommand, Command, Format, SiteCommand};
use super::client::{Client, address_of, is_loopback, parse_address};
use super::commands;
use super::events::EventStream;
use super::output::Output;
use super::resolve::resolve;
use super::stop::Stop;
use crate::config::{Config, Sources};
use crate::exit::{self, Failure};
use crate::table::{self, short_ids};

const NOW: &str = "2026-11-22T12:10:00Z";

fn session(id: &str, name: Option<&str>) -> Value {
    json!({
        "session_id": id, "name": name, "site": "portal", "username": "acme", "state": "ready", "in_use": false,
        "keep_alive": true, "never_terminate": false, "created_at": "2026-11-22T12:00:00Z",
        "last_used": "2026-11-22T12:09:55Z", "last_refresh": "2026-11-22T12:05:00Z", "expires_at": null,
        "sign_in": { "status": "signed_in", "checked_at": "2026-11-22T12:05:00Z", "how": "refresh" },
        "url": "http://127.0.0.1:8099/", "title": "Port\u{1b}[31mal", "tabs": 1, "isolation": "shared",
        "profile": "dense", "shard": "s1", "memory_bytes": 61_341_696, "swapped_bytes": 20_000_000,
        "memory_measure": "proportional", "storage_bytes": null, "cdp_url": null,
        "live_url": null, "ended_reason": null, "attention": null, "tags": {"team": "a"}
    })
}

const FIRST: &str = "0198c1c2-0000-7000-8000-000000000001";
const SECOND: &str = "0198c1c2-0000-7000-8000-0000000000a2";
const THIRD: &str = "0198c1ff-0000-7000-8000-000000000003";

fn three() -> Vec<Session> {
    [(FIRST, Some("one")), (SECOND, None), (THIRD, Some("0198c1c2"))]
        .into_iter()
        .map(|(id, name)| serde_json::from_value(session(id, name)).unwrap())
        .collect()
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    Cli::command().debug_assert();
    let cli = Cli::try_parse_from(["pilotlight", "list", "-o", "json"]).unwrap();
    assert_eq!(cli.common.output, Format::Json);
}

#[test]
fn a_password_is_no_argument() {
    assert!(
        Cli::try_parse_from(["pilotlight", "open", "--site", "p", "--username", "u", "--password", "x"])
            .is_err()
    );
    assert!(Cli::try_parse_from(["pilotlight", "open"]).is_err(), "a site or URL is needed");
    assert!(Cli::try_parse_from(["pilotlight", "open", "--site", "p", "--url", "http://a.test"]).is_err());
}

#[test]
fn former_names_of_commands_still_work() {
    let id = "0198c1c2-0000-7000-8000-000000000001";
    for name in ["cancel", "give-up"] {
        let cli = Cli::try_parse_from(["pilotlight", name, id]).unwrap();
        assert!(matches!(cli.command, Command::Client(ClientCommand::Cancel { .. })), "{name}");
    }
    for name in ["check-recording", "record-check"] {
        let cli = Cli::try_parse_from(["pilotlight", "site", name, "a.json"]).unwrap();
        assert!(matches!(cli.command, Command::Site(SiteCommand::CheckRecording(_))), "{name}");
    }
}

#[test]
fn every_flag_of_serve_sets_a_key() {
    let flags = [
        ("--listen", "127.0.0.1:0"),
        ("--state-dir", "state"),
        ("--auth", "none"),
        ("--max-sessions", "20"),
        ("--max-live", "10"),
        ("--at-capacity", "terminate"),
        ("--queue-timeout", "5s"),
        ("--idle-timeout", "1h"),
        ("--refresh-interval", "never"),
        ("--refresh-check", "1s"),
        ("--binary", "/usr/bin/chromium"),
        ("--engine", "headless"),
        ("--profile", "moderate"),
        ("--user", "nobody"),
    ];
    let arguments =
        ["pilotlight", "serve"].into_iter().chain(flags.iter().flat_map(|(flag, value)| [*flag, *value]));
    let Command::Serve(given) = Cli::try_parse_from(arguments).unwrap().command else {
        panic!("not `serve`")
    };
    let overrides = given.into_overrides();
    assert_eq!(overrides.len(), flags.len());
    let folder = tempfile::tempdir().unwrap();
    let config = Config::load(&Sources { flags: overrides, ..sources(folder.path(), &[]) }).unwrap();
    assert_eq!((config.limits.max_live, config.chromium.user.as_deref()), (10, Some("nobody")));
}

#[test]
fn a_session_is_found_by_id_name_or_beginning() {
    let sessions = three();
    let found = |text: &str| resolve(&sessions, text).map(|session| session.session_id.to_string());
    assert_eq!(found(FIRST).unwrap(), FIRST);
    assert_eq!(found(&FIRST.to_uppercase()).unwrap(), FIRST);
    assert_eq!(found("one").unwrap(), FIRST);
    assert_eq!(found("0198c1ff").unwrap(), THIRD);
    // A name counts before the beginnings of other ids.
    assert_eq!(found("0198c1c2").unwrap(), THIRD);
    let ambiguous = found("0198c1c2-0").unwrap_err();
    assert!(ambiguous.message.contains(FIRST) && ambiguous.message.contains(SECOND), "{ambiguous}");
    assert_eq!(ambiguous.exit_code, exit::FAILED);
    assert!(found("").is_err() && found("nobody").unwrap_err().message.contains("`nobody`"));
}

#[test]
fn shown_ids_are_as_short_as_they_can_be() {
    let sessions = three();
    let short = short_ids(&sessions);
    assert_eq!(
        short,
        ["0198c1c2-0000-7000-8000-00000000000", "0198c1c2-0000-7000-8000-0000000000a", "0198c1ff"]
    );
    for (id, session) in short.iter().zip(&sessions) {
        assert_eq!(resolve(&sessions, id).unwrap().session_id, session.session_id);
    }
    assert_eq!(short_ids(&sessions[..1]), ["0198c1c2"]);
}

#[test]
fn tables_are_for_people() {
    let now: Timestamp = NOW.parse().unwrap();
    let sessions = three();
    assert_eq!(
        table::sessions(&sessions[..1], now),
        "ID        NAME  SITE    USER  STATE  SIGN-IN    IN USE  LAST USED  REFRESHED  MEMORY  SWAPPED  URL\n\
         0198c1c2  one   portal  acme  ready  signed_in  no      5s ago     5m ago     61 MB   20 MB    http://127.0.0.1:8099/"
    );
    assert_eq!(table::sessions(&[], now), "");
    let shown = table::session(&sessions[0], now);
    assert!(shown.contains("last_refresh     2026-11-22T12:05:00Z (5m ago)"), "{shown}");
    assert!(shown.contains("sign_in          signed_in (refresh, 5m ago)"), "{shown}");
    assert!(shown.contains("memory_measure   proportional"), "{shown}");
    assert!(shown.contains("tags             team:a"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "a page's title must not command the terminal: {shown:?}");
}

#[test]
fn addresses() {
    for (text, url) in [
        ("127.0.0.1:7070", "http://127.0.0.1:7070/"),
        ("http://localhost:7070", "http://localhost:7070/"),
        ("[::1]:7070", "http://[::1]:7070/"),
        ("example.org", "http://example.org/"),
    ] {
        assert_eq!(parse_address(text).unwrap().as_str(), url);
    }
    for text in ["", "https://a.test", "ftp://a.test", "a.test/x", "http://u:p@a.test", "a b"] {
        assert_eq!(parse_address(text).unwrap_err().exit_code, exit::USAGE, "{text}");
    }
    assert_eq!(address_of("0.0.0.0:7".parse().unwrap()).unwrap().as_str(), "http://127.0.0.1:7/");
    assert!(
        is_loopback(&parse_address("localhost").unwrap())
            && !is_loopback(&parse_address("10.0.0.1").unwrap())
    );
}

#[test]
fn an_event_is_whole_whatever_the_pieces() {
    let stream = ": hello\n\nid: 1\nevent: created\ndata: {\"a\":\ndata: 1}\n\r\ndata: 2\n\n";
    for size in [1, 3, stream.len()] {
        let mut reader = EventStream::default();
        let pieces = stream.as_bytes().chunks(size);
        let events: Vec<String> = pieces.flat_map(|piece| reader.push(piece).unwrap()).collect();
        assert_eq!(events, ["{\"a\":\n1}", "2"]);
    }
    assert!(EventStream::default().push(&vec![b'x'; 2 << 20]).is_err());
}

/// The environment of a user with an empty home folder and these variables.
fn sources(folder: &Path, variables: &[(&str, &str)]) -> Sources {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), value.into()));
    Sources {
        file: None,
        environment: variables.chain([("HOME".to_owned(), folder.into())]).collect(),
        flags: Vec::new(),
        working_dir: folder.to_owned(),
        is_root: false,
    }
}

/// A server that answers like Pilotlight, but always the same.
async fn serve() -> SocketAddr {
    fn refused(status: StatusCode, error: &str, code: &str) -> (StatusCode, String) {
        let body = json!({"success": false, "error": error, "code": code, "hint": "Do something."});
        (status, body.to_string())
    }
    let list = |Query(query): Query<SessionsQuery>, headers: HeaderMap| async move {
        match headers.get("authorization").and_then(|value| value.to_str().ok()) {
            Some("Bearer secret") => {
                let mut sessions = vec![session(FIRST, Some("one")), session(SECOND, Some("two"))];
                sessions.retain(|session| {
                    query.tag_pair().unwrap().is_none_or(|(key, value)| session["tags"][key] == value)
                });
                (StatusCode::OK, json!({"success": true, "sessions": sessions}).to_string())
            }
            _ => refused(StatusCode::UNAUTHORIZED, "The token is missing.", "unauthorized"),
        }
    };
    let ping = || async { json!({"success": true, "session_id": FIRST, "last_used": NOW}).to_string() };
    let busy = || async { refused(StatusCode::SERVICE_UNAVAILABLE, "No room.", "at_capacity") };
    let event = json!({"id": 1, "time": NOW, "session_id": FIRST, "name": "one", "kind": "refreshed", "state": "ready",
        "reason": "due", "sentence": "Refreshed; still signed in."});
    let events = move || async move { format!(": hello\n\nevent: refreshed\ndata: {event}\n\n") };
    let router = Router::new()
        .route("/sessions", get(list).post(busy))
        .route(&format!("/sessions/{FIRST}/ping"), post(ping))
        .route(&format!("/sessions/{SECOND}/refresh"), post(|| async { (StatusCode::BAD_GATEWAY, "<html>") }))
        .route("/events", get(events));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Runs a command against the server of fixed answers; gives what it wrote.
async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Result<String, Stop> {
    let address = serve().await.to_string();
    let cli = Cli::try_parse_from(["pilotlight", "--server", &address].iter().chain(arguments)).unwrap();
    let Command::Client(command) = cli.command else { panic!("not a command for the server") };
    let folder = tempfile::tempdir().unwrap();
    let client = Client::find(&cli.common, &sources(folder.path(), variables)).unwrap();
    written(&client, command, cli.common.output).await
}

async fn written(client: &Client, command: ClientCommand, format: Format) -> Result<String, Stop> {
    let mut writer = Vec::new();
    commands::run(client, command, &mut Output::new(&mut writer, format)).await?;
    Ok(String::from_utf8(writer).unwrap())
}

const TOKEN: &[(&str, &str)] = &[("PILOTLIGHT_TOKEN", "secret")];

fn failure(result: Result<String, Stop>) -> Failure {
    match result {
        Err(Stop::Failure(failure)) => failure,
        other => panic!("no failure but {other:?}"),
    }
}

#[tokio::test]
async fn commands_speak_to_the_server() {
    let listed = run(&["list", "-o", "json"], TOKEN).await.unwrap();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["sessions"][1]["name"], "two");
    let filtered = run(&["list", "--tag", "team:b & c", "--state", "ready"], TOKEN).await.unwrap();
    assert_eq!(filtered, "");
    let pinged = run(&["ping", "one"], TOKEN).await.unwrap();
    assert_eq!(pinged, format!("{FIRST} last used {NOW}\n"));
}

#[tokio::test]
async fn what_the_server_refuses_is_told_with_its_hint() {
    let refused = failure(run(&["open", "--url", "http://a.test/"], TOKEN).await);
    assert_eq!(refused.exit_code, exit::TRY_AGAIN);
    assert_eq!(refused.to_string(), "error: No room.\nhint: Do something.");
    let refused = failure(run(&["list"], &[]).await);
    assert_eq!((refused.exit_code, refused.message.as_str()), (exit::FAILED, "The token is missing."));
    let strange = failure(run(&["refresh", "two"], TOKEN).await);
    assert_eq!(strange.message, "the server answered 502 Bad Gateway");
}

#[tokio::test]
async fn events_are_followed_until_the_server_goes() {
    let address = serve().await.to_string();
    let cli = Cli::try_parse_from(["pilotlight", "--server", &address, "events"]).unwrap();
    let Command::Client(command) = cli.command else { panic!("not a command for the server") };
    let folder = tempfile::tempdir().unwrap();
    let client = Client::find(&cli.common, &sources(folder.path(), TOKEN)).unwrap();
    let mut writer = Vec::new();
    let ended = commands::run(&client, command, &mut Output::new(&mut writer, Format::Table)).await;
    assert!(matches!(ended, Err(Stop::Failure(failure)) if failure.exit_code == exit::UNREACHABLE));
    assert_eq!(
        String::from_utf8(writer).unwrap(),
        format!("{NOW}  one  refreshed  ready  Refreshed; still signed in.\n")
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_another_failure() {
    let folder = tempfile::tempdir().unwrap();
    let vacant = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::fs::write(folder.path().join("pilotlight.toml"), format!("[server]\nlisten = \"{vacant}\"\n"))
        .unwrap();
    let cli = Cli::try_parse_from(["pilotlight", "list"]).unwrap();
    let Command::Client(command) = cli.command else { panic!("not a command for the server") };
    let client = Client::find(&cli.common, &sources(folder.path(), &[])).unwrap();
    let failure = failure(written(&client, command, Format::Table).await);
    assert_eq!(failure.exit_code, exit::UNREACHABLE);
    assert!(failure.message.contains(&vacant.to_string()), "{failure}");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let stopped = Output::new(&mut Closed, Format::Json).data(&SessionState::Ready, String::new);
    assert!(matches!(stopped, Err(Stop::OutputClosed)));
}
