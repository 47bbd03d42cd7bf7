//! An operation's files: pictures of its steps, and what it downloaded. Nobody but the server can read them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;
use zip::write::{SimpleFileOptions, ZipWriter};

/// The longest name of a file, in bytes, before it is told apart from others of the same name.
const MAX_NAME_BYTES: usize = 120;
/// How many files of one name can be told apart.
const MAX_SAME_NAMES: usize = 1000;
/// What the operation itself is called in its bundle.
const ANSWER_NAME: &str = "operation.json";
/// From this size on, an entry of a ZIP needs larger numbers.
const LARGE_BYTES: u64 = u32::MAX as u64;

/// The folder of one operation. It is made with its first file.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn of(root: &Path, operation: Uuid) -> Self {
        Self { path: root.join(operation.to_string()) }
    }

    /// Writes a file under this name, or one like it, and gives its name and size. Blocks.
    pub(super) fn keep(&self, wanted: &str, content: &mut impl Read) -> io::Result<(String, u64)> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        let (name, mut file) = self.create(&fitting(wanted))?;
        let size = io::copy(content, &mut file)?;
        Ok((name, size))
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

    /// Opens one of its files, whose name comes from its own list. Blocks.
    pub(super) fn open(&self, name: &str) -> io::Result<File> {
        File::open(self.path.join(name))
    }

    /// The operation as it is told, and these of its files, as one ZIP that is gone once it is closed. Blocks.
    pub(super) fn bundle(&self, answer: &[u8], names: &[String]) -> io::Result<File> {
        let mut zip = ZipWriter::new(tempfile::tempfile()?);
        // Pictures and most documents are compressed already.
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        zip.start_file(ANSWER_NAME, options)?;
        zip.write_all(answer)?;
        for name in names {
            let mut file = self.open(name)?;
            let is_large = file.metadata()?.len() >= LARGE_BYTES;
            zip.start_file(format!("files/{name}"), options.large_file(is_large))?;
            io::copy(&mut file, &mut zip)?;
        }
        let mut file = zip.finish()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }

    /// Removes everything. Blocks.
    pub(super) fn remove(&self) {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "files of an operation that is no more stay");
            }
            _ => {}
        }
    }
}

/// Removes the folders of operations that nobody knows. Blocks.
pub(super) fn sweep(root: &Path, is_known: impl Fn(Uuid) -> bool) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let operation = entry.file_name().to_str().and_then(|name| Uuid::try_parse(name).ok());
        if let Some(operation) = operation.filter(|operation| !is_known(*operation)) {
            Folder::of(root, operation).remove();
        }
    }
}

/// A portal's or a recording's name for a file as one that names a file in one folder, on any system.
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

    #[test]
    fn names_stay_within_the_folder_and_apart() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::of(root.path(), Uuid::from_u128(1));
        let keep = |name: &str| folder.keep(name, &mut name.as_bytes()).unwrap().0;
        assert_eq!(keep("a.pdf"), "a.pdf");
        assert_eq!(keep("a.pdf"), "a (2).pdf");
        assert_eq!(keep("../../etc/passwd"), "_.._etc_passwd");
        assert_eq!([keep(""), keep(".."), keep("\0/")], ["file", "file (2)", "__"]);
        assert!(keep(&"ü".repeat(300)).len() <= MAX_NAME_BYTES);
        let mut text = String::new();
        folder.open("a (2).pdf").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "a.pdf");
        sweep(root.path(), |_| false);
        assert!(folder.open("a.pdf").is_err());
    }

    #[test]
    fn a_bundle_holds_the_operation_and_its_files() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::of(root.path(), Uuid::from_u128(1));
        folder.keep("1-01.png", &mut &b"picture"[..]).unwrap();
        let mut bundle =
            zip::ZipArchive::new(folder.bundle(b"{}", &["1-01.png".to_owned()]).unwrap()).unwrap();
        let mut names: Vec<_> = bundle.file_names().map(str::to_owned).collect();
        names.sort();
        assert_eq!(names, ["files/1-01.png", "operation.json"]);
        let mut content = String::new();
        bundle.by_name("files/1-01.png").unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(content, "picture");
    }
}
