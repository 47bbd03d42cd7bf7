use std::collections::HashSet;

use serde_json::json;

use super::table::Verdict;
use super::*;

/// Every option of the guide "Window Persistence & Resource Optimization", as a driver would get it.
const GUIDE_SWITCHES: [&str; 41] = [
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-software-rasterizer",
    "--disable-extensions",
    "--disable-plugins",
    "--no-sandbox",
    "--disable-setuid-sandbox",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-breakpad",
    "--disable-component-extensions-with-background-pages",
    "--disable-features=TranslateUI",
    "--disable-features=BlinkGenPropertyTrees",
    "--disable-ipc-flooding-protection",
    "--disable-renderer-backgrounding",
    "--disable-sync",
    "--disable-translate",
    "--disable-default-apps",
    "--disable-hang-monitor",
    "--disable-prompt-on-repost",
    "--disable-domain-reliability",
    "--disable-web-security",
    "--disable-features=IsolateOrigins",
    "--disable-features=site-per-process",
    "--disk-cache-size=1",
    "--media-cache-size=1",
    "--aggressive-cache-discard",
    "--disable-cache",
    "--disable-application-cache",
    "--disable-offline-load-stale-cache",
    "--window-size=1024,768",
    "--window-size=800,600",
    "--headless",
    "--headless=new",
    "--single-process",
    "--process-per-tab",
    "--renderer-process-limit=1",
    "--log-level=3",
    "--silent",
    "excludeSwitches=enable-logging",
];

const GUIDE_PREFERENCES: [&str; 7] = [
    "profile.default_content_setting_values.images=2",
    "profile.default_content_setting_values.plugins=2",
    "profile.default_content_setting_values.media_stream=2",
    "profile.default_content_setting_values.geolocation=2",
    "profile.default_content_setting_values.notifications=2",
    "profile.managed_default_content_settings.images=2",
    "disk-cache-size=4096",
];

fn row(name: &str) -> &'static Flag {
    FLAGS.iter().find(|flag| flag.is_called(name)).unwrap_or_else(|| panic!("{name} is not in the table"))
}

fn resolved(profile: impl Into<CustomProfile>, engine: Engine) -> Resolved {
    resolve(&profile.into(), engine, &[], false).unwrap()
}

fn refusal(argument: &str, allow_unsafe: bool) -> ProfileError {
    let extra = [argument.to_owned()];
    resolve(&Profile::Dense.into(), Engine::HeadlessShell, &extra, allow_unsafe).unwrap_err().remove(0)
}

#[test]
fn every_line_of_the_guide_is_in_the_table() {
    for line in GUIDE_SWITCHES.iter().chain(&GUIDE_PREFERENCES) {
        assert!(!row(line).effect.is_empty());
    }
}

#[test]
fn the_aggressive_profile_has_every_line_of_the_guide_that_is_not_unsafe() {
    for line in GUIDE_SWITCHES.iter().chain(&GUIDE_PREFERENCES) {
        let flag = row(line);
        let expected = flag.headless_shell != Verdict::Unsafe && !flag.owned;
        assert_eq!(Profile::Aggressive.has(flag), expected, "{line}");
    }
}

#[test]
fn no_profile_has_an_unsafe_or_owned_row_and_no_row_is_there_twice() {
    let mut seen = HashSet::new();
    for flag in FLAGS {
        assert!(seen.insert((flag.kind, flag.name)), "{} is there twice", flag.name);
        let is_unsafe = [flag.headless_shell, flag.full].contains(&Verdict::Unsafe);
        assert!(flag.profiles.is_empty() || !(is_unsafe || flag.owned), "{}", flag.name);
    }
}

#[test]
fn the_conservative_profile_leaves_chromium_as_it_is() {
    let conservative = resolved(Profile::Conservative, Engine::Headed);
    assert_eq!(
        conservative.arguments,
        [
            "--no-first-run",
            "--no-default-browser-check",
            "--password-store=basic",
            "--blink-settings=selectionClipboardBufferAvailable=false",
        ]
    );
    assert_eq!(conservative.preferences, json!({ "plugins": { "always_open_pdf_externally": true } }));
    assert!(conservative.images);
}

#[test]
fn the_moderate_profile_keeps_images_and_window() {
    let moderate = resolved(Profile::Moderate, Engine::Headed);
    assert!(moderate.images);
    assert_eq!(moderate.window_size, Some((1024, 768)));
    assert!(moderate.arguments.contains(&"--disable-gpu".into()));
    assert_eq!(Profile::Moderate.engines(true)[0], Engine::Headed);
    assert_eq!(Profile::Moderate.engines(false)[0], Engine::HeadlessShell);
}

#[test]
fn the_aggressive_profile_switches_images_off_in_both_ways() {
    let shell = resolved(Profile::Aggressive, Engine::HeadlessShell);
    let settings = "--blink-settings=imagesEnabled=false,selectionClipboardBufferAvailable=false";
    assert!(shell.arguments.contains(&settings.into()));
    assert!(shell.arguments.contains(&"--disable-features=TranslateUI,BlinkGenPropertyTrees".into()));
    assert_eq!(shell.preferences, json!({}));
    let full = resolved(Profile::Aggressive, Engine::Headless);
    assert_eq!(full.preferences["profile"]["default_content_setting_values"]["images"], 2);
    assert_eq!(full.preferences["profile"]["managed_default_content_settings"]["images"], 2);
    assert!(!full.images);
    assert_eq!(Profile::Aggressive.engines(true)[0], Engine::HeadlessShell);
}

#[test]
fn the_dense_profile_keeps_images_and_jit() {
    let dense = resolved(Profile::Dense, Engine::HeadlessShell);
    assert!(dense.images && !dense.site_isolation);
    for switch in
        ["--in-process-gpu", "--renderer-process-limit=1", "--disable-back-forward-cache", "--mute-audio"]
    {
        assert!(dense.arguments.contains(&switch.into()), "{switch}");
    }
    assert!(dense.arguments.contains(&"--js-flags=--optimize-for-size".into()));
    assert!(dense.arguments.contains(&"--enable-features=NetworkServiceInProcess2".into()));
    assert!(
        !dense
            .arguments
            .iter()
            .any(|argument| argument.contains("jitless") || argument.contains("lite-mode"))
    );
}

#[test]
fn a_custom_profile_changes_its_base() {
    let custom = CustomProfile {
        add: vec!["--lang=de".into(), "--disable-features=MediaRouter".into()],
        remove: vec!["--mute-audio".into(), "optimize-for-size".into()],
        images: Some(false),
        window_size: Some((800, 600)),
        site_isolation: Some(true),
        ..Profile::Dense.into()
    };
    let shell = resolved(custom, Engine::HeadlessShell);
    assert!(!shell.arguments.iter().any(|a| a.contains("mute-audio") || a.contains("js-flags")));
    let settings = "--blink-settings=imagesEnabled=false,selectionClipboardBufferAvailable=false";
    for switch in ["--lang=de", "--window-size=800,600", "--site-per-process", settings] {
        assert!(shell.arguments.contains(&switch.into()), "{switch}");
    }
    let custom = CustomProfile { images: Some(true), ..Profile::Aggressive.into() };
    let full = resolved(custom, Engine::Headless);
    assert!(full.images && full.site_isolation);
    assert!(!full.arguments.iter().any(|argument| argument.contains("imagesEnabled")));
    assert_eq!(full.preferences["profile"]["default_content_setting_values"].get("images"), None);
}

#[test]
fn lists_are_merged_and_never_repeated() {
    let extra = [
        "--disable-features=A,B".to_owned(),
        "--disable-features=C<Trial,A".to_owned(),
        "--enable-features=B".to_owned(),
        "--js-flags=--max-old-space-size=256 --optimize-for-size".to_owned(),
        "--js-flags=--max-old-space-size=512".to_owned(),
        "--blink-settings=x=1,y=2".to_owned(),
        "--window-size=640,480".to_owned(),
    ];
    let lines = resolve(&Profile::Dense.into(), Engine::Headless, &extra, true).unwrap().arguments;
    let starting = |prefix: &str| lines.iter().filter(|line| line.starts_with(prefix)).collect::<Vec<_>>();
    assert_eq!(
        starting("--disable-features"),
        ["--disable-features=ScalableFrameEviction,SpareRendererForSitePerProcess,Translate,A,C<Trial"]
    );
    assert_eq!(starting("--enable-features"), ["--enable-features=NetworkServiceInProcess2,B"]);
    assert_eq!(starting("--js-flags"), ["--js-flags=--optimize-for-size --max-old-space-size=512"]);
    assert_eq!(
        starting("--blink-settings"),
        ["--blink-settings=selectionClipboardBufferAvailable=false,x=1,y=2"]
    );
    assert_eq!(starting("--window-size"), ["--window-size=640,480"]);
}

#[test]
fn unsafe_arguments_are_refused_unless_allowed() {
    for argument in [
        "--no-sandbox",
        "--disable-web-security",
        "--single-process",
        "--disable-site-isolation-trials",
        "--disable-features=MediaRouter,IsolateOrigins,site-per-process",
        "--disable-features=SitePerProcess<Trial",
        "--load-extension=/x",
        "--load-component-extension=/x",
        "--enable-blink-features=MojoJS",
        "--disable-blink-features=AutomationControlled",
        "--disable-site-isolation-for-policy",
        "--proxy-pac-url=http://a.test/x",
        "--host-rules=MAP * a.test",
        "--host-resolver-rules=MAP * a.test",
        "--js-flags=--allow-natives-syntax",
        "--js-flags=--optimize-for-size --allow-natives-syntax",
        "--browser-subprocess-path=/x",
        "--ignore-certificate-errors",
        "--ignore-certificate-errors-spki-list=x",
        "--allow-file-access-from-files",
        "--enable-logging=stderr",
        "--log-file=/x",
        "--log-level=0",
        "--log-level",
        "--log-level=-1",
        "--v=1",
        "--vmodule=*=1",
        "--use-angle=swiftshader",
        "--renderer-cmd-prefix=xterm -e",
        "--utility-cmd-prefix=x",
        "--gpu-launcher=x",
        "--remote-allow-origins=*",
        "--log-net-log=/tmp/x",
    ] {
        let error = refusal(argument, false);
        assert!(matches!(error, ProfileError::Unsafe { .. }), "{argument}: {error}");
        let allowed = resolve(&Profile::Dense.into(), Engine::Headless, &[argument.into()], true);
        assert!(allowed.is_ok(), "{argument}");
    }
    assert!(
        resolve(&Profile::Dense.into(), Engine::Headless, &["--disable-setuid-sandbox".into()], false)
            .is_ok()
    );
}

/// A list of what is dangerous is never whole, so that it does not matter what it is that nobody has looked at.
#[test]
fn what_the_table_does_not_know_is_refused_unless_allowed() {
    for argument in [
        "--some-future-cmd-prefix=x",
        "--disable-landlock-sandbox",
        "--allow-file-access",
        "--disable-features=SomeProtection",
        "--disable-features=MediaRouter,SomeProtection<Trial",
        "--disable-features=*MediaRouter",
        "--enable-features=SomeDanger:param/1",
        "--enable-features=MediaRouter",
        "--js-flags=--some-danger",
        "--js-flags=--no-optimize-for-size",
        "--blink-settings=webSecurityEnabled=false",
    ] {
        let error = refusal(argument, false);
        assert!(matches!(error, ProfileError::Unknown { .. }), "{argument}: {error}");
        assert!(error.to_string().contains("allow_unsafe_args"), "{error}");
        let allowed = resolve(&Profile::Dense.into(), Engine::Headless, &[argument.into()], true);
        assert!(allowed.is_ok(), "{argument}");
        let custom = CustomProfile { add: vec![argument.into()], ..Profile::Dense.into() };
        resolve(&custom, Engine::Headless, &[], false).unwrap_err();
    }
    for argument in [
        "--lang=de-CH",
        "--user-agent=Mine/1.0",
        "--disable-popup-blocking",
        "--log-level=1",
        "--disable-features=MediaRouter,OptimizationHints",
        "--js-flags=--max-old-space-size=256",
        "--window-position=10,10",
        "--proxy-server=http://a.test:3128",
    ] {
        let resolved = resolve(&Profile::Dense.into(), Engine::Headless, &[argument.into()], false);
        assert!(resolved.is_ok(), "{argument}: {resolved:?}");
    }
}

#[test]
fn no_software_renderer_comes_into_the_browser_process_unless_allowed() {
    let dense = resolved(Profile::Dense, Engine::HeadlessShell);
    assert!(dense.arguments.contains(&"--disable-software-rasterizer".into()));
    let opened = |base: Profile, add: &[&str], remove: &[&str], allow| {
        let add = add.iter().map(|&switch| switch.to_owned()).collect();
        let remove = remove.iter().map(|&name| name.to_owned()).collect();
        let custom = CustomProfile { add, remove, ..base.into() };
        resolve(&custom, Engine::HeadlessShell, &[], allow)
    };
    let refused = Err(vec![ProfileError::SoftwareRenderer]);
    assert_eq!(opened(Profile::Dense, &[], &["disable-software-rasterizer"], false), refused);
    assert_eq!(opened(Profile::Conservative, &["--in-process-gpu"], &[], false), refused);
    for (add, remove, allow) in [
        (&[][..], &["disable-software-rasterizer"][..], true),
        (&[], &["disable-software-rasterizer", "in-process-gpu"], false),
        (&["--disable-3d-apis"], &["disable-software-rasterizer"], false),
    ] {
        assert!(opened(Profile::Dense, add, remove, allow).is_ok(), "{add:?} {remove:?}");
    }
}

#[test]
fn what_pilotlight_sets_is_refused_always() {
    for argument in [
        "--user-data-dir=/tmp/x",
        "--remote-debugging-port=9222",
        "--remote-debugging-address=0.0.0.0",
        "--remote-debugging-io-pipes=1,2",
        "--headless=new",
        "--type=renderer",
    ] {
        assert!(matches!(refusal(argument, true), ProfileError::Owned { .. }), "{argument}");
    }
}

#[test]
fn whatever_chromium_might_read_otherwise_is_malformed() {
    for argument in
        ["-no-sandbox", " --no-sandbox", "--no-sandbox ", "--", "http://a.test", "--No-Sandbox", "--x\n", ""]
    {
        assert!(matches!(refusal(argument, true), ProfileError::Malformed(_)), "{argument:?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let custom = CustomProfile {
        add: vec!["--no-sandbox".into()],
        remove: vec!["--nothing-like-it".into()],
        window_size: Some((0, 600)),
        ..Profile::Dense.into()
    };
    let errors = resolve(&custom, Engine::HeadlessShell, &["bad".into()], false).unwrap_err();
    assert_eq!(errors.len(), 4);
    assert!("dence".parse::<Profile>().unwrap_err().to_string().contains("`dense`"));
}
