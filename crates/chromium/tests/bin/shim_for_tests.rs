//! A shim and nothing else, for tests of this crate: the server's binary belongs to a crate above it. With
//! arguments it is what else a test needs as a process of its own.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use pilotlight_chromium::find::{Engine, Search, find};
use pilotlight_chromium::launch::{LaunchPlan, Reach};
use pilotlight_chromium::profiles::{Profile, resolve};
use pilotlight_chromium::shim::{ShimLauncher, ShimOptions};
use pilotlight_chromium::{Browser, WindowOptions};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &*arguments.iter().map(String::as_str).collect::<Vec<_>>() {
        [] => return pilotlight_chromium::shim::run(),
        ["serve", run_directory] => serve(Path::new(run_directory)),
        ["connect", socket] => connect(socket),
        other => Err(format!("unknown: {other:?}").into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "{error}"));
            ExitCode::FAILURE
        }
    }
}

/// A server with one browser and one window, until it is killed.
fn serve(run_directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let environment = HashMap::new();
        let search = Search { configured: None, environment: &environment, root: Path::new("/") };
        let binary = find(&search, &[Engine::HeadlessShell])?;
        let resolved = resolve(&Profile::Dense.into(), Engine::HeadlessShell, &[], false)
            .map_err(|errors| format!("{errors:?}"))?;
        let (arguments, preferences) = (resolved.arguments, resolved.preferences);
        let options = ShimOptions { arguments: Vec::new(), ..ShimOptions::new(run_directory.into()) };
        let launcher = ShimLauncher::new(options, None)?.labelled("killed");
        let plan = LaunchPlan {
            binary,
            arguments,
            preferences,
            environment: HashMap::new(),
            merges_pages: false,
            yields: false,
            reach: Reach::default(),
        };
        let (browser, _events) = Browser::start(&launcher, plan).await?;
        let options = WindowOptions { label: Some("its window".into()), ..WindowOptions::default() };
        let window = browser.open_window(options).await?;
        window.evaluate("globalThis.kept = 42", std::time::Duration::from_secs(20)).await?;
        let mut output = std::io::stdout();
        writeln!(output, "{}", browser.pid())?;
        output.flush()?;
        std::future::pending::<()>().await;
        Ok(())
    })
}

/// Greets a shim and prints what it answers; nothing where it closes the connection.
fn connect(socket: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut stream = UnixStream::connect(socket)?;
    // The other side may have closed already.
    drop(stream.write_all(b"{\"protocol\":1,\"role\":\"control\",\"server\":\"stranger\"}\0"));
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).unwrap_or_default();
    writeln!(std::io::stdout(), "[{}]", String::from_utf8_lossy(&answer[..length]))?;
    Ok(())
}
