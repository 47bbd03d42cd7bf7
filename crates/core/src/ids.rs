//! Names for things. All of them are made outside, but shards and tickets, which the rules count up.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);
    };
}

id!(
    /// A session, for ever.
    SessionId(u128)
);
id!(
    /// A hold on a session.
    HoldId(u128)
);
id!(
    /// A request that is answered exactly once by `Action::Answer`.
    RequestId(u64)
);
id!(
    /// A Chromium process.
    ShardId(u64)
);
id!(
    /// A site whose sign-ins share one limit.
    SiteId(u64)
);
id!(
    /// One account of one site. Never more than one sign-in runs for it.
    AccountId(u64)
);
id!(
    /// One user with one password at one portal: what the portal refuses of one session it refuses of all.
    LoginId(u64)
);
id!(
    /// How a Chromium is started: windows share a process only where this is equal.
    LaunchKey(u64)
);
id!(
    /// One activity of one session. A report with an old ticket is about something that is over.
    Ticket(u64)
);
