//! The user that a browser runs as. Chromium's sandbox does not work for root, so root always starts it as another
//! user: a separate one for each browser, if the machine has enough. Any other user starts it as the same user. It
//! never runs as root, whatever is configured.

use std::fs;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// Users for browsers if nothing is configured and the server runs as root. Linux has no accounts there, and systemd
/// assigns none of these ids (<https://systemd.io/UIDS-GIDS/>: 1879048192 to 2147483647 are unused).
const DEFAULT_NUMBERS: RangeInclusive<u32> = 2_000_000_000..=2_000_065_535;
/// Users for browsers if those ids do not exist, as in most containers with user namespaces: the first one that
/// exists.
const DEFAULT_USERS: [&str; 2] = ["pilotlight", "nobody"];
/// The minimum size of a range: one user for what serves all browsers, and one for a browser.
const NUMBERS_MIN: u32 = 2;

/// A user to run as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAs {
    /// Never 0.
    pub uid: u32,
    /// Its group; never 0.
    pub gid: u32,
    /// Its name, or its id if it has none.
    pub name: String,
}

/// Why no user can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// Root was configured, or there is no other user.
    #[error(
        "Chromium is never run as root: its sandbox would be off; set `chromium.user` to an unprivileged user"
    )]
    Root,
    /// There is no such user.
    #[error(
        "there is no user `{0}` in /etc/passwd; create it, or set `chromium.user` to another name or a number"
    )]
    Unknown(String),
    /// Another user was configured without the right to change the user.
    #[error("browsers can run as `{0}` only if Pilotlight itself is started by root or by that user")]
    NotRoot(String),
    /// An unusable range of ids.
    #[error(
        "`{0}` cannot be used as users for browsers: there must be at least 2, and none of them 4294967295"
    )]
    Range(String),
    /// Ids that this container does not have.
    #[error("not all of the users {0} exist here: see /proc/self/uid_map and /proc/self/gid_map")]
    Unmapped(String),
    /// The list of users cannot be read.
    #[error("/etc/passwd cannot be read: {0}")]
    Unreadable(String),
}

impl RunAs {
    /// Returns a user without a name, in a group with the same id.
    pub(super) fn numbered(number: u32) -> Self {
        Self { uid: number, gid: number, name: number.to_string() }
    }
}

/// The users that browsers run as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrowserUsers {
    /// The server's own user.
    Own,
    /// All browsers as this one.
    One(RunAs),
    /// Each browser as another of these ids. The first one is for what serves all browsers.
    Each(RangeInclusive<u32>),
}

impl BrowserUsers {
    /// Chooses the users. `configured` is a name, an id, or a range of ids such as `2000000000-2000000999`.
    ///
    /// # Errors
    /// If it would be root, an unknown user, or one that the server cannot change to.
    pub fn choose(configured: Option<&str>) -> Result<Self, UserError> {
        let passwd =
            fs::read_to_string("/etc/passwd").map_err(|error| UserError::Unreadable(error.to_string()))?;
        let maps = ["/proc/self/uid_map", "/proc/self/gid_map"].map(|map| fs::read_to_string(map).ok());
        // A kernel without user namespaces has no maps, and all ids.
        let exist = |numbers: &RangeInclusive<u32>| {
            maps.iter().all(|map| map.as_deref().is_none_or(|map| has_all(map, numbers)))
        };
        choose(configured, &passwd, rustix::process::geteuid().as_raw(), exist)
    }

    /// Returns the user that serves all browsers, or queries a program's version, if that is not the server's own.
    #[must_use]
    pub fn helper(&self) -> Option<RunAs> {
        match self {
            Self::Own => None,
            Self::One(user) => Some(user.clone()),
            Self::Each(numbers) => Some(RunAs::numbered(*numbers.start())),
        }
    }

    /// Returns a description of the users, without a full stop.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Own => "all browsers run as the user of the server".to_owned(),
            Self::One(user) => format!("all browsers run as `{}`", user.name),
            Self::Each(numbers) => {
                format!(
                    "each browser has a user of its own, from {} to {}",
                    numbers.start() + 1,
                    numbers.end()
                )
            }
        }
    }
}

fn choose(
    configured: Option<&str>,
    passwd: &str,
    own_uid: u32,
    exist: impl Fn(&RangeInclusive<u32>) -> bool,
) -> Result<BrowserUsers, UserError> {
    let chosen = match configured {
        Some(text) => match range(text) {
            Some(numbers) if own_uid != 0 => return Err(UserError::NotRoot(in_words(&numbers))),
            Some(numbers) if *numbers.start() == 0 => return Err(UserError::Root),
            Some(numbers)
                if numbers.end() - numbers.start() < NUMBERS_MIN - 1 || *numbers.end() == u32::MAX =>
            {
                return Err(UserError::Range(in_words(&numbers)));
            }
            Some(numbers) if !exist(&numbers) => return Err(UserError::Unmapped(in_words(&numbers))),
            Some(numbers) => return Ok(BrowserUsers::Each(numbers)),
            None => look_up(text, passwd).ok_or_else(|| UserError::Unknown(text.into()))?,
        },
        None if own_uid != 0 => return Ok(BrowserUsers::Own),
        None if exist(&DEFAULT_NUMBERS) => return Ok(BrowserUsers::Each(DEFAULT_NUMBERS)),
        None => DEFAULT_USERS.iter().find_map(|user| look_up(user, passwd)).ok_or(UserError::Root)?,
    };
    match chosen {
        user if user.uid == 0 || user.gid == 0 => Err(UserError::Root),
        user if user.uid == own_uid => Ok(BrowserUsers::Own),
        user if own_uid != 0 => Err(UserError::NotRoot(user.name)),
        user => Ok(BrowserUsers::One(user)),
    }
}

/// Parses `FIRST-LAST`; `None` if it is not two numbers in this order.
fn range(text: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = text.split_once('-')?;
    let numbers = first.parse().ok()?..=last.parse().ok()?;
    Some(numbers).filter(|numbers| !numbers.is_empty())
}

fn in_words(numbers: &RangeInclusive<u32>) -> String {
    format!("{}-{}", numbers.start(), numbers.end())
}

/// Returns whether all of these ids exist in a namespace with this map: `user_namespaces(7)`, lines of the first id
/// inside, the first outside, and the count.
fn has_all(map: &str, numbers: &RangeInclusive<u32>) -> bool {
    map.lines().any(|line| {
        let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        let [first, _, count] = fields[..] else { return false };
        first <= u64::from(*numbers.start()) && u64::from(*numbers.end()) < first.saturating_add(count)
    })
}

/// An id without an entry is used as it is, with a group of the same id.
fn look_up(user: &str, passwd: &str) -> Option<RunAs> {
    let number: Option<u32> = user.parse().ok();
    let listed = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let (name, uid, gid) = (fields.first()?, fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
        (*name == user || Some(uid) == number).then(|| RunAs { uid, gid, name: (*name).into() })
    });
    listed.or_else(|| number.map(|number| RunAs { uid: number, gid: number, name: user.into() }))
}

#[cfg(test)]
mod tests {
    use super::BrowserUsers::{Each, One, Own};
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nwww:x:33:33::/:\nwheel:x:50:0::/:\nnobody:x:65534:65534::/:\n";

    fn chosen(configured: Option<&str>, passwd: &str, own_uid: u32) -> Result<BrowserUsers, UserError> {
        choose(configured, passwd, own_uid, |_| true)
    }

    fn one(configured: &str) -> RunAs {
        match chosen(Some(configured), PASSWD, 0) {
            Ok(One(user)) => user,
            other => panic!("{configured}: {other:?}"),
        }
    }

    #[test]
    fn root_gives_each_browser_a_user_of_its_own() {
        assert_eq!(chosen(None, PASSWD, 0), Ok(Each(DEFAULT_NUMBERS)));
        assert_eq!(chosen(Some("70000-70001"), PASSWD, 0), Ok(Each(70000..=70001)));
        assert_eq!(Each(70000..=70001).helper().unwrap().uid, 70000);
        assert_eq!((one("www").uid, one("33").name.as_str(), one("4711").gid), (33, "www", 4711));
    }

    #[test]
    fn where_the_numbers_do_not_exist_all_browsers_have_one_user() {
        let choose = |passwd: &str| choose(None, passwd, 0, |_| false);
        assert_eq!(choose(PASSWD), Ok(One(RunAs { uid: 65534, gid: 65534, name: "nobody".into() })));
        let with_own = format!("{PASSWD}pilotlight:x:901:902::/:\n");
        assert_eq!(choose(&with_own), Ok(One(RunAs { uid: 901, gid: 902, name: "pilotlight".into() })));
        assert_eq!(choose("root:x:0:0::/:\n"), Err(UserError::Root));
        let unmapped = super::choose(Some("5-6"), PASSWD, 0, |_| false);
        assert_eq!(unmapped, Err(UserError::Unmapped("5-6".into())));
    }

    #[test]
    fn never_as_root() {
        for user in ["root", "0", "wheel", "0-5"] {
            assert_eq!(chosen(Some(user), PASSWD, 0), Err(UserError::Root), "{user}");
        }
        for user in ["nowhere", "6-5", "-5", "5-", "5-6-7", "5-x"] {
            assert_eq!(chosen(Some(user), PASSWD, 0), Err(UserError::Unknown(user.into())));
        }
        for range in ["5-5", "5-4294967295"] {
            assert_eq!(chosen(Some(range), PASSWD, 0), Err(UserError::Range(range.into())));
        }
    }

    #[test]
    fn anybody_else_starts_browsers_as_the_same_user() {
        assert_eq!(chosen(None, PASSWD, 33), Ok(Own));
        assert_eq!(chosen(Some("www"), PASSWD, 33), Ok(Own));
        for other in ["nobody", "5-6"] {
            assert_eq!(chosen(Some(other), PASSWD, 33), Err(UserError::NotRoot(other.into())));
        }
    }

    #[test]
    fn numbers_exist_as_the_namespace_has_them() {
        assert!(has_all("         0          0 4294967295\n", &DEFAULT_NUMBERS));
        assert!(has_all("0 1000 1\n1 100000 65536\n", &(5..=65_536)));
        for map in ["0 1000 1\n1 100000 65536\n", "", "x", "0 0"] {
            assert!(!has_all(map, &DEFAULT_NUMBERS), "{map}");
        }
    }
}
