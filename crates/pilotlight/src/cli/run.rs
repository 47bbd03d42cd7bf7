//! From the arguments to the exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use pilotlight_chromium::shim::SUBCOMMAND;
use secrecy::ExposeSecret;
use serde_json::json;

use super::args::{Cli, Command, Common, Format, ServerFlags, SiteCommand};
use super::client::{Client, token_of};
use super::exit_codes::{CONFIGURATION, DONE, FAILED, USAGE};
use super::failure::{Failure, Stop};
use super::output::{Output, tell};
use super::{commands, flags, rehearsal, site, table};
use crate::bench::{BenchArgs, Report, SwitchesArgs, SwitchesReport};
use crate::config::{Auth, Config, Override, Server, Sources};
use crate::rotate;
use crate::webdriver;

/// What `serve` and `demo` start. Each returns when the server has ended.
#[derive(Debug, Clone, Copy)]
pub struct Servers {
    /// Runs the server.
    pub serve: fn(Config) -> Result<(), Failure>,
    /// Runs the server with the demonstration portal and so many windows.
    pub demo: fn(Config, u32) -> Result<(), Failure>,
    /// Measures.
    pub bench: fn(Config, &BenchArgs) -> Result<Report, Failure>,
    /// Runs `pilotlight flags --measure`.
    pub measure_switches: fn(Config, &SwitchesArgs) -> Result<SwitchesReport, Failure>,
}

/// Runs what the process was started with.
pub fn main(servers: &Servers) -> ExitCode {
    // Before everything else, since they are to stay small. They are no commands that anybody gives.
    match std::env::args_os().nth(1) {
        Some(argument) if argument == SUBCOMMAND => return pilotlight_chromium::shim::run(),
        Some(argument) if argument == webdriver::SUBCOMMAND => return webdriver::run(),
        _ => {}
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are printed to stdout and are no error. Nobody is left to tell where that fails.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { USAGE } else { DONE });
        }
    };
    match run(cli, servers, &mut io::stdout().lock()) {
        Ok(()) | Err(Stop::OutputClosed) => ExitCode::from(DONE),
        Err(Stop::Failure(failure)) => {
            tell(&failure.to_string());
            ExitCode::from(failure.exit_code)
        }
    }
}

fn run(cli: Cli, servers: &Servers, writer: &mut dyn Write) -> Result<(), Stop> {
    let Cli { common, command } = cli;
    let mut output = Output::new(writer, common.output);
    match command {
        Command::Serve(flags) => Ok((servers.serve)(server_config(&common, flags)?)?),
        Command::Demo { windows, flags } => Ok((servers.demo)(server_config(&common, flags)?, windows)?),
        Command::Bench(arguments) => {
            let report = (servers.bench)(server_config(&common, ServerFlags::default())?, &arguments)?;
            output.data(&report, || bench_table(&report))
        }
        Command::CheckConfig => check_config(&common, &mut output),
        Command::Doctor => doctor(&common, &mut output),
        Command::Token => token(&common, &mut output),
        Command::RotateKey => rotate_key(&common, &mut output),
        Command::Site(SiteCommand::RecordCheck { file, write }) => {
            site::record_check(&file, write, &mut output)
        }
        Command::Site(SiteCommand::Try(arguments)) => {
            rehearsal::run(server_config(&common, ServerFlags::default())?, arguments, &mut output)
        }
        Command::Site(SiteCommand::Report { name }) => {
            ask(&common, async |client| site::report(client, name, &mut output).await)
        }
        Command::Flags(arguments) if arguments.measure => {
            let report =
                (servers.measure_switches)(server_config(&common, ServerFlags::default())?, &arguments)?;
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

/// Does something with the server.
fn ask(common: &Common, work: impl AsyncFnOnce(&Client) -> Result<(), Stop>) -> Result<(), Stop> {
    let client = Client::find(common, &sources(common, Vec::new())?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(FAILED, format!("no runtime could be started: {error}")))?;
    runtime.block_on(work(&client))
}

fn bench_table(report: &Report) -> String {
    format!("{}\n\n{}", table::lines(&Report::HEADER, report.lines()), report.circumstances())
}

fn sources(common: &Common, flags: Vec<Override>) -> Result<Sources, Failure> {
    Sources::of_process(common.config.clone(), flags)
        .map_err(|error| Failure::new(FAILED, format!("the working folder cannot be read: {error}")))
}

fn server_config(common: &Common, flags: ServerFlags) -> Result<Config, Failure> {
    let config = Config::load(&sources(common, flags.into_overrides())?).map_err(|errors| {
        Failure::from(errors)
            .with_hint("`pilotlight check-config` checks the files without starting anything")
    })?;
    config.warnings.iter().for_each(|warning| tell(&format!("warning: {warning}")));
    Ok(config)
}

fn doctor(common: &Common, output: &mut Output<'_>) -> Result<(), Stop> {
    let config = server_config(common, ServerFlags::default())?;
    let examination = crate::doctor::examine(crate::doctor::browser_of(&config));
    output.data(&examination, || super::doctor::told(&examination))?;
    if examination.success {
        return Ok(());
    }
    Err(Failure::new(FAILED, "no window can be opened here").with_hint("get what is NEEDED first").into())
}

fn check_config(common: &Common, output: &mut Output<'_>) -> Result<(), Stop> {
    let loaded = Config::load(&sources(common, Vec::new())?);
    let config = match loaded {
        Ok(config) => config,
        Err(errors) if output.format == Format::Json => {
            let problem = |problem: &crate::config::Problem| json!({"place": problem.place.to_string(), "problem": problem.sentence});
            let problems: Vec<_> = errors.0.iter().map(problem).collect();
            output.data(&json!({"success": false, "problems": problems}), String::new)?;
            return Err(Failure::new(CONFIGURATION, "the configuration has mistakes").into());
        }
        Err(errors) => return Err(Failure::from(errors).into()),
    };
    config.warnings.iter().for_each(|warning| tell(&format!("warning: {warning}")));
    let file =
        config.file.as_ref().map_or_else(|| "none, defaults".to_owned(), |file| file.display().to_string());
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
        format!(
            "everything is sealed under {}; {removed} opens nothing any more but old backups",
            rotated.key
        )
    })
}

fn token(common: &Common, output: &mut Output<'_>) -> Result<(), Stop> {
    let server = Server::load(&sources(common, Vec::new())?).map_err(Failure::from)?;
    if server.auth == Auth::None {
        return Err(Failure::new(
            FAILED,
            "the configuration has `auth = \"none\"`: the server wants no token",
        )
        .into());
    }
    let file = server.token_file();
    let token = token_of(&file)?.ok_or_else(|| {
        Failure::new(FAILED, format!("there is no token in {} yet", file.display()))
            .with_hint("`pilotlight serve` makes one when it starts")
    })?;
    match output.format {
        Format::Table => output.text(token.expose_secret()),
        Format::Json => output.data(&json!({"token": token.expose_secret()}), String::new),
    }
}
