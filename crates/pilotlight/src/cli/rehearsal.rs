//! `pilotlight site try`: a site's sign-in, once, in a browser of its own, told step by step.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pilotlight_api::CredentialDefinition;
use pilotlight_core::Standing;
use pilotlight_flow::Flow;
use pilotlight_flow::replay::{Event, Product};
use pilotlight_flow::review::review;
use pilotlight_store::{Archive, MemoryStore};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::args::TryArgs;
use super::exit_codes::{FAILED, USAGE};
use super::failure::{Failure, Stop};
use super::output::{Output, printable};
use super::secret;
use crate::config::{Config, Site};
use crate::credentials::{Credentials, Login};
use crate::keeper::{Errand, Farm, FarmOptions, Rehearsed, Told, rehearse};
use crate::sentence::with_sources;
use crate::serve::{failure, run as run_server, start_log};
use crate::server::{ServeError, Signals, StateDir, StateDirError, open_store};

/// How long the browser outlives a rehearsal that was killed.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(30);
/// The browser may run as another user, who must come through the folder.
const PASSABLE: u32 = 0o711;
/// What the given user name and password are called.
const GIVEN: &str = "given";

/// Signs in once and tells of it. Where one is not signed in then, that is a failure.
pub(super) fn run(config: Config, arguments: TryArgs, output: &mut Output<'_>) -> Result<(), Stop> {
    start_log("warn");
    let unknown = || {
        Failure::new(USAGE, format!("there is no site `{}`", printable(&arguments.name)))
            .with_hint("`pilotlight check-config` lists the sites of the configuration")
    };
    let site = config.sites.get(&arguments.name).cloned().ok_or_else(unknown)?;
    if let Some(folder) = &arguments.pictures {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| unwritten(folder, &error))?;
    }
    let mut told = Ok(());
    run_server(async {
        let mut signals = Signals::take()?;
        let stop = CancellationToken::new();
        let mut trying = std::pin::pin!(attempt(config, site, &arguments, output, &stop));
        tokio::select! {
            tried = &mut trying => told = tried,
            () = signals.next() => {
                stop.cancel();
                told = trying.await;
            }
        }
        Ok(())
    })?;
    told
}

async fn attempt(
    config: Config,
    site: Site,
    arguments: &TryArgs,
    output: &mut Output<'_>,
    stop: &CancellationToken,
) -> Result<(), Stop> {
    let Some(flow) = site.sign_in.clone() else {
        return Err(Failure::new(USAGE, "the site has no sign-in: a person signs in to it").into());
    };
    let login = login(&config, arguments).await?;
    if let Some(lacking) = login.lacks(&flow) {
        return Err(Failure::new(USAGE, format!("the sign-in needs a {lacking}, and there is none"))
            .with_hint("give --username, with --totp where there is a second factor, or --credential")
            .into());
    }
    let folder = tempfile::Builder::new()
        .prefix("pilotlight-try-")
        .permissions(Permissions::from_mode(PASSABLE))
        .tempdir();
    let folder = folder.map_err(|error| failure(&ServeError::System(error)))?;
    let profile = config.chromium.profile.clone();
    let options = FarmOptions {
        chromium: config.chromium,
        profiles: config.profiles,
        run_dir: folder.path().to_owned(),
        orphan_timeout: ORPHAN_TIMEOUT,
    };
    let farm = Farm::open(options).await.map_err(|error| failure(&ServeError::Farm(error)))?;
    let start_url = site.definition.start_url.clone();
    let errand = Errand { site: Some(Arc::new(site)), start_url, login };
    let (sender, mut told) = mpsc::unbounded_channel();
    let mut steps =
        Steps { flow: &flow, pictures: arguments.pictures.as_deref(), began: (0, Instant::now()) };
    let telling = async {
        while let Some(told) = told.recv().await {
            steps.tell(told, output)?;
        }
        Ok::<(), Stop>(())
    };
    let rehearsal = rehearse(&farm, &profile, &errand, sender, arguments.pictures.is_some(), stop);
    let (rehearsed, told) = tokio::join!(rehearsal, telling);
    told?;
    let Rehearsed { outcome, picture } = rehearsed.map_err(|error| Failure::new(FAILED, error.sentence))?;
    if let Some((folder, picture)) = arguments.pictures.as_deref().zip(picture) {
        write(folder, "end.png", &picture)?;
    }
    let why = match outcome {
        Ok(Standing::SignedIn) => {
            return output.line(&json!({"success": true}), || "signed in".to_owned());
        }
        Ok(Standing::SignedOut) => "the portal still shows that nobody is signed in".to_owned(),
        Ok(Standing::PersonNeeded(why)) => why,
        Err(failure) => failure.sentence,
    };
    Err(Failure::new(FAILED, format!("not signed in: {why}")).into())
}

/// What was given, or what the store has.
async fn login(config: &Config, arguments: &TryArgs) -> Result<Login, Failure> {
    let of_system = |error| failure(&ServeError::System(error));
    let TryArgs { username, password_stdin, totp, credential, .. } = arguments;
    let (name, credentials) = match (username, credential) {
        (Some(username), _) => {
            let password = Some(secret::password(*password_stdin)?);
            let totp_secret = totp.then(|| secret::totp(*password_stdin)).transpose()?;
            let definition = CredentialDefinition { username: username.clone(), password, totp_secret };
            definition.validate().map_err(|error| Failure::new(USAGE, error.to_string()))?;
            let archive = Archive::start(MemoryStore::default()).map_err(of_system)?;
            let credentials = Credentials::new(archive, Vec::new());
            let defined = credentials.define(GIVEN, definition).await;
            defined.map_err(|error| Failure::new(USAGE, with_sources(&error)))?;
            (GIVEN, credentials)
        }
        (None, Some(name)) => {
            // Whoever has the store has it alone.
            let _locked = StateDir::open(&config.server.state_dir).map_err(|error| match error {
                StateDirError::Taken { .. } => Failure::new(FAILED, error.to_string())
                    .with_hint("stop that server first, or give --username and type the password"),
                error => failure(&error.into()),
            })?;
            let archive = open_store(config).map_err(|error| failure(&error))?;
            let loaded = archive.load().await.map_err(|error| failure(&ServeError::Store(error)))?;
            let credentials = Credentials::new(archive, loaded.credentials);
            if credentials.get(name).is_none() {
                let sentence = format!("there is no credential `{}`", printable(name));
                return Err(Failure::new(USAGE, sentence).with_hint("`pilotlight credential set` makes one"));
            }
            (name.as_str(), credentials)
        }
        (None, None) => return Ok(Login::Own { username: None, password: None }),
    };
    Ok(Login::Named { name: name.to_owned(), credentials: Arc::new(credentials) })
}

/// The steps as they are told.
struct Steps<'a> {
    flow: &'a Flow,
    pictures: Option<&'a Path>,
    /// Which began last, counted from 1, and when.
    began: (usize, Instant),
}

impl Steps<'_> {
    fn tell(&mut self, told: Told, output: &mut Output<'_>) -> Result<(), Stop> {
        match told {
            Told::Flow(Event::Begins(progress), at) => self.began = (progress.number, at),
            Told::Flow(Event::Made(Product::Screenshot { name: None, png }), _) => {
                if let Some(folder) = self.pictures {
                    write(folder, &format!("{:02}.png", self.began.0), &png)?;
                }
            }
            Told::Flow(Event::Made(_), _) => {}
            Told::Flow(Event::Done(_), at) => self.line(None, at, output)?,
            Told::Stuck(why, at) => self.line(Some(&why), at, output)?,
        }
        Ok(())
    }

    fn line(&self, failed: Option<&str>, at: Instant, output: &mut Output<'_>) -> Result<(), Stop> {
        let (number, began) = self.began;
        let took = at.saturating_duration_since(began);
        let remarks = review(self.flow);
        let does =
            number.checked_sub(1).and_then(|index| remarks.get(index)).map_or("", |step| step.does.as_str());
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let line = json!({"step": number, "does": does, "error": failed, "took_ms": took_ms});
        output.line(&line, || {
            let outcome = failed.map_or_else(|| "done".to_owned(), |why| format!("FAILED: {why}"));
            printable(&format!("{number:>3}  {:>6.2} s  {does}: {outcome}", took.as_secs_f64()))
        })
    }
}

/// Writes a picture, in place of the one of an earlier try. What is on it is the owner's alone.
fn write(folder: &Path, name: &str, png: &[u8]) -> Result<(), Failure> {
    let path = folder.join(name);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(png)).map_err(|error| unwritten(&path, &error))
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(FAILED, format!("`{}` cannot be written: {error}", path.display()))
}
