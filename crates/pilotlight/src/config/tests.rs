//! Configurations as people write them, right and wrong.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pilotlight_api::{RefreshHow, Seconds};
use pilotlight_linux::Destination;

use super::keys::KEYS;
use super::types::auto_max_live;
use super::*;

const SIGN_IN: &str = r##"{"title": "sign in", "steps": [
    {"type": "change", "selectors": [["#username"]], "value": "${username}"},
    {"type": "change", "selectors": [["#password"]], "value": "${password}"},
    {"type": "click", "selectors": [["#submit"]], "offsetX": 1, "offsetY": 1}]}"##;

/// A working folder with files, for a user with an empty home folder.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn sources(&self) -> Sources {
        let home = self.path().join("home");
        Sources {
            file: None,
            environment: [("HOME".to_owned(), home.into_os_string())].into(),
            flags: Vec::new(),
            working_dir: self.path().to_owned(),
            is_root: false,
        }
    }

    fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(&self.sources())
    }

    /// The problems with the folder's path cut off.
    fn problems(&self, sources: &Sources) -> String {
        let errors = Config::load(sources).expect_err("the configuration was accepted");
        errors.to_string().replace(&format!("{}/", self.path().display()), "")
    }
}

fn variables(sources: &mut Sources, variables: &[(&str, &str)]) {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
    sources.environment.extend(variables);
}

fn flag(flag: &'static str, section: &'static str, key: &'static str, text: &str) -> Override {
    Override { flag, section, key, text: text.to_owned() }
}

#[test]
fn nothing_configured_gives_the_defaults_of_the_contract() {
    let folder = Folder::with(&[]);
    let config = folder.load().unwrap();
    assert_eq!(config.file, None);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:7070");
    assert_eq!(config.server.auth, Auth::Token);
    assert_eq!(config.server.state_dir, folder.path().join("home/.local/state/pilotlight"));
    assert_eq!(config.limits.max_sessions, 1000);
    assert_eq!(config.limits.windows_per_browser, 16);
    assert_eq!(config.limits.at_capacity, AtCapacity::Hibernate);
    assert_eq!(config.sessions.hibernate_after, None);
    assert_eq!(config.server.orphan_timeout, Duration::from_secs(24 * 60 * 60));
    assert_eq!(config.limits.queue_timeout, Duration::from_secs(30));
    assert_eq!(config.sessions.idle_timeout, Duration::from_secs(30 * 60));
    assert_eq!(config.sessions.refresh_interval, Some(Duration::from_secs(5 * 60)));
    assert_eq!(config.sessions.refresh_check, Duration::from_secs(60));
    assert_eq!(config.sessions.operation_timeout, Duration::from_secs(60 * 60));
    assert_eq!(config.sessions.keep_pictures, Some(Duration::from_secs(7 * 24 * 60 * 60)));
    assert_eq!(config.chromium.engine, Engine::Auto);
    assert_eq!(config.chromium.heartbeat, Duration::from_secs(15));
    assert_eq!((config.chromium.binary, config.chromium.profile.as_str()), (None, "dense"));
    assert!(config.warnings.is_empty() && config.sites.is_empty() && config.profiles.is_empty());
    let root = Sources { is_root: true, ..folder.sources() };
    assert_eq!(Server::load(&root).unwrap().state_dir, Path::new("/var/lib/pilotlight"));
}

#[test]
fn automatic_max_live_follows_the_memory() {
    assert_eq!(auto_max_live(Some(24_000_000_000)), 120);
    assert_eq!(auto_max_live(Some(100_000_000)), 4);
    assert_eq!(auto_max_live(Some(u64::MAX)), 1000);
    assert_eq!(auto_max_live(None), 4);
}

#[test]
fn flags_outweigh_the_environment_and_that_the_file() {
    let folder = Folder::with(&[(
        "pilotlight.toml",
        "[limits]\nmax_live = 5\nmax_sessions = 50\nqueue_timeout = \"1m\"\n[sessions]\nrefresh_interval = 0\n\
         [server]\nstate_dir = \"state\"\n",
    )]);
    let mut sources = folder.sources();
    variables(&mut sources, &[("PILOTLIGHT_LIMITS_MAX_LIVE", "6"), ("PILOTLIGHT_LIMITS_MAX_SESSIONS", "60")]);
    sources.flags = vec![flag("--max-live", "limits", "max_live", "7")];
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.limits.max_live, 7);
    assert_eq!(config.limits.max_sessions, 60);
    assert_eq!(config.limits.queue_timeout, Duration::from_secs(60));
    assert_eq!(config.sessions.refresh_interval, None);
    assert_eq!(config.server.state_dir, folder.path().join("state"));
}

#[test]
fn every_key_is_a_variable() {
    let folder = Folder::with(&[("shared/a.txt", "")]);
    let mut sources = folder.sources();
    variables(
        &mut sources,
        &[
            ("PILOTLIGHT_SERVER_LISTEN", "[::1]:7171"),
            ("PILOTLIGHT_SERVER_STATE_DIR", "state"),
            ("PILOTLIGHT_SERVER_AUTH", "none"),
            ("PILOTLIGHT_SERVER_ALLOWED_HOSTS", "Example.org, other.test:8443"),
            ("PILOTLIGHT_SERVER_ALLOWED_ORIGINS", "https://example.org"),
            ("PILOTLIGHT_SERVER_LOCAL_FOLDERS", "shared"),
            ("PILOTLIGHT_SERVER_WEBHOOK", "http://127.0.0.1:9/"),
            ("PILOTLIGHT_SERVER_WEBHOOK_SECRET", "sixteen letters!"),
            ("PILOTLIGHT_LIMITS_MAX_SESSIONS", "20"),
            ("PILOTLIGHT_LIMITS_MAX_LIVE", "10"),
            ("PILOTLIGHT_LIMITS_ASLEEP_WINDOWS", "3"),
            ("PILOTLIGHT_LIMITS_WINDOWS_PER_BROWSER", "4"),
            ("PILOTLIGHT_LIMITS_MEMORY_BUDGET", "6GiB"),
            ("PILOTLIGHT_LIMITS_WINDOW_MEMORY", "1GiB"),
            ("PILOTLIGHT_LIMITS_AT_CAPACITY", "terminate"),
            ("PILOTLIGHT_LIMITS_QUEUE_TIMEOUT", "5"),
            ("PILOTLIGHT_SESSIONS_IDLE_TIMEOUT", "1h"),
            ("PILOTLIGHT_SESSIONS_REFRESH_INTERVAL", "never"),
            ("PILOTLIGHT_SESSIONS_REFRESH_CHECK", "1s"),
            ("PILOTLIGHT_SESSIONS_OPERATION_TIMEOUT", "2h"),
            ("PILOTLIGHT_SESSIONS_KEEP_PICTURES", "never"),
            ("PILOTLIGHT_SESSIONS_WEBDRIVER_TIMEOUT", "10m"),
            ("PILOTLIGHT_SESSIONS_CLIENT_IDLE_AFTER", "never"),
            ("PILOTLIGHT_SESSIONS_FREEZE_AFTER", "never"),
            ("PILOTLIGHT_SESSIONS_HIBERNATE_AFTER", "2h"),
            ("PILOTLIGHT_SERVER_ORPHAN_TIMEOUT", "1h"),
            ("PILOTLIGHT_CHROMIUM_MAX_AGE", "12h"),
            ("PILOTLIGHT_CHROMIUM_HEARTBEAT", "5s"),
            ("PILOTLIGHT_CHROMIUM_BINARY", "/usr/bin/chromium"),
            ("PILOTLIGHT_CHROMIUM_ENGINE", "headless"),
            ("PILOTLIGHT_CHROMIUM_PROFILE", "moderate"),
            ("PILOTLIGHT_CHROMIUM_USER", "nobody"),
            ("PILOTLIGHT_CHROMIUM_EXTRA_ARGS", "--mute-audio,--lang=de"),
            ("PILOTLIGHT_CHROMIUM_READABLE", "/srv/fonts,fonts"),
            ("PILOTLIGHT_CHROMIUM_PAGE_OUT", "any"),
            ("PILOTLIGHT_CHROMIUM_MERGE_PAGES", "true"),
            ("PILOTLIGHT_CHROMIUM_ALLOW_UNSAFE_ARGS", "true"),
            ("PILOTLIGHT_TOKEN", "read elsewhere"),
            ("PILOTLIGHT_PORT_7070_TCP", "set by a cluster"),
        ],
    );
    assert!(KEYS.iter().all(|key| sources.environment.contains_key(&key.variable())));
    let config = Config::load(&sources).unwrap();
    let hosts: Vec<_> = config.server.allowed_hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["example.org", "other.test:8443"]);
    assert_eq!(config.limits.asleep_windows, 3);
    assert_eq!(config.limits.memory_budget, MemoryBudget::Bytes(6 << 30));
    assert_eq!(config.limits.window_memory, MemoryBudget::Bytes(1 << 30));
    assert_eq!(config.limits.at_capacity, AtCapacity::Terminate);
    assert_eq!(config.sessions.hibernate_after, Some(Duration::from_secs(2 * 60 * 60)));
    assert_eq!(config.chromium.heartbeat, Duration::from_secs(5));
    assert_eq!(config.chromium.extra_args, ["--mute-audio", "--lang=de"]);
    assert_eq!(config.chromium.user.as_deref(), Some("nobody"));
    assert_eq!(config.chromium.page_out, Some(Destination::Any));
    assert_eq!(config.chromium.readable, [PathBuf::from("/srv/fonts"), folder.path().join("fonts")]);
}

#[test]
fn pages_go_to_sealed_swap_to_any_or_stay() {
    for (line, expected) in [
        ("", Some(Destination::Sealed)),
        ("page_out = true", Some(Destination::Sealed)),
        ("page_out = false", None),
        ("page_out = \"any\"", Some(Destination::Any)),
    ] {
        let folder = Folder::with(&[("pilotlight.toml", &format!("[chromium]\n{line}\n"))]);
        assert_eq!(Config::load(&folder.sources()).unwrap().chromium.page_out, expected, "{line}");
    }
    let folder = Folder::with(&[("pilotlight.toml", "[chromium]\npage_out = \"disk\"\n")]);
    let problems = Config::load(&folder.sources()).unwrap_err();
    assert!(format!("{problems:?}").contains("true, false or"), "{problems:?}");
}

#[test]
fn every_mistake_is_reported_at_once_with_place_and_suggestion() {
    let folder = Folder::with(&[
        (
            "pilotlight.toml",
            r##"[server]
listen = "localhost"
auth = "tokens"
allowed_origins = ["example.org"]
queue_timeout = "30s"

[limits]
max_liv = 5
max_sessions = "many"
memory_budget = 5
at_capacity = "hibernat"

[session]
idle_timeout = "30m"

[sessions]
idle_timeout = "soon"
refresh_check = 0
freeze_after = "later"

[chromium]
engine = "headles"
profile = "dens"
extra_args = ["no-sandbox"]

[profiles.small]
base = "dence"
window_size = "tiny"
imges = false

[sites.bad]
strat_url = "http://127.0.0.1/"
signed_in = { any = [ { selektor = "#user" } ] }

[sites.ftp]
start_url = "ftp://127.0.0.1/"

[sites.portal]
start_url = "http://127.0.0.1/"
sign_in = "flows/missing.json"
signed_in = { selector = "#user" }
refresh = { how = "visit", evry = "5m" }
"##,
        ),
        (
            "sites/broken.toml",
            "start_url = \"http://127.0.0.1/\"\nsigned_in = {\nrefresh = { how = \"dance\" }\n",
        ),
        (
            "sites/noflow.toml",
            "start_url = \"http://127.0.0.1/\"\nsign_in = \"noflow.json\"\nsigned_in = { text = \"x\" }\n",
        ),
        ("sites/noflow.json", "{\"title\": \"x\", \"steps\": [{\"type\": \"clack\"}]}"),
        (
            "sites/nojson.toml",
            "start_url = \"http://127.0.0.1/\"\nsign_in = \"nojson.json\"\nsigned_in = { text = \"x\" }\n",
        ),
        ("sites/nojson.json", "{\"title\": \"x\",\n oops}"),
        ("sites/portal.toml", "start_url = \"http://127.0.0.1/\"\n"),
        ("sites/bad name.toml", "start_url = \"http://127.0.0.1/\"\n"),
    ]);
    let mut sources = folder.sources();
    variables(
        &mut sources,
        &[("PILOTLIGHT_LIMITS_MAX_LIV", "5"), ("PILOTLIGHT_SESSIONS_IDLE_TIMEOUT", "-1")],
    );
    sources.flags = vec![flag("--max-live", "limits", "max_live", "0")];
    let problems = folder.problems(&sources);
    assert_eq!(problems, include_str!("mistakes.txt").trim_end(), "\n{problems}");
}

#[test]
fn a_site_is_read_with_its_flow() {
    let folder = Folder::with(&[
        (
            "pilotlight.toml",
            "[sites.one]\nstart_url = \"http://127.0.0.1:8099/\"\nsign_in = \"flows/in.json\"\n\
             signed_in = { any = [ { selector = \"#user\" } ], none = [ { url_contains = \"/login\" } ] }\n\
             refresh = { how = \"visit\", every = \"5m\", url = \"http://127.0.0.1:8099/keep\" }\n",
        ),
        ("flows/in.json", SIGN_IN),
        (
            "sites/two.toml",
            "start_url = \"https://two.test/\"\nsign_in = \"two/in.json\"\nsigned_in.text = \"Bye\"\n",
        ),
        ("sites/two/in.json", SIGN_IN),
        ("home/.local/state/pilotlight/sites/three.toml", "start_url = \"https://three.test/\"\n"),
    ]);
    let config = folder.load().unwrap();
    assert_eq!(config.sites.keys().collect::<Vec<_>>(), ["one", "three", "two"]);
    let one = &config.sites["one"];
    assert_eq!(one.sign_in.as_ref().unwrap().steps.len(), 3);
    assert_eq!(one.definition.refresh.how, RefreshHow::Visit);
    assert_eq!(one.definition.refresh.every, Some(Seconds::new(300)));
    assert!(one.definition.signed_in.is_some());
    assert_eq!(config.sites["three"].definition.refresh.how, RefreshHow::Reload);
}

#[test]
fn a_sign_in_may_only_ask_for_what_there_is() {
    let folder = Folder::with(&[
        (
            "sites/a.toml",
            "start_url = \"http://a.test/\"\nsign_in = \"a.json\"\nsigned_in = { text = \"x\" }\n",
        ),
        ("sites/a.json", &SIGN_IN.replace("${username}", "${user}")),
        ("pilotlight.toml", ""),
    ]);
    let problems = folder.problems(&folder.sources());
    assert!(problems.starts_with("sites/a.toml:2:11: site `a`: `sign_in` uses `${user}`"), "{problems}");
}

#[test]
fn an_operation_is_read_with_its_phases() {
    const PHASE: &str = r##"{"title": "x", "steps": [
        {"type": "change", "selectors": ["#plate"], "value": "${plate}"},
        {"type": "customStep", "name": "extract", "parameters": {"name": "number", "selectors": ["#number"]}}]}"##;
    let with = |operation: &str| {
        let site = format!("start_url = \"http://a.test/\"\n[operations.book]\n{operation}\n");
        Folder::with(&[("sites/a.toml", &site), ("sites/a/1.json", PHASE), ("pilotlight.toml", "")])
    };
    let folder = with(
        "phases = [ { flow = \"a/1.json\", needs = [\"plate\"] } ]\noutputs = [\"number\"]\ntimeout = \"5m\"",
    );
    let site = &folder.load().unwrap().sites["a"];
    assert_eq!(site.operations["book"][0].steps.len(), 2);
    assert_eq!(site.definition.operations["book"].timeout, Some(Seconds::new(300)));
    for (operation, expected) in [
        ("phases = [ { flow = \"a/1.json\" } ]", "`operations.book.phases.1.flow` uses `${plate}`"),
        ("phases = [ { flow = \"a/2.json\" } ]", "`operations` of site `a`: "),
        ("phases = [ { flow = \"a/1.json\", neds = [] } ]", "did you mean `needs`?"),
        (
            "phases = [ { flow = \"a/1.json\", needs = [\"plate\"] } ]\noutputs = [\"code\"]",
            "`operations.book.outputs` has `code`, which no step produces",
        ),
    ] {
        let folder = with(operation);
        let problems = folder.problems(&folder.sources());
        assert!(problems.starts_with("sites/a.toml:") && problems.contains(expected), "{problems}");
    }
}

#[test]
fn no_token_is_for_loopback_alone() {
    let folder =
        Folder::with(&[("pilotlight.toml", "[server]\nlisten = \"0.0.0.0:7070\"\nauth = \"none\"\n")]);
    let problems = folder.problems(&folder.sources());
    assert!(problems.starts_with("pilotlight.toml:3:8: `server.auth` can be \"none\" only if"), "{problems}");
    let folder = Folder::with(&[("pilotlight.toml", "[server]\nlisten = \"0.0.0.0:7070\"\n")]);
    let warnings = folder.load().unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("without TLS"), "{warnings:?}");
}

#[test]
fn a_profile_of_ones_own_can_be_chosen() {
    let folder = Folder::with(&[(
        "pilotlight.toml",
        "[chromium]\nprofile = \"small\"\n[profiles.small]\nbase = \"moderate\"\nadd = [\"--mute-audio\"]\n\
         remove = [\"--disable-gpu\"]\nimages = false\nwindow_size = \"800x600\"\n",
    )]);
    let config = folder.load().unwrap();
    assert_eq!(
        config.profiles["small"],
        ProfileDefinition {
            base: Some("moderate".into()),
            add: vec!["--mute-audio".into()],
            remove: vec!["--disable-gpu".into()],
            images: Some(false),
            window_size: Some((800, 600)),
            site_isolation: None,
        }
    );
}

#[test]
fn the_file_is_looked_for_where_people_put_it() {
    let folder = Folder::with(&[
        ("home/.config/pilotlight/pilotlight.toml", "[limits]\nmax_live = 5\n"),
        ("given.toml", "[limits]\nmax_live = 6\n"),
    ]);
    assert_eq!(folder.load().unwrap().limits.max_live, 5);
    let given = Sources { file: Some("given.toml".into()), ..folder.sources() };
    assert_eq!(Config::load(&given).unwrap().limits.max_live, 6);
    let missing = Sources { file: Some("missing.toml".into()), ..folder.sources() };
    assert!(folder.problems(&missing).starts_with("missing.toml: cannot be read"));
}

#[test]
fn a_client_is_not_stopped_by_mistakes_that_are_not_its_own() {
    let folder = Folder::with(&[(
        "pilotlight.toml",
        "[server]\nlisten = \"127.0.0.1:7171\"\n[limits]\nmax_live = \"x\"\n",
    )]);
    assert_eq!(Server::load(&folder.sources()).unwrap().listen.port(), 7171);
    assert!(folder.load().is_err());
}

#[test]
fn garbage_is_a_problem_and_no_panic() {
    for garbage in [
        "\u{0}",
        "[",
        "[server",
        "=",
        "\"\"\"",
        "[server]\nlisten = [\n",
        "server = 5",
        "[[server]]\n",
        "[profiles]\nx = 1\n",
    ] {
        let folder = Folder::with(&[("pilotlight.toml", garbage)]);
        assert!(folder.load().is_err(), "{garbage:?}");
    }
    let folder = Folder::with(&[]);
    std::fs::write(folder.path().join("pilotlight.toml"), b"\xff\xfe").unwrap();
    assert!(folder.load().unwrap_err().to_string().contains("UTF-8"));
    std::fs::write(folder.path().join("pilotlight.toml"), "#".repeat(2 << 20)).unwrap();
    assert!(folder.load().unwrap_err().to_string().contains("larger than"));
}

/// Returns the setting that a line of the example has behind its comment sign.
fn setting(line: &str) -> Option<&str> {
    line.strip_prefix("# ").filter(|rest| rest.contains(" = "))
}

#[test]
fn the_examples_are_without_a_mistake_and_hold_every_default() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let folder = Folder::with(&[]);
    let sources = Sources { file: Some(examples.join("pilotlight.toml")), ..folder.sources() };
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.sites.keys().collect::<Vec<_>>(), ["emodal", "portal"]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);

    // With every line switched on it is still a configuration that loads. All values are the defaults, except of keys
    // without one.
    let text = std::fs::read_to_string(examples.join("pilotlight.toml")).unwrap();
    let mut section = "";
    let mut keys = BTreeSet::new();
    let mut enabled = Vec::new();
    for line in text.lines() {
        let heading =
            line.strip_prefix("# ").unwrap_or(line).strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        section = heading.unwrap_or(section);
        let key = setting(line).and_then(|rest| rest.split(' ').next());
        keys.extend(key.map(|key| (section, key)));
        let has_default =
            !key.is_some_and(|key| ["state_dir", "webhook", "webhook_secret", "user"].contains(&key));
        if has_default {
            enabled.push(
                heading.map_or_else(|| setting(line).unwrap_or(line).to_owned(), |name| format!("[{name}]")),
            );
        }
    }
    let known: BTreeSet<_> = KEYS.iter().map(|key| (key.section, key.name)).collect();
    keys.retain(|(section, _)| *section != "profiles.office");
    assert_eq!(keys, known, "the example has every key");
    let all = Folder::with(&[("pilotlight.toml", &enabled.join("\n"))]);
    let config = all.load().unwrap_or_else(|errors| panic!("{errors}"));
    let default = Config::with_defaults(config.server.state_dir.clone());
    assert_eq!(config.server, default.server);
    assert_eq!(config.limits, default.limits);
    assert_eq!(config.sessions, default.sessions);
    assert_eq!(config.chromium, default.chromium);
    assert!(config.profiles.contains_key("office"));
}

#[test]
fn clients_are_given_no_folder_with_the_servers_own_state() {
    let folder = Folder::with(&[("shared/a.txt", "a"), ("state/token", "t"), ("file", "")]);
    let with = |folders: &str| {
        let text = format!("[server]\nstate_dir = \"state\"\nlocal_folders = [{folders}]\n");
        std::fs::write(folder.path().join("pilotlight.toml"), text).unwrap();
    };
    with("\"shared\"");
    let shared = folder.path().join("shared").canonicalize().unwrap();
    assert_eq!(folder.load().unwrap().server.local_folders, [shared]);
    std::os::unix::fs::symlink(folder.path().join("state"), folder.path().join("link")).unwrap();
    for (folders, reason) in [
        ("\"state\"", "the server's own state"),
        ("\"link\"", "the server's own state"),
        ("\".\"", "the server's own state"),
        ("\"/\"", "the server's own state"),
        ("\"/proc/self\"", "of the kernel"),
        ("\"shared\", \"none\"", "cannot be used"),
        ("\"file\"", "is not a folder"),
    ] {
        with(folders);
        let problems = folder.problems(&folder.sources());
        assert!(problems.contains("local_folders") && problems.contains(reason), "{folders}: {problems}");
    }
}

#[test]
fn what_signs_messages_is_long_enough_and_never_shown() {
    let folder = Folder::with(&[("pilotlight.toml", "[server]\nwebhook_secret = \"sixteen letters!\"\n")]);
    let config = folder.load().unwrap();
    assert!(config.server.webhook_secret.is_some() && !format!("{config:?}").contains("sixteen"));
    let mut sources = folder.sources();
    variables(&mut sources, &[("PILOTLIGHT_SERVER_WEBHOOK_SECRET", "tooshort")]);
    let problems = folder.problems(&sources);
    assert!(problems.contains("at least 16") && !problems.contains("tooshort"), "{problems}");
}
