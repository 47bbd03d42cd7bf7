//! Reads the files of a configuration, with a size limit, and converts byte offsets to line and column.

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::problem::{Place, Problem};

pub(super) use toml::de::DeTable as Table;

/// Maximum size of a configuration file or a site file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Maximum number of sites in a folder.
const MAX_SITES: usize = 1000;

/// A TOML file.
pub(super) struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    pub(super) fn open(path: &Path) -> Result<Self, Problem> {
        Ok(Self { path: path.to_owned(), text: read(path, MAX_FILE_BYTES)? })
    }

    /// Returns the folder that relative names in this file refer to.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        Place::in_text(&self.path, &self.text, span)
    }

    /// Returns everything that can be parsed, and the syntax errors.
    pub(super) fn parse(&self) -> (DeTable<'_>, Vec<Problem>) {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        let problem = |error: &toml::de::Error| Problem {
            place: error.span().map_or_else(|| Place::file(&self.path), |span| self.place(&span)),
            message: error.message().to_owned(),
        };
        (table.into_inner(), errors.iter().map(problem).collect())
    }
}

/// Reads a text file of at most `max_bytes`.
pub(crate) fn read(path: &Path, max_bytes: u64) -> Result<String, Problem> {
    let problem = |message: String| Problem { place: Place::file(path), message };
    let unreadable = |error: std::io::Error| problem(format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > max_bytes {
        return Err(problem(format!("is larger than {max_bytes} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| problem("is not UTF-8".to_owned()))
}

/// Returns the `*.toml` files of a folder, sorted by name; none if the folder does not exist.
pub(super) fn toml_files(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let problem = |message: String| Problem { place: Place::file(folder), message };
    let unreadable = |error: std::io::Error| problem(format!("cannot be read: {error}"));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
        if paths.len() > MAX_SITES {
            return Err(problem(format!("contains more than {MAX_SITES} sites")));
        }
    }
    paths.sort();
    Ok(paths)
}
