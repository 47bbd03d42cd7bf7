//! The sites of the configuration, and those defined over REST.
//!
//! The latter are stored in the state folder, as one TOML file each with its flows next to it, in the same format as
//! in the configuration. The name of a flow's file is derived from its contents, and the file never changes, so that
//! a site is changed atomically by replacing its own file. A site that cannot be read affects only itself, and is
//! reported.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use pilotlight_api::{SignIn, SiteDefinition};
use sha2::{Digest, Sha256};

use crate::config::{Site, SiteError};
use crate::private_file;

/// The maximum number of sites.
const MAX_SITES: usize = 1000;
/// Number of digits of a flow's digest in its file name.
const DIGEST_DIGITS: usize = 16;

/// Why a site cannot be defined or removed.
#[derive(Debug, thiserror::Error)]
pub enum SitesError {
    /// The definition is invalid.
    #[error("the site is invalid")]
    Site(#[source] SiteError),
    /// The site does not exist.
    #[error("there is no such site")]
    Unknown,
    /// The site is defined in the configuration.
    #[error("the site is defined in the configuration")]
    Configured,
    /// There are too many sites.
    #[error("there are {MAX_SITES} sites already")]
    TooMany,
    /// A file could not be written or removed.
    #[error("cannot write {}", path.display())]
    Written {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The definition contains something that TOML does not support.
    #[error("the site cannot be written as TOML")]
    NotToml(#[source] toml::ser::Error),
}

#[derive(Debug, Clone)]
struct Known {
    site: Arc<Site>,
    configured: bool,
}

/// All sites by name.
#[derive(Debug)]
pub struct Sites {
    folder: PathBuf,
    known: RwLock<BTreeMap<String, Known>>,
    /// The errors of sites in the folder that cannot be used.
    broken: RwLock<BTreeMap<String, String>>,
}

impl Sites {
    /// Creates the list. `stored` are the names of sites in `folder`, which were defined over REST; `broken` ones are
    /// in the folder, too.
    #[must_use]
    pub fn new(
        folder: PathBuf,
        sites: BTreeMap<String, Site>,
        stored: &BTreeSet<String>,
        broken: BTreeMap<String, String>,
    ) -> Self {
        if let Err(error) = close_to_others(&folder) {
            tracing::warn!(folder = %folder.display(), %error, "failed to restrict access to the folder of sites");
        }
        for (name, problem) in &broken {
            tracing::error!(site = name, problem, "a site defined over REST cannot be used");
        }
        let known = sites.into_iter().map(|(name, site)| {
            let configured = !stored.contains(&name);
            (name, Known { site: Arc::new(site), configured })
        });
        let known = RwLock::new(known.collect());
        Self { folder, known, broken: RwLock::new(broken) }
    }

    /// Returns the errors of sites that cannot be used, by name.
    #[must_use]
    pub fn broken(&self) -> BTreeMap<String, String> {
        self.broken.read().clone()
    }

    /// Returns the names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    /// Returns a site by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Site>> {
        self.read().get(name).map(|known| Arc::clone(&known.site))
    }

    /// Defines or replaces a site, after writing it to disk.
    ///
    /// # Errors
    /// Returns why nothing was changed.
    pub fn define(&self, name: &str, definition: SiteDefinition) -> Result<Arc<Site>, SitesError> {
        let site = Arc::new(Site::new(definition).map_err(SitesError::Site)?);
        let mut known = self.known.write();
        match known.get(name) {
            Some(Known { configured: true, .. }) => return Err(SitesError::Configured),
            None if known.len() >= MAX_SITES => return Err(SitesError::TooMany),
            _ => {}
        }
        self.write_down(name, &site.definition)?;
        known.insert(name.to_owned(), Known { site: Arc::clone(&site), configured: false });
        self.mend(name);
        Ok(site)
    }

    /// Removes a site that was defined over REST.
    ///
    /// # Errors
    /// Returns why the site still exists.
    pub fn remove(&self, name: &str) -> Result<(), SitesError> {
        let mut known = self.known.write();
        match known.get(name) {
            None if !self.broken().contains_key(name) => return Err(SitesError::Unknown),
            Some(Known { configured: true, .. }) => return Err(SitesError::Configured),
            _ => {}
        }
        let path = file(&self.folder, name);
        let removed = fs::remove_file(&path).and_then(|()| private_file::sync_folder(&path));
        removed.map_err(|source| SitesError::Written { path, source })?;
        // Without the site's own file, its flows are not read any more.
        drop(fs::remove_dir_all(self.folder.join(name)));
        known.remove(name);
        self.mend(name);
        Ok(())
    }

    /// Removes the error of a site that was repaired.
    fn mend(&self, name: &str) {
        self.broken.write().remove(name);
    }

    fn write_down(&self, name: &str, definition: &SiteDefinition) -> Result<(), SitesError> {
        let mut written = definition.clone();
        let mut flows = BTreeMap::new();
        let mut put_aside = |stem: &str, flow: &mut SignIn| {
            if let SignIn::Flow(steps) = flow {
                let text = steps.to_string();
                let file = flow_name(stem, &text);
                *flow = SignIn::File(format!("{name}/{file}"));
                flows.insert(file, text);
            }
        };
        for (stem, flow) in [("sign-in", &mut written.sign_in), ("refresh", &mut written.refresh.flow)] {
            flow.iter_mut().for_each(|flow| put_aside(stem, flow));
        }
        for (operation, definition) in &mut written.operations {
            for (index, phase) in definition.phases.iter_mut().enumerate() {
                put_aside(&format!("{operation}-{}", index + 1), &mut phase.flow);
            }
        }
        let text = toml::to_string(&written).map_err(SitesError::NotToml)?;
        let beside = self.folder.join(name);
        let before = files_in(&beside);
        let result = self.write_files(name, &flows, &text);
        // Files that are not needed: of the previous version of the site, or of the one that could not be written.
        let unneeded = files_in(&beside);
        let unneeded = unneeded.iter().filter(|file| match &result {
            Ok(()) => !flows.contains_key(*file),
            Err(_) => !before.contains(*file),
        });
        unneeded.for_each(|file| drop(fs::remove_file(beside.join(file))));
        result
    }

    /// Writes the site's own file last: without it, the others are not read.
    fn write_files(
        &self,
        name: &str,
        flows: &BTreeMap<String, String>,
        text: &str,
    ) -> Result<(), SitesError> {
        let failed = |path: &Path, source| SitesError::Written { path: path.to_owned(), source };
        let beside = self.folder.join(name);
        let folder = if flows.is_empty() { &self.folder } else { &beside };
        private_file::make_folder(&self.folder)
            .and_then(|()| private_file::make_folder(folder))
            .map_err(|error| failed(folder, error))?;
        for (file, text) in flows {
            let path = beside.join(file);
            if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
                continue;
            }
            private_file::write(&path, text.as_bytes()).map_err(|error| failed(&path, error))?;
        }
        let path = file(&self.folder, name);
        private_file::write(&path, text.as_bytes()).map_err(|error| failed(&path, error))
    }

    fn read(&self) -> parking_lot::RwLockReadGuard<'_, BTreeMap<String, Known>> {
        self.known.read()
    }
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.toml"))
}

/// Returns the name of a flow's file.
fn flow_name(stem: &str, text: &str) -> String {
    let digest: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{stem}-{}.json", &digest[..DIGEST_DIGITS])
}

fn files_in(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Portals and sign-in flows must not be visible to other users.
fn close_to_others(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    private_file::make_folder(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            private_file::make_folder(&entry.path())?;
        } else if kind.is_file() {
            fs::set_permissions(entry.path(), Permissions::from_mode(private_file::OWNER_FILE))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> SiteDefinition {
        serde_json::from_value(serde_json::json!({
            "start_url": "http://127.0.0.1:8099/",
            "sign_in": {"title": "sign in", "steps": [{"type": "navigate", "url": "http://127.0.0.1:8099/"}]},
            "signed_in": {"any": [{"selector": "#user"}]},
            "operations": {"look": {"phases": [{"flow": {"title": "look", "steps": [
                {"type": "customStep", "name": "screenshot", "parameters": {"name": "${what}"}},
            ]}, "needs": ["what"]}]}},
        }))
        .unwrap()
    }

    fn sites_in(folder: &Path) -> Sites {
        Sites::new(folder.to_owned(), BTreeMap::new(), &BTreeSet::new(), BTreeMap::new())
    }

    /// The mode of everything in a folder, by its path.
    fn modes(folder: &Path) -> BTreeMap<PathBuf, u32> {
        let mut modes = BTreeMap::new();
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            modes.insert(path.clone(), fs::metadata(&path).unwrap().permissions().mode() & 0o777);
            if path.is_dir() {
                modes.extend(self::modes(&path));
            }
        }
        modes
    }

    #[test]
    fn a_defined_site_is_written_down_and_removed_again() {
        let folder = tempfile::tempdir().unwrap();
        let sites = sites_in(folder.path());
        sites.define("portal", definition()).unwrap();
        assert_eq!(sites.names(), ["portal"]);
        let text = fs::read_to_string(folder.path().join("portal.toml")).unwrap();
        let flows = files_in(&folder.path().join("portal"));
        assert_eq!(flows.len(), 2, "{flows:?}");
        assert!(flows.iter().all(|flow| text.contains(&format!("portal/{flow}"))), "{flows:?}: {text}");
        sites.remove("portal").unwrap();
        assert!(sites.get("portal").is_none() && files_in(folder.path()).is_empty());
        assert!(matches!(sites.remove("portal"), Err(SitesError::Unknown)));
    }

    #[test]
    fn a_site_changes_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let sites = sites_in(folder.path());
        sites.define("portal", definition()).unwrap();
        let before = (fs::read(folder.path().join("portal.toml")).unwrap(), modes(folder.path()));
        let mut other = definition();
        other.sign_in = Some(SignIn::Flow(serde_json::json!({"title": "other", "steps": []})));
        // Something is in the way of the site's own file, which comes last.
        let in_the_way = folder.path().join("portal.toml.new");
        fs::create_dir(&in_the_way).unwrap();
        let refused = sites.define("portal", other.clone());
        assert!(matches!(refused, Err(SitesError::Written { .. })), "{refused:?}");
        fs::remove_dir(&in_the_way).unwrap();
        assert_eq!((fs::read(folder.path().join("portal.toml")).unwrap(), modes(folder.path())), before);
        assert_eq!(sites.get("portal").unwrap().definition, definition());
        sites.define("portal", other).unwrap();
        assert_eq!(files_in(&folder.path().join("portal")).len(), 2, "the flow of before is still there");
    }

    #[test]
    fn nobody_else_may_look_at_sites() {
        let folder = tempfile::tempdir().unwrap();
        let sites = sites_in(folder.path());
        sites.define("portal", definition()).unwrap();
        let closed = modes(folder.path());
        assert!(
            closed.iter().all(|(path, mode)| *mode == if path.is_dir() { 0o700 } else { 0o600 }),
            "{closed:?}"
        );
        // An earlier version left them open.
        for path in
            [folder.path().to_owned(), folder.path().join("portal"), folder.path().join("portal.toml")]
        {
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        sites_in(folder.path());
        assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(modes(folder.path()), closed);
    }

    #[test]
    fn a_broken_site_is_told_until_it_is_defined_anew_or_removed() {
        let folder = tempfile::tempdir().unwrap();
        let broken: BTreeMap<_, _> = ["a", "b"].map(|name| (name.to_owned(), "cut off".to_owned())).into();
        for name in broken.keys() {
            fs::write(file(folder.path(), name), "start_url = \"http").unwrap();
        }
        let sites = Sites::new(folder.path().to_owned(), BTreeMap::new(), &BTreeSet::new(), broken);
        assert!(sites.get("a").is_none() && sites.names().is_empty());
        sites.define("a", definition()).unwrap();
        assert_eq!(sites.broken().into_keys().collect::<Vec<_>>(), ["b"]);
        sites.remove("b").unwrap();
        assert!(sites.broken().is_empty() && !file(folder.path(), "b").exists());
    }

    #[test]
    fn a_configured_site_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::new(definition()).unwrap();
        let configured = BTreeMap::from([("portal".to_owned(), site)]);
        let sites = Sites::new(folder.path().to_owned(), configured, &BTreeSet::new(), BTreeMap::new());
        assert!(matches!(sites.define("portal", definition()), Err(SitesError::Configured)));
        assert!(matches!(sites.remove("portal"), Err(SitesError::Configured)));
    }
}
