//! What the fuzz targets reach of the private parts. Built with `--cfg fuzzing` alone.

pub use crate::authority::{Authority, Origin};
pub use crate::cli::clean_recording;
pub use crate::config::Site;
pub use crate::webdriver::{OfSession, Route, bidi_passed_on, read, unpack};
