//! What is stored of a window from one capture to the next: whether anything changed, the origins of its pages, and
//! their storage as it was last read.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pilotlight_checkpoint::Origin;

use super::hidden::Hidden;
use super::{Shard, WindowState, lock};
use crate::event::BrowserEvent;

/// Origins that are stored; beyond that, those shown longest ago are dropped.
pub(crate) const ORIGINS_MAX: usize = 64;

/// What is stored of a window between captures.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Set by the first capture: from then on changes are reported.
    is_watched: AtomicBool,
    has_changed: AtomicBool,
    /// Whether the owner of the browser was told of a change since the last capture began.
    is_told: AtomicBool,
    /// The digest of the cookies at the last check; 0 if there were none.
    cookies_digest: AtomicU64,
    pub(crate) origins: Mutex<Origins>,
    /// One capture at a time.
    pub(crate) capturing: tokio::sync::Mutex<()>,
    pub(crate) hidden: Mutex<Hidden>,
}

impl Record {
    /// Returns whether a capture is useful: a window that was never captured has always changed.
    pub(crate) fn has_changed(&self) -> bool {
        !self.is_watched() || self.has_changed.load(Ordering::Acquire)
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Acquire)
    }

    /// Begins a capture: later changes are reported again.
    pub(crate) fn begin(&self) {
        self.has_changed.store(false, Ordering::Release);
        self.is_told.store(false, Ordering::Release);
        self.is_watched.store(true, Ordering::Release);
    }

    /// Notes that a capture failed: its changes are still pending. The next change, or [`remind`], reports them.
    pub(crate) fn has_failed(&self) {
        self.has_changed.store(true, Ordering::Release);
        self.is_told.store(false, Ordering::Release);
    }

    /// Stores the digest of the cookies; returns whether they changed.
    pub(crate) fn look_at_cookies(&self, digest: u64) -> bool {
        self.cookies_digest.swap(digest, Ordering::AcqRel) != digest
    }
}

/// Notes a change that a capture contains, and reports it if it is the first.
pub(crate) fn mark_changed(shard: &Shard, window: &WindowState) {
    let record = &window.record;
    if record.is_watched() && !window.is_closing() {
        record.has_changed.store(true, Ordering::Release);
        remind(shard, window);
    }
}

/// Reports a change that was not reported yet.
pub(crate) fn remind(shard: &Shard, window: &WindowState) {
    let record = &window.record;
    let is_silent = !record.is_watched() || window.is_closing() || !record.has_changed();
    if is_silent || record.is_told.swap(true, Ordering::AcqRel) {
        return;
    }
    if !shard.tell(BrowserEvent::WindowChanged { window: window.id.clone() }) {
        // The next change or reminder does.
        record.is_told.store(false, Ordering::Release);
    }
}

/// Notes that a page of the window shows a document of this origin.
pub(crate) fn shown(shard: &Shard, window: &WindowState, origin: &str) {
    if is_of_the_web(origin) && lock(&window.record.origins).shown(origin) {
        mark_changed(shard, window);
    }
}

pub(crate) fn is_of_the_web(origin: &str) -> bool {
    origin.starts_with("http://") || origin.starts_with("https://")
}

/// The origins of a window, those shown longest ago first.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    name: String,
    /// How often a document of it was loaded.
    shows: u64,
    /// Its storage, and the showing for which that is valid.
    stored: Option<(Origin, u64)>,
}

impl Origins {
    /// Notes a document of this origin; returns whether it is the first.
    fn shown(&mut self, origin: &str) -> bool {
        let place = self.known.iter().position(|known| known.name == origin);
        let mut known = match place {
            Some(place) => self.known.remove(place),
            None => Known { name: origin.into(), shows: 0, stored: None },
        };
        known.shows += 1;
        self.known.push(known);
        self.forget_some();
        place.is_none()
    }

    fn forget_some(&mut self) {
        while self.known.len() > ORIGINS_MAX {
            self.known.remove(0);
        }
    }

    /// Returns the origins that have to be read, with the showing that reading them covers.
    pub(crate) fn unread(&self) -> Vec<(String, u64)> {
        let is_unread = |known: &&Known| known.stored.as_ref().is_none_or(|(_, shows)| *shows < known.shows);
        self.known.iter().filter(is_unread).map(|known| (known.name.clone(), known.shows)).collect()
    }

    /// Stores what was read of an origin. A document that still shows it may continue to write: then it is valid for
    /// no showing.
    pub(crate) fn keep(&mut self, origin: Origin, shows: u64) {
        match self.known.iter_mut().find(|known| known.name == origin.origin) {
            Some(known) => known.stored = Some((origin, shows)),
            None => {
                self.known.push(Known { name: origin.origin.clone(), shows, stored: Some((origin, shows)) });
                self.forget_some();
            }
        }
    }

    /// Adds what an earlier record had of an origin: as the oldest, and without replacing what was read since.
    pub(crate) fn recall(&mut self, origin: Origin) {
        if let Some(known) = self.known.iter_mut().find(|known| known.name == origin.origin) {
            known.stored.get_or_insert((origin, 0));
        } else if self.known.len() < ORIGINS_MAX {
            self.known.insert(0, Known { name: origin.origin.clone(), shows: 0, stored: Some((origin, 0)) });
        }
    }

    /// Returns whether any document of it was loaded.
    pub(crate) fn was_shown(&self, origin: &str) -> bool {
        self.known.iter().any(|known| known.name == origin && known.shows > 0)
    }

    /// Returns all origins that have storage.
    pub(crate) fn all(&self) -> Vec<Origin> {
        let stored = self.known.iter().filter_map(|known| known.stored.as_ref());
        let stored = stored.map(|(origin, _)| origin);
        stored
            .filter(|origin| !origin.local_storage.is_empty() || !origin.indexed_db.is_empty())
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use pilotlight_checkpoint::Entry;

    use super::*;

    fn origin(name: &str, value: &str) -> Origin {
        let entry = Entry { name: "key".into(), value: value.into() };
        Origin { origin: name.into(), local_storage: vec![entry], indexed_db: Vec::new() }
    }

    #[test]
    fn an_origin_is_read_again_only_after_it_was_shown_again() {
        let mut origins = Origins::default();
        assert!(origins.shown("https://a.test"));
        assert!(!origins.shown("https://a.test"));
        assert_eq!(origins.unread(), [("https://a.test".to_owned(), 2)]);
        origins.keep(origin("https://a.test", "while shown"), 0);
        assert_eq!(origins.unread().len(), 1, "it was shown when it was read");
        origins.keep(origin("https://a.test", "left"), 2);
        assert_eq!(origins.unread(), []);
        assert_eq!(origins.all(), [origin("https://a.test", "left")]);
        // Shown while it was being read.
        origins.shown("https://a.test");
        origins.keep(origin("https://a.test", "left"), 2);
        assert_eq!(origins.unread(), [("https://a.test".to_owned(), 3)]);
    }

    #[test]
    fn what_was_read_since_counts_more_than_what_an_earlier_record_had() {
        let mut origins = Origins::default();
        origins.shown("https://read.test");
        origins.keep(origin("https://read.test", "fresh"), 1);
        origins.shown("https://shown.test");
        for name in ["https://read.test", "https://shown.test", "https://left.test"] {
            origins.recall(origin(name, "earlier"));
        }
        let all = ["https://left.test", "https://read.test", "https://shown.test"];
        let values = ["earlier", "fresh", "earlier"];
        let wanted: Vec<_> = all.iter().zip(values).map(|(name, value)| origin(name, value)).collect();
        assert_eq!(origins.all(), wanted);
        assert_eq!(origins.unread(), [("https://shown.test".to_owned(), 1)]);
    }

    #[test]
    fn no_window_remembers_origins_without_end() {
        let mut origins = Origins::default();
        for number in 0..=ORIGINS_MAX {
            origins.shown(&format!("https://{number}.test"));
        }
        assert_eq!(origins.unread().len(), ORIGINS_MAX);
        assert_eq!(origins.unread()[0].0, "https://1.test");
    }
}
