//! Landlock: a thread gives up all rights over files but those over a few paths, for good and for everything that it
//! starts from then on.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope,
};

/// The rights that are given up: those that Linux 6.15 knows. An older kernel leaves out what it does not know.
pub const RIGHTS: ABI = ABI::V7;

/// How far files are kept from programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// Every right that is asked for is given up.
    Full,
    /// The kernel knows some of them.
    Partial,
    /// The kernel has no Landlock, or it is switched off.
    None,
}

/// Leaves this thread, and all that it starts from now on, these rights over these paths and what lies below them.
/// The scopes are what it no longer reaches outside. Programs can be started after that only where no privilege can
/// be gained (`PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// Where a kernel that has Landlock refuses.
pub fn restrict<P: AsRef<Path>>(
    rules: impl IntoIterator<Item = (P, BitFlags<AccessFs>)>,
    scopes: impl Into<BitFlags<Scope>>,
) -> Result<Confinement, RulesetError> {
    let ruleset = Ruleset::default().handle_access(AccessFs::from_all(RIGHTS))?.scope(scopes)?;
    let mut ruleset = ruleset.create()?;
    for (path, rights) in rules {
        let path = path.as_ref();
        // What is not there, or not for us to see, is not for whoever is confined either.
        let Ok(place) = PathFd::new(path) else { continue };
        let rights = if path.is_dir() { rights } else { rights & AccessFs::from_file(RIGHTS) };
        if !rights.is_empty() {
            ruleset = ruleset.add_rule(PathBeneath::new(place, rights))?;
        }
    }
    Ok(match ruleset.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Confinement::Full,
        RulesetStatus::PartiallyEnforced => Confinement::Partial,
        RulesetStatus::NotEnforced => Confinement::None,
    })
}
