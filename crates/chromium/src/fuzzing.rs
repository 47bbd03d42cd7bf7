//! What the fuzz targets reach of the private parts: what is read of shims and of pages. Built with `--cfg fuzzing`
//! alone.

pub use crate::capture::fuzzing::read_page_state;
pub use crate::shim::fuzzing::read_shim_messages;
