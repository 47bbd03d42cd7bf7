//! Parses request bodies, with errors that name the field.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::error::{ErrorBody, ErrorCode};

/// Parses a JSON body. Returns `invalid_body` if it is not JSON, and `invalid_field`, with the name of the field, if it
/// does not match the type.
pub fn parse_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ErrorBody> {
    // serde would read an array as an object whose fields come in order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(ErrorBody::new(
            ErrorCode::InvalidField,
            "The body is invalid: it must be a JSON object.",
        ));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        refusal(&path, &error.into_inner())
    })?;
    deserializer.end().map_err(|error| refusal(".", &error))?;
    Ok(value)
}

fn refusal(path: &str, error: &serde_json::Error) -> ErrorBody {
    match error.classify() {
        Category::Data if path == "." => {
            ErrorBody::new(ErrorCode::InvalidField, format!("The body is invalid: {error}."))
        }
        Category::Data => {
            ErrorBody::new(ErrorCode::InvalidField, format!("Field `{path}` is invalid: {error}."))
        }
        Category::Io | Category::Syntax | Category::Eof => {
            ErrorBody::new(ErrorCode::InvalidBody, format!("The body is not JSON: {error}."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::CreateSession;

    fn refused(json: &str) -> ErrorBody {
        parse_body::<CreateSession>(json.as_bytes()).unwrap_err()
    }

    #[test]
    fn names_the_field() {
        let unknown = refused(r#"{"url":"https://a.test/","idle_timout":5}"#);
        assert_eq!(unknown.code, ErrorCode::InvalidField);
        assert!(unknown.error.contains("idle_timout"), "{}", unknown.error);
        let wrong = refused(r#"{"keep_alive":"yes"}"#);
        assert_eq!(wrong.code, ErrorCode::InvalidField);
        assert!(wrong.error.contains("`keep_alive`"), "{}", wrong.error);
        let nested = refused(r#"{"viewport":{"width":"wide","height":5}}"#);
        assert!(nested.error.contains("`viewport.width`"), "{}", nested.error);
    }

    #[test]
    fn what_is_not_json_is_another_error() {
        for garbage in ["", "{", "hello", "{} {}", "\u{0}"] {
            assert_eq!(refused(garbage).code, ErrorCode::InvalidBody, "{garbage:?}");
        }
        assert_eq!(refused("[]").code, ErrorCode::InvalidField);
        assert_eq!(parse_body::<CreateSession>(b"\xff\xfe").unwrap_err().code, ErrorCode::InvalidBody);
    }

    #[test]
    fn a_misplaced_secret_is_not_quoted() {
        for json in [
            r#"{"password":424242}"#,
            r#"{"password":["424242"]}"#,
            r#"{"proxy":{"server":"http://p","password":{"a":424242}}}"#,
        ] {
            let refused = refused(json);
            assert!(
                refused.error.contains("password") && !refused.error.contains("424242"),
                "{}",
                refused.error
            );
        }
    }
}
