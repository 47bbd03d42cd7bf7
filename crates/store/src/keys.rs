//! Master keys: where they are found, and how the key file is changed.
//!
//! The text of a keyring has lines of `name:64 hex digits`; lines that start with `#` are comments. The first key is
//! the current one; the others still open what they sealed. A key, or a line that should have been one, must never
//! appear in an error, a log or a `Debug` output.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::random::random;

/// Length of a master key.
pub(crate) const KEY_BYTES: usize = 32;

/// Maximum number of keys in a keyring.
pub const KEYS_MAX: usize = 16;

/// Maximum length of a key's name, in bytes.
pub const KEY_NAME_BYTES_MAX: usize = 64;

/// Maximum size of a key file, in bytes.
pub const KEY_FILE_BYTES_MAX: u64 = 64 << 10;

/// Readable and writable for the owner only.
const OWNER_FILE: u32 = 0o600;

/// Permissions that nobody but the owner may have on a key file.
const GROUP_AND_OTHERS: u32 = 0o077;

/// systemd gives the service's user access to a credential with an access control list, whose mask is then shown as
/// the group's permissions (`systemd.exec(5)`, `LoadCredential=`).
const OTHERS: u32 = 0o007;

/// A master key. Its `Debug` shows only the name.
pub(crate) struct MasterKey {
    name: String,
    key: SecretBox<[u8; KEY_BYTES]>,
}

impl MasterKey {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        self.key.expose_secret()
    }
}

/// Master keys by name, the current one first. Never empty.
pub struct Keyring {
    keys: Vec<MasterKey>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.keys.iter().map(MasterKey::name)).finish()
    }
}

/// The places where [`Keyring::find`] looks, in this order.
#[derive(Debug, Clone)]
pub struct KeySources {
    /// The value of `PILOTLIGHT_MASTER_KEY`: a keyring as text.
    pub environment: Option<SecretString>,
    /// `$CREDENTIALS_DIRECTORY/pilotlight-master-key`, a credential of systemd.
    pub credential_path: Option<PathBuf>,
    /// The key file. Created with a random key if neither it nor anything above nor a store exists.
    pub key_file_path: PathBuf,
    /// The path of the store.
    pub store_path: PathBuf,
}

/// Why there is no keyring, or why its file was not changed.
#[derive(Debug, Clone, Error)]
pub enum KeyError {
    /// A line is not a key.
    #[error("line {line} of {origin} {problem}")]
    Line {
        /// The origin of the text.
        origin: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The text contains no key.
    #[error("{origin} does not contain a master key")]
    Empty {
        /// The origin of the text.
        origin: String,
    },
    /// Other users have permissions on the file.
    #[error("the key file {path} is accessible to other users (mode {mode:04o})")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is a link, a folder, or too large.
    #[error(
        "{path} is not a key file: it must be a regular file of at most {KEY_FILE_BYTES_MAX} bytes, not a link"
    )]
    NotAKeyFile {
        /// The path.
        path: PathBuf,
    },
    /// There is a store, so a new key would be useless.
    #[error("there is a store at {store_path}, but its master key is missing")]
    Lost {
        /// The store.
        store_path: PathBuf,
        /// The path of the missing key file.
        key_file_path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot {action} the key file {path}")]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Arc<io::Error>,
    },
}

impl KeyError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Line { .. } | Self::Empty { .. } => {
                Some("a master key is a line such as `name:` and 64 hex digits".to_owned())
            }
            Self::Exposed { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::NotAKeyFile { .. } | Self::Io { .. } => None,
            Self::Lost { key_file_path, .. } => Some(format!(
                "restore the key file at {}, or set PILOTLIGHT_MASTER_KEY",
                key_file_path.display()
            )),
        }
    }
}

impl Keyring {
    /// Parses a keyring. `origin` is the origin of the text, for errors.
    pub fn parse(text: &str, origin: &str) -> Result<Self, KeyError> {
        let mut keys: Vec<MasterKey> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if !is_key_line(line) {
                continue;
            }
            let wrong = |problem| KeyError::Line { origin: origin.to_owned(), line: index + 1, problem };
            let key = parse_key(line.trim()).map_err(wrong)?;
            if keys.iter().any(|known| known.name == key.name) {
                return Err(wrong("has the same name as an earlier key"));
            }
            if keys.len() == KEYS_MAX {
                return Err(wrong("exceeds the maximum of 16 keys"));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(KeyError::Empty { origin: origin.to_owned() });
        }
        Ok(Self { keys })
    }

    /// Returns the first keyring that exists. If it is invalid, returns an error instead of trying the next place.
    pub fn find(sources: &KeySources) -> Result<Self, KeyError> {
        if let Some(text) = &sources.environment {
            return Self::parse(text.expose_secret(), "the environment variable PILOTLIGHT_MASTER_KEY");
        }
        if let Some(path) = &sources.credential_path
            && let Some(text) = read_if_there(path, OTHERS)?
        {
            return Self::parse(&text, &path.display().to_string());
        }
        let path = &sources.key_file_path;
        if let Some(text) = read_if_there(path, GROUP_AND_OTHERS)? {
            return Self::parse(&text, &path.display().to_string());
        }
        // A dangling link also counts as existing: the store may be temporarily unavailable.
        if fs::symlink_metadata(&sources.store_path).is_ok() {
            let (store_path, key_file_path) = (sources.store_path.clone(), path.clone());
            return Err(KeyError::Lost { store_path, key_file_path });
        }
        let (_, line) = new_key_line();
        replace(path, &line)?;
        Self::parse(&line, &path.display().to_string())
    }

    /// Adds a new random key before those in a key file, and returns its name. Everything that is sealed with the
    /// others is re-wrapped when the store is next opened.
    pub fn add_new_current(path: &Path) -> Result<String, KeyError> {
        let text = read(path, GROUP_AND_OTHERS)?;
        let (name, mut new_text) = new_key_line();
        new_text.push_str(&text);
        Self::parse(&new_text, &path.display().to_string())?;
        replace(path, &new_text)?;
        Ok(name)
    }

    /// Removes all keys but the first from a key file, and returns their names. The store must have been opened with
    /// all of them before: everything that is still sealed with the others is lost.
    pub fn retain_current(path: &Path) -> Result<Vec<String>, KeyError> {
        let text = read(path, GROUP_AND_OTHERS)?;
        let keyring = Self::parse(&text, &path.display().to_string())?;
        let mut first = true;
        let mut new_text = Zeroizing::new(String::with_capacity(text.len() + 1));
        for line in text.lines() {
            if !is_key_line(line) || std::mem::take(&mut first) {
                new_text.push_str(line);
                new_text.push('\n');
            }
        }
        replace(path, &new_text)?;
        Ok(keyring.keys.iter().skip(1).map(|key| key.name.clone()).collect())
    }

    /// Returns the current key, which seals everything new.
    pub(crate) fn current(&self) -> &MasterKey {
        &self.keys[0]
    }

    pub(crate) fn get(&self, name: &str) -> Option<&MasterKey> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Returns whether there are keys besides the current one.
    pub(crate) fn has_older(&self) -> bool {
        self.keys.len() > 1
    }
}

fn is_key_line(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

fn parse_key(line: &str) -> Result<MasterKey, &'static str> {
    let (name, digits) = line.split_once(':').ok_or("has no colon between name and key")?;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > KEY_NAME_BYTES_MAX || !name.bytes().all(known) {
        return Err("has a name that is not 1 to 64 letters, digits, dots, dashes and underscores");
    }
    let digits = digits.as_bytes();
    if digits.len() != 2 * KEY_BYTES || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err("has a key that is not 64 hex digits");
    }
    let key = SecretBox::init_with_mut(|key: &mut [u8; KEY_BYTES]| {
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |byte, digit| byte << 4 | nibble(*digit));
        }
    });
    Ok(MasterKey { name: name.to_owned(), key })
}

/// Returns the value of a valid hex digit.
const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Returns a new key's name and line. The name is random, too: if a name were reused in a later rotation, it could be
/// mistaken for the key of an old backup.
fn new_key_line() -> (String, Zeroizing<String>) {
    let name = format!("key-{:08x}", u32::from_ne_bytes(random()));
    let mut key = random::<KEY_BYTES>();
    let mut line = Zeroizing::new(String::with_capacity(name.len() + 2 * KEY_BYTES + 2));
    line.push_str(&name);
    line.push(':');
    for byte in key {
        for digit in [byte >> 4, byte & 0xf] {
            line.push(char::from_digit(digit.into(), 16).unwrap_or_default());
        }
    }
    line.push('\n');
    key.zeroize();
    (name, line)
}

fn io_error(action: &'static str, path: &Path, source: impl Into<io::Error>) -> KeyError {
    KeyError::Io { action, path: path.to_owned(), source: Arc::new(source.into()) }
}

fn read_if_there(path: &Path, forbidden: u32) -> Result<Option<Zeroizing<String>>, KeyError> {
    match read(path, forbidden) {
        Ok(text) => Ok(Some(text)),
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a key file whose mode has none of the `forbidden` bits.
fn read(path: &Path, forbidden: u32) -> Result<Zeroizing<String>, KeyError> {
    let unreadable = |source: io::Error| io_error("read", path, source);
    let no_key_file = || KeyError::NotAKeyFile { path: path.to_owned() };
    // Does not block: opening a FIFO would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(rustix::io::Errno::LOOP) => return Err(no_key_file()),
        opened => File::from(opened.map_err(|error| unreadable(error.into()))?),
    };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > KEY_FILE_BYTES_MAX {
        return Err(no_key_file());
    }
    if metadata.mode() & forbidden != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    // Allocated at full size: growing a string leaves copies in memory.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 64));
    file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Returns the temporary path of a new key file.
fn new_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    PathBuf::from(name)
}

/// Writes a key file atomically: after any crash, either the old or the new one is complete.
fn replace(path: &Path, text: &str) -> Result<(), KeyError> {
    let new_path = new_path(path);
    let write = || -> io::Result<()> {
        match fs::remove_file(&new_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::open(&new_path, flags, Mode::from_raw_mode(OWNER_FILE))?);
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new_path, path)?;
        File::open(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
            .sync_all()
    };
    write().map_err(|error| io_error("write", path, error))
}

#[cfg(test)]
#[path = "keys/tests.rs"]
mod tests;
