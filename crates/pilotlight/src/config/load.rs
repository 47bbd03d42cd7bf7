//! Merges the configuration from its sources, in order of precedence, and checks combinations of keys.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use pilotlight_chromium::find::Engine;
use pilotlight_chromium::profiles::{CustomProfile, Profile, resolve};

use super::document::{self, Document};
use super::keys::{KEYS, Key, Override, Raw, Value};
use super::problem::{ConfigErrors, Place, Problem, did_you_mean, nearest};
use super::types::{Auth, Config, Server};
use super::walk;

/// Folders of the kernel, which are not suitable for exchanging files.
const OF_KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// The default file name.
const FILE_NAME: &str = "pilotlight.toml";
/// Variables with our prefix that are read elsewhere.
const OTHER_VARIABLES: [&str; 4] =
    ["PILOTLIGHT_CONFIG", "PILOTLIGHT_LOG", "PILOTLIGHT_SERVER", "PILOTLIGHT_TOKEN"];

/// The sources of a configuration.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The file that the user gave; `None` to look in the default places, where it may be missing.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, OsString>,
    /// The values given by flags.
    pub flags: Vec<Override>,
    /// The folder that relative paths in flags and the environment refer to.
    pub working_dir: PathBuf,
    /// Whether the process runs as root; this determines the default places.
    pub is_root: bool,
}

impl Sources {
    /// Returns the sources of this process, with a file and flags from the command line.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Override>) -> std::io::Result<Self> {
        Ok(Self {
            file,
            environment: std::env::vars_os()
                .filter_map(|(name, value)| name.into_string().ok().map(|name| (name, value)))
                .collect(),
            flags,
            working_dir: std::env::current_dir()?,
            is_root: rustix::process::geteuid().is_root(),
        })
    }

    fn folder(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let set =
            |name: &str| self.environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // The XDG specification requires relative paths in its variables to be ignored.
        set(variable)
            .filter(|path| path.is_absolute())
            .or_else(|| set("HOME").map(|home| home.join(below_home)))
    }

    fn default_state_dir(&self) -> PathBuf {
        if self.is_root {
            return PathBuf::from("/var/lib/pilotlight");
        }
        self.folder("XDG_STATE_HOME", ".local/state")
            .unwrap_or_else(|| self.working_dir.clone())
            .join("pilotlight")
    }

    fn find_file(&self) -> Option<PathBuf> {
        if let Some(file) = &self.file {
            return Some(self.working_dir.join(file));
        }
        let user = self.folder("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("pilotlight"));
        [Some(self.working_dir.clone()), user, Some(PathBuf::from("/etc/pilotlight"))]
            .into_iter()
            .flatten()
            .map(|folder| folder.join(FILE_NAME))
            .find(|path| path.is_file())
    }
}

impl Config {
    /// Loads everything, including sites and their flows.
    pub fn load(sources: &Sources) -> Result<Self, ConfigErrors> {
        let mut loader = Loader::new(sources);
        let beside = loader.file(None).map(|folder| folder.join("sites"));
        loader.environment(None);
        loader.flags();
        let in_state = loader.config.server.sites_dir();
        if let Some(folder) = beside.filter(|folder| *folder != in_state) {
            loader.site_folder(&folder);
        }
        loader.stored_sites(&in_state);
        loader.check_together();
        loader.finish()
    }
}

impl Server {
    /// Loads only `[server]`, for clients, which are not affected by errors elsewhere.
    pub fn load(sources: &Sources) -> Result<Self, ConfigErrors> {
        let mut loader = Loader::new(sources);
        loader.file(Some("server"));
        loader.environment(Some("server"));
        loader.finish().map(|config| config.server)
    }
}

/// The configuration read so far, and its problems.
pub(super) struct Loader<'a> {
    sources: &'a Sources,
    pub(super) config: Config,
    pub(super) problems: Vec<Problem>,
    /// Where each key was last set.
    pub(super) set_at: BTreeMap<(&'static str, &'static str), Place>,
    /// Where each profile was defined.
    pub(super) profile_places: BTreeMap<String, Place>,
    /// Where each site was defined.
    pub(super) site_places: BTreeMap<String, Place>,
}

impl<'a> Loader<'a> {
    fn new(sources: &'a Sources) -> Self {
        Self {
            sources,
            config: Config::with_defaults(sources.default_state_dir()),
            problems: Vec::new(),
            set_at: BTreeMap::new(),
            profile_places: BTreeMap::new(),
            site_places: BTreeMap::new(),
        }
    }

    pub(super) fn problem(&mut self, place: Place, message: impl Into<String>) {
        self.problems.push(Problem { place, message: message.into() });
    }

    /// Reads the configuration file and returns its folder.
    fn file(&mut self, only: Option<&str>) -> Option<PathBuf> {
        let path = self.sources.find_file()?;
        self.config.file = Some(path.clone());
        if let Some(document) = self.open(&path) {
            self.walk_document(&document, |loader, table| walk::root(loader, &document, table, only));
        }
        path.parent().map(Path::to_owned)
    }

    fn open(&mut self, path: &Path) -> Option<Document> {
        Document::open(path).map_err(|problem| self.problems.push(problem)).ok()
    }

    /// Parses a document and walks what could be parsed. For a line with a syntax error, only that is reported.
    fn walk_document(&mut self, document: &Document, walk: impl FnOnce(&mut Self, &document::Table<'_>)) {
        let (table, syntax_errors) = document.parse();
        let before = self.problems.len();
        walk(self, &table);
        let line_of = |place: &Place| match place {
            Place::File { position: Some((line, _)), .. } => Some(*line),
            _ => None,
        };
        let broken: Vec<_> = syntax_errors.iter().filter_map(|problem| line_of(&problem.place)).collect();
        let found = self.problems.split_off(before);
        self.problems.extend(
            found
                .into_iter()
                .filter(|problem| !line_of(&problem.place).is_some_and(|line| broken.contains(&line))),
        );
        self.problems.extend(syntax_errors);
    }

    fn environment(&mut self, only: Option<&str>) {
        let sources = self.sources;
        let variables: Vec<(String, &Key)> = KEYS.iter().map(|key| (key.variable(), key)).collect();
        for (name, value) in sources.environment.iter().filter(|(name, _)| name.starts_with("PILOTLIGHT_")) {
            let place = Place::Variable(name.clone());
            let known = variables.iter().find(|(variable, _)| variable == name).map(|(_, key)| *key);
            match (known, value.to_str()) {
                (Some(key), _) if only.is_some_and(|section| section != key.section) => {}
                (Some(key), Some(text)) => {
                    self.set(key, &Value { raw: Raw::Text(text), base: &sources.working_dir }, place);
                }
                (Some(_), None) => self.problem(place, "is not UTF-8"),
                (None, _) if only.is_none() && !OTHER_VARIABLES.contains(&name.as_str()) => {
                    self.unknown_variable(
                        name,
                        place,
                        variables.iter().map(|(variable, _)| variable.as_str()),
                    );
                }
                (None, _) => {}
            }
        }
    }

    /// Clusters set variables that start with a service's name, so only names similar to our keys are reported.
    fn unknown_variable<'b>(&mut self, name: &str, place: Place, known: impl Iterator<Item = &'b str>) {
        let suggestion = nearest(name, known).map(|variable| format!("did you mean `{variable}`?"));
        let in_section = KEYS
            .iter()
            .any(|key| name.starts_with(&format!("PILOTLIGHT_{}_", key.section.to_ascii_uppercase())));
        match suggestion {
            Some(suggestion) => self.problem(place, format!("is not a configuration key: {suggestion}")),
            None if in_section => self.problem(place, "is not a configuration key"),
            None => {}
        }
    }

    fn flags(&mut self) {
        let sources = self.sources;
        for flag in &sources.flags {
            let place = Place::Flag(flag.flag.to_owned());
            let value = Value { raw: Raw::Text(&flag.text), base: &sources.working_dir };
            match KEYS.iter().find(|key| key.section == flag.section && key.name == flag.key) {
                Some(key) => self.set(key, &value, place),
                None => self.problem(place, "does not set a configuration key"),
            }
        }
    }

    /// Sets a key and records where.
    pub(super) fn set(&mut self, key: &Key, value: &Value<'_>, place: Place) {
        match (key.set)(&mut self.config, value) {
            Ok(()) => {
                self.set_at.insert((key.section, key.name), place);
            }
            Err(problem) => self.problem(place, format!("`{}.{}` {problem}", key.section, key.name)),
        }
    }

    /// Reads every `*.toml` file of a folder as a site. A folder that does not exist has none.
    fn site_folder(&mut self, folder: &Path) {
        let paths = match document::toml_files(folder) {
            Ok(paths) => paths,
            Err(problem) => return self.problems.push(problem),
        };
        for path in paths {
            self.site_file(&path);
        }
    }

    /// Reads a file as a site. Returns its name.
    fn site_file(&mut self, path: &Path) -> String {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(document) = self.open(path) {
            let place = Place::file(path);
            self.walk_document(&document, |loader, table| {
                walk::site(loader, &document, &name, table, place);
            });
        }
        name
    }

    /// Reads the sites that were defined over REST. An unreadable file affects only that site.
    fn stored_sites(&mut self, folder: &Path) {
        let paths = match document::toml_files(folder) {
            Ok(paths) => paths,
            Err(problem) => {
                let warning = format!("the sites defined over REST cannot be read: {problem}");
                return self.config.warnings.push(warning);
            }
        };
        for path in paths {
            let before = self.problems.len();
            let known: BTreeSet<String> = self.config.sites.keys().cloned().collect();
            let name = self.site_file(&path);
            let found = self.problems.split_off(before);
            let Some(first) = found.first() else {
                self.config.stored_sites.insert(name);
                continue;
            };
            // A truncated file may parse as a different site.
            self.config.sites.retain(|name, _| known.contains(name));
            let problem = first.to_string();
            let warning =
                format!("the site `{name}`, which was defined over REST, cannot be used: {problem}");
            self.config.warnings.push(warning);
            self.config.broken_sites.insert(name, problem);
        }
    }

    /// Checks combinations of keys, when everything has been read.
    fn check_together(&mut self) {
        let server = &self.config.server;
        let public = !server.listen.ip().is_loopback();
        if public && server.auth == Auth::None {
            let place = self.place_of("server", "auth");
            let message = format!(
                "`server.auth` can be \"none\" only if the server listens on a loopback address, not on {}",
                server.listen
            );
            self.problem(place, message);
        } else if public {
            let warning = format!(
                "The server listens on {} without TLS: anyone who can observe the traffic can read the token. \
                 Use a TLS proxy in front of it, or listen on 127.0.0.1.",
                server.listen
            );
            self.config.warnings.push(warning);
        }
        self.check_live_fits();
        self.check_local_folders();
        self.check_profiles();
    }

    /// Refuses folders that contain the server's state or the kernel's files.
    fn check_local_folders(&mut self) {
        let state_dir = self.config.server.state_dir.clone();
        let state_dir = state_dir.canonicalize().unwrap_or(state_dir);
        for folder in self.config.server.local_folders.clone() {
            let holds_state = state_dir.starts_with(&folder) || folder.starts_with(&state_dir);
            let is_of_kernel = OF_KERNEL.iter().any(|kernels| folder.starts_with(kernels));
            if holds_state || is_of_kernel {
                let reason = if holds_state { "the server's own state" } else { "files of the kernel" };
                let message = format!(
                    "`server.local_folders` contains `{}`, which holds {reason}: use a folder that is only for exchanging files",
                    folder.display()
                );
                self.problem(self.place_of("server", "local_folders"), message);
            }
        }
    }

    /// There cannot be more windows than sessions; unless `max_live` was set explicitly, this is not an error.
    fn check_live_fits(&mut self) {
        let limits = &mut self.config.limits;
        if limits.max_live <= limits.max_sessions {
            return;
        }
        let message = format!(
            "`limits.max_live` is {} but `limits.max_sessions` is {}: every window belongs to a session",
            limits.max_live, limits.max_sessions
        );
        limits.max_live = limits.max_sessions;
        if self.set_at.contains_key(&("limits", "max_live")) {
            self.config.warnings.push(message);
        }
    }

    fn check_profiles(&mut self) {
        let built_in = Profile::ALL.map(Profile::name);
        let own = self.config.profiles.clone();
        let known = || built_in.into_iter().chain(own.keys().map(String::as_str));
        let profile = self.config.chromium.profile.clone();
        if !known().any(|name| name == profile) {
            let names: Vec<&str> = known().collect();
            let message =
                format!("`chromium.profile` is not a launch profile: {}", did_you_mean(&profile, names));
            self.problem(self.place_of("chromium", "profile"), message);
        }
        let extra_args = self.config.chromium.extra_args.clone();
        let place = self.place_of("chromium", "extra_args");
        self.check_switches("`chromium.extra_args`", place, &Profile::Dense.into(), &extra_args);
        for (name, definition) in &own {
            let place = self.profile_places.get(name).cloned().unwrap_or_else(|| self.whole());
            if built_in.contains(&name.as_str()) {
                self.problem(
                    place,
                    format!("`{name}` is the name of a built-in profile: choose another name"),
                );
                continue;
            }
            match definition.custom() {
                Ok(profile) => self.check_switches(&format!("profile `{name}`"), place, &profile, &[]),
                Err(_) => {
                    let suggestion = did_you_mean(definition.base.as_deref().unwrap_or_default(), built_in);
                    let message =
                        format!("`base` of profile `{name}` must be a built-in profile: {suggestion}");
                    self.problem(place, message);
                }
            }
        }
    }

    /// Refuses switches that remove a protection when loading, rather than when the first browser starts.
    fn check_switches(&mut self, what: &str, place: Place, profile: &CustomProfile, extra_args: &[String]) {
        let allow_unsafe_args = self.config.chromium.allow_unsafe_args;
        if let Err(errors) = resolve(profile, Engine::HeadlessShell, extra_args, allow_unsafe_args) {
            for error in errors {
                self.problem(place.clone(), format!("{what}: {error}"));
            }
        }
    }

    fn place_of(&self, section: &'static str, key: &'static str) -> Place {
        self.set_at.get(&(section, key)).cloned().unwrap_or_else(|| self.whole())
    }

    fn whole(&self) -> Place {
        Place::file(self.config.file.clone().unwrap_or_else(|| PathBuf::from(FILE_NAME)))
    }

    fn finish(mut self) -> Result<Config, ConfigErrors> {
        if self.problems.is_empty() {
            return Ok(self.config);
        }
        self.problems.sort_by(|one, other| one.place.cmp(&other.place));
        Err(ConfigErrors(self.problems))
    }
}
