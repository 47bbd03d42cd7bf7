use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::decode::Decoder;
use super::*;

fn encode(json: &str) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    encode::encode(json.as_bytes(), MAX_BINARY_BYTES, &mut out).map(|()| out)
}

fn decode(binary: &[u8], chunk: usize) -> Vec<u8> {
    let (mut decoder, mut out) = (Decoder::default(), Vec::new());
    for piece in binary.chunks(chunk) {
        decoder.decode(piece, &mut out).unwrap();
    }
    assert!(decoder.is_between_messages());
    out
}

/// There and back.
fn turned(json: &str) -> String {
    let out = decode(&encode(json).unwrap(), 3);
    String::from_utf8(out).unwrap().strip_suffix('\0').unwrap().to_owned()
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1e300..1e300_f64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 30, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn messages_come_back_as_they_were(params in value(), indented in any::<bool>(), chunk in 1_usize..40) {
        let message = json!({ "id": 7, "method": "Page.x", "params": params });
        let text = if indented { format!("{message:#}") } else { message.to_string() };
        let binary = encode(&text).unwrap();
        let twice = [binary.clone(), binary].concat();
        let out = decode(&twice, chunk);
        let texts: Vec<&[u8]> = out.split(|byte| *byte == 0).collect();
        prop_assert_eq!(texts.len(), 3);
        for text in &texts[..2] {
            // What is whole is written without a fraction, as in JavaScript.
            let turned: Value = serde_json::from_slice(text).unwrap();
            prop_assert!(is_same(&turned, &message), "{turned} {message}");
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_take_more_than_their_size(
        bytes in prop::collection::vec(any::<u8>(), 0..300), chunk in 1_usize..40,
    ) {
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        let framed = [&ENVELOPE[..], &u32::try_from(bytes.len()).unwrap().to_be_bytes(), &bytes].concat();
        for piece in framed.chunks(chunk) {
            if decoder.decode(piece, &mut out).is_err() {
                return Ok(());
            }
        }
        prop_assert!(out.len() <= bytes.len() * 24 + 1, "{}", out.len());
        let mut out = Vec::new();
        let _ = encode::encode(&bytes, 1000, &mut out);
        prop_assert!(out.len() <= 1000 + 9 * bytes.len());
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            // serde_json reads some numbers a little wrong.
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            (one - other).abs() <= other.abs() * 1e-15
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let is_there = |(key, one): (&String, &Value)| other.get(key).is_some_and(|it| is_same(one, it));
            one.len() == other.len() && one.iter().all(is_there)
        }
        (one, other) => one == other,
    }
}

#[test]
fn the_bytes_are_those_that_chromium_writes() {
    let expected =
        b"\xd8\x18\x5a\0\0\0\x16\xbf\x62id\x01\x61s\x42\xe9\0\x61l\xd8\x18\x5a\0\0\0\x02\x9f\xff\xff";
    assert_eq!(encode(r#"{"id":1,"s":"\u00e9","l":[]}"#).unwrap(), expected);
    assert_eq!(encode("{\"id\":1,\"s\":\"é\",\"l\":[ ]}").unwrap(), expected);
}

#[test]
fn numbers_and_texts_keep_their_meaning() {
    let cases = [
        (r#"{"a":0,"b":-1,"c":2147483647,"d":-2147483648}"#, None),
        (r#"{"a":2147483648}"#, None),
        (r#"{"a":1.5,"b":-0.25,"c":1e100}"#, None),
        (r#"{"a":9007199254740991}"#, None),
        (r#"{"a":1.0}"#, Some(r#"{"a":1}"#)),
        (r#"{"a":-0,"b":-10}"#, None),
        (r#"{"a":-0.0}"#, Some(r#"{"a":-0}"#)),
        (r#"{"a":"\ud83d\ude00"}"#, Some("{\"a\":\"😀\"}")),
        (r#"{"a":"\ude00x\ud83d"}"#, None),
        (r#"{"a":"\ud83d\ud83d\ude00"}"#, Some("{\"a\":\"\\ud83d😀\"}")),
        (r#"{"a":"\u0000\u001f\"\\\/\b\f\n\r\t"}"#, Some(r#"{"a":"\u0000\u001f\"\\/\u0008\u000c\n\r\t"}"#)),
        (r#"{"":{},"x":[[],{}]}"#, None),
    ];
    for (json, expected) in cases {
        assert_eq!(turned(json), expected.unwrap_or(json));
    }
}

#[test]
fn what_json_has_in_base64_comes_in_base64() {
    for (bytes, expected) in [(&b""[..], ""), (b"a", "YQ=="), (b"abcd", "YWJjZA=="), (b"abcdef", "YWJjZGVm")]
    {
        let length = u8::try_from(bytes.len()).unwrap();
        let head = [&ENVELOPE[..], &[0, 0, 0, 6 + length, MAP, 0x61, b'd', BASE64_TAG, BYTE_STRING | length]]
            .concat();
        let binary = [&head[..], bytes, &[END]].concat();
        for chunk in [1, 100] {
            assert_eq!(decode(&binary, chunk), format!("{{\"d\":\"{expected}\"}}\0").into_bytes());
        }
    }
}

#[test]
fn what_is_not_json_is_not_passed_on() {
    let deep = "[".repeat(MAX_DEPTH + 1);
    assert_eq!(encode(&deep), Err(EncodeError::TooDeep));
    let malformed = [
        "",
        "{",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "[1,]",
        "{,}",
        "{1:2}",
        "tru",
        "nul",
        "+1",
        ".5",
        "1.",
        "01x",
        "\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\u{1}\"",
        "{} {}",
        "[1 2]",
        "--1",
        "\"\\u+123\"",
    ];
    for json in malformed {
        assert!(matches!(encode(json), Err(EncodeError::Malformed { .. })), "{json}");
    }
    let mut out = Vec::new();
    let refused = encode::encode(b"[[],[],[],[]]", 20, &mut out);
    assert!(matches!(refused, Err(EncodeError::TooLong { .. })), "{refused:?}");
}

/// A renderer writes much of what passes here, and one that was taken over writes what it likes.
#[test]
fn a_message_that_is_broken_costs_no_other() {
    let good = encode(r#"{"id":1}"#).unwrap();
    let bodies: [&[u8]; 7] = [
        b"\xff",
        b"\xbf\x61a",
        b"\xbf\x01\x01\xff",
        b"\xbf\x61a\xff",
        b"\x01",
        b"\xbf\xff\x01\x01",
        b"\xbf\x61a\xd6\x61b\xff",
    ];
    for body in bodies {
        let broken = [&ENVELOPE[..], &[0, 0, 0, u8::try_from(body.len()).unwrap()], body].concat();
        let out = decode(&[broken, good.clone()].concat(), 2);
        let texts: Vec<&[u8]> = out.split(|byte| *byte == 0).collect();
        assert_eq!(texts.len(), 3, "{body:?}");
        assert_eq!(texts[1], br#"{"id":1}"#, "{body:?}");
    }
    let mut out = Vec::new();
    assert!(Decoder::default().decode(b"{}", &mut out).is_err());
}

#[tokio::test]
async fn both_ends_speak_json_and_what_cannot_be_passed_on_is_answered() {
    let (ours, browser) = tokio::io::duplex(1 << 20);
    let (reader, writer) = tokio::io::split(ours);
    let (mut reader, mut writer) = json_over_binary(reader, writer);
    let (mut from_us, mut to_us) = tokio::io::split(browser);
    let call = r#"{"id":1,"method":"x"}"#;
    let deep = format!(r#"{{"id":2,"sessionId":"S","params":{}1{}}}"#, "[".repeat(100), "]".repeat(100));
    let deeper = deep.replace("[[", "[[[[[[[").replace("]]", "]]]]]]]").replace("\"id\":2", "\"id\":3");
    // In pieces, as the server writes it.
    for piece in format!("{call}\0{deep}\0{deeper}\0{call}\0").as_bytes().chunks(5) {
        writer.write_all(piece).await.unwrap();
    }
    writer.flush().await.unwrap();
    let expected = [encode(call).unwrap(), encode(&deep).unwrap(), encode(call).unwrap()].concat();
    let mut written = vec![0; expected.len()];
    from_us.read_exact(&mut written).await.unwrap();
    assert_eq!(written, expected);

    to_us.write_all(&encode(r#"{"id":1,"result":{}}"#).unwrap()).await.unwrap();
    drop(to_us);
    drop(from_us);
    let mut read = String::new();
    reader.read_to_string(&mut read).await.unwrap();
    let texts: Vec<&str> = read.split_terminator('\0').collect();
    assert_eq!(texts[1], r#"{"id":1,"result":{}}"#, "{read}");
    let refused: Value = serde_json::from_str(texts[0]).unwrap();
    assert_eq!((&refused["id"], &refused["sessionId"]), (&json!(3), &json!("S")));
    assert!(refused["error"]["message"].as_str().unwrap().contains("nested"), "{refused}");
}
