//! The commands that send requests to the server, and the display of the responses.

use jiff::Timestamp;
use pilotlight_api::request::{CreateSession, DrainRequest, HoldRequest, Proxy};
use pilotlight_api::{
    DashboardLink, HoldAnswer, Isolation, PingAnswer, Session, SessionState, SessionsAnswer,
};
use reqwest::Method;
use serde_json::Value;
use url::form_urlencoded;

use super::args::{ClientCommand, OpenArgs};
use super::client::{Client, WORK_TIMEOUT, typed};
use super::operations;
use super::output::{Output, Waiting, tell};
use super::stop::Stop;
use super::{credential, events, secret};
use crate::exit::{Failure, USAGE};
use crate::sentence::printable;
use crate::table;

/// Runs one of them.
pub(super) async fn run(
    client: &Client,
    command: ClientCommand,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    match command {
        ClientCommand::Open(arguments) => open(client, *arguments, output).await,
        ClientCommand::List { site, state, tag } => {
            list(client, [("site", site), ("state", state), ("tag", tag)], output).await
        }
        ClientCommand::Show(argument) => {
            let id = client.session_id(&argument.session).await?;
            show(&client.get(&format!("sessions/{id}")).await?, output)
        }
        ClientCommand::Ping(arguments) => {
            for session in &arguments.sessions {
                let id = client.session_id(session).await?;
                let answer = client.tell(Method::POST, &format!("sessions/{id}/ping")).await?;
                let pinged: PingAnswer = typed(&answer)?;
                output.data(&answer, || format!("{id} last used {:.0}", pinged.last_used))?;
            }
            Ok(())
        }
        ClientCommand::Close(arguments) => close(client, &arguments.sessions, output).await,
        ClientCommand::Refresh(argument) => {
            work(client, &argument.session, "refresh", "refreshing", output).await
        }
        ClientCommand::Restart(argument) => {
            work(client, &argument.session, "restart", "restarting", output).await
        }
        ClientCommand::Freeze(argument) => {
            work(client, &argument.session, "freeze", "freezing", output).await
        }
        ClientCommand::Hibernate(argument) => {
            work(client, &argument.session, "hibernate", "saving its state", output).await
        }
        ClientCommand::Wake(argument) => work(client, &argument.session, "wake", "waking", output).await,
        ClientCommand::Drain { timeout } => {
            let waiting = Waiting::for_what("hibernating all sessions");
            let request = DrainRequest { timeout };
            let answer = client.ask(Method::POST, "drain", Some(&request), WORK_TIMEOUT).await?;
            drop(waiting);
            output.data(&answer, || "all sessions are hibernated".to_owned())
        }
        ClientCommand::Hold { session, ttl, owner, shared, quiet } => {
            let id = client.session_id(&session.session).await?;
            let request = HoldRequest { ttl, owner, shared, quiet };
            request.validate().map_err(|error| Failure::new(USAGE, error.to_string()))?;
            let answer = client
                .ask(Method::POST, &format!("sessions/{id}/hold"), Some(&request), WORK_TIMEOUT)
                .await?;
            let hold: HoldAnswer = typed(&answer)?;
            tell(&format!("held until {:.0}", hold.expires_at));
            output.data(&answer, || hold.hold_id.to_string())
        }
        ClientCommand::Release { session, hold_id } => {
            let id = client.session_id(&session.session).await?;
            let answer = client.tell(Method::DELETE, &format!("sessions/{id}/hold/{hold_id}")).await?;
            output.data(&answer, || "released".to_owned())
        }
        ClientCommand::Run { session, operation, given } => {
            operations::run(client, &session.session, operation, given, output).await
        }
        ClientCommand::Continue { operation_id, given } => {
            operations::go_on(client, operation_id, given, output).await
        }
        ClientCommand::Cancel { operation_id } => operations::cancel(client, operation_id, output).await,
        ClientCommand::Operations { session } => operations::list(client, session, output).await,
        ClientCommand::Dashboard => {
            let answer = client.tell(Method::POST, "ui/link").await?;
            let link: DashboardLink = typed(&answer)?;
            output.data(&answer, || link.link.clone())
        }
        ClientCommand::Credential(command) => credential::run(client, command, output).await,
        ClientCommand::Events { session } => {
            let path = match session {
                Some(session) => format!("sessions/{}/events", client.session_id(&session).await?),
                None => "events".to_owned(),
            };
            events::follow(client, &path, output).await
        }
    }
}

async fn open(client: &Client, arguments: OpenArgs, output: &mut Output<'_>) -> Result<(), Stop> {
    let request = create_request(arguments)?;
    let waiting = Waiting::for_what(if request.site.is_some() { "signing in" } else { "opening a window" });
    let answer = client.ask(Method::POST, "sessions", Some(&request), WORK_TIMEOUT).await?;
    drop(waiting);
    if answer.get("is_new") == Some(&Value::Bool(false)) {
        tell("using the existing session");
    }
    show(&answer, output)
}

fn create_request(arguments: OpenArgs) -> Result<CreateSession, Failure> {
    let mut request = CreateSession {
        name: arguments.name,
        site: arguments.site,
        url: arguments.url,
        username: arguments.username,
        password: None,
        credential: arguments.credential,
        keep_alive: arguments.idle_timeout.is_none(),
        never_terminate: arguments.never_terminate,
        idle_timeout: arguments.idle_timeout,
        refresh_interval: arguments.refresh_interval,
        profile: arguments.profile,
        isolation: if arguments.dedicated { Isolation::Dedicated } else { Isolation::Shared },
        proxy: arguments.proxy.map(|server| Proxy { server, username: None, password: None, bypass: None }),
        viewport: arguments.viewport,
        storage_state: None,
        tags: arguments.tags.into_iter().collect(),
    };
    request.validate().map_err(|error| Failure::new(USAGE, error.to_string()))?;
    if request.site.is_some() && request.username.is_some() {
        request.password = Some(secret::password(arguments.password_stdin)?);
    }
    Ok(request)
}

async fn list<const N: usize>(
    client: &Client,
    filters: [(&str, Option<String>); N],
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in filters.iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value)))
    {
        query.append_pair(name, value);
    }
    let answer = client.get(&format!("sessions?{}", query.finish())).await?;
    let SessionsAnswer { sessions, .. } = typed(&answer)?;
    if sessions.is_empty() {
        tell("no sessions");
    }
    output.data(&answer, || table::sessions(&sessions, now()))?;
    for session in sessions.iter().filter(|session| session.state == SessionState::NeedsAttention) {
        let who = session.name.clone().unwrap_or_else(|| session.session_id.to_string());
        let why = session.attention.as_deref().unwrap_or("needs a person");
        tell(&printable(&format!("{who} needs attention: {why}")));
    }
    Ok(())
}

async fn close(client: &Client, sessions: &[String], output: &mut Output<'_>) -> Result<(), Stop> {
    for session in sessions {
        let id = client.session_id(session).await?;
        let waiting = Waiting::for_what("closing");
        let answer = client.ask(Method::DELETE, &format!("sessions/{id}"), None::<&()>, WORK_TIMEOUT).await?;
        drop(waiting);
        output.data(&answer, || format!("{id} closed"))?;
    }
    Ok(())
}

/// Sends a long-running request that answers with the session, and prints the session.
async fn work(
    client: &Client,
    session: &str,
    what: &str,
    doing: &str,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let id = client.session_id(session).await?;
    let waiting = Waiting::for_what(doing);
    let answer =
        client.ask(Method::POST, &format!("sessions/{id}/{what}"), None::<&()>, WORK_TIMEOUT).await?;
    drop(waiting);
    show(&answer, output)
}

fn show(answer: &Value, output: &mut Output<'_>) -> Result<(), Stop> {
    let session: Session = typed(answer)?;
    output.data(answer, || table::session(&session, now()))
}

#[expect(clippy::disallowed_methods, reason = "only to say how long ago something was")]
fn now() -> Timestamp {
    Timestamp::now()
}
