//! The page `/yard`: what a kept window mostly shows. All of a list is held and a screenful of it is shown, charts
//! move, photographs are large. Where `/heavy` is large in what it shows, this one is in what it holds.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;

use super::heavy::{KEEP, modules};

/// How many photographs there are.
const PICTURES: u8 = 12;
const WIDTH_PX: u32 = 1280;
const HEIGHT_PX: u32 = 800;
/// The side of a spot of one colour.
const SPOT_PX: u32 = 8;

/// About 2 MB.
static SCRIPT: LazyLock<Bytes> =
    LazyLock::new(|| modules().chain([include_str!("pages/yard.js").to_owned()]).collect::<String>().into());

/// What the page is made of, besides itself.
pub(super) fn parts<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/yard.js", get(script)).route("/yard/{seed}", get(picture))
}

/// The pictures, as the page has them.
pub(super) fn pictures() -> String {
    (0..PICTURES).fold(String::new(), |mut html, seed| {
        // Writing to a string does not fail.
        let _ = write!(html, "<img src=\"/yard/{seed}\" alt=\"\" width=\"320\" height=\"200\">");
        html
    })
}

async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8"), (CACHE_CONTROL, KEEP)], SCRIPT.clone())
}

async fn picture(Path(seed): Path<u8>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "image/bmp"), (CACHE_CONTROL, KEEP)], bitmap(seed))
}

/// A Windows bitmap of 256 colours in runs (`BI_RLE8`): about as large as a photograph is compressed, and as one
/// is once it is decoded.
fn bitmap(seed: u8) -> Vec<u8> {
    const HEADERS_BYTES: u32 = 14 + 40 + 256 * 4;
    let mut pixels = Vec::new();
    for y in 0..HEIGHT_PX {
        for x in (0..WIDTH_PX).step_by(SPOT_PX as usize) {
            let spot = (x / SPOT_PX).wrapping_mul(7) ^ (y / SPOT_PX).wrapping_mul(13);
            pixels.extend([
                SPOT_PX.to_le_bytes()[0],
                spot.to_le_bytes()[0].wrapping_add(seed.wrapping_mul(20)),
            ]);
        }
        // The row's end.
        pixels.extend([0, 0]);
    }
    // The picture's end.
    pixels.extend([0, 1]);
    let pixels_bytes = u32::try_from(pixels.len()).unwrap_or(u32::MAX);
    let mut file = b"BM".to_vec();
    for field in [HEADERS_BYTES + pixels_bytes, 0, HEADERS_BYTES, 40, WIDTH_PX, HEIGHT_PX] {
        file.extend(field.to_le_bytes());
    }
    // One plane of 8 bits.
    file.extend([1, 0, 8, 0]);
    for field in [1, pixels_bytes, 2835, 2835, 256, 0] {
        file.extend(u32::to_le_bytes(field));
    }
    file.extend((0..=255u8).flat_map(|level| [level, level / 2 + 60, 255 - level, 0]));
    file.extend(pixels);
    file
}
