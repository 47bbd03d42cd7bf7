-- Their names are inside the seals too: who has accounts where is nobody's business.
CREATE TABLE credentials (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    sealed BLOB NOT NULL
) STRICT;
