//! The address of a running demo, stored in a file in the demo's folder for the command line.
//!
//! It determines which token is sent to an address; a wrong one only causes a refused request. A file that a killed
//! demo left is removed by the next server that listens on the same port.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::private_file;

/// The file's name.
const NAME: &str = "address";
/// The maximum length of an address, in bytes.
const MAX_ADDRESS_BYTES: usize = 64;

/// Publishes the demo's address as long as this exists.
#[derive(Debug)]
pub(crate) struct DemoAddress(PathBuf);

impl DemoAddress {
    /// Writes the address to the demo's folder.
    pub(crate) fn write(folder: &Path, address: SocketAddr) -> io::Result<Self> {
        let path = folder.join(NAME);
        private_file::write(&path, address.to_string().as_bytes())?;
        Ok(Self(path))
    }

    /// Returns the address of the demo with this folder, even if it was killed.
    pub(crate) fn read(folder: &Path) -> Option<SocketAddr> {
        let text = fs::read(folder.join(NAME)).ok().filter(|text| text.len() <= MAX_ADDRESS_BYTES)?;
        std::str::from_utf8(&text).ok()?.trim().parse().ok()
    }

    /// Removes the file of a killed demo if another server listens on its address.
    pub(crate) fn forget(folder: &Path, address: SocketAddr) {
        if Self::read(folder).is_some_and(|demo| demo.port() == address.port()) {
            drop(fs::remove_file(folder.join(NAME)));
        }
    }
}

impl Drop for DemoAddress {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_there_for_as_long_as_its_demo_and_goes_with_the_next_server_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let address = DemoAddress::write(folder.path(), at(7070)).unwrap();
        assert_eq!(DemoAddress::read(folder.path()), Some(at(7070)));
        drop(address);
        assert_eq!(DemoAddress::read(folder.path()), None);
        std::mem::forget(DemoAddress::write(folder.path(), at(7070)).unwrap());
        DemoAddress::forget(folder.path(), at(7071));
        assert_eq!(DemoAddress::read(folder.path()), Some(at(7070)));
        DemoAddress::forget(folder.path(), at(7070));
        assert_eq!(DemoAddress::read(folder.path()), None);
        fs::write(folder.path().join(NAME), "x".repeat(MAX_ADDRESS_BYTES + 1)).unwrap();
        assert_eq!(DemoAddress::read(folder.path()), None);
    }
}
