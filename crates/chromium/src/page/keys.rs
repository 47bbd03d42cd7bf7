//! Keys by the names that Puppeteer and so the Recorder give them, on a keyboard of the US layout.

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// `KeyboardEvent.key`.
    pub(super) key: String,
    /// `KeyboardEvent.code`.
    pub(super) code: String,
    /// `KeyboardEvent.keyCode`.
    pub(super) key_code: u16,
    /// What it types.
    pub(super) text: Option<String>,
    /// 1 left, 2 right.
    pub(super) location: u8,
    /// Its bit, where it is a modifier.
    pub(super) modifier: u8,
}

impl Key {
    const ALT: u8 = 1;
    pub(super) const CONTROL: u8 = 2;
    const META: u8 = 4;
    pub(super) const SHIFT: u8 = 8;

    fn named(key: &str, code: &str, key_code: u16) -> Self {
        Self { key: key.into(), code: code.into(), key_code, text: None, location: 0, modifier: 0 }
    }

    fn types(mut self, text: &str) -> Self {
        self.text = Some(text.into());
        self
    }
}

/// Keys that type nothing: name, which is also `code`, and `keyCode`.
const SILENT: [(&str, u16); 22] = [
    ("Backspace", 8),
    ("Escape", 27),
    ("PageUp", 33),
    ("PageDown", 34),
    ("End", 35),
    ("Home", 36),
    ("ArrowLeft", 37),
    ("ArrowUp", 38),
    ("ArrowRight", 39),
    ("ArrowDown", 40),
    ("Insert", 45),
    ("Delete", 46),
    ("Pause", 19),
    ("CapsLock", 20),
    ("ContextMenu", 93),
    ("NumLock", 144),
    ("ScrollLock", 145),
    ("PrintScreen", 44),
    ("Help", 47),
    ("Clear", 12),
    ("Cancel", 3),
    ("Select", 41),
];

/// Modifiers: name, `keyCode`, bit.
const MODIFIERS: [(&str, u16, u8); 4] = [
    ("Shift", 16, Key::SHIFT),
    ("Control", 17, Key::CONTROL),
    ("Alt", 18, Key::ALT),
    ("Meta", 91, Key::META),
];

/// Keys with two characters that are no letters: plain, with Shift, `code`, `keyCode`.
const SYMBOLS: [(char, char, &str, u16); 21] = [
    ('`', '~', "Backquote", 192),
    ('1', '!', "Digit1", 49),
    ('2', '@', "Digit2", 50),
    ('3', '#', "Digit3", 51),
    ('4', '$', "Digit4", 52),
    ('5', '%', "Digit5", 53),
    ('6', '^', "Digit6", 54),
    ('7', '&', "Digit7", 55),
    ('8', '*', "Digit8", 56),
    ('9', '(', "Digit9", 57),
    ('0', ')', "Digit0", 48),
    ('-', '_', "Minus", 189),
    ('=', '+', "Equal", 187),
    ('[', '{', "BracketLeft", 219),
    (']', '}', "BracketRight", 221),
    ('\\', '|', "Backslash", 220),
    (';', ':', "Semicolon", 186),
    ('\'', '"', "Quote", 222),
    (',', '<', "Comma", 188),
    ('.', '>', "Period", 190),
    ('/', '?', "Slash", 191),
];

/// The key of a name or a character; `None` where the keyboard has none.
pub(super) fn key_named(name: &str) -> Option<Key> {
    let mut characters = name.chars();
    if let (Some(character), None) = (characters.next(), characters.next()) {
        return key_typing(character);
    }
    if let Some((_, key_code)) = SILENT.iter().find(|(known, _)| *known == name) {
        return Some(Key::named(name, name, *key_code));
    }
    if let Some(key) = modifier_named(name) {
        return Some(key);
    }
    match name {
        "Enter" | "NumpadEnter" => Some(Key::named("Enter", name, 13).types("\r")),
        "Tab" => Some(Key::named("Tab", "Tab", 9)),
        "Space" => key_typing(' '),
        _ => function_key(name).or_else(|| key_of_code(name)),
    }
}

/// `Shift`, `ShiftLeft`, `ShiftRight` and so on.
fn modifier_named(name: &str) -> Option<Key> {
    let (bare, location) = match (name.strip_suffix("Left"), name.strip_suffix("Right")) {
        (Some(bare), _) => (bare, 1),
        (_, Some(bare)) => (bare, 2),
        _ => (name, 1),
    };
    let (key, key_code, modifier) = MODIFIERS.iter().find(|(known, ..)| *known == bare)?;
    let side = if location == 2 { "Right" } else { "Left" };
    Some(Key { location, modifier: *modifier, ..Key::named(key, &format!("{key}{side}"), *key_code) })
}

fn function_key(name: &str) -> Option<Key> {
    let number: u16 = name.strip_prefix('F')?.parse().ok()?;
    (1..=24).contains(&number).then(|| Key::named(name, name, 111 + number))
}

/// `KeyA`, `Digit1`, `Comma` and the like.
fn key_of_code(code: &str) -> Option<Key> {
    let letter = code.strip_prefix("Key").and_then(|letter| letter.chars().next());
    let symbol = SYMBOLS.iter().find(|(_, _, known, _)| *known == code).map(|(plain, ..)| *plain);
    key_typing(letter.map(|letter| letter.to_ascii_lowercase()).or(symbol)?)
}

fn key_typing(character: char) -> Option<Key> {
    let (code, key_code) = match character {
        '\r' | '\n' => return key_named("Enter"),
        ' ' => ("Space".to_owned(), 32),
        letter if letter.is_ascii_alphabetic() => {
            let upper = letter.to_ascii_uppercase();
            (format!("Key{upper}"), u16::try_from(u32::from(upper)).ok()?)
        }
        other => {
            let (.., code, key_code) =
                SYMBOLS.iter().find(|(plain, shifted, ..)| [*plain, *shifted].contains(&other))?;
            ((*code).to_owned(), *key_code)
        }
    };
    let typed = character.to_string();
    Some(Key::named(&typed, &code, key_code).types(&typed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_characters_are_keys() {
        for (name, code, key_code, text) in [
            ("a", "KeyA", 65, Some("a")),
            ("A", "KeyA", 65, Some("A")),
            ("!", "Digit1", 49, Some("!")),
            ("Enter", "Enter", 13, Some("\r")),
            ("Tab", "Tab", 9, None),
            ("F12", "F12", 123, None),
            ("ArrowDown", "ArrowDown", 40, None),
            ("Space", "Space", 32, Some(" ")),
            ("KeyQ", "KeyQ", 81, Some("q")),
            ("ShiftRight", "ShiftRight", 16, None),
        ] {
            let key = key_named(name).unwrap();
            assert_eq!(
                (key.code.as_str(), key.key_code, key.text.as_deref()),
                (code, key_code, text),
                "{name}"
            );
        }
        for name in ["", "ü", "F25", "KeyÄ", "Nonsense"] {
            assert_eq!(key_named(name), None, "{name}");
        }
    }

    #[test]
    fn every_printable_ascii_character_has_a_key() {
        for character in ' '..='~' {
            assert!(key_typing(character).is_some(), "{character:?}");
        }
    }
}
