use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

fn sources(folder: &TempDir) -> KeySources {
    KeySources {
        environment: None,
        credential_path: Some(folder.path().join("credential")),
        key_file_path: folder.path().join("master.key"),
        store_path: folder.path().join("store.sqlite"),
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn names(keyring: &Keyring) -> Vec<&str> {
    keyring.keys.iter().map(MasterKey::name).collect()
}

#[test]
fn a_keyring_is_read_from_its_text() {
    let text = format!("# ours\n\n new:{SECRET}\r\nold.1_a-b:{}\n", "01".repeat(32));
    let keyring = Keyring::parse(&text, "the test").unwrap();
    assert_eq!(names(&keyring), ["new", "old.1_a-b"]);
    assert_eq!(keyring.current().expose()[..3], [0x00, 0x11, 0x22]);
    assert_eq!(keyring.current().expose()[29..], [0xdd, 0xee, 0xff]);
    assert_eq!(keyring.get("old.1_a-b").unwrap().expose(), &[1; KEY_BYTES]);
    assert_eq!(format!("{keyring:?}"), r#"["new", "old.1_a-b"]"#);
}

#[test]
fn a_wrong_text_is_refused_without_being_repeated() {
    let many = (0..=KEYS_MAX).map(|number| format!("k{number}:{SECRET}\n")).collect();
    for text in [
        SECRET.to_owned(),
        format!(":{SECRET}"),
        format!("a b:{SECRET}"),
        format!("a:{SECRET}0"),
        format!("a:{SECRET} # mine"),
        format!("a:{}x", &SECRET[1..]),
        format!("a:{SECRET}\na:{SECRET}"),
        format!("{}:{SECRET}", "n".repeat(KEY_NAME_BYTES_MAX + 1)),
        String::new(),
        "# nothing\n".to_owned(),
        many,
    ] {
        let error = Keyring::parse(&text, "the test").unwrap_err();
        let told = format!("{error} {error:?} {:?}", error.hint());
        assert!(told.contains("the test") && !told.contains(&SECRET[1..20]), "{told}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*|([a-c:#\n]{0,3}[0-9a-f]{62,66}\n?)*") {
        let _ = Keyring::parse(&text, "the test");
    }
}

#[test]
fn the_first_source_that_is_there_is_the_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut sources = sources(&folder);
    write(&sources.key_file_path, &format!("file:{SECRET}"), 0o600);
    assert_eq!(names(&Keyring::find(&sources).unwrap()), ["file"]);
    // As systemd shows it with an access list.
    write(sources.credential_path.as_ref().unwrap(), &format!("credential:{SECRET}"), 0o440);
    assert_eq!(names(&Keyring::find(&sources).unwrap()), ["credential"]);
    sources.environment = Some(SecretString::from(format!("environment:{SECRET}")));
    assert_eq!(names(&Keyring::find(&sources).unwrap()), ["environment"]);
    sources.environment = Some(SecretString::from(""));
    assert!(matches!(Keyring::find(&sources), Err(KeyError::Empty { .. })));
}

#[test]
fn a_key_file_is_made_once_and_only_without_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let sources = sources(&folder);
    fs::write(&sources.store_path, "").unwrap();
    let error = Keyring::find(&sources).unwrap_err();
    assert!(matches!(error, KeyError::Lost { .. }), "{error}");
    assert!(error.hint().unwrap().contains("master.key"));
    assert!(!sources.key_file_path.exists());
    fs::remove_file(&sources.store_path).unwrap();

    let made = Keyring::find(&sources).unwrap();
    assert_eq!(fs::metadata(&sources.key_file_path).unwrap().mode() & 0o7777, 0o600);
    let found = Keyring::find(&sources).unwrap();
    assert_eq!(names(&made), names(&found));
    assert_eq!(made.current().expose(), found.current().expose());
    assert_ne!(made.current().expose(), &[0; KEY_BYTES]);
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sources = sources(&folder);
    for mode in [0o640, 0o604, 0o620, 0o610] {
        write(&sources.key_file_path, &format!("file:{SECRET}"), mode);
        let error = Keyring::find(&sources).unwrap_err();
        assert!(error.to_string().contains(&format!("{mode:04o}")), "{error}");
        assert!(error.hint().unwrap().starts_with("chmod 600 "));
    }
    write(sources.credential_path.as_ref().unwrap(), &format!("credential:{SECRET}"), 0o444);
    assert!(matches!(Keyring::find(&sources), Err(KeyError::Exposed { .. })));
}

#[test]
fn what_is_no_file_of_its_own_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sources = sources(&folder);
    let elsewhere = folder.path().join("elsewhere");
    write(&elsewhere, &format!("file:{SECRET}"), 0o600);
    symlink(&elsewhere, &sources.key_file_path).unwrap();
    assert!(matches!(Keyring::find(&sources), Err(KeyError::NotAKeyFile { .. })));
    fs::remove_file(&sources.key_file_path).unwrap();
    fs::create_dir(&sources.key_file_path).unwrap();
    assert!(matches!(Keyring::find(&sources), Err(KeyError::NotAKeyFile { .. })));
    fs::remove_dir(&sources.key_file_path).unwrap();
    write(&sources.key_file_path, &"#".repeat(70_000), 0o600);
    assert!(matches!(Keyring::find(&sources), Err(KeyError::NotAKeyFile { .. })));
}

#[test]
fn a_key_file_gets_a_new_key_and_loses_the_old_ones() {
    let folder = tempfile::tempdir().unwrap();
    let sources = sources(&folder);
    let path = &sources.key_file_path;
    write(path, &format!("# ours\nfirst:{SECRET}"), 0o600);
    // Left by a crash.
    write(&new_path(path), "half", 0o644);
    let second = Keyring::add_new_current(path).unwrap();
    let third = Keyring::add_new_current(path).unwrap();
    assert_ne!(second, third);
    assert_eq!(names(&Keyring::find(&sources).unwrap()), [&third, &second, "first"]);
    assert_eq!(Keyring::retain_current(path).unwrap(), [&second, "first"]);
    assert_eq!(names(&Keyring::find(&sources).unwrap()), [&third]);
    assert!(fs::read_to_string(path).unwrap().contains("# ours"));
    assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, 0o600);
    assert!(!new_path(path).exists());
}

#[test]
fn a_key_file_that_is_wrong_or_full_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    assert!(matches!(Keyring::add_new_current(&path), Err(KeyError::Io { .. })));
    let full: String = (0..KEYS_MAX).map(|number| format!("k{number}:{SECRET}\n")).collect();
    for text in [full.as_str(), "half"] {
        write(&path, text, 0o600);
        assert!(Keyring::add_new_current(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    assert!(Keyring::retain_current(&path).is_err());
}
