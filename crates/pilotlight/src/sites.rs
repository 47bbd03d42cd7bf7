//! The sites that sessions can be made of: those of the configuration, and those defined by REST.
//!
//! The latter are kept in the state folder, one TOML file each with its flow beside it, in the same form as
//! a site that a person writes down, so that a restart reads them again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use pilotlight_api::{SignIn, SiteDefinition};

use crate::config::{Site, SiteError};

/// The most sites that there can be.
const MAX_SITES: usize = 1000;
/// The flow of a site that was defined by REST, in the folder of the site's name.
const SIGN_IN_FILE: &str = "sign-in.json";
/// The same for the flow that keeps a sign-in alive.
const REFRESH_FILE: &str = "refresh.json";

/// Why a site cannot be defined or removed.
#[derive(Debug, thiserror::Error)]
pub enum SitesError {
    /// The definition cannot be accepted.
    #[error("the site cannot be accepted")]
    Site(#[source] SiteError),
    /// There is none of this name.
    #[error("there is no such site")]
    Unknown,
    /// It comes from the configuration.
    #[error("the site comes from the configuration")]
    Configured,
    /// There are too many.
    #[error("there are {MAX_SITES} sites already")]
    TooMany,
    /// It could not be written down or removed.
    #[error("{} could not be written", path.display())]
    Written {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has something in it that the file's format does not know.
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
}

impl Sites {
    /// The sites of the configuration. Those that lie in `folder` were defined by REST.
    #[must_use]
    pub fn new(folder: PathBuf, configured: BTreeMap<String, Site>) -> Self {
        let known = configured.into_iter().map(|(name, site)| {
            let configured = !file(&folder, &name).exists();
            (name, Known { site: Arc::new(site), configured })
        });
        let known = RwLock::new(known.collect());
        Self { folder, known }
    }

    /// The names, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    /// A site by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Site>> {
        self.read().get(name).map(|known| Arc::clone(&known.site))
    }

    /// Defines a site, or defines it anew, and writes it down first.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn define(&self, name: &str, definition: SiteDefinition) -> Result<Arc<Site>, SitesError> {
        let site = Arc::new(Site::new(definition).map_err(SitesError::Site)?);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match known.get(name) {
            Some(Known { configured: true, .. }) => return Err(SitesError::Configured),
            None if known.len() >= MAX_SITES => return Err(SitesError::TooMany),
            _ => {}
        }
        self.write_down(name, &site.definition)?;
        known.insert(name.to_owned(), Known { site: Arc::clone(&site), configured: false });
        Ok(site)
    }

    /// Removes a site that was defined by REST.
    ///
    /// # Errors
    /// Why it is still there.
    pub fn remove(&self, name: &str) -> Result<(), SitesError> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match known.get(name) {
            None => return Err(SitesError::Unknown),
            Some(Known { configured: true, .. }) => return Err(SitesError::Configured),
            Some(_) => {}
        }
        let path = file(&self.folder, name);
        fs::remove_file(&path).map_err(|source| SitesError::Written { path, source })?;
        // Without the site's own file nobody reads its flow any more.
        drop(fs::remove_dir_all(self.folder.join(name)));
        known.remove(name);
        Ok(())
    }

    fn write_down(&self, name: &str, definition: &SiteDefinition) -> Result<(), SitesError> {
        let mut written = definition.clone();
        for (flow, file) in [(&mut written.sign_in, SIGN_IN_FILE), (&mut written.refresh.flow, REFRESH_FILE)]
        {
            if let Some(SignIn::Flow(steps)) = flow {
                write(&self.folder.join(name).join(file), steps.to_string().as_bytes())?;
                *flow = Some(SignIn::File(format!("{name}/{file}")));
            }
        }
        for (operation, definition) in &mut written.operations {
            for (index, phase) in definition.phases.iter_mut().enumerate() {
                if let SignIn::Flow(steps) = &phase.flow {
                    let file = format!("{name}/{operation}-{}.json", index + 1);
                    write(&self.folder.join(&file), steps.to_string().as_bytes())?;
                    phase.flow = SignIn::File(file);
                }
            }
        }
        let text = toml::to_string(&written).map_err(SitesError::NotToml)?;
        write(&file(&self.folder, name), text.as_bytes())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.toml"))
}

/// Writes the new file beside the old one and puts it in its place: whoever reads sees one or the other.
fn write(path: &Path, bytes: &[u8]) -> Result<(), SitesError> {
    let failed = |source| SitesError::Written { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path)).map_err(failed)
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

    #[test]
    fn a_defined_site_is_written_down_and_removed_again() {
        let folder = tempfile::tempdir().unwrap();
        let sites = Sites::new(folder.path().to_owned(), BTreeMap::new());
        sites.define("portal", definition()).unwrap();
        assert_eq!(sites.names(), ["portal"]);
        let text = fs::read_to_string(folder.path().join("portal.toml")).unwrap();
        assert!(text.contains("portal/sign-in.json"), "{text}");
        assert!(folder.path().join("portal/sign-in.json").exists());
        assert!(text.contains("portal/look-1.json") && folder.path().join("portal/look-1.json").exists());
        sites.remove("portal").unwrap();
        assert!(sites.get("portal").is_none() && !folder.path().join("portal.toml").exists());
        assert!(matches!(sites.remove("portal"), Err(SitesError::Unknown)));
    }

    #[test]
    fn a_configured_site_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::new(definition()).unwrap();
        let sites = Sites::new(folder.path().to_owned(), BTreeMap::from([("portal".to_owned(), site)]));
        assert!(matches!(sites.define("portal", definition()), Err(SitesError::Configured)));
        assert!(matches!(sites.remove("portal"), Err(SitesError::Configured)));
    }
}
