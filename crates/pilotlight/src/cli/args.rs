//! Defines the command line: commands, arguments and flags.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use pilotlight_api::{Seconds, Viewport};

use super::operations::Given;
use crate::bench::{BenchArgs, SwitchesArgs};
use crate::config::Override;

/// Keep browser windows signed in to web portals
#[derive(Debug, Parser)]
#[command(name = "pilotlight", version, max_term_width = 100, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The help heading of the global options.
const GLOBAL: &str = "Global options";

/// Options that every command accepts.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Configuration file [default: pilotlight.toml in the working folder, then in the user's and the system's
    /// configuration folders]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE", env = "PILOTLIGHT_CONFIG", hide_env_values = true)]
    pub(super) config: Option<PathBuf>,
    /// Address of the server [default: `server.listen` of the configuration]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "ADDRESS", env = "PILOTLIGHT_SERVER", hide_env_values = true)]
    pub(super) server: Option<String>,
    /// Output format
    #[arg(short, long, global = true, help_heading = GLOBAL, value_name = "FORMAT", default_value = "table")]
    pub(super) output: Format,
}

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Tables and text for people
    Table,
    /// JSON for scripts
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the server
    Serve(ServerFlags),
    /// Run the server together with a demo portal and sign in some windows
    Demo {
        /// Number of windows to sign in
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
        windows: u32,
        #[command(flatten)]
        flags: ServerFlags,
    },
    /// Run the benchmarks on this machine, each against a baseline measured in the same run
    Bench(BenchArgs),
    #[command(flatten)]
    Client(ClientCommand),
    /// Print the server's access token
    Token {
        /// Replace the token first: the old token, dashboard sign-ins and open connections stop working at once
        #[arg(long)]
        rotate: bool,
    },
    /// Replace the store's master key; stop the server first. The old key opens only old backups
    RotateKey,
    /// Check, repair and back up the store
    #[command(subcommand)]
    Store(StoreCommand),
    /// Check the configuration and report all errors in it
    CheckConfig,
    /// Check recordings, test sign-ins and report on sites
    #[command(subcommand)]
    Site(SiteCommand),
    /// Check this machine for what browsers need and for memory-saving features, and print how to enable them
    Doctor(DoctorArgs),
    /// List the known Chromium switches, their measured effect, and the launch profiles that set them
    Flags(SwitchesArgs),
    /// Print shell completions
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// The subcommands of `pilotlight store`.
#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Try to read every record and list the damaged ones; stop the server first
    Check,
    /// Remove a damaged record; stop the server first
    Forget {
        /// The record's id, as `check` lists it
        id: uuid::Uuid,
        /// First save the record's sealed bytes to this file
        #[arg(long, value_name = "FILE")]
        export: Option<PathBuf>,
    },
    /// Copy the store to a new file; works while the server runs. The copy does not contain the master key
    Backup {
        /// The new file
        file: PathBuf,
    },
}

/// The subcommands of `pilotlight site`.
#[derive(Debug, Subcommand)]
pub(super) enum SiteCommand {
    /// Check a recording: list its steps, warn about fragile selectors, and detect recorded passwords
    #[command(alias = "record-check")]
    CheckRecording(CheckRecordingArgs),
    /// Sign in (log in) to a site once, in a separate browser and without a server, and report each step
    Try(TryArgs),
    /// Report how reliable the sign-ins of each site are and how long they last
    Report {
        /// Report on this site only
        name: Option<String>,
    },
}

/// Arguments of `site check-recording`.
#[derive(Debug, Args)]
pub(super) struct CheckRecordingArgs {
    /// The recording, as exported to JSON by Chrome's Recorder
    pub(super) file: PathBuf,
    /// Replace the recorded password and user name with ${password} and ${username}
    #[arg(long)]
    pub(super) write: bool,
    /// The recorded user name; every occurrence is replaced
    #[arg(long, requires = "write", value_name = "NAME")]
    pub(super) username: Option<String>,
    /// Keep the recorded user name: all sessions share that account
    #[arg(long, requires = "write", conflicts_with = "username")]
    pub(super) keep_username: bool,
    /// Read the recorded password from stdin; every occurrence is replaced
    #[arg(long, requires = "write")]
    pub(super) password_stdin: bool,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Also measure in a browser how many hibernated sessions this machine can keep signed in
    #[arg(long)]
    pub(super) measure: bool,
}

/// Arguments of `site try`.
#[derive(Debug, Args)]
pub(super) struct TryArgs {
    /// The site's name in the configuration
    pub(super) name: String,
    /// User name to sign in with; prompts for the password
    #[arg(long)]
    pub(super) username: Option<String>,
    /// Read the password from stdin instead of prompting
    #[arg(long, requires = "username")]
    pub(super) password_stdin: bool,
    /// Also prompt for the TOTP secret (second factor); with `--password-stdin` it is the second line
    #[arg(long, requires = "username")]
    pub(super) totp: bool,
    /// Stored credential to sign in with; stop the server first
    #[arg(long, conflicts_with = "username")]
    pub(super) credential: Option<String>,
    /// Save a screenshot after each step to this folder
    #[arg(long, value_name = "FOLDER")]
    pub(super) pictures: Option<PathBuf>,
}

/// The commands that send requests to the server.
#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Create a session, or return the existing one with the same name, or with the same site, user name and
    /// password
    Open(Box<OpenArgs>),
    /// List the sessions
    List {
        /// List only sessions of this site
        #[arg(long)]
        site: Option<String>,
        /// List only sessions in this state
        #[arg(long)]
        state: Option<String>,
        /// List only sessions with this tag
        #[arg(long, value_name = "KEY:VALUE")]
        tag: Option<String>,
    },
    /// Show the details of a session
    Show(SessionArg),
    /// Mark sessions as used, so that they do not expire
    Ping(SessionArgs),
    /// Close sessions
    Close(SessionArgs),
    /// Refresh a session's sign-in now
    Refresh(SessionArg),
    /// Restart a session's window
    Restart(SessionArg),
    /// Freeze a session's window until it is next used
    Freeze(SessionArg),
    /// Save a session's state and close its window; the window is restored, signed in, when it is next used
    Hibernate(SessionArg),
    /// Restore the window of a frozen or hibernated session
    Wake(SessionArg),
    /// Hibernate all sessions, for example before a reboot
    Drain {
        /// How long to wait for sessions that are in use
        #[arg(long, value_name = "DURATION", default_value = "60s")]
        timeout: Seconds,
    },
    /// Mark a session as in use; prints the hold id that `release` takes
    Hold {
        #[command(flatten)]
        session: SessionArg,
        /// Time after which the hold expires
        #[arg(long, value_name = "DURATION", default_value = "60s")]
        ttl: Seconds,
        /// Description of the holder, for display
        #[arg(long)]
        owner: Option<String>,
        /// Allow other shared holds at the same time
        #[arg(long)]
        shared: bool,
        /// Do not refresh the session while it is held, not even in a hidden page
        #[arg(long)]
        quiet: bool,
    },
    /// Release a hold
    Release {
        #[command(flatten)]
        session: SessionArg,
        /// The hold id that `hold` printed
        hold_id: uuid::Uuid,
    },
    /// Run an operation of a session's site and print its outputs
    Run {
        #[command(flatten)]
        session: SessionArg,
        /// The operation's name in the site
        operation: String,
        #[command(flatten)]
        given: Given,
    },
    /// Continue an operation that is waiting for input
    Continue {
        /// The operation id that `run` printed
        operation_id: uuid::Uuid,
        #[command(flatten)]
        given: Given,
    },
    /// Cancel an operation; its session stays open
    #[command(alias = "give-up")]
    Cancel {
        /// The operation id that `run` printed
        operation_id: uuid::Uuid,
    },
    /// List operations, newest first
    Operations {
        /// List only operations of this session: its id, a unique prefix of the id, or its name
        session: Option<String>,
    },
    /// Print a one-time sign-in link to the dashboard, valid for ten minutes
    #[command(visible_alias = "ui")]
    Dashboard,
    /// Manage the credentials that sessions sign in with
    #[command(subcommand)]
    Credential(CredentialCommand),
    /// Follow the event stream
    Events {
        /// Follow only this session: its id, a unique prefix of the id, or its name
        session: Option<String>,
    },
}

/// The subcommands of `pilotlight credential`.
#[derive(Debug, Subcommand)]
pub(super) enum CredentialCommand {
    /// Create or change a credential; sessions that use it sign in with the new values from then on
    Set {
        /// The credential's name
        name: String,
        /// User name; prompts for the password
        #[arg(long)]
        username: String,
        /// Read the password from stdin instead of prompting
        #[arg(long)]
        password_stdin: bool,
        /// Also prompt for the TOTP secret (second factor); with `--password-stdin` it is the second line
        #[arg(long)]
        totp: bool,
    },
    /// List the credentials, without their secrets
    List,
    /// Delete a credential that no session uses
    Remove {
        /// The credential's name
        name: String,
    },
}

/// One session.
#[derive(Debug, Args)]
pub(super) struct SessionArg {
    /// The session: its id, a unique prefix of the id, or its name
    pub(super) session: String,
}

/// One session or more.
#[derive(Debug, Args)]
pub(super) struct SessionArgs {
    /// The sessions: ids, unique prefixes of ids, or names
    #[arg(required = true)]
    pub(super) sessions: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct OpenArgs {
    /// The site to sign in to
    #[arg(long, required_unless_present = "url", conflicts_with = "url")]
    pub(super) site: Option<String>,
    /// The page to open, without a site and its sign-in
    #[arg(long)]
    pub(super) url: Option<String>,
    /// A unique name for the session
    #[arg(long)]
    pub(super) name: Option<String>,
    /// User name to sign in with; prompts for the password
    #[arg(long)]
    pub(super) username: Option<String>,
    /// Stored credential to sign in with; see `pilotlight credential set`
    #[arg(long, requires = "site", conflicts_with = "username")]
    pub(super) credential: Option<String>,
    /// Read the password from stdin instead of prompting
    #[arg(long, requires = "username", requires = "site")]
    pub(super) password_stdin: bool,
    /// End the session after this long without use [default: never]
    #[arg(long, value_name = "DURATION")]
    pub(super) idle_timeout: Option<Seconds>,
    /// How often to refresh the sign-in, or `never`
    #[arg(long, value_name = "DURATION")]
    pub(super) refresh_interval: Option<Seconds>,
    /// Never end the session except by `close`
    #[arg(long)]
    pub(super) never_terminate: bool,
    /// Launch profile of the browser
    #[arg(long)]
    pub(super) profile: Option<String>,
    /// Use a separate browser process for this session
    #[arg(long)]
    pub(super) dedicated: bool,
    /// Proxy server, such as http://host:port
    #[arg(long, value_name = "ADDRESS")]
    pub(super) proxy: Option<String>,
    /// Size of the page area
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = viewport)]
    pub(super) viewport: Option<Viewport>,
    /// Tag for filtering; can be given several times
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

/// The main configuration keys as flags. They take precedence over the file and the environment.
#[derive(Debug, Default, Args)]
pub(super) struct ServerFlags {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Folder for the server's state
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<String>,
    /// `token`, or `none` (loopback addresses only)
    #[arg(long)]
    auth: Option<String>,
    /// Maximum number of sessions
    #[arg(long, value_name = "N")]
    max_sessions: Option<String>,
    /// Maximum number of live windows, or `auto`
    #[arg(long, value_name = "N")]
    max_live: Option<String>,
    /// What to do when all windows are taken: `hibernate`, `terminate` or `reject`
    #[arg(long, value_name = "ACTION")]
    at_capacity: Option<String>,
    /// How long a new session waits for capacity
    #[arg(long, value_name = "DURATION")]
    queue_timeout: Option<String>,
    /// Freeze a session's window after this long without use, or `never`
    #[arg(long, value_name = "DURATION")]
    freeze_after: Option<String>,
    /// Hibernate a session after this long without use, or `never`
    #[arg(long, value_name = "DURATION")]
    hibernate_after: Option<String>,
    /// End a session that is not kept alive after this long without use
    #[arg(long, value_name = "DURATION")]
    idle_timeout: Option<String>,
    /// How often to refresh sign-ins, or `never`
    #[arg(long, value_name = "DURATION")]
    refresh_interval: Option<String>,
    /// How often to check for sessions that are due for a refresh
    #[arg(long, value_name = "DURATION")]
    refresh_check: Option<String>,
    /// Path of the browser, or `auto`
    #[arg(long, value_name = "FILE")]
    binary: Option<String>,
    /// Browser engine: `auto`, `headless-shell`, `headless` or `headed`
    #[arg(long)]
    engine: Option<String>,
    /// Default launch profile
    #[arg(long)]
    profile: Option<String>,
    /// User or range of user ids that browsers run as, if the server runs as root
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
