//! The demo portal: the web application that `pilotlight demo`, the benchmark and the tests sign in to.

mod portal;

pub use portal::{
    Booking, Counts, DEFAULT_SESSION_TIMEOUT, EXAMPLE_ADDRESS, EXAMPLE_PORT, ExampleSite, InPlace,
    MAX_ACCOUNTS, MAX_BOOKINGS, MAX_NAME_BYTES, MAX_REMEMBERED, MAX_SESSIONS, Obstacles, PASSWORD, Portal,
    PortalError, PortalOptions, Received, SIGN_IN_PATH, Sent, Statistics, Work, example_site,
};
