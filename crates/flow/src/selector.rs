//! Selectors as the Chrome DevTools Recorder writes them.

/// One way to an element: parts, each looked up inside the shadow root of the match before it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    /// At least one.
    pub parts: Vec<Part>,
}

/// One part of a selector by its kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    /// A CSS selector.
    Css(String),
    /// `aria/Name[role="button"]`: accessible name and role.
    Aria {
        /// The accessible name; empty for any.
        name: String,
        /// The ARIA role, where given.
        role: Option<String>,
    },
    /// `text/…`: the smallest elements whose text contains this.
    Text(String),
    /// `xpath/…`.
    XPath(String),
    /// `pierce/…`: CSS, looking into every open shadow root.
    Pierce(String),
}
