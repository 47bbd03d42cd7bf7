//! `pilotlight credential`: manages the credentials that sessions sign in with.

use pilotlight_api::{Credential, CredentialAnswer, CredentialDefinition, CredentialsAnswer, validate};
use reqwest::Method;

use super::args::CredentialCommand;
use super::client::{Client, WORK_TIMEOUT, typed};
use super::output::{Output, tell};
use super::secret;
use super::stop::Stop;
use crate::exit::{Failure, USAGE};
use crate::sentence::printable;
use crate::table;

const HEADER: [&str; 4] = ["NAME", "USER", "PASSWORD", "SECOND FACTOR"];

pub(super) async fn run(
    client: &Client,
    command: CredentialCommand,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    match command {
        CredentialCommand::Set { name, username, password_stdin, totp } => {
            let path = path(&name)?;
            let password = Some(secret::password(password_stdin)?);
            let totp_secret = totp.then(|| secret::totp(password_stdin)).transpose()?;
            let definition = CredentialDefinition { username, password, totp_secret };
            definition.validate().map_err(|error| Failure::new(USAGE, error.to_string()))?;
            let answer = client.ask(Method::PUT, &path, Some(&definition), WORK_TIMEOUT).await?;
            let CredentialAnswer { credential, .. } = typed(&answer)?;
            output.data(&answer, || table::lines(&HEADER, [row(&credential)].into_iter()))
        }
        CredentialCommand::List => {
            let answer = client.get("credentials").await?;
            let CredentialsAnswer { credentials, .. } = typed(&answer)?;
            if credentials.is_empty() {
                tell("no credentials");
            }
            output.data(&answer, || table::lines(&HEADER, credentials.iter().map(row)))
        }
        CredentialCommand::Remove { name } => {
            let answer = client.tell(Method::DELETE, &path(&name)?).await?;
            output.data(&answer, || "removed".to_owned())
        }
    }
}

fn path(name: &str) -> Result<String, Failure> {
    validate::name("NAME", name).map_err(|error| Failure::new(USAGE, error.to_string()))?;
    Ok(format!("credentials/{name}"))
}

fn row(credential: &Credential) -> Vec<String> {
    let kept = |is_there| if is_there { "kept" } else { "-" }.to_owned();
    vec![
        printable(&credential.name),
        printable(&credential.username),
        kept(credential.has_password),
        kept(credential.has_totp_secret),
    ]
}
