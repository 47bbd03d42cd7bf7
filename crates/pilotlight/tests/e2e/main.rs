//! The server from outside: a real server, real Chromium, and the demo portal.
//!
//! Each test has a server and a portal of its own and knows nothing of the server's code; what it relies on
//! is what the interface promises. They need Chromium's headless shell and, for the other engines, full
//! Chromium and Xvfb; where one is missing they fail and say so. `make test` installs them.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "that is how a test fails")]
#![expect(clippy::print_stdout, reason = "a test says what it measured")]

mod access;
mod asleep;
mod bad_input;
mod bench;
mod beside;
mod budget;
mod capacity;
mod chaos;
mod clients;
mod clock;
mod commands;
mod confined;
mod counting;
mod credentials;
mod damaged;
mod dashboard;
mod demo;
mod dialogs;
mod disk;
mod events;
mod front_door;
mod frozen;
mod gateway;
mod health;
mod hibernate;
mod holds;
mod last_page;
mod launch;
mod levers;
mod lifecycle;
mod neighbours;
mod operations;
mod outage;
mod pages;
mod protection;
mod reach;
mod recovery;
mod refresh;
mod restart;
mod sending;
mod sessions;
mod siege;
mod sign_in;
mod sign_in_in_place;
mod sign_in_obstacles;
mod sign_in_status;
mod silent;
mod soak;
mod soak_cold;
mod store;
mod support;
mod vanish;
mod webdriver;
mod webdriver_paths;
mod wrong_person;
