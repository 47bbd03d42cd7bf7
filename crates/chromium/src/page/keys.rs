//! Keys by the names that Puppeteer and the Recorder use, on a US keyboard.

/// The bits of modifier keys in input events.
pub(super) const ALT: u8 = 1;
pub(super) const CONTROL: u8 = 2;
pub(super) const META: u8 = 4;
pub(super) const SHIFT: u8 = 8;

/// The data of a key event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// `KeyboardEvent.key`.
    pub(super) key: String,
    /// `KeyboardEvent.code`.
    pub(super) code: String,
    /// `KeyboardEvent.keyCode`.
    pub(super) key_code: u16,
    /// The text that it types, if any.
    pub(super) text: Option<String>,
    /// 1 left, 2 right, 3 numeric pad.
    pub(super) location: u8,
    /// The modifier bit of the key; 0 for none.
    pub(super) modifier: u8,
}

/// Name, code, key code, location. A name that ends in `Left` or `Right` has its key without that.
const NAMED: [(&str, &str, u16, u8); 36] = [
    ("Enter", "Enter", 13, 0),
    ("NumpadEnter", "NumpadEnter", 13, 3),
    ("Tab", "Tab", 9, 0),
    ("Escape", "Escape", 27, 0),
    ("Backspace", "Backspace", 8, 0),
    ("Delete", "Delete", 46, 0),
    ("Insert", "Insert", 45, 0),
    ("ArrowLeft", "ArrowLeft", 37, 0),
    ("ArrowUp", "ArrowUp", 38, 0),
    ("ArrowRight", "ArrowRight", 39, 0),
    ("ArrowDown", "ArrowDown", 40, 0),
    ("Home", "Home", 36, 0),
    ("End", "End", 35, 0),
    ("PageUp", "PageUp", 33, 0),
    ("PageDown", "PageDown", 34, 0),
    ("Space", "Space", 32, 0),
    ("CapsLock", "CapsLock", 20, 0),
    ("NumLock", "NumLock", 144, 0),
    ("ScrollLock", "ScrollLock", 145, 0),
    ("PrintScreen", "PrintScreen", 44, 0),
    ("Clear", "Clear", 12, 0),
    ("AltGraph", "AltGraph", 225, 0),
    ("Pause", "Pause", 19, 0),
    ("ContextMenu", "ContextMenu", 93, 0),
    ("Shift", "ShiftLeft", 16, 1),
    ("ShiftLeft", "ShiftLeft", 16, 1),
    ("ShiftRight", "ShiftRight", 16, 2),
    ("Control", "ControlLeft", 17, 1),
    ("ControlLeft", "ControlLeft", 17, 1),
    ("ControlRight", "ControlRight", 17, 2),
    ("Alt", "AltLeft", 18, 1),
    ("AltLeft", "AltLeft", 18, 1),
    ("AltRight", "AltRight", 18, 2),
    ("Meta", "MetaLeft", 91, 1),
    ("MetaLeft", "MetaLeft", 91, 1),
    ("MetaRight", "MetaRight", 92, 2),
];

/// The numeric pad without Num Lock, as Puppeteer has it (`USKeyboardLayout.ts`): code, the name of the key that it is.
const NUMPAD: [(&str, &str); 11] = [
    ("Numpad0", "Insert"),
    ("Numpad1", "End"),
    ("Numpad2", "ArrowDown"),
    ("Numpad3", "PageDown"),
    ("Numpad4", "ArrowLeft"),
    ("Numpad5", "Clear"),
    ("Numpad6", "ArrowRight"),
    ("Numpad7", "Home"),
    ("Numpad8", "ArrowUp"),
    ("Numpad9", "PageUp"),
    ("NumpadDecimal", "Delete"),
];
/// The other keys of the numeric pad: code, key code, what it types.
const NUMPAD_SIGNS: [(&str, u16, char); 4] = [
    ("NumpadMultiply", 106, '*'),
    ("NumpadAdd", 107, '+'),
    ("NumpadSubtract", 109, '-'),
    ("NumpadDivide", 111, '/'),
];

/// Code, key code, without and with Shift.
const PUNCTUATION: [(&str, u16, char, char); 21] = [
    ("Digit1", 49, '1', '!'),
    ("Digit2", 50, '2', '@'),
    ("Digit3", 51, '3', '#'),
    ("Digit4", 52, '4', '$'),
    ("Digit5", 53, '5', '%'),
    ("Digit6", 54, '6', '^'),
    ("Digit7", 55, '7', '&'),
    ("Digit8", 56, '8', '*'),
    ("Digit9", 57, '9', '('),
    ("Digit0", 48, '0', ')'),
    ("Minus", 189, '-', '_'),
    ("Equal", 187, '=', '+'),
    ("BracketLeft", 219, '[', '{'),
    ("BracketRight", 221, ']', '}'),
    ("Backslash", 220, '\\', '|'),
    ("Semicolon", 186, ';', ':'),
    ("Quote", 222, '\'', '"'),
    ("Backquote", 192, '`', '~'),
    ("Comma", 188, ',', '<'),
    ("Period", 190, '.', '>'),
    ("Slash", 191, '/', '?'),
];

/// Returns the key with this name, code or character; `None` for what is not on a US keyboard.
pub(super) fn key(name: &str) -> Option<Key> {
    let mut characters = name.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => of_character(character),
        _ => named(name).or_else(|| numpad(name)).or_else(|| function_key(name)).or_else(|| of_code(name)),
    }
}

/// Returns the key that types a character.
pub(super) fn of_character(character: char) -> Option<Key> {
    let (code, key_code) = match character {
        'a'..='z' | 'A'..='Z' => {
            let upper = character.to_ascii_uppercase();
            (format!("Key{upper}"), u16::try_from(u32::from(upper)).ok()?)
        }
        ' ' => return named("Space"),
        '\r' | '\n' => return named("Enter"),
        _ => {
            let fits = |entry: &&(&str, u16, char, char)| entry.2 == character || entry.3 == character;
            let (code, key_code, ..) = PUNCTUATION.iter().find(fits)?;
            ((*code).to_owned(), *key_code)
        }
    };
    let text = character.to_string();
    Some(Key { key: text.clone(), code, key_code, text: Some(text), location: 0, modifier: 0 })
}

fn named(name: &str) -> Option<Key> {
    let &(name, code, key_code, location) = NAMED.iter().find(|entry| entry.0 == name)?;
    let (key, text) = match name {
        "Enter" | "NumpadEnter" => ("Enter", Some("\r")),
        "Space" => (" ", Some(" ")),
        _ if location > 0 => (name.trim_end_matches("Left").trim_end_matches("Right"), None),
        _ => (name, None),
    };
    let modifier = match key {
        "Alt" => ALT,
        "Control" => CONTROL,
        "Meta" => META,
        "Shift" => SHIFT,
        _ => 0,
    };
    Some(Key { key: key.into(), code: code.into(), key_code, text: text.map(Into::into), location, modifier })
}

fn numpad(name: &str) -> Option<Key> {
    if let Some((code, key)) = NUMPAD.iter().find(|entry| entry.0 == name) {
        return Some(Key { code: (*code).to_owned(), location: 3, ..named(key)? });
    }
    let &(code, key_code, character) = NUMPAD_SIGNS.iter().find(|entry| entry.0 == name)?;
    let text = character.to_string();
    Some(Key { key: text.clone(), code: code.into(), key_code, text: Some(text), location: 3, modifier: 0 })
}

fn function_key(name: &str) -> Option<Key> {
    let number: u16 = name.strip_prefix('F')?.parse().ok().filter(|number| (1..=24).contains(number))?;
    Some(Key {
        key: name.into(),
        code: name.into(),
        key_code: 111 + number,
        text: None,
        location: 0,
        modifier: 0,
    })
}

/// `KeyA`, `Digit1`, `Minus`.
fn of_code(name: &str) -> Option<Key> {
    let letter = name.strip_prefix("Key").filter(|letter| letter.len() == 1);
    let character = match letter {
        Some(letter) => letter.to_ascii_lowercase().chars().next()?,
        None => PUNCTUATION.iter().find(|entry| entry.0 == name)?.2,
    };
    of_character(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_names_codes_and_texts() {
        let summary = |name: &str| key(name).map(|key| (key.key, key.code, key.key_code, key.text));
        let expected = |key: &str, code: &str, key_code, text: Option<&str>| {
            Some((key.to_owned(), code.to_owned(), key_code, text.map(ToOwned::to_owned)))
        };
        assert_eq!(summary("Enter"), expected("Enter", "Enter", 13, Some("\r")));
        assert_eq!(summary("a"), expected("a", "KeyA", 65, Some("a")));
        assert_eq!(summary("A"), expected("A", "KeyA", 65, Some("A")));
        assert_eq!(summary("KeyA"), expected("a", "KeyA", 65, Some("a")));
        assert_eq!(summary("?"), expected("?", "Slash", 191, Some("?")));
        assert_eq!(summary("Space"), expected(" ", "Space", 32, Some(" ")));
        assert_eq!(summary(" "), expected(" ", "Space", 32, Some(" ")));
        assert_eq!(summary("F12"), expected("F12", "F12", 123, None));
        assert_eq!(summary("ArrowLeft"), expected("ArrowLeft", "ArrowLeft", 37, None));
        assert_eq!(summary("Control"), expected("Control", "ControlLeft", 17, None));
        assert_eq!(summary("F13"), expected("F13", "F13", 124, None));
        assert_eq!(summary("AltGraph"), expected("AltGraph", "AltGraph", 225, None));
        assert_eq!(summary("Numpad1"), expected("End", "Numpad1", 35, None));
        assert_eq!(summary("NumpadAdd"), expected("+", "NumpadAdd", 107, Some("+")));
        for unknown in ["", "F25", "Numpad10", "Nothing", "é", "KeyAB"] {
            assert_eq!(summary(unknown), None, "{unknown}");
        }
        assert_eq!(key("ShiftRight").map(|key| (key.modifier, key.location)), Some((8, 2)));
    }
}
