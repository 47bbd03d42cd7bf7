//! Who a browser runs as. Chromium's sandbox does not come up for root, so root always starts it as somebody
//! else; anybody else starts it as himself. Never root, whatever is configured.

use std::fs;

/// Who browsers run as where nothing is configured and we are root, first that exists.
const DEFAULT_USERS: [&str; 2] = ["pilotlight", "nobody"];

/// A user to run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAs {
    /// Never 0.
    pub uid: u32,
    /// Its group; never 0.
    pub gid: u32,
    /// Its name, or its number where it has none.
    pub name: String,
}

/// Why nobody can be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// Root was asked for, or only root is there.
    #[error(
        "Chromium is never run as root: its sandbox would be off; set `chromium.user` to an unprivileged user"
    )]
    Root,
    /// No such user.
    #[error(
        "there is no user `{0}` in /etc/passwd; create it, or set `chromium.user` to another name or a number"
    )]
    Unknown(String),
    /// Another user was asked for without the right to change.
    #[error("browsers can run as `{0}` only if Pilotlight itself is started by root or by that user")]
    NotRoot(String),
    /// The list of users cannot be read.
    #[error("/etc/passwd cannot be read: {0}")]
    Unreadable(String),
}

impl RunAs {
    /// Whom to change to, or `None` where browsers run as ourselves. `configured` is a name or a number.
    ///
    /// # Errors
    /// Where it would be root, an unknown user, or one that we may not become.
    pub fn choose(configured: Option<&str>) -> Result<Option<Self>, UserError> {
        let passwd =
            fs::read_to_string("/etc/passwd").map_err(|error| UserError::Unreadable(error.to_string()))?;
        choose(configured, &passwd, rustix::process::geteuid().as_raw())
    }
}

fn choose(configured: Option<&str>, passwd: &str, own_uid: u32) -> Result<Option<RunAs>, UserError> {
    let chosen = match configured {
        Some(user) => Some(look_up(user, passwd).ok_or_else(|| UserError::Unknown(user.into()))?),
        None if own_uid == 0 => {
            Some(DEFAULT_USERS.iter().find_map(|user| look_up(user, passwd)).ok_or(UserError::Root)?)
        }
        None => None,
    };
    match chosen {
        Some(user) if user.uid == 0 || user.gid == 0 => Err(UserError::Root),
        Some(user) if user.uid == own_uid => Ok(None),
        Some(user) if own_uid != 0 => Err(UserError::NotRoot(user.name)),
        chosen => Ok(chosen),
    }
}

/// A number that is in no file stands for itself, with a group of the same number.
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
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nwww:x:33:33::/:\nwheel:x:50:0::/:\nnobody:x:65534:65534::/:\n";

    #[test]
    fn root_starts_browsers_as_somebody_else() {
        let nobody = RunAs { uid: 65534, gid: 65534, name: "nobody".into() };
        assert_eq!(choose(None, PASSWD, 0), Ok(Some(nobody)));
        let with_own = format!("{PASSWD}pilotlight:x:901:902::/:\n");
        let own = RunAs { uid: 901, gid: 902, name: "pilotlight".into() };
        assert_eq!(choose(None, &with_own, 0), Ok(Some(own)));
        assert_eq!(choose(Some("www"), PASSWD, 0).unwrap().unwrap().uid, 33);
        assert_eq!(choose(Some("33"), PASSWD, 0).unwrap().unwrap().name, "www");
        assert_eq!(choose(Some("4711"), PASSWD, 0).unwrap().unwrap().gid, 4711);
    }

    #[test]
    fn never_as_root() {
        for user in ["root", "0", "wheel"] {
            assert_eq!(choose(Some(user), PASSWD, 0), Err(UserError::Root), "{user}");
        }
        assert_eq!(choose(None, "root:x:0:0::/:\n", 0), Err(UserError::Root));
        assert_eq!(choose(Some("nowhere"), PASSWD, 0), Err(UserError::Unknown("nowhere".into())));
    }

    #[test]
    fn anybody_else_starts_browsers_as_himself() {
        assert_eq!(choose(None, PASSWD, 33), Ok(None));
        assert_eq!(choose(Some("www"), PASSWD, 33), Ok(None));
        assert_eq!(choose(Some("nobody"), PASSWD, 33), Err(UserError::NotRoot("nobody".into())));
    }
}
