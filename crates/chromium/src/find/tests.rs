use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

struct Machine {
    root: tempfile::TempDir,
    environment: HashMap<String, String>,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home").display().to_string();
        Self { root, environment: HashMap::from([("HOME".into(), home)]) }
    }

    fn install(&self, path: &str) -> PathBuf {
        self.program(path, "#!/bin/sh\n")
    }

    fn program(&self, path: &str, text: &str) -> PathBuf {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn find(&self, engines: &[Engine]) -> Result<Binary, FindError> {
        find(&Search { configured: None, environment: &self.environment, root: self.root.path() }, engines)
    }
}

const AUTO: [Engine; 2] = [Engine::HeadlessShell, Engine::Headless];

#[test]
fn each_place_is_looked_at_in_its_order() {
    let mut machine = Machine::new();
    let path = machine.root.path().join("bin").display().to_string();
    machine.environment.insert("PATH".into(), format!("relative:{path}"));
    let places = [
        (
            "home/.cache/puppeteer/chrome-headless-shell/linux-99.0.1/chrome-headless-shell-linux64/chrome-headless-shell",
            "Puppeteer's cache",
        ),
        (
            "home/.cache/puppeteer/chrome-headless-shell/linux-131.0.1/chrome-headless-shell-linux64/chrome-headless-shell",
            "Puppeteer's cache",
        ),
        (
            "home/.cache/ms-playwright/chromium_headless_shell-1200/chrome-linux/headless_shell",
            "Playwright's cache",
        ),
        ("bin/chrome-headless-shell", "PATH"),
        ("usr/lib/chromium/chromium-headless-shell", "Debian's package"),
    ];
    for (place, source) in places {
        let installed = machine.install(place);
        let found = machine.find(&AUTO).unwrap();
        assert_eq!((found.path, found.source, found.engine), (installed, source, Engine::HeadlessShell));
    }
    let own = machine.install("own/my-headless_shell");
    machine.environment.insert("CHROME_BIN".into(), own.display().to_string());
    assert_eq!(machine.find(&AUTO).unwrap().path, own);
}

#[test]
fn the_shell_is_preferred_and_full_chromium_serves_where_there_is_none() {
    let machine = Machine::new();
    assert!(matches!(machine.find(&AUTO), Err(FindError::NotFound(_))));
    let chrome = machine.install("opt/google/chrome/chrome");
    assert_eq!(
        machine.find(&AUTO).unwrap(),
        Binary { path: chrome, engine: Engine::Headless, source: "Google Chrome" }
    );
    let chromium = machine.install("usr/lib/chromium/chromium");
    assert_eq!(machine.find(&AUTO).unwrap().path, chromium);
    let shell = machine.install("usr/lib/chromium/chromium-headless-shell");
    assert_eq!(machine.find(&AUTO).unwrap().path, shell);
}

#[test]
fn a_window_needs_a_display() {
    let mut machine = Machine::new();
    machine.install("usr/lib/chromium/chromium");
    assert!(matches!(machine.find(&[Engine::Headed]), Err(FindError::NoDisplay)));
    let order = [Engine::Headed, Engine::Headless];
    assert_eq!(machine.find(&order).unwrap().engine, Engine::Headless);
    machine.environment.insert("DISPLAY".into(), ":7".into());
    assert_eq!(machine.find(&order).unwrap().engine, Engine::Headed);
}

#[test]
fn a_configured_path_is_the_only_one_looked_at() {
    let machine = Machine::new();
    machine.install("usr/lib/chromium/chromium-headless-shell");
    let full = machine.install("own/chromium");
    let search = |path| Search {
        configured: Some(path),
        environment: &machine.environment,
        root: machine.root.path(),
    };
    assert_eq!(find(&search(&full), &AUTO).unwrap().engine, Engine::Headless);
    let error = find(&search(&full), &[Engine::HeadlessShell]).unwrap_err();
    assert!(matches!(error, FindError::WrongEngine { .. }), "{error}");
    let nowhere = machine.root.path().join("nowhere");
    let error = find(&search(&nowhere), &AUTO).unwrap_err();
    assert!(error.to_string().contains("apt install"), "{error}");
}

#[test]
fn a_file_that_nobody_may_execute_is_passed_over() {
    let machine = Machine::new();
    let path = machine.install("usr/lib/chromium/chromium");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(machine.find(&AUTO).is_err());
}

#[tokio::test]
async fn old_and_broken_programs_are_told_apart() {
    let machine = Machine::new();
    let check = async |text: &str| {
        let path = machine.program("chromium", text);
        check_version(&Binary { path, engine: Engine::Headless, source: "test" }, None).await
    };
    assert_eq!(check("#!/bin/sh\necho Chromium 156.0.8078.79 built on Debian\n").await.unwrap(), 156);
    let old = check("#!/bin/sh\necho Chromium 90.0.1.2\n").await.unwrap_err();
    assert!(old.to_string().contains("is Chromium 90; at least 120 is needed"), "{old}");
    let odd = check("#!/bin/sh\necho hello\n").await.unwrap_err();
    assert!(matches!(odd, FindError::Broken { .. }));
    let none = check("#!/nowhere/at-all\n").await.unwrap_err();
    assert!(matches!(none, FindError::Broken { .. }));
}
