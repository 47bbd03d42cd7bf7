//! Finds passwords and user names that were typed when a recording was made.
//!
//! A recording does not contain the types of fields, so a password is recognised by words in the selectors of its
//! field, in many languages, and in a sign-in also by its position: what is typed after the user name and before the
//! form is sent. The Recorder also writes the contents of fields into `text/` selectors
//! (`packages/puppeteer-core/src/injected/TextContent.ts`: the text of an input is its value), and addresses of pages
//! may contain passwords.

use crate::placeholders::{self, MIN_INSIDE_CHARS};
use crate::schema::{Action, Flow, Step};
use crate::selector::{Part, Selector};

/// Replaces a secret in displayed text.
const PASSWORD: &str = "${password}";

/// Names of password fields, anywhere in a selector, in lower case.
const PASSWORD_WORDS: [&str; 44] = [
    "password",
    "passwort",
    "kennwort",
    "passwd",
    "passwrd",
    "pwd",
    "passcode",
    "passphrase",
    "passkey",
    "contraseña",
    "contrasena",
    "mot de passe",
    "motdepasse",
    "mot_de_passe",
    "senha",
    "palavra-passe",
    "palavra passe",
    "wachtwoord",
    "hasło",
    "haslo",
    "parola d'ordine",
    "пароль",
    "şifre",
    "sifre",
    "heslo",
    "lösenord",
    "losenord",
    "adgangskode",
    "kodeord",
    "passord",
    "salasana",
    "jelszó",
    "jelszo",
    "lozinka",
    "κωδικός",
    "סיסמה",
    "كلمة المرور",
    "パスワード",
    "密码",
    "密碼",
    "口令",
    "비밀번호",
    "mật khẩu",
    "kata sandi",
];
/// Names of password fields as a separate word, which could also mean something else: not used for operations.
const PASSWORD_TOKENS: [&str; 12] =
    ["pass", "pw", "pin", "mdp", "passe", "parola", "parol", "clave", "geslo", "sandi", "psw", "passw"];
/// Names of user name fields, anywhere in a selector.
const USER_WORDS: [&str; 44] = [
    "user",
    "login",
    "log-in",
    "logon",
    "email",
    "e-mail",
    "e_mail",
    "benutzer",
    "nutzername",
    "anmeldename",
    "usuario",
    "usuário",
    "utilizador",
    "utilisateur",
    "identifiant",
    "utente",
    "gebruiker",
    "użytkownik",
    "uzytkownik",
    "пользовател",
    "логин",
    "почт",
    "uživatel",
    "uzivatel",
    "användar",
    "anvandar",
    "bruger",
    "bruker",
    "kullanıcı",
    "kullanici",
    "käyttäjä",
    "felhasználó",
    "ユーザー",
    "メールアドレス",
    "用户",
    "用戶",
    "使用者",
    "账号",
    "账户",
    "帳號",
    "帳戶",
    "사용자",
    "아이디",
    "이메일",
];

/// The purpose of a flow, if known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A sign-in.
    SignIn,
    /// Something else.
    Operation,
    /// Either of them.
    Unknown,
}

impl Purpose {
    /// Returns whether words and positions count that indicate a password only in a sign-in.
    fn may_sign_in(self, flow: &Flow) -> bool {
        // A flow that uses other inputs is an operation.
        let own = ["username", "password", placeholders::TOTP];
        match self {
            Self::SignIn => true,
            Self::Operation => false,
            Self::Unknown => flow.placeholders().iter().all(|name| own.contains(&name.as_str())),
        }
    }
}

/// Returns the steps, counted from 1, that contain a password.
#[must_use]
pub fn passwords(flow: &Flow, purpose: Purpose) -> Vec<usize> {
    found(flow, purpose)
        .into_iter()
        .filter(|(_, secrets)| !secrets.is_empty())
        .map(|(step, _)| step)
        .collect()
}

/// Returns all passwords in the recording, longest first.
#[must_use]
pub fn secrets(flow: &Flow, purpose: Purpose) -> Vec<String> {
    let mut secrets: Vec<String> =
        found(flow, purpose).into_iter().flat_map(|(_, secrets)| secrets).collect();
    secrets.sort_by(|one, other| other.len().cmp(&one.len()).then(one.cmp(other)));
    secrets.dedup();
    secrets
}

/// Returns the fixed user name that the sign-in types, and its steps, counted from 1; `None` if it types that of the
/// session, or none.
#[must_use]
pub fn username(flow: &Flow) -> Option<(&str, Vec<usize>)> {
    if typed(flow).any(|(_, _, value)| fills_in(value, "username")) {
        return None;
    }
    let passwords = password_fields(flow, true);
    let first = passwords.first().copied().unwrap_or(usize::MAX);
    let literal = |(step, _, value): &(usize, &[Selector], &str)| {
        *step < first && is_literal(value) && !passwords.contains(step)
    };
    let before: Vec<_> = typed(flow).filter(literal).collect();
    let named = before.iter().rev().find(|(_, selectors, _)| means_user(selectors));
    // Without a password, the field can only be recognised by its name.
    let (_, selectors, value) = named.or_else(|| before.last().filter(|_| !passwords.is_empty()))?;
    let of_field = before.iter().filter(|(_, other, _)| other == selectors);
    Some((value, of_field.map(|(step, _, _)| *step).collect()))
}

/// Returns `text` with all of these [`secrets`] replaced.
#[must_use]
pub fn redacted(text: &str, secrets: &[String]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| {
        if secret.chars().count() >= MIN_INSIDE_CHARS {
            return text.replace(secret.as_str(), PASSWORD);
        }
        let as_part = |prefix: &str| format!("{prefix}{secret}");
        if ["", "text/", "aria/"].iter().any(|prefix| text == as_part(prefix)) {
            return text.replace(secret.as_str(), PASSWORD);
        }
        text
    })
}

/// Returns a selector for display, from a step that may type a password.
pub(crate) fn shown_selector(selector: &Selector, secrets: &[String]) -> String {
    let show = |text: &str| Ok::<_, std::convert::Infallible>(redacted(text, secrets));
    let parts = selector.parts.iter().map(|part| match part.try_map(show) {
        Ok(part) => part,
        Err(never) => match never {},
    });
    Selector { parts: parts.collect() }.to_string()
}

/// Returns each step, counted from 1, with the passwords in it.
fn found(flow: &Flow, purpose: Purpose) -> Vec<(usize, Vec<String>)> {
    let signs_in = purpose.may_sign_in(flow);
    let fields = password_fields(flow, signs_in);
    let secrets_of = |(index, step): (usize, &Step)| {
        let mut secrets = Vec::new();
        match &step.action {
            Action::Change { selectors, value } if fields.contains(&(index + 1)) => {
                secrets.extend(Some(value).filter(|value| is_literal(value)).cloned());
                let texts = selectors.iter().flat_map(|selector| &selector.parts).filter_map(text_of);
                // A text that only names the field is not a secret.
                let held = texts.filter(|text| is_literal(text) && !means_password(text, true));
                secrets.extend(held.map(str::to_owned));
            }
            Action::Navigate { url } => secrets.extend(secrets_of_url(url)),
            _ => {}
        }
        secrets.extend(step.target.iter().flat_map(|target| secrets_of_url(target)));
        (index + 1, secrets)
    };
    flow.steps.iter().enumerate().map(secrets_of).collect()
}

fn text_of(part: &Part) -> Option<&str> {
    match part {
        Part::Text(text) => Some(text),
        _ => None,
    }
}

/// Returns the steps that type into a password field, whether a placeholder or a password.
fn password_fields(flow: &Flow, signs_in: bool) -> Vec<usize> {
    let by_name: Vec<usize> = typed(flow)
        .filter(|(_, selectors, value)| {
            fills_in(value, "password")
                || (!fills_in(value, "username")
                    && selectors.iter().any(|selector| means_password(&selector.to_string(), signs_in)))
        })
        .map(|(step, _, _)| step)
        .collect();
    if !by_name.is_empty() || !signs_in {
        return by_name;
    }
    by_place(flow).into_iter().collect()
}

/// Returns the last step that types after the user name and before the form is sent.
fn by_place(flow: &Flow) -> Option<usize> {
    let user = typed(flow)
        .find(|(_, selectors, value)| fills_in(value, "username") || means_user(selectors))
        .map(|(step, _, _)| step)?;
    let mut last = None;
    for (index, step) in flow.steps.iter().enumerate().skip(user) {
        match &step.action {
            Action::Change { selectors, value } if is_literal(value) && !means_user(selectors) => {
                last = Some(index + 1);
            }
            _ if step.navigates && last.is_some() => break,
            _ => {}
        }
    }
    last
}

/// Returns every step that types, counted from 1, with its field and its text.
fn typed(flow: &Flow) -> impl Iterator<Item = (usize, &[Selector], &str)> {
    flow.steps.iter().enumerate().filter_map(|(index, step)| match &step.action {
        Action::Change { selectors, value } => Some((index + 1, selectors.as_slice(), value.as_str())),
        _ => None,
    })
}

fn is_literal(value: &str) -> bool {
    !value.trim().is_empty() && placeholders::names(value).is_ok_and(|names| names.is_empty())
}

fn fills_in(value: &str, placeholder: &str) -> bool {
    placeholders::names(value).is_ok_and(|names| names.contains(&placeholder))
}

fn means_user(selectors: &[Selector]) -> bool {
    selectors.iter().any(|selector| {
        let text = selector.to_string().to_lowercase();
        USER_WORDS.iter().any(|word| text.contains(word))
    })
}

fn means_password(text: &str, signs_in: bool) -> bool {
    let small = text.to_lowercase();
    PASSWORD_WORDS.iter().any(|word| small.contains(word))
        || (signs_in && tokens(text).iter().any(|token| PASSWORD_TOKENS.contains(&token.as_str())))
}

/// Returns the words of an identifier such as `#login_txtPass`, in lower case.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = vec![String::new()];
    let mut was_small = false;
    for letter in text.chars() {
        if !letter.is_alphanumeric() || (letter.is_uppercase() && was_small) {
            tokens.push(String::new());
        }
        was_small = letter.is_lowercase() || letter.is_numeric();
        if letter.is_alphanumeric()
            && let Some(token) = tokens.last_mut()
        {
            token.extend(letter.to_lowercase());
        }
    }
    tokens
}

/// Returns the passwords in a URL: that of its user, and query parameters with such names.
fn secrets_of_url(url: &str) -> Vec<String> {
    let mut secrets = Vec::new();
    let after_scheme = url.split_once("//").map_or("", |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((_, password)) = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) {
        secrets.push(password.to_owned());
    }
    let queries = url.split_once('?').map_or("", |(_, query)| query);
    for pair in queries.split(['&', '?', '#', ';']) {
        if let Some((name, value)) = pair.split_once('=')
            && means_password(name, true)
        {
            secrets.push(value.to_owned());
        }
    }
    secrets.retain(|secret| is_literal(secret));
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(steps: &str) -> Flow {
        Flow::parse(&format!(r#"{{"title": "t", "steps": [{steps}]}}"#)).unwrap()
    }

    fn types(selector: &str, value: &str) -> String {
        format!(r#"{{"type": "change", "selectors": [["{selector}"]], "value": "{value}"}}"#)
    }

    fn flow_of(steps: &[String]) -> Flow {
        flow(&steps.join(","))
    }

    #[test]
    fn a_password_is_recognised_in_many_languages() {
        for selector in [
            "aria/Password",
            "aria/Senha",
            "aria/Kennwort",
            "aria/Passwort",
            "aria/Contraseña",
            "aria/Mot de passe",
            "aria/パスワード",
            "aria/Пароль",
            "aria/비밀번호",
            "aria/密码",
            "aria/Wachtwoord",
            "aria/Hasło",
            "aria/Şifre",
            "aria/Heslo",
            "aria/Lösenord",
            "aria/Salasana",
            "#txtPass",
            "#wucLogin_txtSenha",
            "[name='user_pass']",
            "input[type=password]",
            "#pw",
            "aria/PIN",
        ] {
            let flow = flow_of(&[types(selector, "hunter2")]);
            for purpose in [Purpose::SignIn, Purpose::Unknown] {
                assert_eq!(passwords(&flow, purpose), [1], "{selector}");
                assert_eq!(secrets(&flow, purpose), ["hunter2"], "{selector}");
            }
        }
        for selector in ["#city", "aria/Search", "#passenger", "#compass", "aria/Passage", "#shipping"] {
            let flow = flow_of(&[types(selector, "hunter2")]);
            assert_eq!(passwords(&flow, Purpose::SignIn), [] as [usize; 0], "{selector}");
        }
    }

    #[test]
    fn in_an_operation_a_pass_is_no_password() {
        let flow = flow_of(&[types("#gate-pass", "HG-0001"), types("#container", "${container}")]);
        for purpose in [Purpose::Operation, Purpose::Unknown] {
            assert_eq!(passwords(&flow, purpose), [] as [usize; 0]);
        }
        let flow = flow_of(&[types("aria/Password", "hunter2"), types("#container", "${container}")]);
        assert_eq!(passwords(&flow, Purpose::Operation), [1]);
    }

    #[test]
    fn a_password_is_recognised_by_its_place() {
        let sends = r##"{"type": "click", "selectors": ["#go"], "offsetX": 1, "offsetY": 1,
            "assertedEvents": [{"type": "navigation"}]}"##
            .to_owned();
        let (user, secret) = (types("aria/User name", "jane"), types("#f2", "hunter2"));
        let steps = [user.clone(), secret.clone(), sends.clone(), types("#search", "crane")];
        assert_eq!(passwords(&flow_of(&steps), Purpose::SignIn), [2]);
        let on_the_next_page = [types("#f1", "${username}"), sends.clone(), secret.clone(), sends.clone()];
        assert_eq!(passwords(&flow_of(&on_the_next_page), Purpose::SignIn), [3]);
        // Where the password is known, other fields are something else.
        let company = [user, types("#company", "ACME"), types("#f2", "${password}"), sends];
        assert_eq!(passwords(&flow_of(&company), Purpose::SignIn), [] as [usize; 0]);
    }

    #[test]
    fn what_selectors_and_addresses_repeat_is_found() {
        let repeats = r##"{"type": "change", "selectors": [["#pwd"], ["text/hunter2-secret"], ["text/Password"]],
            "value": "${password}"}"##;
        let flow_with = flow(repeats);
        assert_eq!(secrets(&flow_with, Purpose::SignIn), ["hunter2-secret"]);
        assert_eq!(passwords(&flow_with, Purpose::Unknown), [1]);
        let opens = |url: &str| {
            secrets(&flow(&format!(r#"{{"type": "navigate", "url": "{url}"}}"#)), Purpose::Unknown)
        };
        assert_eq!(opens("http://a.test/?user=jane&Password=hunter2#top"), ["hunter2"]);
        assert_eq!(opens("http://jane:hunter2@a.test/"), ["hunter2"]);
        assert!(opens("http://a.test/?city=Pier&password=${password}").is_empty());
        assert!(opens("http://${username}:${password}@a.test/a:b@c").is_empty());
    }

    #[test]
    fn a_recorded_user_name_is_found() {
        let named = |steps: &[String]| {
            let flow = flow_of(steps);
            username(&flow).map(|(name, steps)| (name.to_owned(), steps))
        };
        let jane = |steps: &[usize]| Some(("jane".to_owned(), steps.to_vec()));
        let secret = types("#p", "${password}");
        assert_eq!(named(&[types("#u", "jane"), secret.clone()]), jane(&[1]));
        assert_eq!(named(&[types("#u", "ja"), types("#u", "jane"), secret.clone()]), jane(&[1, 2]));
        assert_eq!(
            named(&[types("aria/User", "jane"), types("#company", "ACME"), secret.clone()]),
            jane(&[1])
        );
        assert_eq!(named(&[types("#u", "jane"), types("aria/Senha", "hunter2")]), jane(&[1]));
        assert_eq!(named(&[types("aria/E-Mail", "jane")]), jane(&[1]));
        assert_eq!(named(&[types("#u", "${username}"), secret.clone()]), None);
        assert_eq!(named(&[types("#u", "${username}"), types("#company", "ACME"), secret.clone()]), None);
        assert_eq!(named(&[secret, types("#city", "Pier")]), None);
        assert_eq!(named(&[types("#city", "Pier")]), None);
    }

    #[test]
    fn secrets_are_taken_out_of_texts() {
        let secrets = ["hunter2-secret".to_owned(), "abc".to_owned()];
        assert_eq!(redacted("tried `text/hunter2-secret`", &secrets), "tried `text/${password}`");
        // A short one is found by chance everywhere.
        assert_eq!(redacted("#abcdef", &secrets), "#abcdef");
        assert_eq!(redacted("text/abc", &secrets), "text/${password}");
        let selector = Selector::parse("text/abc").unwrap();
        assert_eq!(shown_selector(&selector, &secrets), "text/${password}");
    }
}
