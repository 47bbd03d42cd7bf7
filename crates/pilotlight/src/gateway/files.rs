//! A session's files: what was downloaded in it, and what is uploaded by it.
//!
//! `FOLDER/SESSION/d` belongs to the browser's user, who writes downloads there; everything else is ours, so that
//! no link of that user leads us astray. Within `d` links are not followed. Uploads are copies of ours that the
//! browser's user may read, in folders whose names nobody else can guess.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Component, Path, PathBuf};

use pilotlight_chromium::launch::RunAs;
use rustix::fs::OFlags;
use uuid::Uuid;

use super::Terms;

/// The largest file that is copied, in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not one of the session's.
    #[error("there is no such file in the session's folder")]
    Missing,
    /// It may not be named by this client.
    #[error(
        "a client of another user or machine can upload only what lies in the session's folder, \
         or send the file's contents"
    )]
    Foreign,
    /// It is no ordinary file, or too large.
    #[error("only ordinary files of up to {} GiB are taken", MAX_FILE_BYTES >> 30)]
    Unfit,
    /// The system refuses.
    #[error("{path}: {source}", path = path.display())]
    System {
        /// What was tried.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The folder of one session.
#[derive(Debug, Clone)]
pub struct SessionFiles {
    folder: PathBuf,
}

/// A file that was downloaded.
#[derive(Debug, Clone)]
pub struct Downloaded {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FileError + use<'_> {
    move |source| FileError::System { path: path.into(), source }
}

impl SessionFiles {
    pub(super) fn open(root: &Path, session: Uuid, run_as: Option<&RunAs>) -> Result<Self, FileError> {
        let files = Self { folder: root.join(session.to_string()) };
        let passable = || {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o711);
            builder
        };
        let (uploads, downloads) = (files.uploads(), files.downloads());
        passable().create(&uploads).map_err(at(&uploads))?;
        match DirBuilder::new().mode(0o700).create(&downloads) {
            Ok(()) => {
                if let Some(user) = run_as {
                    lchown(&downloads, Some(user.uid), Some(user.gid)).map_err(at(&downloads))?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(at(&downloads)(error)),
        }
        Ok(files)
    }

    /// Where Chromium puts downloads.
    #[must_use]
    pub fn downloads(&self) -> PathBuf {
        self.folder.join("d")
    }

    /// What was downloaded, by name.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Downloaded>, FileError> {
        let downloads = self.downloads();
        let entries = fs::read_dir(&downloads).map_err(at(&downloads))?;
        let mut found: Vec<Downloaded> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let metadata = entry.path().symlink_metadata().ok()?;
                let name = entry.file_name().into_string().ok()?;
                let is_whole = metadata.is_file() && !name.ends_with(".crdownload");
                is_whole.then_some(Downloaded { name, bytes: metadata.len() })
            })
            .collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Opens a download. Blocks.
    ///
    /// # Errors
    /// Where it is not there, or no ordinary file.
    pub fn read(&self, name: &str) -> Result<File, FileError> {
        let is_name = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        if !is_name {
            return Err(FileError::Missing);
        }
        open_ordinary(&self.downloads().join(name)).map_err(|error| match error {
            FileError::System { .. } => FileError::Missing,
            other => other,
        })
    }

    /// Copies a download into a client's own folder, under its name. Blocks.
    ///
    /// # Errors
    /// Where that is not to be had or written.
    pub fn deliver(&self, name: &str, wanted: &Path) -> Result<(), FileError> {
        let mut from = self.read(name)?;
        let path = wanted.join(name);
        let mut to = OpenOptions::new().write(true).create_new(true).open(&path).map_err(at(&path))?;
        io::copy(&mut from, &mut to).map_err(at(&path))?;
        Ok(())
    }

    /// The paths at which Chromium finds these files. Those of a client of our own user are copied; anybody
    /// else can name what was downloaded. Blocks.
    ///
    /// # Errors
    /// Why one of them cannot be had.
    pub fn take(&self, files: &[String], terms: &Terms) -> Result<Vec<String>, FileError> {
        files.iter().map(|file| self.take_one(Path::new(file), terms)).collect()
    }

    fn take_one(&self, file: &Path, terms: &Terms) -> Result<String, FileError> {
        let own = file.parent().filter(|parent| *parent == self.downloads()).and_then(|_| file.file_name());
        if let Some(name) = own.and_then(|name| name.to_str()) {
            self.read(name)?;
            return Ok(file.to_string_lossy().into_owned());
        }
        // What was sent to us lies in folders that are ours alone.
        let sent = file.strip_prefix(self.uploads()).ok().map(|below| below.components().collect::<Vec<_>>());
        if let Some([Component::Normal(_), Component::Normal(_)]) = sent.as_deref() {
            open_ordinary(file)?;
            return Ok(file.to_string_lossy().into_owned());
        }
        if !terms.is_own_user {
            return Err(FileError::Foreign);
        }
        let name = file.file_name().ok_or(FileError::Missing)?;
        let full = file.canonicalize().map_err(at(file))?;
        self.put(name, &mut open_ordinary(&full)?)
    }

    /// Keeps a file that was sent, to be uploaded: its path. Blocks.
    ///
    /// # Errors
    /// Where it has no name, or cannot be written.
    pub fn receive(&self, name: &str, mut contents: &[u8]) -> Result<String, FileError> {
        let name = Path::new(name).file_name().ok_or(FileError::Missing)?;
        self.put(name, &mut contents)
    }

    fn uploads(&self) -> PathBuf {
        self.folder.join("u")
    }

    fn put(&self, name: &OsStr, from: &mut impl io::Read) -> Result<String, FileError> {
        let folder = self.uploads().join(Uuid::now_v7().to_string());
        DirBuilder::new().mode(0o711).create(&folder).map_err(at(&folder))?;
        let path = folder.join(name);
        let mut to = OpenOptions::new().write(true).create_new(true).open(&path).map_err(at(&path))?;
        io::copy(from, &mut to).map_err(at(&path))?;
        to.set_permissions(fs::Permissions::from_mode(0o644)).map_err(at(&path))?;
        Ok(path.to_string_lossy().into_owned())
    }
}

/// Opens what is an ordinary file under this very name: no link, and not another file's second name.
fn open_ordinary(path: &Path) -> Result<File, FileError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(at(path))?;
    let metadata = file.metadata().map_err(at(path))?;
    if !metadata.is_file() || metadata.nlink() != 1 || metadata.len() > MAX_FILE_BYTES {
        return Err(FileError::Unfit);
    }
    Ok(file)
}

/// Removes what sessions left that are no more.
pub(crate) fn sweep(root: &Path, lives: impl Fn(Uuid) -> bool) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let session = entry.file_name().to_str().and_then(|name| Uuid::try_parse(name).ok());
        if session.is_some_and(|session| !lives(session))
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(path = %entry.path().display(), %error, "files of a session that is no more stay");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_sessions_own_files_can_be_named() {
        let root = tempfile::tempdir().unwrap();
        let files = SessionFiles::open(root.path(), Uuid::from_u128(1), None).unwrap();
        let other = SessionFiles::open(root.path(), Uuid::from_u128(2), None).unwrap();
        fs::write(files.downloads().join("a.txt"), "a").unwrap();
        fs::write(files.downloads().join("b.txt.crdownload"), "half").unwrap();
        fs::write(other.downloads().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(other.downloads().join("secret"), files.downloads().join("link")).unwrap();
        fs::hard_link(other.downloads().join("secret"), files.downloads().join("hard")).unwrap();
        let names: Vec<String> = files.list().unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["a.txt", "hard"]);
        assert!(files.read("a.txt").is_ok());
        for name in ["link", "hard", "", ".", "..", "../d/a.txt", "none"] {
            assert!(files.read(name).is_err(), "{name}");
        }
        let own = files.downloads().join("a.txt").display().to_string();
        let foreign = other.downloads().join("secret").display().to_string();
        let dotted = files.downloads().join("../d/../../2/d/secret").display().to_string();
        let foreigner = Terms::default();
        assert_eq!(files.take(std::slice::from_ref(&own), &foreigner).unwrap(), [own]);
        for path in [foreign, dotted, "/etc/passwd".to_owned(), "relative".to_owned()] {
            assert!(
                matches!(files.take(std::slice::from_ref(&path), &foreigner), Err(FileError::Foreign)),
                "{path}"
            );
        }
    }

    #[test]
    fn our_own_users_files_are_copied() {
        let root = tempfile::tempdir().unwrap();
        let files = SessionFiles::open(root.path(), Uuid::from_u128(1), None).unwrap();
        let mine = root.path().join("mine.txt");
        fs::write(&mine, "mine").unwrap();
        let own_user = Terms { is_own_user: true, ..Terms::default() };
        let taken = files.take(&[mine.display().to_string()], &own_user).unwrap();
        assert!(taken[0].ends_with("/mine.txt") && taken[0] != mine.display().to_string());
        assert_eq!(fs::read_to_string(&taken[0]).unwrap(), "mine");
        fs::write(files.downloads().join("got.txt"), "got").unwrap();
        let wanted = tempfile::tempdir().unwrap();
        files.deliver("got.txt", wanted.path()).unwrap();
        assert_eq!(fs::read_to_string(wanted.path().join("got.txt")).unwrap(), "got");
        assert!(files.deliver("got.txt", wanted.path()).is_err(), "nothing is overwritten");
        // What was sent to us is given to whoever names it, and nothing beside it.
        let sent = files.receive("../sent.txt", b"sent").unwrap();
        let foreigner = Terms::default();
        assert_eq!(files.take(std::slice::from_ref(&sent), &foreigner).unwrap(), std::slice::from_ref(&sent));
        assert_eq!(fs::read_to_string(&sent).unwrap(), "sent");
        assert!(files.receive("..", b"").is_err());
        for path in
            [format!("{sent}/../../../d/got.txt"), format!("{sent}/.."), sent.replace("sent.txt", "none")]
        {
            assert!(files.take(std::slice::from_ref(&path), &foreigner).is_err(), "{path}");
        }
        sweep(root.path(), |session| session != Uuid::from_u128(1));
        assert!(!files.downloads().exists());
    }
}
