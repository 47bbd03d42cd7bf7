//! The files of an operation: screenshots of its steps, and downloads. They are sealed, and only the server can read
//! them.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pilotlight_store::FilesKey;
use pilotlight_store::files::{Opened, is_sealed};
use uuid::Uuid;
use zip::write::{SimpleFileOptions, ZipWriter};

/// Maximum length of a file name, in bytes, before a number is added.
const MAX_NAME_BYTES: usize = 120;
/// Maximum number of files with the same name.
const MAX_SAME_NAMES: usize = 1000;
/// The name of the operation's own description in its ZIP archive.
const ANSWER_NAME: &str = "operation.json";
/// Number of bytes that show whether a file is sealed.
const MARK_BYTES: u64 = 4;
/// The suffix of a file that is being sealed. No other file has it.
const FRESH: &str = ".sealing~";

/// The folders of all operations, and the key that seals their files.
#[derive(Debug, Clone)]
pub struct Folders {
    root: PathBuf,
    key: FilesKey,
}

impl Folders {
    /// Creates the list of folders below `root`, whose files are sealed with this key.
    #[must_use]
    pub fn new(root: PathBuf, key: FilesKey) -> Self {
        Self { root, key }
    }

    /// Returns the folder of an operation.
    pub(super) fn of(&self, operation: Uuid) -> Folder {
        Folder { path: self.root.join(operation.to_string()), operation, key: self.key.clone() }
    }

    /// Removes the folders of unknown operations, and seals files that an earlier version stored unencrypted. Blocks.
    pub(super) fn sweep(&self, is_known: impl Fn(Uuid) -> bool) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let operation = entry.file_name().to_str().and_then(|name| Uuid::try_parse(name).ok());
            let Some(folder) = operation.map(|operation| self.of(operation)) else { continue };
            if is_known(folder.operation) {
                folder.seal_plain_files();
            } else {
                folder.remove();
            }
        }
    }
}

/// The folder of an operation. It is created with its first file.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
    operation: Uuid,
    key: FilesKey,
}

impl Folder {
    /// Returns the name that a file is sealed under.
    fn sealed_as(&self, name: &str) -> String {
        format!("operation {} {name}", self.operation)
    }

    /// Writes a file with this name or a similar one, and returns its name and size. Blocks.
    pub(super) fn keep(&self, wanted: &str, content: &mut impl Read) -> io::Result<(String, u64)> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        let (name, mut file) = self.create(&fitting(wanted))?;
        let sealed = self.key.seal(&self.sealed_as(&name), content, &mut file);
        if sealed.is_err() {
            // A partial file is useless.
            drop(fs::remove_file(self.path.join(&name)));
        }
        sealed.map(|size| (name, size))
    }

    fn seal_plain_files(&self) {
        for path in fs::read_dir(&self.path).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if let Err(error) = self.seal_plain_file(&path) {
                tracing::warn!(path = %path.display(), %error, "failed to seal an operation's file that is stored unencrypted");
            }
        }
    }

    fn seal_plain_file(&self, path: &Path) -> io::Result<()> {
        let Some(name) = path.file_name().and_then(OsStr::to_str) else { return Ok(()) };
        let mut file = File::open(path)?;
        let mut start = Vec::new();
        (&mut file).take(MARK_BYTES).read_to_end(&mut start)?;
        if is_sealed(&start) || name.ends_with(FRESH) {
            return Ok(());
        }
        let fresh = path.with_file_name(format!("{name}{FRESH}"));
        let mut options = OpenOptions::new();
        let mut to = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        self.key.seal(&self.sealed_as(name), &mut start.as_slice().chain(file), &mut to)?;
        to.sync_all()?;
        fs::rename(fresh, path)
    }

    fn create(&self, wanted: &str) -> io::Result<(String, File)> {
        let (stem, extension) = match wanted.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
            _ => (wanted, String::new()),
        };
        for number in 1..=MAX_SAME_NAMES {
            let name = if number == 1 { wanted.to_owned() } else { format!("{stem} ({number}){extension}") };
            let made =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path.join(&name));
            match made {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|file| (name, file)),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Opens a file, whose name comes from the operation's own list. Blocks.
    pub(super) fn open(&self, name: &str) -> io::Result<Opened<File>> {
        self.key.open(&self.sealed_as(name), File::open(self.path.join(name))?)
    }

    /// Returns whether a file exists. Blocks.
    pub(super) fn has(&self, name: &str) -> bool {
        self.path.join(name).is_file()
    }

    /// Returns the total size of these files, in bytes. Blocks.
    fn bytes_of(&self, names: &[String]) -> u64 {
        let files = names.iter().filter_map(|name| fs::symlink_metadata(self.path.join(name)).ok());
        files.map(|file| file.len()).sum()
    }

    /// Removes these files. Blocks.
    fn forget(&self, names: &[String]) {
        for name in names {
            match fs::remove_file(self.path.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %self.path.display(), %error, "failed to delete an old screenshot");
                }
                _ => {}
            }
        }
    }

    /// Writes the operation's description and these files as a ZIP archive. Blocks.
    pub(super) fn bundle(&self, answer: &[u8], names: &[String], to: impl Write) -> io::Result<()> {
        let mut zip = ZipWriter::new_stream(to);
        // Screenshots and most documents are already compressed. The size of a file is not known before it is read.
        let options =
            SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored).large_file(true);
        zip.start_file(ANSWER_NAME, options)?;
        zip.write_all(answer)?;
        for name in names {
            let mut file = self.open(name)?;
            zip.start_file(format!("files/{name}"), options)?;
            io::copy(&mut file, &mut zip)?;
        }
        zip.finish()?.into_inner().flush()
    }

    /// Removes the folder. Blocks.
    pub(super) fn remove(&self) {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "failed to delete files of a deleted operation");
            }
            _ => {}
        }
    }
}

/// Removes old screenshots, and others from the front, until all together are not larger than `max_bytes`. Blocks.
pub(super) fn forget_pictures(pictures: Vec<(bool, Folder, Vec<String>)>, max_bytes: u64) {
    let bytes: Vec<u64> = pictures.iter().map(|(_, folder, names)| folder.bytes_of(names)).collect();
    let mut total: u64 = bytes.iter().sum();
    for ((is_old, folder, names), bytes) in pictures.into_iter().zip(bytes) {
        if bytes > 0 && (is_old || total > max_bytes) {
            folder.forget(&names);
            total -= bytes;
        }
    }
}

/// Converts a name given by a portal or a recording to a file name that is valid on every system.
fn fitting(wanted: &str) -> String {
    let plain = |character: char| {
        if character.is_alphanumeric() || " .-_()".contains(character) { character } else { '_' }
    };
    let name: String = wanted.chars().map(plain).collect();
    let name = name.trim_matches([' ', '.']);
    let mut end = name.len().min(MAX_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    if end == 0 { "file".to_owned() } else { name[..end].to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders() -> (tempfile::TempDir, Folders) {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::new(root.path().to_owned(), FilesKey::random());
        (root, folders)
    }

    fn read(folder: &Folder, name: &str) -> String {
        let mut text = String::new();
        folder.open(name).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn names_stay_within_the_folder_and_apart() {
        let (_root, folders) = folders();
        let folder = folders.of(Uuid::from_u128(1));
        let keep = |name: &str| folder.keep(name, &mut name.as_bytes()).unwrap().0;
        assert_eq!(keep("a.pdf"), "a.pdf");
        assert_eq!(keep("a.pdf"), "a (2).pdf");
        assert_eq!(keep("../../etc/passwd"), "_.._etc_passwd");
        assert_eq!([keep(""), keep(".."), keep("\0/")], ["file", "file (2)", "__"]);
        assert!(keep(&"ü".repeat(300)).len() <= MAX_NAME_BYTES);
        assert_eq!(read(&folder, "a (2).pdf"), "a.pdf");
        folders.sweep(|_| false);
        assert!(folder.open("a.pdf").is_err());
    }

    #[test]
    fn nothing_of_a_file_can_be_read_without_the_key() {
        let (root, folders) = folders();
        let folder = folders.of(Uuid::from_u128(1));
        let (name, size) = folder.keep("receipt.pdf", &mut &b"container MSKU4822107"[..]).unwrap();
        assert_eq!((name.as_str(), size), ("receipt.pdf", 21));
        let bytes = fs::read(folder.path.join("receipt.pdf")).unwrap();
        assert!(is_sealed(&bytes) && !bytes.windows(11).any(|window| window == b"MSKU4822107"));
        assert_eq!(read(&folder, "receipt.pdf"), "container MSKU4822107");
        // A file must not be exchanged for another.
        fs::rename(folder.path.join("receipt.pdf"), folder.path.join("other.pdf")).unwrap();
        assert!(folder.open("other.pdf").is_err());
        let stranger = Folders::new(root.path().to_owned(), FilesKey::random());
        fs::rename(folder.path.join("other.pdf"), folder.path.join("receipt.pdf")).unwrap();
        assert!(stranger.of(Uuid::from_u128(1)).open("receipt.pdf").is_err());
    }

    #[test]
    fn what_an_earlier_version_left_in_the_clear_is_sealed() {
        let (_root, folders) = folders();
        let folder = folders.of(Uuid::from_u128(1));
        fs::create_dir_all(&folder.path).unwrap();
        for (name, text) in [("1-01.png", "picture"), ("empty", "")] {
            fs::write(folder.path.join(name), text).unwrap();
            assert!(folder.open(name).is_err());
        }
        folders.sweep(|_| true);
        folders.sweep(|_| true);
        assert_eq!(
            (read(&folder, "1-01.png"), read(&folder, "empty")),
            ("picture".to_owned(), String::new())
        );
        assert_eq!(fs::read_dir(&folder.path).unwrap().count(), 2);
    }

    #[test]
    fn pictures_go_when_they_are_old_or_too_many_and_downloads_stay() {
        let (_root, folders) = folders();
        let pictures: Vec<_> = (1..=4_u128)
            .map(|number| {
                let folder = folders.of(Uuid::from_u128(number));
                folder.keep("1-01.png", &mut &[7; 1000][..]).unwrap();
                folder.keep("receipt.pdf", &mut &b"receipt"[..]).unwrap();
                (number == 1, folder, vec!["1-01.png".to_owned()])
            })
            .collect();
        let bytes = pictures[0].1.bytes_of(&pictures[0].2);
        forget_pictures(pictures.clone(), 2 * bytes);
        let has = |name: &str| pictures.iter().map(|(_, folder, _)| folder.has(name)).collect::<Vec<_>>();
        assert_eq!(has("1-01.png"), [false, false, true, true]);
        assert_eq!(has("receipt.pdf"), [true; 4]);
        forget_pictures(pictures.clone(), 2 * bytes);
        assert_eq!(has("1-01.png"), [false, false, true, true]);
    }

    #[test]
    fn a_bundle_holds_the_operation_and_its_files() {
        let (_root, folders) = folders();
        let folder = folders.of(Uuid::from_u128(1));
        folder.keep("1-01.png", &mut &b"picture"[..]).unwrap();
        let mut bundle = Vec::new();
        folder.bundle(b"{}", &["1-01.png".to_owned()], &mut bundle).unwrap();
        let mut bundle = zip::ZipArchive::new(io::Cursor::new(bundle)).unwrap();
        let mut names: Vec<_> = bundle.file_names().map(str::to_owned).collect();
        names.sort();
        assert_eq!(names, ["files/1-01.png", "operation.json"]);
        let mut content = String::new();
        bundle.by_name("files/1-01.png").unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(content, "picture");
    }
}
