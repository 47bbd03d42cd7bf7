//! What fuzz targets get at, and nobody else.

pub use crate::binary::fuzzing::{decode, encode};
