//! From JSON to the protocol's binary form.

use super::{
    ARRAY, BYTE_STRING, DOUBLE, END, ENVELOPE, FALSE, MAP, MAX_DEPTH, NEGATIVE, NULL, TEXT, TRUE, UNSIGNED,
};

/// Why a message cannot be written in the binary form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It is not JSON.
    #[error("the message is not JSON: it breaks off or is malformed at byte {at}")]
    Malformed {
        /// Where, in bytes from its beginning.
        at: usize,
    },
    /// Objects and lists are nested too deeply.
    #[error("the message is nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// The binary form takes more memory than a message may.
    #[error("the message takes more than {limit_bytes} bytes in the browser's binary form")]
    TooLong {
        /// How much it may take.
        limit_bytes: usize,
    },
}

/// Appends the binary form of one JSON text to `out`.
///
/// # Errors
/// Where `json` is malformed, nested too deeply, or takes more than `limit_bytes` in the binary form. What was appended
/// by then stays.
pub(super) fn encode(json: &[u8], limit_bytes: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let limit_bytes = out.len().saturating_add(limit_bytes);
    let mut encoder = Encoder { json, at: 0, limit_bytes, out };
    encoder.document()
}

/// An object or a list that is not complete.
struct Open {
    is_map: bool,
    /// Where its length is to be written.
    length_at: usize,
    is_empty: bool,
}

struct Encoder<'a> {
    json: &'a [u8],
    at: usize,
    limit_bytes: usize,
    out: &'a mut Vec<u8>,
}

impl Encoder<'_> {
    fn document(&mut self) -> Result<(), EncodeError> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            if self.out.len() > self.limit_bytes {
                return Err(EncodeError::TooLong { limit_bytes: self.limit_bytes });
            }
            // Before a value: what is open may end here, or needs a comma and a key.
            if let Some(innermost) = open.last_mut() {
                let end = if innermost.is_map { b'}' } else { b']' };
                self.skip_space();
                if self.peek() == Some(end) {
                    self.at += 1;
                    self.close(&mut open)?;
                    if open.is_empty() {
                        return self.finish();
                    }
                    continue;
                }
                if !innermost.is_empty {
                    self.expect(b',')?;
                    self.skip_space();
                }
                innermost.is_empty = false;
                if innermost.is_map {
                    self.string()?;
                    self.skip_space();
                    self.expect(b':')?;
                }
            }
            self.skip_space();
            match self.peek() {
                Some(b'{') => self.open(&mut open, true)?,
                Some(b'[') => self.open(&mut open, false)?,
                _ => self.scalar()?,
            }
            if open.is_empty() {
                return self.finish();
            }
        }
    }

    fn open(&mut self, open: &mut Vec<Open>, is_map: bool) -> Result<(), EncodeError> {
        if open.len() >= MAX_DEPTH {
            return Err(EncodeError::TooDeep);
        }
        self.at += 1;
        self.out.extend_from_slice(&ENVELOPE);
        let length_at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        self.out.push(if is_map { MAP } else { ARRAY });
        open.push(Open { is_map, length_at, is_empty: true });
        Ok(())
    }

    fn close(&mut self, open: &mut Vec<Open>) -> Result<(), EncodeError> {
        self.out.push(END);
        let Some(Open { length_at, .. }) = open.pop() else { return Err(self.malformed()) };
        let length = u32::try_from(self.out.len() - length_at - 4)
            .map_err(|_| EncodeError::TooLong { limit_bytes: self.limit_bytes })?;
        self.out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Nothing but space may follow.
    fn finish(&mut self) -> Result<(), EncodeError> {
        self.skip_space();
        if self.at == self.json.len() { Ok(()) } else { Err(self.malformed()) }
    }

    fn scalar(&mut self) -> Result<(), EncodeError> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b't') => self.word(b"true", TRUE),
            Some(b'f') => self.word(b"false", FALSE),
            Some(b'n') => self.word(b"null", NULL),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8], code: u8) -> Result<(), EncodeError> {
        if !self.json[self.at..].starts_with(word) {
            return Err(self.malformed());
        }
        self.at += word.len();
        self.out.push(code);
        Ok(())
    }

    /// Whole numbers of 32 bits are written as such, all others as floating point, as Chromium does. Among the others is
    /// negative zero, which JavaScript tells from zero.
    fn number(&mut self) -> Result<(), EncodeError> {
        let rest = &self.json[self.at..];
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
        let text = std::str::from_utf8(&rest[..length]).unwrap_or_default();
        // Rust reads more than JSON has: "+1", ".5", "1." among it.
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_json = digits.starts_with(|first: char| first.is_ascii_digit()) && !text.ends_with('.');
        if !is_json {
            return Err(self.malformed());
        }
        if let Some(number) = text.parse::<i32>().ok().filter(|number| *number != 0 || text == digits) {
            let size = number.unsigned_abs() as usize;
            if number < 0 { self.head(NEGATIVE, size - 1) } else { self.head(UNSIGNED, size) }
        } else {
            let number: f64 = text.parse().map_err(|_| self.malformed())?;
            self.out.push(DOUBLE);
            self.out.extend_from_slice(&number.to_be_bytes());
        }
        self.at += length;
        Ok(())
    }

    /// What is ASCII is written in one byte for each character, everything else in UTF-16, as Chromium does: half of a
    /// surrogate pair has no other form.
    fn string(&mut self) -> Result<(), EncodeError> {
        self.expect(b'"')?;
        let rest = &self.json[self.at..];
        let is_plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..=0x1f | 0x80..);
        let plain = rest.iter().position(|byte| !is_plain(byte)).ok_or(self.broken_off())?;
        if rest[plain] == b'"' {
            self.head(TEXT, plain);
            self.out.extend_from_slice(&rest[..plain]);
            self.at += plain + 1;
            return Ok(());
        }
        let mut units: Vec<u16> = rest[..plain].iter().map(|byte| u16::from(*byte)).collect();
        self.at += plain;
        self.rest_of_string(&mut units)?;
        if units.iter().all(|unit| *unit < 0x80) {
            self.head(TEXT, units.len());
            self.out.extend(units.iter().map(|unit| unit.to_le_bytes()[0]));
        } else {
            self.head(BYTE_STRING, units.len() * 2);
            self.out.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        }
        Ok(())
    }

    fn rest_of_string(&mut self, units: &mut Vec<u16>) -> Result<(), EncodeError> {
        loop {
            match self.peek().ok_or(self.broken_off())? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => units.push(self.escape()?),
                0..=0x1f => return Err(self.malformed()),
                _ => {
                    let rest = &self.json[self.at..];
                    let is_end = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
                    let length = rest.iter().position(is_end).ok_or(self.broken_off())?;
                    let text = std::str::from_utf8(&rest[..length]).map_err(|_| self.malformed())?;
                    units.extend(text.encode_utf16());
                    self.at += length;
                }
            }
        }
    }

    fn escape(&mut self) -> Result<u16, EncodeError> {
        let code = *self.json.get(self.at + 1).ok_or(self.broken_off())?;
        let unit = match code {
            b'"' | b'\\' | b'/' => u16::from(code),
            b'b' => 8,
            b'f' => 12,
            b'n' => 10,
            b'r' => 13,
            b't' => 9,
            b'u' => {
                let digits = self.json.get(self.at + 2..self.at + 6).ok_or(self.broken_off())?;
                let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
                let digits = std::str::from_utf8(digits).ok().filter(|_| is_hex);
                let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
                self.at += 4;
                unit.ok_or(self.malformed())?
            }
            _ => return Err(self.malformed()),
        };
        self.at += 2;
        Ok(unit)
    }

    /// The beginning of an item: its kind, and its value or length.
    fn head(&mut self, major: u8, value: usize) {
        match value {
            0..=23 => self.out.push(major | value.to_le_bytes()[0]),
            24..=0xff => self.out.extend_from_slice(&[major | 24, value.to_le_bytes()[0]]),
            _ => match (u16::try_from(value), u32::try_from(value)) {
                (Ok(value), _) => {
                    self.out.push(major | 25);
                    self.out.extend_from_slice(&value.to_be_bytes());
                }
                (_, Ok(value)) => {
                    self.out.push(major | 26);
                    self.out.extend_from_slice(&value.to_be_bytes());
                }
                _ => {
                    self.out.push(major | 27);
                    self.out.extend_from_slice(&(value as u64).to_be_bytes());
                }
            },
        }
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), EncodeError> {
        if self.peek() != Some(byte) {
            return Err(self.malformed());
        }
        self.at += 1;
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn malformed(&self) -> EncodeError {
        EncodeError::Malformed { at: self.at }
    }

    fn broken_off(&self) -> EncodeError {
        EncodeError::Malformed { at: self.json.len() }
    }
}
