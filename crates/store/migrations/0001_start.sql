-- Ids are UUIDs in 16 bytes. Whatever is sealed names its own format in its first bytes.
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    sealed BLOB NOT NULL
) STRICT;

CREATE TABLE checkpoints (
    session BLOB PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    taken_at_ms INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
