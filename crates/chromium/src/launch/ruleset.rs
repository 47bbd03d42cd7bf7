//! Landlock: a thread permanently gives up all rights over files except those over a few paths, for itself and
//! everything that it starts from then on.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope,
};

/// The rights that are given up: those that Linux 6.15 knows. An older kernel ignores those that it does not know.
pub const RIGHTS: ABI = ABI::V7;

/// How far programs are kept from files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// All requested rights are given up.
    Full,
    /// The kernel knows some of them.
    Partial,
    /// The kernel has no Landlock, or it is disabled.
    None,
}

/// Restricts this thread, and all that it starts from now on, to these rights over these paths and what is below
/// them, and to the given scopes. Afterwards programs can be started only without gaining privileges
/// (`PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// If a kernel that has Landlock refuses.
pub fn restrict<P: AsRef<Path>>(
    rules: impl IntoIterator<Item = (P, BitFlags<AccessFs>)>,
    scopes: impl Into<BitFlags<Scope>>,
) -> Result<Confinement, RulesetError> {
    let ruleset = Ruleset::default().handle_access(AccessFs::from_all(RIGHTS))?.scope(scopes)?;
    let mut ruleset = ruleset.create()?;
    for (path, rights) in rules {
        let path = path.as_ref();
        // What does not exist, or is not visible to us, is not accessible to the confined program either.
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
