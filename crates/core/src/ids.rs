//! Identifiers. All of them are created outside, except shards and tickets, which the rules number.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);
    };
}

id!(
    /// A session. Never reused.
    SessionId(u128)
);
id!(
    /// A hold of a session.
    HoldId(u128)
);
id!(
    /// A request, which is answered exactly once by `Action::Answer`.
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
    /// One account of one site. Only one sign-in runs for it at a time.
    AccountId(u64)
);
id!(
    /// One user with one password at one portal: what the portal rejects for one session is rejected for all.
    LoginId(u64)
);
id!(
    /// How a Chromium is started: only windows for which this is equal share a process.
    LaunchKey(u64)
);
id!(
    /// One activity of one session. A report with an old ticket concerns an activity that has ended.
    Ticket(u64)
);
