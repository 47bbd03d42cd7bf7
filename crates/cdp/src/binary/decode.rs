//! From the protocol's binary form to JSON, piece by piece as it arrives: nothing of a message is kept but where it
//! stands.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{
    ARRAY, BASE64_TAG, BYTE_STRING, DOUBLE, END, ENVELOPE, FALSE, MAP, MAX_DEPTH, NEGATIVE, NULL, TEXT, TRUE,
    UNSIGNED,
};

/// The beginning of an item is at most this long: its first byte and a number of eight.
const HEAD_BYTES: usize = 9;
/// An envelope's header: the tag, and a byte string whose length takes four bytes.
const ENVELOPE_BYTES: usize = ENVELOPE.len() + 4;
/// Whole numbers below this are exact in floating point, and are written without a fraction, as JavaScript does.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The stream is not what Chromium writes, and where the next message begins is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message in the binary form begins with the byte {0:#04x}")]
pub struct OutOfStep(u8);

/// Turns a stream of messages in the binary form into JSON texts that each end with a NUL byte.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The beginning of what is read next, as far as it has arrived.
    head: Vec<u8>,
    /// How many bytes of the message are still to come; none between two messages.
    left: Option<u64>,
    body: Body,
}

/// Where the decoder is within a message.
#[derive(Debug, Default)]
struct Body {
    open: Vec<Open>,
    text: Option<Text>,
    /// The next byte string is shown in base64.
    is_base64: bool,
    status: Status,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Status {
    #[default]
    Going,
    Complete,
    /// Something in it is not what it may be. The rest of it is passed over.
    Broken,
}

/// An object or a list that is not complete.
#[derive(Debug)]
struct Open {
    is_map: bool,
    items: u64,
}

/// A text that is not complete.
#[derive(Debug)]
struct Text {
    left: u64,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Utf8,
    Utf16 {
        /// The first byte of a unit whose second has not arrived.
        half: Option<u8>,
        /// The first unit of a pair whose second has not arrived.
        high: Option<u16>,
    },
    Base64 {
        /// Fewer than three bytes, which make no whole group.
        rest: Vec<u8>,
    },
}

impl Decoder {
    /// Whether the next byte begins a message.
    pub(super) fn is_between_messages(&self) -> bool {
        self.left.is_none() && self.head.is_empty()
    }

    /// Takes in the next bytes of the stream and appends what is known of it by then.
    ///
    /// # Errors
    /// Where a message does not begin as it must. The stream cannot go on from there.
    pub(super) fn decode(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), OutOfStep> {
        while !bytes.is_empty() {
            let Some(left) = self.left else {
                self.begin(&mut bytes)?;
                continue;
            };
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let (of_message, rest) = bytes.split_at(here);
            self.body.take_in(of_message, &mut self.head, out);
            bytes = rest;
            self.left = Some(left - here as u64).filter(|left| *left > 0);
            if self.left.is_none() {
                // One that broke off is no JSON, and nobody takes it for a message.
                out.push(0);
                self.body = Body::default();
                self.head.clear();
            }
        }
        Ok(())
    }

    fn begin(&mut self, bytes: &mut &[u8]) -> Result<(), OutOfStep> {
        while let Some((first, rest)) = bytes.split_first() {
            self.head.push(*first);
            *bytes = rest;
            let known = self.head.len().min(ENVELOPE.len());
            if self.head[..known] != ENVELOPE[..known] {
                return Err(OutOfStep(*first));
            }
            if let Some(length) = envelope_length(&self.head) {
                self.left = Some(u64::from(length)).filter(|left| *left > 0);
                self.head.clear();
                return if self.left.is_some() { Ok(()) } else { Err(OutOfStep(*first)) };
            }
        }
        Ok(())
    }
}

fn envelope_length(head: &[u8]) -> Option<u32> {
    let length = head.get(ENVELOPE.len()..ENVELOPE_BYTES)?;
    length.try_into().ok().map(u32::from_be_bytes)
}

impl Body {
    fn take_in(&mut self, mut bytes: &[u8], head: &mut Vec<u8>, out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.status != Status::Going {
                // What follows a complete message within its length was never written by Chromium.
                return;
            }
            if let Some(text) = &mut self.text {
                let here = usize::try_from(text.left).unwrap_or(usize::MAX).min(bytes.len());
                let (of_text, rest) = bytes.split_at(here);
                text.left -= here as u64;
                text.take_in(of_text, out);
                bytes = rest;
                self.end_text(out);
                continue;
            }
            head.push(bytes[0]);
            bytes = &bytes[1..];
            if head.len() == head_length(head) {
                if self.item(head, out).is_none() {
                    self.status = Status::Broken;
                }
                head.clear();
            }
        }
    }

    /// Takes in the head of the next item. `None` where it may not come here.
    fn item(&mut self, head: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let first = *head.first()?;
        if first == END {
            return self.close(out);
        }
        if first == ENVELOPE[0] {
            // The map or the list in it is what counts; where it ends shows there.
            return head.starts_with(&ENVELOPE).then_some(());
        }
        if first == BASE64_TAG {
            self.is_base64 = true;
            return Some(());
        }
        let is_base64 = std::mem::take(&mut self.is_base64);
        let (major, value) = (first & 0xe0, number(head));
        self.separate(matches!(major, TEXT | BYTE_STRING), out)?;
        if first == MAP || first == ARRAY {
            out.push(if first == MAP { b'{' } else { b'[' });
            self.open.push(Open { is_map: first == MAP, items: 0 });
            return (!is_base64 && self.open.len() <= MAX_DEPTH).then_some(());
        }
        let form = match (major, is_base64) {
            (TEXT, false) => Some(Form::Utf8),
            (BYTE_STRING, false) => Some(Form::Utf16 { half: None, high: None }),
            (BYTE_STRING, true) => Some(Form::Base64 { rest: Vec::new() }),
            (_, false) => None,
            (_, true) => return None,
        };
        if let Some(form) = form {
            out.push(b'"');
            self.text = Some(Text { left: value?, form });
            self.end_text(out);
            return Some(());
        }
        match first {
            TRUE => out.extend_from_slice(b"true"),
            FALSE => out.extend_from_slice(b"false"),
            NULL => out.extend_from_slice(b"null"),
            DOUBLE => write_double(f64::from_be_bytes(head.get(1..)?.try_into().ok()?), out),
            _ if major == UNSIGNED => write_text(out, format_args!("{}", value?)),
            _ if major == NEGATIVE => write_text(out, format_args!("{}", -1 - i128::from(value?))),
            _ => return None,
        }
        self.item_ended(out);
        Some(())
    }

    /// Writes what is between two items. `None` where none may come: a message is an object, and its keys are texts.
    fn separate(&mut self, is_text: bool, out: &mut Vec<u8>) -> Option<()> {
        let Some(innermost) = self.open.last() else { return (!is_text).then_some(()) };
        let is_key = innermost.is_map && innermost.items % 2 == 0;
        if innermost.items > 0 && (is_key || !innermost.is_map) {
            out.push(b',');
        }
        (is_text || !is_key).then_some(())
    }

    fn item_ended(&mut self, out: &mut Vec<u8>) {
        let Some(innermost) = self.open.last_mut() else {
            self.status = Status::Complete;
            return;
        };
        innermost.items += 1;
        if innermost.is_map && innermost.items % 2 == 1 {
            out.push(b':');
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let Open { is_map, items } = self.open.pop()?;
        out.push(if is_map { b'}' } else { b']' });
        self.item_ended(out);
        (!is_map || items % 2 == 0).then_some(())
    }

    /// Ends the text under way once all of it has arrived.
    fn end_text(&mut self, out: &mut Vec<u8>) {
        if let Some(text) = self.text.take_if(|text| text.left == 0) {
            text.end(out);
            out.push(b'"');
            self.item_ended(out);
        }
    }
}

impl Text {
    fn take_in(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match &mut self.form {
            Form::Utf8 => write_escaped(bytes, out),
            Form::Utf16 { half, high } => {
                for byte in bytes {
                    match half.take() {
                        None => *half = Some(*byte),
                        Some(first) => write_unit(u16::from_le_bytes([first, *byte]), high, out),
                    }
                }
            }
            Form::Base64 { rest } => {
                rest.extend_from_slice(bytes);
                let whole = rest.len() - rest.len() % 3;
                out.extend_from_slice(BASE64.encode(&rest[..whole]).as_bytes());
                rest.drain(..whole);
            }
        }
    }

    fn end(self, out: &mut Vec<u8>) {
        match self.form {
            Form::Utf16 { high: Some(high), .. } => write_text(out, format_args!("\\u{high:04x}")),
            Form::Base64 { rest } => out.extend_from_slice(BASE64.encode(rest).as_bytes()),
            Form::Utf8 | Form::Utf16 { .. } => {}
        }
    }
}

/// How long the head of an item is that begins like this.
fn head_length(head: &[u8]) -> usize {
    let Some(first) = head.first() else { return 1 };
    match (*first, first & 0x1f) {
        (byte, _) if byte == ENVELOPE[0] => ENVELOPE_BYTES,
        (BASE64_TAG, _) => 1,
        (_, 24) => 2,
        (_, 25) => 3,
        (_, 26) => 5,
        (_, 27) => HEAD_BYTES,
        _ => 1,
    }
}

/// The number in the head of an item: a value or a length.
fn number(head: &[u8]) -> Option<u64> {
    let (first, rest) = head.split_first()?;
    match (first & 0x1f, rest.is_empty()) {
        (small @ 0..=23, true) => Some(small.into()),
        (24..=27, false) => Some(rest.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))),
        _ => None,
    }
}

fn write_text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = out.write_fmt(text);
}

fn write_double(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        out.extend_from_slice(b"null");
    } else if value.fract() == 0.0 && value.abs() < EXACT {
        write_text(out, format_args!("{value:.0}"));
    } else {
        write_text(out, format_args!("{value:?}"));
    }
}

/// Writes text, with what JSON does not have within quotation marks escaped.
fn write_escaped(mut text: &[u8], out: &mut Vec<u8>) {
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    while let Some(plain) = text.iter().position(is_special) {
        out.extend_from_slice(&text[..plain]);
        match text[plain] {
            special @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', special]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => write_text(out, format_args!("\\u{control:04x}")),
        }
        text = &text[plain + 1..];
    }
    out.extend_from_slice(text);
}

/// Writes the next unit of a text in UTF-16. Half of a pair that is alone has no other form than an escape.
fn write_unit(unit: u16, high: &mut Option<u16>, out: &mut Vec<u8>) {
    if let Some(first) = high.take() {
        if let Some(Ok(character)) = char::decode_utf16([first, unit]).next() {
            return out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        write_text(out, format_args!("\\u{first:04x}"));
    }
    match unit {
        0xd800..=0xdbff => *high = Some(unit),
        0xdc00..=0xdfff => write_text(out, format_args!("\\u{unit:04x}")),
        _ => match char::from_u32(unit.into()) {
            Some(character) => write_escaped(character.encode_utf8(&mut [0; 4]).as_bytes(), out),
            None => write_text(out, format_args!("\\u{unit:04x}")),
        },
    }
}
