//! Reads secrets from a prompt or from stdin. Secrets are never arguments.

use std::io::{self, BufRead, IsTerminal, Read};

use crate::exit::{FAILED, Failure, USAGE};
use secrecy::SecretString;

/// The longest line that is read as a secret.
const MAX_LINE_BYTES: u64 = 4096;

/// The password: asked for, or the next line of stdin.
pub(super) fn password(from_stdin: bool) -> Result<SecretString, Failure> {
    secret("password", "Password: ", from_stdin)
}

/// The secret of a second factor, in the same way.
pub(super) fn totp(from_stdin: bool) -> Result<SecretString, Failure> {
    secret("TOTP secret", "TOTP secret (base32 or otpauth://): ", from_stdin)
}

fn secret(what: &str, prompt: &str, from_stdin: bool) -> Result<SecretString, Failure> {
    let unreadable = |error: io::Error| Failure::new(FAILED, format!("cannot read the {what}: {error}"));
    if from_stdin {
        let mut line = String::new();
        io::stdin().lock().take(MAX_LINE_BYTES).read_line(&mut line).map_err(unreadable)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned().into());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::new(USAGE, format!("there is no terminal to prompt for the {what}"))
            .with_hint("pipe it in and add --password-stdin"));
    }
    rpassword::prompt_password(prompt).map(SecretString::from).map_err(unreadable)
}
