//! The example site of the demo portal, as text: what lies in `examples/sites/`, for those who have no
//! files at hand.

/// The address that the example files speak of.
pub const EXAMPLE_ADDRESS: &str = "http://127.0.0.1:8099";
/// The port of [`EXAMPLE_ADDRESS`].
pub const EXAMPLE_PORT: u16 = 8099;
/// Where the flow lies, relative to the site's file; the name that the site calls it by.
pub const SIGN_IN_PATH: &str = "portal/sign-in.json";

/// The flows of its operations: by the names that the site calls them by.
const FLOWS: [(&str, &str); 4] = [
    ("portal/1-container.json", include_str!("../../../../examples/sites/portal/1-container.json")),
    ("portal/2-truck.json", include_str!("../../../../examples/sites/portal/2-truck.json")),
    ("portal/3-time.json", include_str!("../../../../examples/sites/portal/3-time.json")),
    ("portal/moves.json", include_str!("../../../../examples/sites/portal/moves.json")),
];

/// A site and its flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExampleSite {
    /// `portal.toml`: the site, without a heading.
    pub site_toml: String,
    /// [`SIGN_IN_PATH`]: the recording.
    pub sign_in_json: String,
    /// The flows of its operations, by what the site calls them.
    pub flows: Vec<(String, String)>,
}

impl ExampleSite {
    /// The same for accounts that have a second factor: the recording goes on to the code.
    #[must_use]
    pub fn with_second_factor(mut self) -> Self {
        let code = r##",
    { "type": "change", "target": "main", "selectors": [["aria/Code"], ["#code"]], "value": "${totp}" },
    {
      "type": "click",
      "target": "main",
      "selectors": [["aria/Confirm"], ["form > button"]],
      "offsetX": 60,
      "offsetY": 20,
      "assertedEvents": [{ "type": "navigation" }]
    }
  ]
}
"##;
        let end = self.sign_in_json.rfind("\n  ]").unwrap_or(self.sign_in_json.len());
        self.sign_in_json.replace_range(end.., code);
        self
    }
}

/// The example site for a portal at `url` (such as [`crate::portal::Portal::url`]).
#[must_use]
pub fn example_site(url: &str) -> ExampleSite {
    let url = url.trim_end_matches('/');
    let at = |text: &str| text.replace(EXAMPLE_ADDRESS, url);
    ExampleSite {
        site_toml: at(include_str!("../../../../examples/sites/portal.toml")),
        sign_in_json: at(include_str!("../../../../examples/sites/portal/sign-in.json")),
        flows: FLOWS.iter().map(|(path, flow)| ((*path).to_owned(), at(flow))).collect(),
    }
}
