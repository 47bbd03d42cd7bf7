//! The page `/heavy`: as large as the pages of real portals, to measure with. Its script and its pictures are
//! made here and may be cached, as those of real portals are; those of `/heavy/anew` have new names each time,
//! as after the portal was changed.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;

/// How many modules the script has; each makes a row of the page's table.
const MODULES: usize = 3000;
/// How wide and high a picture is, in pixels.
const PICTURE_SIDE_PX: u32 = 256;
/// What is said to caches: keep it.
pub(super) const KEEP: &str = "public, max-age=86400, immutable";

/// About 2 MB.
static SCRIPT: LazyLock<Bytes> =
    LazyLock::new(|| modules().chain([include_str!("pages/heavy.js").to_owned()]).collect::<String>().into());

/// Code as libraries have it.
pub(super) fn modules() -> impl Iterator<Item = String> {
    let module = include_str!("pages/heavy-module.js");
    (0..MODULES).map(|number| module.replace("{{number}}", &number.to_string()))
}

/// What the page is made of, besides itself.
pub(super) fn parts<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/heavy.js", get(script)).route("/heavy/{seed}", get(picture))
}

/// The pictures, as the page has them.
pub(super) fn pictures() -> String {
    (0..8).fold(String::new(), |mut html, seed| {
        // Writing to a string does not fail.
        let _ =
            write!(html, "<img src=\"/heavy/{seed}?{{{{version}}}}\" alt=\"\" width=\"128\" height=\"128\">");
        html
    })
}

async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8"), (CACHE_CONTROL, KEEP)], SCRIPT.clone())
}

async fn picture(Path(seed): Path<u8>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "image/bmp"), (CACHE_CONTROL, KEEP)], bitmap(seed))
}

/// A Windows bitmap with 24 bits a pixel: 14 bytes of file header, 40 of picture header, then the rows.
fn bitmap(seed: u8) -> Vec<u8> {
    const HEADERS_BYTES: u32 = 14 + 40;
    let pixels_bytes = PICTURE_SIDE_PX * PICTURE_SIDE_PX * 3;
    let mut file = b"BM".to_vec();
    for field in [HEADERS_BYTES + pixels_bytes, 0, HEADERS_BYTES, 40, PICTURE_SIDE_PX, PICTURE_SIDE_PX] {
        file.extend(field.to_le_bytes());
    }
    // One plane of 24 bits.
    file.extend([1, 0, 24, 0]);
    for field in [0, pixels_bytes, 2835, 2835, 0, 0] {
        file.extend(u32::to_le_bytes(field));
    }
    for y in 0..PICTURE_SIDE_PX {
        let row = (0..PICTURE_SIDE_PX).flat_map(|x| [x.to_le_bytes()[0], y.to_le_bytes()[0], seed * 30]);
        file.extend(row);
    }
    file
}
