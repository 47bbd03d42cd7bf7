//! What can be written on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use pilotlight_api::{Seconds, Viewport};

use super::operations::Given;
use crate::bench::{BenchArgs, SwitchesArgs};
use crate::config::Override;

/// Keeps browser windows signed in
#[derive(Debug, Parser)]
#[command(name = "pilotlight", version, max_term_width = 100, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The heading of what every command takes.
const GLOBAL: &str = "Options of every command";

/// What every command takes.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Configuration file [default: pilotlight.toml here, then in the user's and the system's folder]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE", env = "PILOTLIGHT_CONFIG", hide_env_values = true)]
    pub(super) config: Option<PathBuf>,
    /// Address of the server [default: what the configuration has it listen on]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "ADDRESS", env = "PILOTLIGHT_SERVER", hide_env_values = true)]
    pub(super) server: Option<String>,
    /// How data is written
    #[arg(short, long, global = true, help_heading = GLOBAL, value_name = "FORMAT", default_value = "table")]
    pub(super) output: Format,
}

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// For scripts
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the server
    Serve(ServerFlags),
    /// Run the server with a demonstration portal and sign some windows in
    Demo {
        /// How many windows
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
        windows: u32,
        #[command(flatten)]
        flags: ServerFlags,
    },
    /// Measure this machine: a server, a portal and a browser of its own, each number against a baseline
    Bench(BenchArgs),
    #[command(flatten)]
    Client(ClientCommand),
    /// Print the server's access token
    Token,
    /// Give the store a new master key, while no server runs; the old one opens nothing any more
    RotateKey,
    /// Read the configuration and report every mistake in it
    CheckConfig,
    /// Work on sites and their recordings
    #[command(subcommand)]
    Site(SiteCommand),
    /// Say what this machine offers for windows that cost little, and how to get what is missing
    Doctor,
    /// Print every Chromium switch that is known here, its worth, and which launch profiles have it
    Flags(SwitchesArgs),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// What can be done with sites and recordings.
#[derive(Debug, Subcommand)]
pub(super) enum SiteCommand {
    /// Tell what a recording will do, what in it breaks easily, and whether a password stands in it
    RecordCheck {
        /// The recording: what Chrome's Recorder exports as JSON
        file: PathBuf,
        /// Put ${password} in the place of passwords that stand in it
        #[arg(long)]
        write: bool,
    },
    /// Sign in once in a browser of its own, without a server, and tell how each step went
    Try(TryArgs),
    /// Ask the server how the sign-ins of its sites fare: how often they hold, how long they last
    Report {
        /// Only this site
        name: Option<String>,
    },
}

/// A sign-in to try.
#[derive(Debug, Args)]
pub(super) struct TryArgs {
    /// The site, from the configuration
    pub(super) name: String,
    /// Who signs in; the password is asked for
    #[arg(long)]
    pub(super) username: Option<String>,
    /// Read the password from stdin instead of asking for it
    #[arg(long, requires = "username")]
    pub(super) password_stdin: bool,
    /// Ask for the secret of a second factor too; with `--password-stdin` it is the second line
    #[arg(long, requires = "username")]
    pub(super) totp: bool,
    /// The credential to sign in with, while no server has the store
    #[arg(long, conflicts_with = "username")]
    pub(super) credential: Option<String>,
    /// Keep a picture of the page after each step in this folder
    #[arg(long, value_name = "FOLDER")]
    pub(super) pictures: Option<PathBuf>,
}

/// The commands that ask the server.
#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Open a session, or find the equal one that lives
    Open(Box<OpenArgs>),
    /// List the sessions
    List {
        /// Only sessions of this site
        #[arg(long)]
        site: Option<String>,
        /// Only sessions in this state
        #[arg(long)]
        state: Option<String>,
        /// Only sessions with this tag
        #[arg(long, value_name = "KEY:VALUE")]
        tag: Option<String>,
    },
    /// Show all of one session
    Show(SessionArg),
    /// Mark sessions as used, so that they do not expire
    Ping(SessionArgs),
    /// Close sessions
    Close(SessionArgs),
    /// Refresh a session's sign-in now
    Refresh(SessionArg),
    /// Open a session's window anew
    Restart(SessionArg),
    /// Let a session's window stand still until somebody uses it
    Freeze(SessionArg),
    /// Let a session's window go; the session stays, signed in, and comes back when it is used
    Hibernate(SessionArg),
    /// Bring a session's window back
    Wake(SessionArg),
    /// Let every session hibernate, before the machine is stopped
    Drain {
        /// How long to wait for sessions that somebody holds
        #[arg(long, value_name = "DURATION", default_value = "60s")]
        timeout: Seconds,
    },
    /// Mark a session as in use; prints the hold that `release` takes
    Hold {
        #[command(flatten)]
        session: SessionArg,
        /// After how long the hold ends by itself
        #[arg(long, value_name = "DURATION", default_value = "60s")]
        ttl: Seconds,
        /// Who holds, for people to read
        #[arg(long)]
        owner: Option<String>,
        /// Let others hold it too
        #[arg(long)]
        shared: bool,
    },
    /// Give a hold back
    Release {
        #[command(flatten)]
        session: SessionArg,
        /// What `hold` printed
        hold_id: uuid::Uuid,
    },
    /// Run an operation of a session's site, and print what it gives
    Run {
        #[command(flatten)]
        session: SessionArg,
        /// Its name in the site
        operation: String,
        #[command(flatten)]
        given: Given,
    },
    /// Go on with an operation that waits for an input
    Continue {
        /// What `run` named
        operation_id: uuid::Uuid,
        #[command(flatten)]
        given: Given,
    },
    /// Give an operation up; its session stays
    GiveUp {
        /// What `run` named
        operation_id: uuid::Uuid,
    },
    /// List operations, the newest first
    Operations {
        /// Only those of this session: its id, a unique beginning of it, or its name
        session: Option<String>,
    },
    /// Keep what sessions sign in with by name
    #[command(subcommand)]
    Credential(CredentialCommand),
    /// Follow what happens
    Events {
        /// Only this session: its id, a unique beginning of it, or its name
        session: Option<String>,
    },
}

/// What can be done with credentials.
#[derive(Debug, Subcommand)]
pub(super) enum CredentialCommand {
    /// Keep a credential, or give it other values; sessions that name it sign in with them from then on
    Set {
        /// Its name
        name: String,
        /// Who signs in; the password is asked for
        #[arg(long)]
        username: String,
        /// Read the password from stdin instead of asking for it
        #[arg(long)]
        password_stdin: bool,
        /// Ask for the secret of a second factor too; with `--password-stdin` it is the second line
        #[arg(long)]
        totp: bool,
    },
    /// List the credentials, without their secrets
    List,
    /// Forget a credential that no session names
    Remove {
        /// Its name
        name: String,
    },
}

/// One session.
#[derive(Debug, Args)]
pub(super) struct SessionArg {
    /// The session: its id, a unique beginning of it, or its name
    pub(super) session: String,
}

/// One session or more.
#[derive(Debug, Args)]
pub(super) struct SessionArgs {
    /// The sessions: ids, unique beginnings of them, or names
    #[arg(required = true)]
    pub(super) sessions: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct OpenArgs {
    /// The site to sign in to
    #[arg(long, required_unless_present = "url", conflicts_with = "url")]
    pub(super) site: Option<String>,
    /// The page to open in a plain window
    #[arg(long)]
    pub(super) url: Option<String>,
    /// A name by which to find the session again
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Who signs in; the password is asked for
    #[arg(long)]
    pub(super) username: Option<String>,
    /// The credential to sign in with, which `pilotlight credential set` keeps
    #[arg(long, requires = "site", conflicts_with = "username")]
    pub(super) credential: Option<String>,
    /// Read the password from stdin instead of asking for it
    #[arg(long, requires = "username", requires = "site")]
    pub(super) password_stdin: bool,
    /// End the session after so long without use [default: it never expires]
    #[arg(long, value_name = "DURATION")]
    pub(super) idle_timeout: Option<Seconds>,
    /// How often the sign-in is refreshed; `never` for never
    #[arg(long, value_name = "DURATION")]
    pub(super) refresh_interval: Option<Seconds>,
    /// Let nothing but `close` end the session
    #[arg(long)]
    pub(super) never_terminate: bool,
    /// The launch profile
    #[arg(long)]
    pub(super) profile: Option<String>,
    /// A browser process of its own
    #[arg(long)]
    pub(super) dedicated: bool,
    /// A proxy, such as http://host:port
    #[arg(long, value_name = "ADDRESS")]
    pub(super) proxy: Option<String>,
    /// Size of the window
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = viewport)]
    pub(super) viewport: Option<Viewport>,
    /// A mark of your own; can be given several times
    #[arg(long = "tag", value_name = "KEY:VALUE", value_parser = tag)]
    pub(super) tags: Vec<(String, String)>,
}

fn viewport(text: &str) -> Result<Viewport, String> {
    let sides =
        text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    sides.map(|(width, height)| Viewport { width, height }).ok_or_else(|| "write it as 1024x768".to_owned())
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once(':').ok_or("write it as key:value")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The main keys of the configuration as flags. They outweigh the file and the environment.
#[derive(Debug, Default, Args)]
pub(super) struct ServerFlags {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where to keep the state
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<String>,
    /// `token`, or `none` on a loopback address
    #[arg(long)]
    auth: Option<String>,
    /// Most sessions
    #[arg(long, value_name = "N")]
    max_sessions: Option<String>,
    /// Most live windows, or `auto`
    #[arg(long, value_name = "N")]
    max_live: Option<String>,
    /// `hibernate`, `terminate` or `reject`
    #[arg(long, value_name = "WHAT")]
    at_capacity: Option<String>,
    /// How long a newcomer waits for room
    #[arg(long, value_name = "DURATION")]
    queue_timeout: Option<String>,
    /// After how long without use a session's window stands still; `never` for never
    #[arg(long, value_name = "DURATION")]
    freeze_after: Option<String>,
    /// After how long without use a session gives its window up; `never` for never
    #[arg(long, value_name = "DURATION")]
    hibernate_after: Option<String>,
    /// After how long without use a session ends that is not kept alive
    #[arg(long, value_name = "DURATION")]
    idle_timeout: Option<String>,
    /// How often sign-ins are refreshed; `never` for never
    #[arg(long, value_name = "DURATION")]
    refresh_interval: Option<String>,
    /// How often to look for sessions that are due for a refresh
    #[arg(long, value_name = "DURATION")]
    refresh_check: Option<String>,
    /// The browser, or `auto`
    #[arg(long, value_name = "FILE")]
    binary: Option<String>,
    /// `auto`, `headless-shell`, `headless` or `headed`
    #[arg(long)]
    engine: Option<String>,
    /// The launch profile
    #[arg(long)]
    profile: Option<String>,
    /// The user that browsers run as, where the server runs as root
    #[arg(long)]
    user: Option<String>,
}

impl ServerFlags {
    pub(super) fn into_overrides(self) -> Vec<Override> {
        let flags = [
            ("--listen", "server", "listen", self.listen),
            ("--state-dir", "server", "state_dir", self.state_dir),
            ("--auth", "server", "auth", self.auth),
            ("--max-sessions", "limits", "max_sessions", self.max_sessions),
            ("--max-live", "limits", "max_live", self.max_live),
            ("--at-capacity", "limits", "at_capacity", self.at_capacity),
            ("--freeze-after", "sessions", "freeze_after", self.freeze_after),
            ("--hibernate-after", "sessions", "hibernate_after", self.hibernate_after),
            ("--queue-timeout", "limits", "queue_timeout", self.queue_timeout),
            ("--idle-timeout", "sessions", "idle_timeout", self.idle_timeout),
            ("--refresh-interval", "sessions", "refresh_interval", self.refresh_interval),
            ("--refresh-check", "sessions", "refresh_check", self.refresh_check),
            ("--binary", "chromium", "binary", self.binary),
            ("--engine", "chromium", "engine", self.engine),
            ("--profile", "chromium", "profile", self.profile),
            ("--user", "chromium", "user", self.user),
        ];
        let given = |(flag, section, key, text): (_, _, _, Option<String>)| {
            text.map(|text| Override { flag, section, key, text })
        };
        flags.into_iter().filter_map(given).collect()
    }
}
