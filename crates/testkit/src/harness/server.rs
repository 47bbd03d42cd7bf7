//! One real server in a folder of its own.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use reqwest::Method;
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::command::{Finished, own_variables, run};
use super::disk::Disk;
use super::processes::{Process, family, pid};
use super::shims::{self, Shim};
use super::wait::{expect_that, wait_for};
use crate::portal::{ExampleSite, SIGN_IN_PATH};

/// How long a server may take until it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to end when it is asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long browsers may take to end after their server was killed.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(3);
/// How much of what the server says is kept.
const MAX_LOG_LINES: usize = 2000;
/// Where servers listen: below the ports that the kernel gives to connections, so that none takes it away
/// between choosing it and listening.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// What the binary is called where it had to be copied: any name but that of a folder with a configuration.
const COPY: &str = "program";

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    binary: PathBuf,
    config: String,
    server_config: String,
    sites: Vec<(String, ExampleSite)>,
    environment: Vec<(String, String)>,
    ordinary_user: Option<u32>,
    open_files: Option<(u64, u64)>,
    disk_bytes: Option<u64>,
}

impl ServerOptions {
    /// A server of this binary: in a test, `env!("CARGO_BIN_EXE_pilotlight")`.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            config: String::new(),
            server_config: String::new(),
            sites: Vec::new(),
            environment: Vec::new(),
            ordinary_user: None,
            open_files: None,
            disk_bytes: None,
        }
    }

    /// Further lines of the configuration, with their headings.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config = format!("{}\n{toml}\n", self.config);
        self
    }

    /// Further lines for `[server]`.
    #[must_use]
    pub fn server_config(mut self, toml: &str) -> Self {
        self.server_config = format!("{}\n{toml}\n", self.server_config);
        self
    }

    /// A site, as files beside the configuration. With flows of its own.
    #[must_use]
    pub fn site(mut self, name: &str, site: ExampleSite) -> Self {
        self.sites.push((name.to_owned(), site));
        self
    }

    /// A variable of the server's environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it with these limits of open files, the soft one and the hard one.
    #[must_use]
    pub fn open_files(mut self, soft: u64, hard: u64) -> Self {
        self.open_files = Some((soft, hard));
        self
    }

    /// Runs it as this user and group, where the test runs as root, and without any privilege.
    #[must_use]
    pub fn as_user(mut self, id: u32) -> Self {
        self.ordinary_user = rustix::process::geteuid().is_root().then_some(id);
        self
    }

    /// Puts its state on a file system of its own, of this size.
    #[must_use]
    pub fn disk(mut self, bytes: u64) -> Self {
        self.disk_bytes = Some(bytes);
        self
    }

    /// Writes everything down in a new folder. Browsers may run as another user, who must come through it.
    fn write(&self, port: u16) -> std::io::Result<TempDir> {
        let everybody = std::fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().prefix("pilotlight-test-").permissions(everybody).tempdir()?;
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\nstate_dir = \"state\"\n{}\n{}",
            self.server_config, self.config
        );
        std::fs::write(folder.path().join("pilotlight.toml"), config)?;
        for (name, site) in &self.sites {
            // Each with flows of its own: two portals may have the same file names for theirs.
            let mut site_toml = site.site_toml.clone();
            let sign_in = [(SIGN_IN_PATH, &site.sign_in_json)];
            let others = site.flows.iter().map(|(path, json)| (path.as_str(), json));
            for (path, json) in sign_in.into_iter().chain(others) {
                let own = format!("{name}/{path}");
                let file = folder.path().join("sites").join(&own);
                std::fs::create_dir_all(file.parent().unwrap_or(folder.path()))?;
                std::fs::write(file, json)?;
                site_toml = site_toml.replace(path, &own);
            }
            std::fs::write(folder.path().join(format!("sites/{name}.toml")), site_toml)?;
        }
        if let Some(id) = self.ordinary_user {
            std::os::unix::fs::chown(folder.path(), Some(id), Some(id))?;
            // Where it was built, the user may not be able to go.
            std::fs::copy(&self.binary, folder.path().join(COPY))?;
        }
        Ok(folder)
    }
}

/// A server that runs, and its browsers, which may outlive it. All of them are ended when this is dropped, and
/// what the server said is shown if the test failed.
#[derive(Debug)]
pub struct Server {
    options: ServerOptions,
    // It lies in the folder, and goes before it.
    disk: Option<Disk>,
    folder: TempDir,
    port: u16,
    child: Child,
    log: Log,
    client: Client,
}

impl Server {
    /// Starts a server and waits until it is ready.
    ///
    /// # Panics
    /// Where it does not become ready, with what it said.
    pub async fn start(options: ServerOptions) -> Self {
        let port = free_port();
        let folder = options.write(port).unwrap_or_else(|error| panic!("nothing can be written: {error}"));
        let disk = options.disk_bytes.map(|bytes| Disk::mount(&folder.path().join("state"), bytes));
        let log = Log::default();
        let child = spawn(&options, folder.path(), &log);
        let client = Client::new(format!("http://127.0.0.1:{port}"), String::new());
        let mut server = Self { options, disk, folder, port, child, log, client };
        server.wait_until_ready().await;
        server
    }

    /// Starts a server anew after this one has ended, with its configuration and its state.
    ///
    /// # Panics
    /// Where it does not become ready, or this one still runs.
    pub async fn start_again(mut self) -> Self {
        let ended = self.child.try_wait();
        assert!(matches!(ended, Ok(Some(_))), "the server has not ended: {ended:?}");
        self.child = spawn(&self.options, self.folder.path(), &self.log);
        self.wait_until_ready().await;
        self
    }

    async fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the server ended before it was ready: {status}");
            }
            let request = self.client.request(Method::GET, "/ready");
            match self.client.try_send(request).await {
                Ok(answer) if answer.status == 200 => break,
                seen if Instant::now() >= deadline => panic!("the server is not ready: {seen:?}"),
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
        let token = std::fs::read_to_string(self.state_dir().join("token")).unwrap_or_default();
        self.client = self.client.with_token(token.trim());
    }

    /// A client with the server's token.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where it listens: host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The id of its process.
    #[must_use]
    pub fn server_pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or_default()
    }

    /// Returns all running descendants, including detached ones; also those that an earlier
    /// server on the same state started. Browsers name their folders, which lie in the state folder.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let state_dir = self.state_dir().display().to_string();
        let named = shims::named_below(&self.run_dir());
        family(self.server_pid(), |process| {
            named.iter().any(|one| one.is(process))
                || process.command.iter().any(|word| word.contains(&state_dir))
        })
    }

    /// The shims, each with its browser, that its state folder names and that both still run.
    #[must_use]
    pub fn shims(&self) -> Vec<Shim> {
        shims::below(&self.run_dir())
    }

    /// The folder that holds its configuration.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it keeps its state.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Takes all the room that there is on its disk, from one that has a disk of its own.
    ///
    /// # Panics
    /// Where it has none.
    pub fn fill_disk(&self) {
        self.own_disk().fill();
    }

    /// Gives the room back.
    ///
    /// # Panics
    /// Where it has no disk of its own.
    pub fn empty_disk(&self) {
        self.own_disk().empty();
    }

    fn own_disk(&self) -> &Disk {
        self.disk.as_ref().unwrap_or_else(|| panic!("the server has no disk of its own"))
    }

    /// Where its browsers have their folders.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.state_dir().join("run")
    }

    /// What it has said so far; what an earlier one on the same state said comes before.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Runs a command of its own binary against it, which finds it by the configuration.
    ///
    /// # Panics
    /// Where the command does not end.
    pub async fn command(&self, arguments: &[&str], stdin: &str) -> Finished {
        run(&self.options.binary, self.folder.path(), arguments, &[], stdin).await
    }

    /// Ends the server alone as `kill -9` does, and waits for that.
    pub fn kill_server(&mut self) {
        // Where it has ended already there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the server alone to end, as a service manager does, waits for that, and gives its exit code.
    ///
    /// # Panics
    /// Where it does not end in time.
    pub async fn terminate(&mut self) -> i32 {
        if let Some(pid) = pid(self.server_pid()) {
            kill_process(pid, Signal::TERM).unwrap_or_else(|error| panic!("no signal can be sent: {error}"));
        }
        let child = &mut self.child;
        let status = wait_for("the end of the server", STOP_TIMEOUT, async || {
            let status = child.try_wait().unwrap_or_else(|error| panic!("it cannot be waited for: {error}"));
            status.ok_or("it still runs")
        });
        status.await.code().unwrap_or(-1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut left = self.processes();
        self.kill_server();
        // Once more: it may have started something up to its end.
        left.extend(self.processes());
        // Shims are there to stay.
        left.iter().filter(|process| shims::is_shim(process)).for_each(|shim| {
            shim.kill_if_alive();
        });
        // Browsers end when their pipe is closed; they must not write into the folder after it was deleted.
        left.iter().for_each(|process| process.see_off(ORPHAN_TIMEOUT));
        if thread::panicking() {
            #[expect(clippy::print_stderr, reason = "the test's own output: shown where it failed")]
            {
                eprintln!("--- what the server at {} said ---\n{}---", self.address(), self.log());
            }
        }
    }
}

fn spawn(options: &ServerOptions, folder: &Path, log: &Log) -> Child {
    let program = match options.ordinary_user {
        Some(_) => folder.join(COPY),
        None => options.binary.clone(),
    };
    let mut command = match options.open_files {
        // The hard limit last, since it can never be below the soft one.
        Some((soft, hard)) => {
            let mut command = Command::new("/bin/sh");
            let limits = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
            command.arg("-c").arg(limits).arg(program);
            command
        }
        None => Command::new(program),
    };
    if let Some(id) = options.ordinary_user {
        command.uid(id).gid(id);
    }
    command.args(["serve", "--config", "pilotlight.toml"]).current_dir(folder);
    for name in own_variables() {
        command.env_remove(name);
    }
    command.envs(options.environment.iter().cloned());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{} cannot be started: {error}", options.binary.display()));
    if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
        log.read(stdout);
        log.read(stderr);
    }
    child
}

/// The last lines of what a process says.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    /// Reads until the end, in a thread, so that the server never blocks.
    fn read(&self, pipe: impl std::io::Read + Send + 'static) {
        let lines = Arc::clone(&self.0);
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                if lines.len() >= MAX_LOG_LINES {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        });
    }

    fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// Returns a free port.
fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut ports = std::iter::repeat_with(|| rand::random_range(PORTS)).take(1000);
    ports.find(is_free).unwrap_or_else(|| panic!("no port is free"))
}

/// Waits until none of these processes runs any more.
///
/// # Panics
/// When `within` is over.
pub async fn wait_until_gone(processes: &[Process], within: Duration) {
    wait_for("the end of processes", within, async || {
        let living: Vec<_> = processes.iter().filter(|process| process.is_alive()).collect();
        expect_that(living.is_empty(), living)
    })
    .await;
}
