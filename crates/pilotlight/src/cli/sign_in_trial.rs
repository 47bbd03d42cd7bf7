//! `pilotlight site try`: runs a site's sign-in once in a separate browser, and reports each step.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pilotlight_api::{CredentialDefinition, ErrorCode};
use pilotlight_core::SignInStatus;
use pilotlight_flow::Flow;
use pilotlight_flow::replay::{Event, Product};
use pilotlight_flow::review::review;
use pilotlight_store::{MemoryStore, StoreHandle};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::args::TryArgs;
use super::output::Output;
use super::secret;
use super::stop::Stop;
use super::trial_browser::TrialBrowsers;
use crate::config::{Config, Site};
use crate::credentials::{Credentials, Login};
use crate::exit::{FAILED, Failure, USAGE};
use crate::keeper::{
    AsleepTrial, Recommendation, SessionTarget, Told, TrialOptions, TrialOutcome, TriedRefresh, try_sign_in,
};
use crate::sentence::{printable, with_sources};
use crate::serve::{failure, run_until_stopped, start_log};
use crate::server::{ServeError, StateDir, StateDirError, open_store};

/// The name of the credential with the given user name and password.
const GIVEN: &str = "given";

/// Signs in once and reports each step. Fails if the session is not signed in at the end.
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
    run_until_stopped(async |stop| attempt(config, site, &arguments, output, stop).await)?
}

async fn attempt(
    config: Config,
    site: Site,
    arguments: &TryArgs,
    output: &mut Output<'_>,
    stop: &CancellationToken,
) -> Result<(), Stop> {
    let Some(flow) = site.sign_in.clone() else {
        return Err(Failure::new(USAGE, "the site has no sign-in flow: a person signs in to it").into());
    };
    let login = login(&config, arguments).await?;
    if let Some(lacking) = login.lacks(&flow) {
        return Err(Failure::new(USAGE, format!("the sign-in flow needs a {lacking}, but none was given"))
            .with_hint("give --username (and --totp if the site uses a second factor), or --credential")
            .into());
    }
    if login.username().is_some_and(|username| site.misnames(&username)) {
        let message = "the sign-in flow types a fixed user name, which is not the given one";
        return Err(Failure::new(USAGE, message).with_hint(ErrorCode::UsernameNotUsed.hint()).into());
    }
    let browsers = TrialBrowsers::prepare(config).await?;
    let start_url = site.definition.start_url.clone();
    let target = SessionTarget { site: Some(Arc::new(site)), start_url, login };
    let (sender, mut told) = mpsc::unbounded_channel();
    let mut steps =
        Steps { flow: &flow, pictures: arguments.pictures.as_deref(), began: (0, Instant::now()) };
    let telling = async {
        while let Some(told) = told.recv().await {
            steps.tell(told, output)?;
        }
        Ok::<(), Stop>(())
    };
    let options = TrialOptions { wants_pictures: arguments.pictures.is_some(), refreshes: 1 };
    let trial = try_sign_in(&browsers.launcher, &browsers.profile, &target, sender, options, stop);
    let (outcome, told) = tokio::join!(trial, telling);
    told?;
    let TrialOutcome { outcome, picture, asleep } =
        outcome.map_err(|error| Failure::new(FAILED, error.sentence))?;
    if let Some((folder, picture)) = arguments.pictures.as_deref().zip(picture) {
        write(folder, "end.png", &picture)?;
    }
    let why = match outcome {
        Ok(SignInStatus::SignedIn) => {
            match asleep {
                Some(Ok(trial)) => print_asleep(&trial, output)?,
                Some(Err(failure)) => {
                    let why = failure.sentence;
                    output.line(&json!({"recommended_asleep": null, "reason": why}), || {
                        printable(&format!("refreshes while hibernated were not tried: {why}"))
                    })?;
                }
                None => {}
            }
            return output.line(&json!({"success": true}), || "signed in".to_owned());
        }
        Ok(SignInStatus::SignedOut | SignInStatus::LooksSignedOut(_) | SignInStatus::ShowsNothing) => {
            "the page still shows that the session is signed out".to_owned()
        }
        Ok(SignInStatus::Unknown) => "the site has no condition `signed_in` that could tell".to_owned(),
        Ok(SignInStatus::PersonNeeded(why)) => why,
        Err(failure) => failure.sentence,
    };
    Err(Failure::new(FAILED, format!("not signed in: {why}")).into())
}

/// Prints how hibernated sessions of the site can be refreshed, and which way is recommended.
fn print_asleep(trial: &AsleepTrial, output: &mut Output<'_>) -> Result<(), Stop> {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    for (asleep, tried, has_cookies) in [
        ("window", &trial.window, true),
        ("document", &trial.document, true),
        ("document", &trial.without_cookies, false),
    ] {
        let TriedRefresh { outcome, took, processor_time } = tried;
        let (is_signed_in, error) = match outcome {
            Ok(is_signed_in) => (Some(*is_signed_in), None),
            Err(failure) => (None, Some(failure.sentence.as_str())),
        };
        let line = json!({
            "asleep": asleep,
            "has_cookies": has_cookies,
            "signed_in": is_signed_in,
            "error": error,
            "took_ms": milliseconds(*took),
            "processor_ms": milliseconds(*processor_time),
        });
        output.line(&line, || {
            let of = if has_cookies { "" } else { " without cookies" };
            let outcome = match (is_signed_in, error) {
                (Some(true), _) => "signed in",
                (_, Some(error)) => error,
                (_, None) => "signed out",
            };
            let (took, processor) = (took.as_secs_f64(), processor_time.as_secs_f64());
            printable(&format!(
                "refresh while hibernated, by {asleep}{of}: {outcome} ({took:.2} s, {processor:.2} s of processor time)"
            ))
        })?;
    }
    let recommendation = trial.recommendation();
    let asleep = match recommendation {
        Recommendation::Document => Some("document"),
        Recommendation::DocumentDoesNotShow | Recommendation::DocumentLooksTheSame => Some("window"),
        Recommendation::Neither => None,
    };
    output.line(&json!({"recommended_asleep": asleep, "reason": recommendation.to_string()}), || {
        format!("recommended for `refresh`: {recommendation}")
    })
}

/// Returns the given login, or the stored credential.
async fn login(config: &Config, arguments: &TryArgs) -> Result<Login, Failure> {
    let of_system = |error| failure(&ServeError::System(error));
    let TryArgs { username, password_stdin, totp, credential, .. } = arguments;
    let (name, credentials) = match (username, credential) {
        (Some(username), _) => {
            let password = Some(secret::password(*password_stdin)?);
            let totp_secret = totp.then(|| secret::totp(*password_stdin)).transpose()?;
            let definition = CredentialDefinition { username: username.clone(), password, totp_secret };
            definition.validate().map_err(|error| Failure::new(USAGE, error.to_string()))?;
            let archive = StoreHandle::start(MemoryStore::default()).map_err(of_system)?;
            let credentials = Credentials::new(archive, Vec::new());
            let defined = credentials.define(GIVEN, definition).await;
            defined.map_err(|error| Failure::new(USAGE, with_sources(&error)))?;
            (GIVEN, credentials)
        }
        (None, Some(name)) => {
            // The store can only be opened by one process.
            let _locked = StateDir::open(&config.server.state_dir).map_err(|error| match error {
                StateDirError::Taken { .. } => Failure::new(FAILED, error.to_string())
                    .with_hint("stop that server first, or give --username instead"),
                error => failure(&error.into()),
            })?;
            let (archive, _) = open_store(config).map_err(|error| failure(&error))?;
            let loaded = archive.load().await.map_err(|error| failure(&ServeError::Store(error)))?;
            let credentials = Credentials::new(archive, loaded.credentials);
            if credentials.get(name).is_none() {
                let message = format!("there is no credential `{}`", printable(name));
                return Err(Failure::new(USAGE, message).with_hint("`pilotlight credential set` creates one"));
            }
            (name.as_str(), credentials)
        }
        (None, None) => return Ok(Login::Own { username: None, password: None }),
    };
    Ok(Login::Named { name: name.to_owned(), credentials: Arc::new(credentials) })
}

/// What became of a step.
enum Outcome {
    Done,
    /// It is optional, and its element was not there.
    Skipped,
    Failed(String),
}

/// The steps as they are told.
struct Steps<'a> {
    flow: &'a Flow,
    pictures: Option<&'a Path>,
    /// The step that started last, counted from 1, and when.
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
            Told::Flow(Event::Done(_), at) => self.line(&Outcome::Done, at, output)?,
            Told::Flow(Event::Skipped(progress), at) => {
                self.began.0 = progress.number;
                self.line(&Outcome::Skipped, at, output)?;
                self.began.1 = at;
            }
            Told::Stuck(why, at) => self.line(&Outcome::Failed(why), at, output)?,
        }
        Ok(())
    }

    fn line(&self, outcome: &Outcome, at: Instant, output: &mut Output<'_>) -> Result<(), Stop> {
        let (number, began) = self.began;
        let took = at.saturating_duration_since(began);
        let remarks = review(self.flow);
        let does =
            number.checked_sub(1).and_then(|index| remarks.get(index)).map_or("", |step| step.does.as_str());
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (failed, is_skipped) = match outcome {
            Outcome::Failed(why) => (Some(why), false),
            Outcome::Done => (None, false),
            Outcome::Skipped => (None, true),
        };
        let line = json!({
            "step": number, "does": does, "error": failed, "skipped": is_skipped, "took_ms": took_ms,
        });
        output.line(&line, || {
            let outcome = match outcome {
                Outcome::Done => "done".to_owned(),
                Outcome::Skipped => "skipped: it is not there".to_owned(),
                Outcome::Failed(why) => format!("FAILED: {why}"),
            };
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
    Failure::new(FAILED, format!("cannot write `{}`: {error}", path.display()))
}
