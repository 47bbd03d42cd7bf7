//! A session's files: its downloads, and files for uploads.
//!
//! `FOLDER/SESSION/d` belongs to the browser's user, who writes downloads there; everything else belongs to the
//! server, so that no link of that user is followed. Within `d` links are not followed. Complete downloads are moved
//! to `s` and sealed ([`kept`](super::kept)). Uploads are copies that belong to the server and that the browser's
//! user may read, in folders with random names.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use pilotlight_store::FilesKey;
use pilotlight_store::files::Opened;
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Uid, chownat, fchmod, fchown, flock, fstat,
    openat,
};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};
use uuid::Uuid;

use super::LocalFolders;
use super::kept::{Downloaded, Kept, open_ordinary};

/// The largest file that is copied, in bytes.
pub(super) const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Files of a session that were sent, or copied for an upload.
const MAX_SENT: usize = 1000;
/// Their size together, in bytes.
const MAX_SENT_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// How much of a file is written before the size of all of them is checked again: others may be written at the same
/// time.
const LOOK_EVERY_BYTES: u64 = 16 * 1024 * 1024;

/// Why a file is not available.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The session has no such file.
    #[error("there is no such file in the session's folder")]
    Missing,
    /// This client may not use it.
    #[error(
        "files are not named by paths of the machine: send the file to `PUT /sessions/ID/files/NAME` and name the path \
         that is answered, or have the server share a folder (`server.local_folders`)"
    )]
    Foreign,
    /// It is not an ordinary file, or too large.
    #[error("only ordinary files of up to {} GiB are taken", MAX_FILE_BYTES >> 30)]
    Unfit,
    /// The session has as many files as it may.
    #[error("the session has {MAX_SENT} files that were sent to it")]
    Full,
    /// Together they would be too large.
    #[error("the files that were sent to the session would have more than {} GiB", MAX_SENT_BYTES >> 30)]
    TooMuch,
    /// The operating system returned an error.
    #[error("{path}: {source}", path = path.display())]
    System {
        /// The operation.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

/// The folder of one session.
#[derive(Debug, Clone)]
pub struct SessionFiles {
    folder: PathBuf,
    kept: Kept,
    local: LocalFolders,
}

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> FileError + use<'_> {
    move |source| FileError::System { path: path.into(), source }
}

impl SessionFiles {
    pub(super) fn open(
        root: &Path,
        session: Uuid,
        key: &FilesKey,
        local: &LocalFolders,
    ) -> Result<Self, FileError> {
        let folder = root.join(session.to_string());
        let kept = Kept::new(folder.join("s"), session, key.clone());
        let files = Self { folder, kept, local: local.clone() };
        let passable = || {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o711);
            builder
        };
        let (uploads, downloads) = (files.uploads(), files.downloads());
        passable().create(&uploads).map_err(at(&uploads))?;
        match DirBuilder::new().mode(0o700).create(&downloads) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(at(&downloads)(error)),
        }
        Ok(files)
    }

    /// Returns the folder of Chromium's downloads.
    #[must_use]
    pub fn downloads(&self) -> PathBuf {
        self.folder.join("d")
    }

    /// Gives the downloads to the user of another browser. Only ordinary files of their present owner are included:
    /// that user could have put anything else there. Blocks.
    pub(super) fn give_downloads_to(&self, (uid, gid): (u32, u32)) -> Result<(), FileError> {
        let downloads = self.downloads();
        let _lock = self.lock().map_err(at(&self.folder))?;
        give(&downloads, uid, gid).map_err(|error| at(&downloads)(error.into()))
    }

    /// Takes the downloads back from the user of a browser, unless the session `has_window` again: the user may be
    /// reused for another browser. Blocks.
    pub(super) fn take_downloads_back(&self, has_window: impl FnOnce() -> bool) -> Result<(), FileError> {
        let downloads = self.downloads();
        // A window exists before the downloads are given to its user.
        let _lock = self.lock().map_err(at(&self.folder))?;
        if has_window() {
            return Ok(());
        }
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        give(&downloads, uid, gid).map_err(|error| at(&downloads)(error.into()))
    }

    /// Waits until no other thread changes the owner of the downloads.
    fn lock(&self) -> io::Result<File> {
        let folder = File::open(&self.folder)?;
        flock(&folder, FlockOperation::LockExclusive)?;
        Ok(folder)
    }

    /// Takes over the complete downloads. Blocks.
    pub(super) fn take_over(&self) {
        self.kept.take_over(&self.downloads());
    }

    /// Returns the downloads, by name. Blocks.
    #[must_use]
    pub fn list(&self) -> Vec<Downloaded> {
        self.take_over();
        self.kept.list()
    }

    /// Opens a download. Blocks.
    ///
    /// # Errors
    /// If it does not exist, or is not an ordinary file.
    pub fn read(&self, name: &str) -> Result<Opened<File>, FileError> {
        let is_name = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        if !is_name {
            return Err(FileError::Missing);
        }
        self.take_over();
        self.kept.open(name)
    }

    /// Copies a download into a client's own folder, under its name. Blocks.
    ///
    /// # Errors
    /// If it does not exist, cannot be written, or the folder is not shared with clients.
    pub fn deliver(&self, name: &str, wanted: &Path) -> Result<(), FileError> {
        let mut from = self.read(name)?;
        let path = wanted.join(name);
        let mut to = self.local.create(wanted, name.as_ref())?;
        io::copy(&mut from, &mut to).map_err(at(&path))?;
        to.keep();
        Ok(())
    }

    /// Returns the paths at which Chromium finds these files: downloads, sent files, and a copy of a file in a folder
    /// that is shared with clients of this machine, for a client that `is_local`. Blocks.
    ///
    /// # Errors
    /// If one of them is not available.
    pub fn take(&self, files: &[String], is_local: bool) -> Result<Vec<String>, FileError> {
        files.iter().map(|file| self.take_one(Path::new(file), is_local)).collect()
    }

    fn take_one(&self, file: &Path, is_local: bool) -> Result<String, FileError> {
        let own = file.parent().filter(|parent| *parent == self.downloads()).and_then(|_| file.file_name());
        if let Some(name) = own.and_then(|name| name.to_str()) {
            // Chromium gets a copy: downloads are sealed.
            return self.put(OsStr::new(name), &mut self.read(name)?);
        }
        // Sent files are in folders that only the server can change.
        let sent = file.strip_prefix(self.uploads()).ok().map(|below| below.components().collect::<Vec<_>>());
        if let Some([Component::Normal(_), Component::Normal(_)]) = sent.as_deref() {
            open_ordinary(file, OpenOptions::new().read(true))?;
            return Ok(file.to_string_lossy().into_owned());
        }
        if !is_local {
            return Err(FileError::Foreign);
        }
        let mut from = self.local.open(file)?;
        let name = file.file_name().ok_or(FileError::Missing)?;
        self.put(name, &mut from)
    }

    /// Stores a file that was sent for an upload, and returns its path. Blocks.
    ///
    /// # Errors
    /// If it has no name, or cannot be written.
    pub fn receive(&self, name: &str, mut contents: &[u8]) -> Result<String, FileError> {
        let name = Path::new(name).file_name().ok_or(FileError::Missing)?;
        self.put(name, &mut contents)
    }

    fn uploads(&self) -> PathBuf {
        self.folder.join("u")
    }

    fn put(&self, name: &OsStr, from: &mut impl io::Read) -> Result<String, FileError> {
        let mut to = self.begin(name)?;
        let copied = io::copy(from, &mut to);
        to.finish(copied.map(drop))
    }

    /// Creates a file for data that a client sends. Blocks.
    ///
    /// # Errors
    /// If it has no name, cannot be created, or the session has too many.
    pub fn begin(&self, name: &OsStr) -> Result<SentFile, FileError> {
        let uploads = self.uploads();
        if fs::read_dir(&uploads).map_err(at(&uploads))?.count() >= MAX_SENT {
            return Err(FileError::Full);
        }
        let name = Path::new(name).file_name().filter(|own| *own == name).ok_or(FileError::Missing)?;
        let folder = uploads.join(Uuid::now_v7().to_string());
        DirBuilder::new().mode(0o711).create(&folder).map_err(at(&folder))?;
        let path = folder.join(name);
        let made = OpenOptions::new().write(true).create_new(true).open(&path);
        let made = made.and_then(|to| to.set_permissions(fs::Permissions::from_mode(0o644)).map(|()| to));
        match made {
            Ok(file) => Ok(SentFile {
                file,
                path,
                uploads,
                limit: MAX_SENT_BYTES,
                unlooked: LOOK_EVERY_BYTES,
                is_too_much: false,
                is_whole: false,
            }),
            Err(error) => {
                give_up(&path);
                Err(at(&path)(error))
            }
        }
    }
}

/// A file that is being sent. Unless it is [finished](Self::finish), it is removed when this is dropped.
#[derive(Debug)]
pub struct SentFile {
    file: File,
    path: PathBuf,
    uploads: PathBuf,
    /// The limit of all files that were sent to the session.
    limit: u64,
    /// How much was written since the last check.
    unlooked: u64,
    is_too_much: bool,
    is_whole: bool,
}

impl SentFile {
    /// Completes the file, which is then kept, and returns its path. `sent` is the result of the transfer. Blocks.
    ///
    /// # Errors
    /// If the transfer failed, or there is too much.
    pub fn finish(mut self, sent: io::Result<()>) -> Result<String, FileError> {
        let sent = sent.and_then(|()| self.look());
        if self.is_too_much {
            return Err(FileError::TooMuch);
        }
        sent.map_err(at(&self.path))?;
        self.is_whole = true;
        Ok(self.path.to_string_lossy().into_owned())
    }

    /// Checks the size of all files that were sent to the session.
    fn look(&mut self) -> io::Result<()> {
        self.unlooked = 0;
        let entries = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
        let files = entries(self.uploads.clone()).flat_map(|folder| entries(folder.path()));
        let bytes: u64 = files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
        self.is_too_much = bytes > self.limit;
        if self.is_too_much { Err(io::ErrorKind::QuotaExceeded.into()) } else { Ok(()) }
    }
}

impl io::Write for SentFile {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.unlooked >= LOOK_EVERY_BYTES {
            self.look()?;
        }
        let written = self.file.write(part)?;
        self.unlooked = self.unlooked.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for SentFile {
    fn drop(&mut self) {
        if !self.is_whole {
            give_up(&self.path);
        }
    }
}

/// Removes files whose transfer was not completed.
fn give_up(path: &Path) {
    if let Some(folder) = path.parent()
        && let Err(error) = fs::remove_dir_all(folder)
    {
        tracing::warn!(path = %path.display(), %error, "failed to remove an incomplete file");
    }
}

fn give(folder: &Path, uid: u32, gid: u32) -> Result<(), Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty())?;
    let before = fstat(&opened)?.st_uid;
    if before == uid {
        return Ok(());
    }
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    // First, so that its old owner can add nothing meanwhile and keeps no rights.
    fchown(&opened, uid, gid)?;
    fchmod(&opened, Mode::from_raw_mode(0o700))?;
    for entry in Dir::read_from(&opened)? {
        let entry = entry?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(file) = openat(&opened, entry.file_name(), flags, Mode::empty()) else { continue };
        let stat = fstat(&file)?;
        let is_ordinary = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if is_ordinary && stat.st_uid == before && stat.st_nlink == 1 {
            // Exactly the file that was checked.
            chownat(&file, c"", uid, gid, AtFlags::EMPTY_PATH)?;
        }
    }
    Ok(())
}

/// Removes the files of sessions that no longer exist. Returns the living sessions.
pub(super) fn sweep(root: &Path, lives: impl Fn(Uuid) -> bool) -> Vec<Uuid> {
    let mut living = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let session = entry.file_name().to_str().and_then(|name| Uuid::try_parse(name).ok());
        let Some(session) = session else { continue };
        if lives(session) {
            living.push(session);
        } else if let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "failed to remove the files of an ended session");
        }
    }
    living
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    use pilotlight_store::files::is_sealed;

    use super::*;

    fn open(root: &Path, session: u128) -> SessionFiles {
        SessionFiles::open(root, Uuid::from_u128(session), &FilesKey::random(), &LocalFolders::default())
            .unwrap()
    }

    #[test]
    fn a_download_is_sealed_once_it_is_whole_and_its_name_stays_taken() {
        let root = tempfile::tempdir().unwrap();
        let files = open(root.path(), 1);
        let plain = files.downloads().join("receipt.pdf");
        fs::write(&plain, "container MSKU4822107").unwrap();
        fs::write(files.downloads().join("next.pdf.crdownload"), "half").unwrap();
        assert_eq!(files.list(), [Downloaded { name: "receipt.pdf".to_owned(), bytes: 21 }]);
        assert_eq!(fs::read(&plain).unwrap(), b"", "it lies in the clear still");
        let sealed = fs::read(files.folder.join("s/receipt.pdf")).unwrap();
        assert!(is_sealed(&sealed) && !sealed.windows(11).any(|window| window == b"MSKU4822107"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&files.folder.join("s")), mode(&files.folder.join("s/receipt.pdf"))),
            (0o700, 0o600)
        );
        for _ in 0..2 {
            let mut text = String::new();
            files.read("receipt.pdf").unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "container MSKU4822107");
        }
        // It is whole now, and an empty one is a download too.
        fs::rename(files.downloads().join("next.pdf.crdownload"), files.downloads().join("next.pdf"))
            .unwrap();
        fs::write(files.downloads().join("empty"), "").unwrap();
        let sizes: Vec<_> = files.list().into_iter().map(|file| (file.name, file.bytes)).collect();
        let wanted = [("empty", 0), ("next.pdf", 4), ("receipt.pdf", 21)];
        assert_eq!(sizes, wanted.map(|(name, bytes)| (name.to_owned(), bytes)));
    }

    #[test]
    fn whoever_asks_at_the_same_time_gets_the_whole_download() {
        let root = tempfile::tempdir().unwrap();
        let files = open(root.path(), 1);
        let contents = "container ".repeat(50_000);
        for number in 0..10 {
            let name = format!("{number}.txt");
            fs::write(files.downloads().join(&name), &contents).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let mut text = String::new();
                        files.read(&name).unwrap().read_to_string(&mut text).unwrap();
                        assert_eq!(text.len(), contents.len(), "{name}");
                    });
                }
            });
        }
    }

    #[test]
    fn nothing_but_a_sessions_own_files_can_be_named() {
        let root = tempfile::tempdir().unwrap();
        let (files, other) = (open(root.path(), 1), open(root.path(), 2));
        fs::write(files.downloads().join("a.txt"), "a").unwrap();
        fs::write(files.downloads().join("b.txt.crdownload"), "half").unwrap();
        fs::write(other.downloads().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(other.downloads().join("secret"), files.downloads().join("link")).unwrap();
        fs::hard_link(other.downloads().join("secret"), files.downloads().join("hard")).unwrap();
        let names: Vec<String> = files.list().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["a.txt"]);
        assert!(files.read("a.txt").is_ok());
        for name in ["link", "hard", "", ".", "..", "../d/a.txt", "none"] {
            assert!(files.read(name).is_err(), "{name}");
        }
        let own = files.downloads().join("a.txt").display().to_string();
        let foreign = other.downloads().join("secret").display().to_string();
        let dotted = files.downloads().join("../d/../../2/d/secret").display().to_string();
        let taken = files.take(std::slice::from_ref(&own), false).unwrap();
        assert!(taken[0].ends_with("/a.txt") && taken[0] != own, "{taken:?}");
        assert_eq!(fs::read_to_string(&taken[0]).unwrap(), "a");
        for path in [foreign, dotted, "/etc/passwd".to_owned(), "relative".to_owned()] {
            assert!(
                matches!(files.take(std::slice::from_ref(&path), false), Err(FileError::Foreign)),
                "{path}"
            );
        }
    }

    #[test]
    fn files_of_shared_folders_are_copied() {
        let (root, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let local = LocalFolders::new(vec![shared.path().to_owned()]);
        let key = FilesKey::random();
        let files = SessionFiles::open(root.path(), Uuid::from_u128(1), &key, &local).unwrap();
        let mine = shared.path().join("mine.txt");
        fs::write(&mine, "mine").unwrap();
        assert!(files.take(&[mine.display().to_string()], false).is_err());
        assert!(files.take(&["/etc/hostname".to_owned()], true).is_err());
        let taken = files.take(&[mine.display().to_string()], true).unwrap();
        assert!(taken[0].ends_with("/mine.txt") && taken[0] != mine.display().to_string());
        assert_eq!(fs::read_to_string(&taken[0]).unwrap(), "mine");
        fs::write(files.downloads().join("got.txt"), "got").unwrap();
        files.deliver("got.txt", shared.path()).unwrap();
        assert_eq!(fs::read_to_string(shared.path().join("got.txt")).unwrap(), "got");
        assert!(files.deliver("got.txt", shared.path()).is_err(), "nothing is overwritten");
        assert!(matches!(files.deliver("got.txt", root.path()), Err(FileError::Foreign)));
        // What was sent to us is given to whoever names it, and nothing beside it.
        let sent = files.receive("../sent.txt", b"sent").unwrap();
        assert_eq!(files.take(std::slice::from_ref(&sent), false).unwrap(), std::slice::from_ref(&sent));
        assert_eq!(fs::read_to_string(&sent).unwrap(), "sent");
        assert!(files.receive("..", b"").is_err());
        for path in
            [format!("{sent}/../../../d/got.txt"), format!("{sent}/.."), sent.replace("sent.txt", "none")]
        {
            assert!(files.take(std::slice::from_ref(&path), false).is_err(), "{path}");
        }
        sweep(root.path(), |session| session != Uuid::from_u128(1));
        assert!(!files.downloads().exists());
    }

    #[test]
    fn what_is_sent_has_a_limit_and_half_a_file_is_not_kept() {
        let root = tempfile::tempdir().unwrap();
        let files = open(root.path(), 1);
        let send = |bytes: usize, limit: u64| {
            let mut file = files.begin("sent".as_ref()).unwrap();
            file.limit = limit;
            let sent = io::Write::write_all(&mut file, &vec![b'x'; bytes]);
            file.finish(sent)
        };
        let count = || fs::read_dir(files.uploads()).unwrap().count();
        let kept = send(600, 1000).unwrap();
        assert_eq!(fs::metadata(&kept).unwrap().len(), 600);
        assert!(matches!(send(401, 1000), Err(FileError::TooMuch)), "together they have more");
        assert_eq!(count(), 1);
        send(400, 1000).unwrap();
        assert!(matches!(send(1, 1000), Err(FileError::TooMuch)));
        assert_eq!(count(), 2);
        // Before it has come to its end.
        let mut long = files.begin("long".as_ref()).unwrap();
        long.limit = 1000;
        let part = vec![b'x'; usize::try_from(LOOK_EVERY_BYTES).unwrap()];
        io::Write::write_all(&mut long, &part).unwrap();
        assert!(io::Write::write_all(&mut long, &part).is_err());
        assert_eq!(count(), 3);
        drop(long);
        assert_eq!(count(), 2, "half a file is left");
    }

    #[test]
    fn a_download_that_cannot_be_delivered_leaves_nothing_behind() {
        let (root, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let local = LocalFolders::new(vec![shared.path().to_owned()]);
        let files = SessionFiles::open(root.path(), Uuid::from_u128(1), &FilesKey::random(), &local).unwrap();
        // Larger than what is opened at once.
        fs::write(files.downloads().join("got.bin"), vec![b'x'; 1 << 20]).unwrap();
        drop(files.list());
        let sealed = files.folder.join("s/got.bin");
        let bytes = fs::read(&sealed).unwrap();
        fs::write(&sealed, &bytes[..bytes.len() / 2]).unwrap();
        files.deliver("got.bin", shared.path()).unwrap_err();
        assert_eq!(fs::read_dir(shared.path()).unwrap().count(), 0, "half a file is delivered");
        fs::write(&sealed, bytes).unwrap();
        files.deliver("got.bin", shared.path()).unwrap();
        assert_eq!(fs::metadata(shared.path().join("got.bin")).unwrap().len(), 1 << 20);
    }

    /// As root alone files can be given away.
    #[test]
    fn downloads_follow_their_session_to_another_browsers_user() {
        if !geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let files = open(root.path(), 1);
        let owner = |path: &Path| path.symlink_metadata().map(|of| (of.uid(), of.gid())).unwrap();
        let downloads = files.downloads();
        files.give_downloads_to((70_001, 70_001)).unwrap();
        assert_eq!(owner(&downloads), (70_001, 70_001));
        let (theirs, ours) = (downloads.join("theirs"), root.path().join("ours"));
        fs::write(&theirs, "theirs").unwrap();
        std::os::unix::fs::chown(&theirs, Some(70_001), Some(70_001)).unwrap();
        fs::write(&ours, "ours").unwrap();
        std::os::unix::fs::symlink(&ours, downloads.join("link")).unwrap();
        fs::hard_link(&ours, downloads.join("twin")).unwrap();
        fs::write(downloads.join("root's"), "").unwrap();
        files.give_downloads_to((70_002, 70_002)).unwrap();
        assert_eq!((owner(&downloads), owner(&theirs)), ((70_002, 70_002), (70_002, 70_002)));
        for path in [ours, downloads.join("link"), downloads.join("twin"), downloads.join("root's")] {
            assert_eq!(owner(&path), (0, 0), "{path:?}");
        }
        files.take_downloads_back(|| true).unwrap();
        assert_eq!(owner(&downloads), (70_002, 70_002), "another window is there by now");
        files.take_downloads_back(|| false).unwrap();
        assert_eq!((owner(&downloads), owner(&theirs)), ((0, 0), (0, 0)));
        files.give_downloads_to((70_003, 70_003)).unwrap();
        assert_eq!((owner(&downloads), owner(&theirs)), ((70_003, 70_003), (70_003, 70_003)));
    }
}
