//! Master keys: where they come from, and how the file of them changes.
//!
//! As text a keyring is lines of `name:64 hex digits`; what follows a `#` at the start of a line is for people.
//! The first key is the current one, the others still open what they sealed. Never may a key, or a line that
//! should have been one, come into an error, a log or a `Debug`.

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

use crate::seal::random;

/// How long a master key is.
pub(crate) const KEY_BYTES: usize = 32;

/// The most keys in one keyring.
pub const KEYS_MAX: usize = 16;

/// The longest name of a key, in bytes.
pub const KEY_NAME_BYTES_MAX: usize = 64;

/// The largest key file, in bytes.
pub const KEY_FILE_BYTES_MAX: u64 = 64 << 10;

/// Read and write for the owner, nothing for anybody else.
const OWNER_FILE: u32 = 0o600;

/// What nobody but the owner may do with a key file.
const GROUP_AND_OTHERS: u32 = 0o077;

/// systemd gives a credential to the user of the service by an access list, and the mode then shows the list's
/// mask where a group's rights are (`systemd.exec(5)`, `LoadCredential=`).
const OTHERS: u32 = 0o007;

/// One master key. Its `Debug` is its name.
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

/// Where [`Keyring::find`] looks, in this order.
#[derive(Debug, Clone)]
pub struct KeySources {
    /// The value of `PILOTLIGHT_MASTER_KEY`, the keyring as text.
    pub environment: Option<SecretString>,
    /// `$CREDENTIALS_DIRECTORY/pilotlight-master-key`, where systemd gives credentials.
    pub credential_path: Option<PathBuf>,
    /// The key file. Made, with a random key, where neither it nor anything above nor a store is there.
    pub key_file_path: PathBuf,
    /// Where the store is, or will be.
    pub store_path: PathBuf,
}

/// Why there is no keyring, or why its file did not change.
#[derive(Debug, Clone, Error)]
pub enum KeyError {
    /// A line is not a key.
    #[error("line {line} of {origin} {problem}")]
    Line {
        /// Where the text is from.
        origin: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The text has no key.
    #[error("{origin} holds no master key")]
    Empty {
        /// Where the text is from.
        origin: String,
    },
    /// Somebody other than the owner has a right to the file.
    #[error("the key file {path} is open to others than its owner (mode {mode:04o})")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A link, a folder, or too large.
    #[error("{path} is not a key file: it must be a file of at most {KEY_FILE_BYTES_MAX} bytes, and no link")]
    NotAKeyFile {
        /// What is there.
        path: PathBuf,
    },
    /// There is a store, so a new key would be of no use.
    #[error("there is a store at {store_path}, but no master key for it")]
    Lost {
        /// The store.
        store_path: PathBuf,
        /// Where the key file is looked for.
        key_file_path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot {action} the key file {path}")]
    Io {
        /// Read or write.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
}

impl KeyError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Line { .. } | Self::Empty { .. } => {
                Some("a master key is a line such as `name:` and 64 hex digits".to_owned())
            }
            Self::Exposed { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::NotAKeyFile { .. } | Self::Io { .. } => None,
            Self::Lost { key_file_path, .. } => Some(format!(
                "put the key file back at {}, or set PILOTLIGHT_MASTER_KEY",
                key_file_path.display()
            )),
        }
    }
}

impl Keyring {
    /// Reads a keyring from its text. `origin` is for errors: where the text is from.
    pub fn parse(text: &str, origin: &str) -> Result<Self, KeyError> {
        let mut keys: Vec<MasterKey> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if !is_key_line(line) {
                continue;
            }
            let wrong = |problem| KeyError::Line { origin: origin.to_owned(), line: index + 1, problem };
            let key = parse_key(line.trim()).map_err(wrong)?;
            if keys.iter().any(|known| known.name == key.name) {
                return Err(wrong("has the name of a key above it"));
            }
            if keys.len() == KEYS_MAX {
                return Err(wrong("is one key too many: there can be 16"));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(KeyError::Empty { origin: origin.to_owned() });
        }
        Ok(Self { keys })
    }

    /// The first keyring of all that may be there. One that is there and wrong is an error, and is not passed
    /// over for the next.
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
        // A link that leads nowhere is something too: whether the store is gone is not ours to guess.
        if fs::symlink_metadata(&sources.store_path).is_ok() {
            let (store_path, key_file_path) = (sources.store_path.clone(), path.clone());
            return Err(KeyError::Lost { store_path, key_file_path });
        }
        let (_, line) = new_key_line();
        replace(path, &line)?;
        Self::parse(&line, &path.display().to_string())
    }

    /// Puts a new random key before those of a key file and gives its name. What is sealed under the others is
    /// re-wrapped when the store is next opened.
    pub fn add_new_current(path: &Path) -> Result<String, KeyError> {
        let text = read(path, GROUP_AND_OTHERS)?;
        let (name, mut new_text) = new_key_line();
        new_text.push_str(&text);
        Self::parse(&new_text, &path.display().to_string())?;
        replace(path, &new_text)?;
        Ok(name)
    }

    /// Takes all keys but the first out of a key file and gives their names. Only for when the store has been
    /// opened with all of them: what is still sealed under the others is lost.
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

    /// The key that everything new is sealed under.
    pub(crate) fn current(&self) -> &MasterKey {
        &self.keys[0]
    }

    pub(crate) fn get(&self, name: &str) -> Option<&MasterKey> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Whether there is any key but the current one.
    pub(crate) fn has_older(&self) -> bool {
        self.keys.len() > 1
    }
}

fn is_key_line(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

fn parse_key(line: &str) -> Result<MasterKey, &'static str> {
    let (name, digits) = line.split_once(':').ok_or("has no colon between a name and a key")?;
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

/// Of a digit that is known to be one.
const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// A new key's name, and its line. The name is random too: one that comes back in a later rotation would be
/// taken for the key of an old backup.
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

/// Reads a key file on whose mode none of the `forbidden` bits is.
fn read(path: &Path, forbidden: u32) -> Result<Zeroizing<String>, KeyError> {
    let unreadable = |source: io::Error| io_error("read", path, source);
    let no_key_file = || KeyError::NotAKeyFile { path: path.to_owned() };
    // Without waiting: a FIFO would have us wait for its writer.
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
    // With room for all of it from the start: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 64));
    file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Where a new key file is written before it takes the place of the old one.
fn new_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    PathBuf::from(name)
}

/// Writes a key file so that at any moment, and after any crash, the old or the new one is there as a whole.
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
