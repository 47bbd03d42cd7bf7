//! What tests write down.

use pilotlight_checkpoint::{
    Checkpoint, Cookie, Entry, Field, FieldContent, Origin, PartitionKey, SessionStorage, Tab,
};
use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use crate::keys::Keyring;
use crate::operation::{DownloadRecord, FaultRecord, OperationRecord, ScreenshotRecord, StageRecord};
use crate::record::{CredentialRecord, EndedRecord, HoldRecord, ProxyRecord, SessionRecord, SignInRecord};

/// The id of [`record`].
pub(crate) const ID: Uuid = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);

/// A keyring of such names. Each name has a key of its own.
pub(crate) fn keyring(names: &[&str]) -> Keyring {
    let line = |name: &&str| format!("{name}:{}\n", format!("{:02x}", name.as_bytes()[0]).repeat(32));
    Keyring::parse(&names.iter().map(line).collect::<String>(), "the test").unwrap()
}

/// The id of the session of such a number.
pub(crate) fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// A session of such a number and name.
pub(crate) fn session(number: u128, name: &str) -> SessionRecord {
    SessionRecord { id: id(number), name: Some(name.to_owned()), ..record() }
}

/// A checkpoint that differs in its time from others.
pub(crate) fn checkpoint_at(taken_at_ms: u64) -> Checkpoint {
    Checkpoint { taken_at_ms, ..checkpoint() }
}

fn entry(name: &str, value: &str) -> Entry {
    Entry { name: name.to_owned(), value: value.to_owned() }
}

/// With something in every field.
pub(crate) fn checkpoint() -> Checkpoint {
    let origin = "https://portal.example".to_owned();
    let field = |selector: &str, content| Field { selector: selector.to_owned(), content };
    Checkpoint {
        taken_at_ms: 1_760_000_000_123,
        cookies: vec![
            Cookie {
                name: "sid".to_owned(),
                value: "a\"b\u{e9}\u{1f512}".to_owned(),
                domain: ".portal.example".to_owned(),
                path: "/".to_owned(),
                expires: Some(1_790_000_000.123_456),
                http_only: true,
                secure: true,
                same_site: Some("None".to_owned()),
                priority: Some("Medium".to_owned()),
                source_scheme: Some("Secure".to_owned()),
                source_port: Some(443),
                partition_key: Some(PartitionKey {
                    top_level_site: origin.clone(),
                    has_cross_site_ancestor: true,
                }),
            },
            Cookie {
                name: "session".to_owned(),
                value: String::new(),
                domain: "portal.example".to_owned(),
                path: "/a".to_owned(),
                expires: None,
                http_only: false,
                secure: false,
                same_site: None,
                priority: None,
                source_scheme: None,
                source_port: None,
                partition_key: None,
            },
        ],
        origins: vec![Origin {
            origin: origin.clone(),
            local_storage: vec![entry("token", "t\n")],
            indexed_db: vec![
                json!({ "name": "keyval", "version": 1, "stores": [{ "records": [{ "key": 1 }] }] }),
            ],
        }],
        tabs: vec![Tab {
            url: "https://portal.example/a?b#c".to_owned(),
            title: "Portal".to_owned(),
            name: "main".to_owned(),
            scroll: (0.5, 1200.25),
            session_storage: vec![SessionStorage { origin, entries: vec![entry("step", "2")] }],
            fields: vec![
                field("#name", FieldContent::Value("Ada".to_owned())),
                field("#agree", FieldContent::Checked(true)),
                field("#list", FieldContent::Selected(vec![0, 2])),
            ],
        }],
    }
}

/// With something in every field.
pub(crate) fn record() -> SessionRecord {
    let text = |text: &str| Some(text.to_owned());
    SessionRecord {
        id: ID,
        name: text("mine"),
        site: text("portal"),
        username: text("ada"),
        password: Some(SecretString::from("p4ss")),
        credential: text("harbour"),
        start_url: "https://portal.example/".to_owned(),
        profile: "dense".to_owned(),
        dedicated: true,
        proxy: Some(ProxyRecord {
            server: "http://proxy.example:3128".to_owned(),
            username: text("proxy-user"),
            password: Some(SecretString::from("pr0xy")),
            bypass: text("*.local"),
        }),
        viewport: Some((1280, 720)),
        tags: [("team".to_owned(), "blue".to_owned())].into(),
        keep_alive: true,
        never_terminate: true,
        idle_timeout_ms: 600_000,
        refresh_interval_ms: Some(0),
        created_at_ms: 1,
        last_used_ms: 2,
        last_refresh_ms: Some(3),
        signed_in_at_ms: Some(4),
        sign_in: Some(SignInRecord {
            status: "signed_out".to_owned(),
            how: "moved".to_owned(),
            checked_at_ms: 9,
            moved_to: text("https://portal.example/login"),
            is_asked: true,
        }),
        attention: text("needs a person"),
        refused: true,
        tried_at_ms: Some(8),
        left_at: Some("https://portal.example/inside".to_owned()),
        live: true,
        ended: Some(EndedRecord { at_ms: 5, reason: "closed".to_owned() }),
        holds: vec![HoldRecord {
            id: Uuid::from_u128(6),
            shared: true,
            quiet: false,
            owner: None,
            expires_at_ms: 7,
        }],
    }
}

/// An operation of such a number in the session of such a number, with something in every field.
pub(crate) fn operation(number: u128, session: u128) -> OperationRecord {
    let text = str::to_owned;
    OperationRecord {
        id: id(number),
        session: id(session),
        operation: text("make_appointment"),
        hold: id(77),
        created_at_ms: 1_760_000_000_000,
        timeout_ms: 3_600_000,
        needs: vec![["container", "terminal"].map(text).into(), ["truck_plate"].map(text).into()],
        inputs: [("container", "MSKU4822107"), ("terminal", "Pier T")]
            .map(|(name, value)| (text(name), text(value)))
            .into(),
        requests: [(text("key-1"), text("d1935t"))].into(),
        stage: StageRecord::Ended { ending: text("failed"), at_ms: 1_760_000_060_000 },
        phase: 1,
        outputs: json!({ "rows": [["a", "b"]], "number": "HG-0001" })
            .as_object()
            .cloned()
            .unwrap_or_default(),
        downloads: [(text("gate_pass"), DownloadRecord { name: text("HG-0001.txt"), size: 120 })].into(),
        screenshots: vec![ScreenshotRecord { name: text("1-01.png"), step: text("1.1") }],
        fault: Some(FaultRecord {
            step: Some(2),
            code: text("flow_failed"),
            sentence: text("step 2 (click) failed"),
        }),
    }
}

/// With something in every field.
pub(crate) fn credential() -> CredentialRecord {
    CredentialRecord {
        id: Uuid::from_u128(9),
        name: "harbour".to_owned(),
        username: "ada".to_owned(),
        password: Some(SecretString::from("p4ss")),
        totp_secret: Some(SecretString::from("GEZDGNBVGY3TQOJQ")),
    }
}
