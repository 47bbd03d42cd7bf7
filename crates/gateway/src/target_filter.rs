//! The kinds of targets for which a client wants events (`Target.TargetFilter`): the first entry that matches
//! decides, and what matches none is left out.

use serde::Deserialize;
use serde_json::Value;

/// A client's filter.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct TargetFilter(Vec<Entry>);

#[derive(Debug, Clone, Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    exclude: bool,
}

impl Default for TargetFilter {
    /// Chromium's default: neither the browser nor tabs.
    fn default() -> Self {
        let excluded = |kind: &str| Entry { kind: Some(kind.to_owned()), exclude: true };
        Self(vec![excluded("browser"), excluded("tab"), Entry { kind: None, exclude: false }])
    }
}

impl TargetFilter {
    /// Parses the filter in a command's parameters.
    ///
    /// # Errors
    /// If it is not a filter.
    pub fn of(params: &Value) -> Result<Self, serde_json::Error> {
        match params.get("filter") {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(filter) => Self::deserialize(filter),
        }
    }

    /// Returns whether this kind of target passes.
    #[must_use]
    pub fn lets_pass(&self, kind: &str) -> bool {
        let fits = |entry: &&Entry| entry.kind.as_deref().is_none_or(|wanted| wanted == kind);
        self.0.iter().find(fits).is_some_and(|entry| !entry.exclude)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn passes(filter: Value, kind: &str) -> bool {
        TargetFilter::of(&json!({ "filter": filter })).unwrap().lets_pass(kind)
    }

    #[test]
    fn the_first_entry_that_fits_decides() {
        assert!(passes(Value::Null, "page") && passes(Value::Null, "service_worker"));
        assert!(!passes(Value::Null, "tab") && !passes(Value::Null, "browser"));
        // Puppeteer's.
        let tabs = json!([{"type": "page", "exclude": true}, {}]);
        assert!(!passes(tabs.clone(), "page") && passes(tabs.clone(), "tab") && passes(tabs, "browser"));
        assert!(!passes(json!([]), "page"));
        assert!(!passes(json!([{"type": "tab"}]), "page"));
        assert!(TargetFilter::of(&json!({"filter": "page"})).is_err());
        assert!(TargetFilter::of(&json!({"filter": [{"type": 1}]})).is_err());
    }

    proptest! {
        #[test]
        fn entries_behind_one_that_fits_all_change_nothing(
            kinds in prop::collection::vec(("[a-c]", any::<bool>()), 0..5),
            more in prop::collection::vec(("[a-c]", any::<bool>()), 0..5),
            kind in "[a-d]", exclude in any::<bool>(),
        ) {
            let entry = |(kind, exclude): &(String, bool)| json!({"type": kind, "exclude": exclude});
            let mut filter: Vec<Value> = kinds.iter().map(entry).collect();
            filter.push(json!({"exclude": exclude}));
            let short = passes(json!(filter), &kind);
            filter.extend(more.iter().map(entry));
            prop_assert_eq!(passes(json!(filter), &kind), short);
        }
    }
}
