//! Gathers the configuration from its sources, in the order of their weight, and checks what belongs together.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use pilotlight_chromium::find::Engine;
use pilotlight_chromium::profiles::{CustomProfile, Profile, resolve};

use super::document::{self, Document};
use super::keys::{KEYS, Key, Override, Raw, Value};
use super::problem::{ConfigErrors, Place, Problem, did_you_mean, nearest};
use super::types::{Auth, Config, Server};
use super::walk;

/// The name of the file that is looked for.
const FILE_NAME: &str = "pilotlight.toml";
/// Variables that begin like ours and are read elsewhere.
const OTHER_VARIABLES: [&str; 4] =
    ["PILOTLIGHT_CONFIG", "PILOTLIGHT_LOG", "PILOTLIGHT_SERVER", "PILOTLIGHT_TOKEN"];

/// Where a configuration comes from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The file that was asked for; `None` to look in the usual places, where it may be missing.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, OsString>,
    /// What flags set.
    pub flags: Vec<Override>,
    /// What relative paths in flags and the environment are relative to.
    pub working_dir: PathBuf,
    /// Whether the process runs as root; decides the usual places.
    pub is_root: bool,
}

impl Sources {
    /// The environment and working folder of this process, with a file and flags of the command line.
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
        // The XDG specification wants relative paths in its variables ignored.
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
    /// Loads everything, sites and their flows included.
    pub fn load(sources: &Sources) -> Result<Self, ConfigErrors> {
        let mut loader = Loader::new(sources);
        let beside = loader.file(None).map(|folder| folder.join("sites"));
        loader.environment(None);
        loader.flags();
        let in_state = loader.config.server.sites_dir();
        for folder in beside.filter(|folder| *folder != in_state).iter().chain([&in_state]) {
            loader.site_folder(folder);
        }
        loader.check_together();
        loader.finish()
    }
}

impl Server {
    /// Loads `[server]` alone, for clients: a mistake elsewhere is not theirs.
    pub fn load(sources: &Sources) -> Result<Self, ConfigErrors> {
        let mut loader = Loader::new(sources);
        loader.file(Some("server"));
        loader.environment(Some("server"));
        loader.finish().map(|config| config.server)
    }
}

/// The configuration as far as it is read, and what was wrong on the way.
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

    pub(super) fn problem(&mut self, place: Place, sentence: impl Into<String>) {
        self.problems.push(Problem { place, sentence: sentence.into() });
    }

    /// Reads the configuration file; gives the folder that it lies in.
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

    /// Parses a document and walks what could be parsed. On a line that has a syntax error only that is told.
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

    /// Clusters set variables of their own that begin with a service's name, so only what looks like one of
    /// our keys is taken for a mistake.
    fn unknown_variable<'b>(&mut self, name: &str, place: Place, known: impl Iterator<Item = &'b str>) {
        let suggestion = nearest(name, known).map(|variable| format!("did you mean `{variable}`?"));
        let in_section = KEYS
            .iter()
            .any(|key| name.starts_with(&format!("PILOTLIGHT_{}_", key.section.to_ascii_uppercase())));
        match suggestion {
            Some(suggestion) => self.problem(place, format!("is no key of the configuration: {suggestion}")),
            None if in_section => self.problem(place, "is no key of the configuration"),
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
                None => self.problem(place, "sets no key of the configuration"),
            }
        }
    }

    /// Sets one key and remembers where.
    pub(super) fn set(&mut self, key: &Key, value: &Value<'_>, place: Place) {
        match (key.set)(&mut self.config, value) {
            Ok(()) => {
                self.set_at.insert((key.section, key.name), place);
            }
            Err(problem) => self.problem(place, format!("`{}.{}` {problem}", key.section, key.name)),
        }
    }

    /// Reads every `*.toml` of a folder as one site. A folder that is not there has none.
    fn site_folder(&mut self, folder: &Path) {
        let paths = match document::toml_files(folder) {
            Ok(paths) => paths,
            Err(problem) => return self.problems.push(problem),
        };
        for path in paths {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            if let Some(document) = self.open(&path) {
                let place = Place::file(&path);
                self.walk_document(&document, |loader, table| {
                    walk::site(loader, &document, &name, table, place);
                });
            }
        }
    }

    /// What can only be judged when everything is read.
    fn check_together(&mut self) {
        let server = &self.config.server;
        let public = !server.listen.ip().is_loopback();
        if public && server.auth == Auth::None {
            let place = self.place_of("server", "auth");
            let sentence = format!(
                "`server.auth` can be \"none\" only where the server listens on a loopback address, not on {}",
                server.listen
            );
            self.problem(place, sentence);
        } else if public {
            let warning = format!(
                "The server listens on {} without TLS: whoever can see the traffic can see the token. \
                 Put a proxy with TLS in front of it, or listen on 127.0.0.1.",
                server.listen
            );
            self.config.warnings.push(warning);
        }
        self.check_live_fits();
        self.check_profiles();
    }

    /// More windows than sessions cannot be; where that was not asked for, it is not a mistake.
    fn check_live_fits(&mut self) {
        let limits = &mut self.config.limits;
        if limits.max_live <= limits.max_sessions {
            return;
        }
        let sentence = format!(
            "`limits.max_live` is {} but `limits.max_sessions` is {}: every window belongs to a session",
            limits.max_live, limits.max_sessions
        );
        limits.max_live = limits.max_sessions;
        if self.set_at.contains_key(&("limits", "max_live")) {
            self.config.warnings.push(sentence);
        }
    }

    fn check_profiles(&mut self) {
        let built_in = Profile::ALL.map(Profile::name);
        let own = self.config.profiles.clone();
        let known = || built_in.into_iter().chain(own.keys().map(String::as_str));
        let profile = self.config.chromium.profile.clone();
        if !known().any(|name| name == profile) {
            let names: Vec<&str> = known().collect();
            let sentence = format!("`chromium.profile` names no profile: {}", did_you_mean(&profile, names));
            self.problem(self.place_of("chromium", "profile"), sentence);
        }
        let extra_args = self.config.chromium.extra_args.clone();
        let place = self.place_of("chromium", "extra_args");
        self.check_switches("`chromium.extra_args`", place, &Profile::Dense.into(), &extra_args);
        for (name, definition) in &own {
            let place = self.profile_places.get(name).cloned().unwrap_or_else(|| self.whole());
            if built_in.contains(&name.as_str()) {
                self.problem(place, format!("`{name}` is the name of a built-in profile: choose another"));
                continue;
            }
            match definition.custom() {
                Ok(profile) => self.check_switches(&format!("profile `{name}`"), place, &profile, &[]),
                Err(_) => {
                    let suggestion = did_you_mean(definition.base.as_deref().unwrap_or_default(), built_in);
                    let sentence =
                        format!("`base` of profile `{name}` must be a built-in profile: {suggestion}");
                    self.problem(place, sentence);
                }
            }
        }
    }

    /// Refuses what takes a protection away, here already and not when the first browser is started.
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
