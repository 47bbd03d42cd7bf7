-- They go with their session.
CREATE TABLE operations (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    session BLOB NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    sealed BLOB NOT NULL
) STRICT;

CREATE INDEX operations_of_session ON operations (session);
