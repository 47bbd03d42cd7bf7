//! Parses the arguments, runs the command, and returns the exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use pilotlight_chromium::shim::SUBCOMMAND;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::json;

use super::args::{Cli, Command, Common, DoctorArgs, Format, ServerFlags, SiteCommand};
use super::client::{Client, address_of, token_file_at, token_of};
use super::output::{Output, tell};
use super::stop::Stop;
use super::{commands, flags, refresh_capacity, sign_in_trial, site, store};
use crate::bench::{self, Report, SwitchesReport};
use crate::config::{Auth, Config, Override, Server, Sources};
use crate::demo;
use crate::exit::{CONFIGURATION, DONE, FAILED, Failure, UNREACHABLE, USAGE};
use crate::rotate;
use crate::sentence::with_sources;
use crate::serve;
use crate::server::{StateDir, StateDirError};
use crate::table;
use crate::webdriver;

/// Runs what the process was started with.
pub fn main() -> ExitCode {
    // First of all, because these processes must stay small. They are not commands for users.
    match std::env::args_os().nth(1) {
        Some(argument) if argument == SUBCOMMAND => return pilotlight_chromium::shim::run(),
        Some(argument) if argument == webdriver::SUBCOMMAND => return webdriver::run(),
        _ => {}
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are printed to stdout and are not errors. If that fails, nothing can be reported.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { USAGE } else { DONE });
        }
    };
    match run(cli, &mut io::stdout().lock()) {
        Ok(()) | Err(Stop::OutputClosed) => ExitCode::from(DONE),
        Err(Stop::Failure(failure)) => {
            tell(&failure.to_string());
            ExitCode::from(failure.exit_code)
        }
    }
}

fn run(cli: Cli, writer: &mut dyn Write) -> Result<(), Stop> {
    let Cli { common, command } = cli;
    let mut output = Output::new(writer, common.output);
    match command {
        Command::Serve(flags) => Ok(serve::serve(server_config(&common, flags)?)?),
        Command::Demo { windows, flags } => Ok(demo::demo(server_config(&common, flags)?, windows)?),
        Command::Bench(arguments) => {
            let report = bench::bench(server_config(&common, ServerFlags::default())?, &arguments)?;
            output.data(&report, || bench_table(&report))
        }
        Command::CheckConfig => check_config(&common, &mut output),
        Command::Doctor(arguments) => doctor(&common, &arguments, &mut output),
        Command::Token { rotate: false } => token(&common, &mut output),
        Command::Token { rotate: true } => rotate_token(&common, &mut output),
        Command::RotateKey => rotate_key(&common, &mut output),
        Command::Store(command) => store::run(&common, &sources(&common, Vec::new())?, command, &mut output),
        Command::Site(SiteCommand::CheckRecording(arguments)) => {
            site::check_recording(&arguments, &mut output)
        }
        Command::Site(SiteCommand::Try(arguments)) => {
            sign_in_trial::run(server_config(&common, ServerFlags::default())?, arguments, &mut output)
        }
        Command::Site(SiteCommand::Report { name }) => {
            ask(&common, async |client| site::report(client, name, &mut output).await)
        }
        Command::Flags(arguments) if arguments.measure => {
            let report =
                bench::measure_switches(server_config(&common, ServerFlags::default())?, &arguments)?;
            output.data(&report, || table::lines(&SwitchesReport::HEADER, report.lines()))
        }
        Command::Flags(_) => flags::print(&mut output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pilotlight", &mut script);
            output.text(&String::from_utf8_lossy(&script))
        }
        Command::Client(command) => {
            ask(&common, async |client| commands::run(client, command, &mut output).await)
        }
    }
}

/// Sends requests to the configured server.
fn ask(common: &Common, work: impl AsyncFnOnce(&Client) -> Result<(), Stop>) -> Result<(), Stop> {
    ask_server(&Client::find(common, &sources(common, Vec::new())?)?, work)
}

/// Sends requests to this server.
pub(super) fn ask_server(
    client: &Client,
    work: impl AsyncFnOnce(&Client) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(FAILED, format!("failed to start the async runtime: {error}")))?;
    runtime.block_on(work(client))
}

fn bench_table(report: &Report) -> String {
    format!("{}\n\n{}", table::lines(&Report::HEADER, report.lines()), report.circumstances())
}

fn sources(common: &Common, flags: Vec<Override>) -> Result<Sources, Failure> {
    Sources::of_process(common.config.clone(), flags)
        .map_err(|error| Failure::new(FAILED, format!("cannot read the working folder: {error}")))
}

fn server_config(common: &Common, flags: ServerFlags) -> Result<Config, Failure> {
    let config = Config::load(&sources(common, flags.into_overrides())?).map_err(|errors| {
        Failure::from(errors)
            .with_hint("run `pilotlight check-config` to check the configuration without starting the server")
    })?;
    config.warnings.iter().for_each(|warning| tell(&format!("warning: {warning}")));
    Ok(config)
}

fn doctor(common: &Common, arguments: &DoctorArgs, output: &mut Output<'_>) -> Result<(), Stop> {
    let config = server_config(common, ServerFlags::default())?;
    let mut examination = crate::doctor::examine(crate::doctor::intended::Intended::by(&config));
    if arguments.measure && examination.success {
        examination.checks.push(refresh_capacity::measure(config)?);
    }
    output.data(&examination, || super::doctor::told(&examination))?;
    if examination.success {
        return Ok(());
    }
    Err(Failure::new(FAILED, "this machine cannot open windows")
        .with_hint("install or enable the items marked NEEDED")
        .into())
}

fn check_config(common: &Common, output: &mut Output<'_>) -> Result<(), Stop> {
    let loaded = Config::load(&sources(common, Vec::new())?);
    let config = match loaded {
        Ok(config) => config,
        Err(errors) if output.format == Format::Json => {
            let problem = |problem: &crate::config::Problem| json!({"place": problem.place.to_string(), "problem": problem.message});
            let problems: Vec<_> = errors.0.iter().map(problem).collect();
            output.data(&json!({"success": false, "problems": problems}), String::new)?;
            return Err(Failure::new(CONFIGURATION, "the configuration has errors").into());
        }
        Err(errors) => return Err(Failure::from(errors).into()),
    };
    config.warnings.iter().for_each(|warning| tell(&format!("warning: {warning}")));
    let file =
        config.file.as_ref().map_or_else(|| "none (defaults)".to_owned(), |file| file.display().to_string());
    let names = |names: Vec<&String>| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
    let summary = [
        ("file", file.clone()),
        ("listen", config.server.listen.to_string()),
        ("state_dir", config.server.state_dir.display().to_string()),
        ("max_live", config.limits.max_live.to_string()),
        ("profiles", names(config.profiles.keys().collect())),
        ("sites", names(config.sites.keys().collect())),
    ];
    let answer = json!({
        "success": true, "file": config.file, "listen": config.server.listen.to_string(),
        "state_dir": config.server.state_dir, "max_live": config.limits.max_live,
        "profiles": config.profiles.keys().collect::<Vec<_>>(), "sites": config.sites.keys().collect::<Vec<_>>(),
        "warnings": config.warnings,
    });
    output.data(&answer, || {
        table::lines(&[], summary.into_iter().map(|(name, value)| vec![name.to_owned(), value]))
    })
}

fn rotate_key(common: &Common, output: &mut Output<'_>) -> Result<(), Stop> {
    let server = Server::load(&sources(common, Vec::new())?).map_err(Failure::from)?;
    let rotated = rotate::rotate_key(&server)?;
    let answer = json!({"success": true, "key": rotated.key, "removed": rotated.removed});
    output.data(&answer, || {
        let removed = rotated.removed.join(", ");
        format!("the store is now sealed with key {}; {removed} opens only old backups", rotated.key)
    })
}

/// Replaces the token through the server, or in its file if no server is running.
fn rotate_token(common: &Common, output: &mut Output<'_>) -> Result<(), Stop> {
    if common.server.is_some() {
        return ask(common, async |client| {
            let answer = client.tell(Method::POST, "token/rotate").await?;
            output.data(&answer, || {
                "the token was replaced; the new one is in the server's state folder".to_owned()
            })
        });
    }
    let server = server_with_token(common)?;
    let asked = ask(common, async |client| {
        client.tell(Method::POST, "token/rotate").await?;
        Ok(())
    });
    match asked {
        Ok(()) => {}
        Err(Stop::Failure(unreachable)) if unreachable.exit_code == UNREACHABLE => {
            // A server that holds the folder's lock would keep using the old token.
            let state_dir = StateDir::open(&server.state_dir).map_err(|error| match error {
                StateDirError::Taken { .. } => unreachable.with_hint(
                    "the server runs, but at another address than the configured one: give it with --server",
                ),
                error => Failure::new(FAILED, with_sources(&error)),
            })?;
            state_dir.rotate_token().map_err(|error| Failure::new(FAILED, with_sources(&error)))?;
        }
        Err(stop) => return Err(stop),
    }
    token(common, output)
}

/// Returns the configuration of this machine's server, which must use a token.
fn server_with_token(common: &Common) -> Result<Server, Failure> {
    let server = Server::load(&sources(common, Vec::new())?)?;
    if server.auth == Auth::None {
        let message = "the configuration has `auth = \"none\"`: the server does not use a token";
        return Err(Failure::new(FAILED, message));
    }
    Ok(server)
}

fn token(common: &Common, output: &mut Output<'_>) -> Result<(), Stop> {
    let server = server_with_token(common)?;
    let file = token_file_at(&address_of(server.listen)?, &server);
    let token = token_of(&file)?.ok_or_else(|| {
        Failure::new(FAILED, format!("there is no token in {} yet", file.display()))
            .with_hint("`pilotlight serve` creates one when it starts")
    })?;
    match output.format {
        Format::Table => output.text(token.expose_secret()),
        Format::Json => output.data(&json!({"token": token.expose_secret()}), String::new),
    }
}
