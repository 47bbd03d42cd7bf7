//! Syntactic validation: character sets, lengths and URL schemes. No lookups, no decisions.

use url::Url;

/// Longest name of a session, site or profile, in characters.
pub const MAX_NAME_CHARS: usize = 128;
/// Longest URL, in bytes.
pub const MAX_URL_BYTES: usize = 8 * 1024;
/// Longest user name, in bytes.
pub const MAX_USERNAME_BYTES: usize = 256;
/// Longest password, in bytes.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// Most tags on one session.
pub const MAX_TAGS: usize = 32;
/// Longest key of a tag, in characters.
pub const MAX_TAG_KEY_CHARS: usize = 64;
/// Longest value of a tag, in bytes.
pub const MAX_TAG_VALUE_BYTES: usize = 256;
/// Longest expression for `evaluate`, in bytes.
pub const MAX_EXPRESSION_BYTES: usize = 256 * 1024;
/// Smallest and largest side of a viewport, in CSS pixels.
pub const VIEWPORT_SIDE_PIXELS: std::ops::RangeInclusive<u32> = 64..=7680;

/// A field with an invalid value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}")]
pub struct FieldError {
    /// The field's path, such as `proxy.server`.
    pub field: String,
    /// The problem, as the rest of a sentence that starts with the field's name.
    pub problem: String,
}

impl FieldError {
    /// Creates an error about `field`.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// Checks a name: 1 to 128 ASCII letters, digits or `. _ - @ + :`, starting with a letter or digit, so that it is safe
/// as a file name, in a URL and on a command line.
pub fn name(field: &str, text: &str) -> Result<(), FieldError> {
    if text.is_empty() || text.len() > MAX_NAME_CHARS {
        return Err(FieldError::new(field, format!("must have 1 to {MAX_NAME_CHARS} characters")));
    }
    let first_fits = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !first_fits || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@+:".contains(&byte)) {
        return Err(FieldError::new(
            field,
            "must consist of letters, digits and . _ - @ + : and start with a letter or digit",
        ));
    }
    Ok(())
}

/// Parses an absolute `http` or `https` URL without user name and password.
pub fn web_url(field: &str, text: &str) -> Result<Url, FieldError> {
    if text.len() > MAX_URL_BYTES {
        return Err(FieldError::new(field, format!("is longer than {MAX_URL_BYTES} bytes")));
    }
    let url = Url::parse(text).map_err(|error| FieldError::new(field, format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(FieldError::new(field, "must start with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(FieldError::new(field, "must not contain a user name or password"));
    }
    Ok(url)
}

/// Checks that a text is not longer than `max_bytes` and has no control characters. The error does not quote the text.
pub fn text(field: &str, text: &str, max_bytes: usize) -> Result<(), FieldError> {
    if text.len() > max_bytes {
        return Err(FieldError::new(field, format!("is longer than {max_bytes} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(FieldError::new(field, "contains control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "acme-emodal", "A.b_c@d+e:1", &"x".repeat(128)] {
            assert_eq!(name("name", good), Ok(()), "{good}");
        }
        for bad in ["", "-a", ".hidden", "a/b", "a b", "ü", "a\n", "..", &"x".repeat(129)] {
            assert!(name("name", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls() {
        assert!(web_url("url", "https://example.test/a?b=c").is_ok());
        for (bad, why) in [
            ("file:///etc/passwd", "http://"),
            ("chrome://version", "http://"),
            ("javascript:alert(1)", "http://"),
            ("example.test", "is not a URL"),
            ("https://user:hunter2@example.test/", "must not contain"),
        ] {
            let error = web_url("url", bad).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("hunter2"), "{error}");
        }
    }
}
