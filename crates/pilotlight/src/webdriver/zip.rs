//! Reads the ZIP archive with one file that Selenium's clients send. Pure.

use std::io::{Cursor, Read};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use zip::{CompressionMethod, ZipArchive};

/// Maximum size of the uncompressed file.
const MAX_FILE_BYTES: usize = 256 * 1024 * 1024;

/// Returns the name and contents of the file in a base64-encoded archive.
///
/// # Errors
/// Returns why the archive is invalid.
pub fn unpack(archive: &str) -> Result<(String, Vec<u8>), String> {
    let archive: String = archive.split_ascii_whitespace().collect();
    let archive =
        BASE64_STANDARD.decode(archive).map_err(|error| format!("`file` is not base64: {error}"))?;
    let mut archive = ZipArchive::new(Cursor::new(archive))
        .map_err(|error| format!("`file` is not a ZIP archive: {error}"))?;
    if archive.len() != 1 {
        return Err("the archive must contain exactly one file".into());
    }
    let broken = |error: &dyn std::fmt::Display| format!("cannot read the file in the archive: {error}");
    let mut file = archive.by_index_raw(0).map_err(|error| broken(&error))?;
    let (name, method) = (file.name().to_owned(), file.compression());
    let limit = usize::try_from(file.size()).unwrap_or(usize::MAX).min(MAX_FILE_BYTES);
    let mut contents = Vec::new();
    file.read_to_end(&mut contents).map_err(|error| broken(&error))?;
    if method == CompressionMethod::DEFLATE {
        contents = decompress_to_vec_with_limit(&contents, limit).map_err(|error| broken(&error))?;
    } else if method != CompressionMethod::STORE {
        return Err(format!("{name} uses an unsupported compression method: {method}"));
    }
    Ok((name, contents))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By Python: `ZipFile(..., "w", ZIP_DEFLATED).writestr("a.txt", "hello " * 20)`, and the same stored.
    const DEFLATED_ARCHIVE: &str = "UEsDBBQAAAAIAChafF0v+vhICwAAAHgAAAAFAAAAYS50eHTLSM3JyVfIoDsJAFBLAQIUAxQAAAAIAChafF0v+vhICwAAAHgAAAAFAAAAAAAAAAAAAACAAQAAAABhLnR4dFBLBQYAAAAAAQABADMAAAAuAAAAAAA=";
    const STORED_ARCHIVE: &str = "UEsDBBQAAAAAAChafF0v+vhIeAAAAHgAAAAFAAAAYS50eHRoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBoZWxsbyBQSwECFAMUAAAAAAAoWnxdL/r4SHgAAAB4AAAABQAAAAAAAAAAAAAAgAEAAAAAYS50eHRQSwUGAAAAAAEAAQAzAAAAmwAAAAAA";

    #[test]
    fn both_kinds_are_read() {
        for archive in [DEFLATED_ARCHIVE, STORED_ARCHIVE] {
            let (name, contents) = unpack(archive).unwrap();
            assert_eq!((&*name, contents), ("a.txt", "hello ".repeat(20).into_bytes()));
        }
    }

    #[test]
    fn what_is_broken_is_refused_wherever_it_breaks() {
        let whole = BASE64_STANDARD.decode(DEFLATED_ARCHIVE).unwrap();
        for length in 0..whole.len() - 22 {
            assert!(unpack(&BASE64_STANDARD.encode(&whole[..length])).is_err(), "{length}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            // Not every byte matters, but none may end us.
            drop(unpack(&BASE64_STANDARD.encode(bytes)));
        }
        assert!(unpack("!").is_err());
    }
}
