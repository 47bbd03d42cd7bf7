//! `Storage`, `DOMStorage` and `IndexedDB`: cookies, and what origins have stored.

use serde_json::Value;

use crate::command::{Nothing, commands, notifications, objects};

commands! {
    /// All cookies of a context.
    GetCookies = "Storage.getCookies" -> Cookies {
        /// Which context.
        browser_context_id: String,
    }

    /// Sets cookies. One that is not valid makes Chromium refuse them all.
    SetCookies = "Storage.setCookies" -> Nothing {
        /// In the words of the protocol's `CookieParam`.
        cookies: Vec<Value>,
        /// Which context.
        browser_context_id: String,
    }

    /// Deletes all cookies of a context.
    ClearCookies = "Storage.clearCookies" -> Nothing {
        /// Which context.
        browser_context_id: String,
    }

    /// What a frame's storage is kept under: its origin, and in a frame of another site also the site of the
    /// page.
    GetStorageKey = "Storage.getStorageKey" -> StorageKey {
        /// Which frame.
        frame_id: String,
    }

    /// Starts events about databases being written; there is no harm in asking twice.
    TrackIndexedDb = "Storage.trackIndexedDBForStorageKey" -> Nothing {
        /// Whose.
        storage_key: String,
    }

    /// Starts events about `localStorage` and `sessionStorage` being written.
    DomStorageEnable = "DOMStorage.enable" -> Nothing {}

    /// What only Chromium knows of a store.
    GetObjectStoreMetadata = "IndexedDB.getMetadata" -> ObjectStoreMetadata {
        /// Whose.
        storage_key: String,
        /// The database.
        database_name: String,
        /// The store.
        object_store_name: String,
    }
}

objects! {
    /// The reply to [`GetCookies`].
    Cookies {
        /// In the words of the protocol's `Cookie`.
        cookies: Vec<Value>,
    }

    /// The reply to [`GetStorageKey`].
    StorageKey {
        /// Such as `https://portal.example/`.
        storage_key: String,
    }

    /// The reply to [`GetObjectStoreMetadata`].
    ObjectStoreMetadata {
        /// The number that the store gives out next.
        key_generator_value: f64,
    }
}

notifications! {
    /// An entry came to be.
    DomStorageItemAdded = "DOMStorage.domStorageItemAdded" {}

    /// An entry changed.
    DomStorageItemUpdated = "DOMStorage.domStorageItemUpdated" {}

    /// An entry went.
    DomStorageItemRemoved = "DOMStorage.domStorageItemRemoved" {}

    /// All entries went.
    DomStorageItemsCleared = "DOMStorage.domStorageItemsCleared" {}

    /// Records were written. (`indexedDBListUpdated` also comes when databases are merely listed for the
    /// first time, so it says nothing.)
    IndexedDbContentUpdated = "Storage.indexedDBContentUpdated" {}
}
