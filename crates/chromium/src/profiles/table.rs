//! Every Chromium switch, feature, flag and preference that Pilotlight knows, as data.
//!
//! Verdicts are for Chromium 156. "No effect" means that the name is not in the binary, or does nothing; "harmful"
//! that it costs more than it saves for windows that are kept open. Whether a name is known was read from the
//! binaries themselves; effects are from Chromium's sources and from measurement (memory figures: five windows of one
//! heavy page in one headless shell, 132 MB each without the switch). An unsafe row must not belong to a profile: a
//! test checks that.

use super::Profile;
use super::Profile::{Aggressive, Conservative, Dense, Moderate};

/// The kind of a row in Chromium's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `--name` or `--name=value`.
    Switch,
    /// A value of `--enable-features`.
    EnabledFeature,
    /// A value of `--disable-features`.
    DisabledFeature,
    /// A value of `--js-flags`.
    JsFlag,
    /// A value of `--blink-settings`.
    BlinkSetting,
    /// A path in `Default/Preferences`.
    Preference,
    /// An option of chromedriver, which is not used here.
    DriverOption,
}

/// The subject of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// Memory.
    Memory,
    /// Caches on disk and in memory.
    Cache,
    /// The number of processes.
    Processes,
    /// Background activity.
    Background,
    /// Features that an unattended browser does not need.
    Features,
    /// Pictures, windows and sound.
    Display,
    /// What is written to the log.
    Logging,
    /// Networking.
    Network,
    /// Protections.
    Security,
    /// Set by Pilotlight itself.
    Launch,
}

/// The effect of a row on an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It works as described.
    Works,
    /// It does nothing.
    NoEffect,
    /// It costs more than it saves.
    Harmful,
    /// It removes a protection.
    Unsafe,
}

impl Verdict {
    /// Returns the text for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::NoEffect => "no effect",
            Self::Harmful => "harmful",
            Self::Unsafe => "unsafe",
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// Its kind in Chromium's terms.
    pub kind: Kind,
    /// The name, without dashes.
    pub name: &'static str,
    /// Its value.
    pub value: Option<&'static str>,
    /// Its subject.
    pub group: Group,
    /// On headless shell.
    pub headless_shell: Verdict,
    /// On full Chromium, headless or in a window.
    pub full: Verdict,
    /// The profiles that have it.
    pub profiles: &'static [Profile],
    /// Whether Pilotlight sets it itself, so that users may not.
    pub owned: bool,
    /// Its effect, in one sentence.
    pub effect: &'static str,
}

impl Flag {
    /// Returns it as on a command line or in a preferences file.
    pub fn written(&self) -> String {
        let value = self.value.map(|value| format!("={value}")).unwrap_or_default();
        match self.kind {
            Kind::Switch => format!("--{}{value}", self.name),
            Kind::EnabledFeature => format!("--enable-features={}", self.name),
            Kind::DisabledFeature => format!("--disable-features={}", self.name),
            Kind::JsFlag => format!("--js-flags=--{}{value}", self.name),
            Kind::BlinkSetting => format!("--blink-settings={}{value}", self.name),
            Kind::Preference => format!("{}{value}", self.name),
            Kind::DriverOption => format!("excludeSwitches={}", self.name),
        }
    }

    /// Returns whether `name` means this row: its bare name, or its written form, with or without a value.
    pub fn is_called(&self, name: &str) -> bool {
        let bare = name.strip_prefix("--").unwrap_or(name);
        self.name == bare
            || self.written() == name
            || (self.kind == Kind::Switch && bare.split('=').next() == Some(self.name))
    }

    /// Returns whether the row disables images.
    pub(super) fn is_images_off(&self) -> bool {
        self.name == "imagesEnabled" || (self.kind == Kind::Preference && self.name.ends_with(".images"))
    }
}

/// Rows are `Group { Kind "name" = "value": shell, full [profiles] "effect"; … }`.
macro_rules! flags {
    ($($group:ident { $($kind:ident $name:literal $(= $value:literal)?: $shell:ident, $full:ident
        [$($profile:ident)*] $($owned:ident)? $effect:literal;)* })*) => {
        &[$($(Flag {
            kind: Kind::$kind,
            name: $name,
            value: flags!(@value $($value)?),
            group: Group::$group,
            headless_shell: Verdict::$shell,
            full: Verdict::$full,
            profiles: &[$($profile),*],
            owned: flags!(@owned $($owned)?),
            effect: $effect,
        }),*),*]
    };
    (@value) => { None };
    (@value $value:literal) => { Some($value) };
    (@owned) => { false };
    (@owned owned) => { true };
}

/// The table.
pub static FLAGS: &[Flag] = flags! {
    Memory {
        Switch "disable-dev-shm-usage": Works, Works [Aggressive]
            "shared memory lies in the temporary directory: needed where /dev/shm is small, as in containers; elsewhere it costs disk writes";
        Switch "disable-gpu": Works, Works [Moderate Aggressive]
            "no hardware graphics; right on a server, saves next to nothing in headless shell";
        Switch "disable-software-rasterizer": Works, Works [Aggressive Dense]
            "no graphics library in software either: WebGL fails, and 17 MB less for each browser; with `in-process-gpu` that library, which pages can attack, would be inside the browser process, which has no sandbox";
        Switch "disable-back-forward-cache": Works, Works [Dense]
            "pages that were left are not kept alive in memory";
        Switch "enable-low-end-device-mode": Works, Works []
            "smaller caches and coarser pictures: 9 % less memory, visibly poorer pages";
        Switch "num-raster-threads" = "1": Works, Works []
            "one thread draws each page";
        Switch "disable-gpu-compositing": Works, Works []
            "layers are put together in software, as is done without a GPU anyway";
        JsFlag "optimize-for-size": Works, Works [Dense]
            "the JavaScript engine prefers small code: 10 % less memory, JIT stays on";
        JsFlag "lite-mode": Harmful, Harmful []
            "no JIT compiler: 15 % less memory, but scripts are many times slower and WebAssembly is gone";
        JsFlag "jitless": Harmful, Harmful []
            "no JIT compiler: scripts are many times slower and WebAssembly is gone";
        JsFlag "max-old-space-size" = "512": Works, Works []
            "a page whose scripts need more MiB crashes instead of growing on";
        JsFlag "max-semi-space-size" = "1": Works, Works []
            "small space for young objects: a little less memory, more frequent collections";
        DisabledFeature "MemoryCacheStrongReference": Works, Works []
            "resources of a page are let go earlier";
        DisabledFeature "PartitionAllocLargeThreadCacheSize": Works, Works []
            "smaller caches of the memory allocator";
        DisabledFeature "ScalableFrameEviction": Works, Works [Dense]
            "no more than 5 hidden windows keep what they last showed, each 5 MB, instead of 10; all lose it after some minutes anyway";
    }
    Cache {
        Switch "disk-cache-size" = "1": NoEffect, Harmful [Aggressive]
            "no disk cache: every load downloads everything again; the windows' own caches are in memory anyway";
        Switch "media-cache-size" = "1": NoEffect, NoEffect [Aggressive] "gone from Chromium";
        Switch "aggressive-cache-discard": NoEffect, NoEffect [Aggressive] "gone from Chromium";
        Switch "disable-cache": NoEffect, NoEffect [Aggressive] "never was a switch of Chromium";
        Switch "disable-application-cache": NoEffect, NoEffect [Aggressive] "gone with the application cache";
        Switch "disable-offline-load-stale-cache": NoEffect, NoEffect [Aggressive] "gone from Chromium";
        Preference "disk-cache-size" = "4096": NoEffect, NoEffect [Aggressive]
            "is no preference; Chromium's own is browser.disk_cache_size";
    }
    Processes {
        Switch "in-process-gpu": Works, Works [Dense]
            "graphics run inside the browser process: one process fewer; a crash there ends the browser";
        Switch "renderer-process-limit" = "1": Works, NoEffect [Aggressive Dense]
            "one renderer for each window whatever its tabs and sites; full Chromium still splits by site";
        Switch "process-per-site": Works, Works []
            "pages of one site in one window share a renderer; no gain beside a renderer limit of 1";
        Switch "process-per-tab": NoEffect, NoEffect [Aggressive] "gone from Chromium";
        Switch "single-process": Unsafe, Unsafe []
            "everything runs in one process without a sandbox: one page's crash ends every window, and several windows do not come up at all";
        Switch "no-zygote": Unsafe, Unsafe []
            "needs the sandbox to be off, and costs 10 % more memory";
        EnabledFeature "NetworkServiceInProcess2": Works, Works [Dense]
            "the network runs inside the browser process, which has no less of a sandbox on Linux; where it dies it takes no cookies along unseen";
        DisabledFeature "AudioServiceOutOfProcess": Works, Works []
            "sound runs inside the browser process";
        DisabledFeature "SpareRendererForSitePerProcess": NoEffect, Works [Dense]
            "no renderer is kept in reserve";
    }
    Background {
        Switch "disable-background-networking": NoEffect, Works [Aggressive Dense]
            "no updates, field trials or other requests of the browser's own";
        Switch "disable-background-timer-throttling": Harmful, Harmful [Aggressive]
            "hidden pages keep their timers at full rate and burn CPU";
        Switch "disable-backgrounding-occluded-windows": NoEffect, Harmful [Aggressive]
            "covered windows count as visible and are never trimmed";
        Switch "disable-renderer-backgrounding": Harmful, Harmful [Aggressive]
            "switches off Chromium's own freeing of memory in renderers that nobody looks at";
        Switch "disable-component-extensions-with-background-pages": NoEffect, Works [Aggressive]
            "built-in extensions do not run in the background";
        Switch "disable-component-update": NoEffect, Works [Aggressive Dense]
            "components are not downloaded into every fresh profile";
        Switch "disable-domain-reliability": NoEffect, Works [Aggressive Dense]
            "no error reports to Google's domains";
        Switch "disable-sync": NoEffect, Works [Aggressive Dense] "no Google account sync";
        Switch "disable-hang-monitor": Works, Works [Aggressive]
            "nobody is asked about a page that hangs; Pilotlight watches itself";
        Switch "disable-ipc-flooding-protection": Harmful, Harmful [Aggressive]
            "a page may flood the browser process that it shares with others";
    }
    Features {
        Switch "disable-extensions": NoEffect, Works [Aggressive Dense]
            "no extensions; headless shell has none";
        Switch "disable-plugins": NoEffect, NoEffect [Aggressive] "plugins are gone from Chromium";
        Switch "disable-breakpad": Works, Works [Aggressive Dense] "no crash reporter process";
        Switch "disable-crash-reporter": Works, NoEffect [Dense] "the same for headless shell";
        Switch "disable-translate": NoEffect, NoEffect [Aggressive] "gone since 2017";
        Switch "disable-default-apps": NoEffect, Works [Aggressive Dense] "no preinstalled apps";
        Switch "disable-prompt-on-repost": NoEffect, Works [Aggressive]
            "loading a submitted form again does not ask";
        DisabledFeature "TranslateUI": NoEffect, NoEffect [Aggressive] "renamed to Translate in 2020";
        DisabledFeature "Translate": NoEffect, Works [Dense] "no offer to translate";
        DisabledFeature "BlinkGenPropertyTrees": NoEffect, NoEffect [Aggressive] "gone from Chromium";
        Switch "disable-popup-blocking": NoEffect, Works [] "pages open windows that nobody clicked for";
        Switch "disable-notifications": Works, Works [] "pages show no notifications";
        Switch "disable-infobars": NoEffect, Works [] "no bars below the address";
        Switch "disable-print-preview": NoEffect, Works [] "printing shows no preview";
        Switch "disable-search-engine-choice-screen": NoEffect, Works [] "no question for a search engine";
        Switch "hide-crash-restore-bubble": NoEffect, Works [] "no offer to restore pages";
        Switch "disable-field-trial-config": Works, Works [] "no features on trial";
        Switch "metrics-recording-only": NoEffect, Works [] "nothing is reported of how the browser is used";
        Switch "no-pings": NoEffect, Works [] "no pings of links that are audited";
        Switch "disable-blink-features": Unsafe, Unsafe [] "takes away what pages rely on, protections among it";
        Switch "enable-blink-features": Unsafe, Unsafe []
            "gives pages what is not finished, or is Chromium's own, such as MojoJS";
        Switch "enable-experimental-web-platform-features": Unsafe, Unsafe [] "gives pages what is not finished";
        Switch "use-fake-ui-for-media-stream": Unsafe, Unsafe [] "pages get camera and microphone unasked";
        Switch "auto-accept-camera-and-microphone-capture": Unsafe, Unsafe [] "pages get camera and microphone unasked";
        Switch "use-fake-device-for-media-stream": Works, Works [] "a picture and a sound of Chromium's own in place of devices";
        Switch "autoplay-policy" = "no-user-gesture-required": Works, Works [] "pages play sound and films unasked";
        Switch "enable-automation": Works, Works [] "pages are told that the browser is steered";
        DisabledFeature "MediaRouter": NoEffect, Works [] "no search for screens in the network";
        DisabledFeature "DialMediaRouteProvider": NoEffect, Works [] "no search for screens in the network";
        DisabledFeature "GlobalMediaControls": NoEffect, Works [] "no button for what plays";
        DisabledFeature "OptimizationHints": NoEffect, Works [] "no hints are fetched from Google";
        DisabledFeature "AutofillServerCommunication": NoEffect, Works [] "forms are not described to Google";
        DisabledFeature "AcceptCHFrame": Works, Works [] "servers cannot ask for hints before the first request";
        DisabledFeature "BackForwardCache": Works, Works [] "pages that were left are not kept alive in memory";
        DisabledFeature "CalculateNativeWinOcclusion": NoEffect, NoEffect [] "is for Windows";
        Switch "deny-permission-prompts": NoEffect, Works []
            "whatever a page asks for is denied";
        Preference "profile.default_content_setting_values.plugins" = "2": NoEffect, NoEffect [Aggressive]
            "still has its name, but plugins are gone";
        Preference "profile.default_content_setting_values.media_stream" = "2": NoEffect, Works [Aggressive]
            "camera and microphone are denied";
        Preference "profile.default_content_setting_values.geolocation" = "2": NoEffect, Works [Aggressive]
            "the place is denied";
        Preference "profile.default_content_setting_values.notifications" = "2": NoEffect, Works [Aggressive]
            "notifications are denied";
    }
    Display {
        Switch "window-size" = "1024,768": Works, Works [Moderate Aggressive Dense]
            "a smaller window needs less memory for its picture; set by `window_size`";
        BlinkSetting "imagesEnabled" = "false": Works, Works [Aggressive]
            "images are not loaded: 11 % less memory; set by `images`";
        Preference "profile.default_content_setting_values.images" = "2": NoEffect, Works [Aggressive]
            "images are not loaded; set by `images`";
        Preference "profile.managed_default_content_settings.images" = "2": NoEffect, Works [Aggressive]
            "images are not loaded; set by `images`";
        Switch "mute-audio": Works, Works [Dense] "no sound";
        Switch "hide-scrollbars": Works, Works [] "pictures without scroll bars";
        Switch "force-color-profile" = "srgb": Works, Works [] "pictures look the same on every machine";
        Switch "lang" = "de": Works, Works [] "the language of the browser, and what pages are told of it";
        Switch "accept-lang" = "de,en": Works, Works [] "the languages that pages are asked for";
        Switch "user-agent": Works, Works [] "what pages are told that the browser is";
        Switch "font-render-hinting" = "none": Works, NoEffect [] "letters look the same on every machine";
        Switch "force-device-scale-factor" = "1": Works, Works [] "how many dots a pixel of a page has";
        Switch "force-prefers-reduced-motion": Works, Works [] "pages are asked to move less";
        Switch "force-dark-mode": Works, Works [] "pages are asked for dark colours";
        Switch "disable-lcd-text": Works, Works [] "letters have no coloured edges";
        Switch "disable-partial-raster": Works, Works [] "pages are drawn anew and not in part";
        Switch "disable-remote-fonts": Works, Works [] "fonts of pages are not loaded";
        Switch "disable-smooth-scrolling": Works, Works [] "pages scroll in one step";
        Switch "disable-audio-output": Works, Works [] "no sound";
        Switch "window-position" = "0,0": NoEffect, Works [] "where windows are on the display";
        Switch "start-maximized": NoEffect, Works [] "windows fill the display";
        Switch "start-fullscreen": NoEffect, Works [] "windows fill the display, without a frame";
        Switch "ozone-platform" = "x11": Works, Works [] "which display windows are shown on";
        Switch "disable-3d-apis": Works, Works [] "pages have no WebGL";
        Switch "disable-webgl": Works, Works [] "pages have no WebGL";
        Switch "enable-unsafe-swiftshader": Unsafe, Unsafe []
            "WebGL by a software library that pages can attack";
        Switch "use-gl": Unsafe, Unsafe [] "can bring the software library back that pages can attack";
        Switch "use-angle": Unsafe, Unsafe [] "can bring the software library back that pages can attack";
        Switch "ignore-gpu-blocklist": Unsafe, Unsafe [] "uses graphics drivers that are known to be attackable";
    }
    Logging {
        Switch "log-level" = "3": Works, Works [Aggressive] "only fatal errors are logged; 1 and 2 log more, 0 is refused, since pages would write into the log";
        Switch "disable-logging": Works, Works [] "nothing is logged";
        Switch "enable-logging": Unsafe, Unsafe [] "writes what pages say on their consoles into a log";
        Switch "log-file": Unsafe, Unsafe [] "writes what pages say on their consoles into a file";
        Switch "v": Unsafe, Unsafe [] "writes what pages say on their consoles into a log";
        Switch "vmodule": Unsafe, Unsafe [] "writes what pages say on their consoles into a log";
        Switch "trace-startup": Unsafe, Unsafe [] "writes addresses and more of every window into a file";
        Switch "trace-startup-file": Unsafe, Unsafe [] "writes addresses and more of every window into a file";
        Switch "enable-tracing": Unsafe, Unsafe [] "writes addresses and more of every window into a file";
        Switch "silent": NoEffect, NoEffect [Aggressive] "is a switch of chromedriver, not of Chromium";
        DriverOption "enable-logging": NoEffect, NoEffect [Aggressive]
            "keeps chromedriver from adding that switch; Pilotlight does not add it";
        Switch "log-net-log": Unsafe, Unsafe [] "writes cookies and passwords of every window into a file";
        Switch "net-log-capture-mode": Unsafe, Unsafe [] "writes cookies and passwords of every window into a file";
        Switch "ssl-key-log-file": Unsafe, Unsafe [] "writes the keys of every TLS connection into a file";
    }
    Network {
        Switch "proxy-server": Works, Works [] "a proxy for every window that has none of its own";
        Switch "proxy-bypass-list": Works, Works [] "what is reached without that proxy";
        Switch "no-proxy-server": NoEffect, Works [] "no proxy, whatever the system has";
        Switch "proxy-pac-url": Unsafe, Unsafe [] "a script from elsewhere decides where every request goes";
        Switch "proxy-auto-detect": Unsafe, Unsafe [] "whoever is in the network decides where every request goes";
        Switch "host-rules": Unsafe, Unsafe [] "names lead elsewhere, with the cookies of where they led";
        Switch "host-resolver-rules": Unsafe, Unsafe [] "names lead elsewhere, with the cookies of where they led";
        Switch "explicitly-allowed-ports": Unsafe, Unsafe [] "pages may speak to services that are not of the web";
        Switch "auth-server-allowlist": Unsafe, Unsafe [] "the machine's own sign-in is given to servers";
        Switch "auth-negotiate-delegate-allowlist": Unsafe, Unsafe [] "the machine's own sign-in is given to servers";
        Switch "disable-http2": Works, Works [] "HTTP/1.1 alone";
        Switch "disable-quic": Works, Works [] "no HTTP/3";
        Switch "enable-quic": Works, Works [] "HTTP/3 where servers have it";
        Switch "force-webrtc-ip-handling-policy": Works, NoEffect [] "which addresses of the machine pages learn";
        Switch "webrtc-ip-handling-policy": NoEffect, Works [] "which addresses of the machine pages learn";
    }
    Security {
        Switch "no-sandbox": Unsafe, Unsafe []
            "a page that takes a renderer over has every window and all files of the user";
        Switch "disable-setuid-sandbox": NoEffect, NoEffect [Aggressive]
            "harmless: the older kind of sandbox, for which Debian installs no helper; the one in use stays on";
        Switch "disable-namespace-sandbox": Unsafe, Unsafe [] "takes away the sandbox that is in use";
        Switch "disable-seccomp-filter-sandbox": Unsafe, Unsafe [] "takes away half of the sandbox";
        Switch "disable-gpu-sandbox": Unsafe, Unsafe [] "graphics run without a sandbox";
        Switch "allow-sandbox-debugging": Unsafe, Unsafe [] "sandboxed processes may be looked into";
        Switch "disable-web-security": Unsafe, Unsafe []
            "any page may read what any other site shows to the signed-in user";
        Switch "allow-running-insecure-content": Unsafe, Unsafe [] "secure pages may run scripts from insecure ones";
        Switch "allow-file-access-from-files": Unsafe, Unsafe [] "local files may read other local files";
        Switch "unsafely-treat-insecure-origin-as-secure": Unsafe, Unsafe [] "takes plain connections for secure ones";
        Switch "ignore-certificate-errors": Unsafe, Unsafe [] "anybody on the way may read and change everything";
        Switch "ignore-certificate-errors-spki-list": Unsafe, Unsafe [] "certificates of these keys are not checked";
        Switch "site-per-process": Works, NoEffect []
            "every site has a renderer of its own; full Chromium does so anyway; set by `site_isolation`";
        Switch "disable-site-isolation-trials": Unsafe, Unsafe []
            "sites share renderers: one that is taken over reads the others of its window; headless shell is so by nature";
        Switch "isolate-origins": Works, Works [] "these sites have renderers of their own";
        Switch "disable-site-isolation-for-policy": Unsafe, Unsafe []
            "sites share renderers: one that is taken over reads the others of its window";
        DisabledFeature "IsolateSandboxedIframes": Unsafe, Unsafe [] "frames in a sandbox share a renderer with their page";
        DisabledFeature "LocalNetworkAccessChecks": Unsafe, Unsafe [] "pages of the web may speak to this machine and its network";
        DisabledFeature "BlockInsecurePrivateNetworkRequests": Unsafe, Unsafe []
            "pages of the web may speak to this machine and its network";
        DisabledFeature "ThirdPartyStoragePartitioning": Unsafe, Unsafe [] "sites are known again inside of others";
        DisabledFeature "HttpsUpgrades": Unsafe, Unsafe [] "plain connections where secure ones are to be had";
        JsFlag "allow-natives-syntax": Unsafe, Unsafe [] "pages may call what is inside the JavaScript engine";
        Switch "allow-insecure-localhost": Unsafe, Unsafe [] "certificates of this machine are not checked";
        Switch "load-component-extension": Unsafe, Unsafe [] "foreign code in every window, with the rights of Chromium's own";
        Switch "load-and-launch-app": Unsafe, Unsafe [] "foreign code in every window";
        DisabledFeature "IsolateOrigins": Unsafe, Unsafe []
            "sites that asked for a renderer of their own share one";
        DisabledFeature "site-per-process": Unsafe, Unsafe []
            "is meant to take site isolation away; no feature has that name";
        DisabledFeature "SitePerProcess": Unsafe, Unsafe []
            "sites share renderers: one that is taken over reads the others of its window";
        Switch "load-extension": Unsafe, Unsafe [] "foreign code in every window";
        Switch "disable-extensions-except": Unsafe, Unsafe [] "foreign code in every window";
        Switch "browser-subprocess-path": Unsafe, Unsafe [] "runs another program in place of Chromium's own process";
        Switch "renderer-cmd-prefix": Unsafe, Unsafe [] "runs another program in place of Chromium's own process";
        Switch "utility-cmd-prefix": Unsafe, Unsafe [] "runs another program in place of Chromium's own process";
        Switch "zygote-cmd-prefix": Unsafe, Unsafe [] "runs another program in place of Chromium's own process";
        Switch "gpu-launcher": Unsafe, Unsafe [] "runs another program in place of Chromium's own process";
        Preference "plugins.always_open_pdf_externally": NoEffect, Works [Conservative Moderate Aggressive Dense]
            "PDF documents are downloads, as in headless shell: their viewer is an extension, with rights that no page has";
        BlinkSetting "selectionClipboardBufferAvailable" = "false": Works, Works [Conservative Moderate Aggressive Dense]
            "the middle mouse button does not paste what was selected last, be it in another window";
        Switch "remote-allow-origins": Unsafe, Unsafe [] "web pages may steer the browser";
    }
    Launch {
        Switch "no-first-run": NoEffect, Works [Conservative Moderate Aggressive Dense] "no welcome page";
        Switch "no-default-browser-check": NoEffect, Works [Conservative Moderate Aggressive Dense]
            "no question about the default browser";
        Switch "password-store" = "basic": NoEffect, Works [Conservative Moderate Aggressive Dense]
            "no question for the desktop's keyring";
        Switch "headless": Works, Works [] owned "set by `engine`; headless shell is headless by nature";
        Switch "no-startup-window": NoEffect, Works [] owned "set at the launch: windows are opened by sessions alone";
        Switch "user-data-dir": Works, Works [] owned "set at the launch: a fresh directory for each browser";
        Switch "profile-directory": NoEffect, Works [] owned "set at the launch: a fresh directory for each browser";
        Switch "disk-cache-dir": Harmful, Works [] owned "headless shell would give every window the same directory";
        Switch "crash-dumps-dir": Works, Works [] owned "set at the launch: a fresh directory for each browser";
        Switch "remote-debugging-pipe": Works, Works [] owned "set at the launch: Pilotlight holds the pipe";
        Switch "remote-debugging-port": Unsafe, Unsafe [] owned
            "anybody on the machine could steer every window; Pilotlight never opens a debugging port";
        Switch "remote-debugging-address": NoEffect, NoEffect [] owned "gone; Pilotlight never opens a debugging port";
        Switch "type": Works, Works [] owned "Chromium's own, for its processes";
    }
};
