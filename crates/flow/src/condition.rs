//! Conditions on a page: how a site defines that a session is signed in, or that a person is needed.
//!
//! ```toml
//! signed_in = { any = [ { selector = "#user" }, { text = "Welcome" } ], none = [ { url_contains = "/login" } ] }
//! ```
//! All tests in one condition must hold. A condition checks the main page as it is now: it does not wait, and it
//! changes nothing. It means what a person sees: an element counts if it can be seen (unless `visible = false`), and a
//! text also if it is in an open shadow root. `frame` names a frame of the page, as the steps of a flow do.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::page::{Page, PageError, Scope};
use crate::pattern::Pattern;
pub use crate::pattern::{MAX_REGEX_BYTES, MAX_TEXT_BYTES};
use crate::schema::MAX_FRAME_DEPTH;
use crate::selector::Selector;

/// Maximum nesting depth of conditions.
pub const MAX_DEPTH: usize = 8;
/// Maximum number of tests in a condition, including nested ones.
pub const MAX_TESTS: usize = 64;
const FIELDS: [&str; 9] =
    ["selector", "url_contains", "url_matches", "text", "any", "all", "none", "visible", "frame"];
/// How many of the elements that match a selector are asked whether they can be seen.
const MATCHES_ASKED: usize = 32;
/// A JavaScript function of an element: whether a person can see it, as far as its document and the documents of the same
/// origin around it tell. What is transparent, or beyond the edges where no scrolling leads, cannot be seen. An element
/// without a size of its own is seen by what is in it.
pub const IS_SHOWN: &str = "(shown) => {
  const above = (node) => node.assignedSlot ?? node.parentElement
    ?? (node.getRootNode() instanceof ShadowRoot ? node.getRootNode().host : null);
  const hasBox = (element) => {
    const box = element.getBoundingClientRect();
    if (!(box.width > 0 && box.height > 0)) return false;
    if (!element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) return false;
    let { right, bottom } = box;
    for (let around = above(element); around; around = above(around)) {
      right += around.scrollLeft;
      bottom += around.scrollTop;
    }
    return right > 0 && bottom > 0;
  };
  const isThere = (element) => {
    if (hasBox(element)) return true;
    const inner = element.querySelectorAll('*');
    for (let index = 0; index < inner.length && index < 100; index += 1) {
      if (hasBox(inner[index])) return true;
    }
    return false;
  };
  for (let element = shown; element; element = element.ownerDocument.defaultView.frameElement) {
    if (!isThere(element)) return false;
  }
  return true;
}";
/// [`IS_SHOWN`] of `this`.
pub(crate) static SHOWN: LazyLock<String> =
    LazyLock::new(|| format!("function () {{ return this.isConnected && ({IS_SHOWN})(this); }}"));
/// Whether the document shows a text: its body, or what is in its open shadow roots. Only the first elements are looked at
/// for shadow roots, so that the largest page costs a few milliseconds.
const SHOWS_TEXT: &str = "((wanted) => {
  if ((document.body?.innerText ?? '').includes(wanted)) return true;
  let elementsLeft = 5_000;
  const shows = (root) => {
    const elements = root.querySelectorAll('*');
    for (let index = 0; index < elements.length && elementsLeft > 0; index += 1, elementsLeft -= 1) {
      const { shadowRoot } = elements[index];
      const says = (child) => child.checkVisibility() && (child.innerText ?? '').includes(wanted);
      if (shadowRoot && ([...shadowRoot.children].some(says) || shows(shadowRoot))) return true;
    }
    return false;
  };
  return shows(document);
})";

/// A condition: all of its tests must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The tests; at least one.
    tests: Vec<Test>,
    /// Whether an element must be visible to count.
    must_be_visible: bool,
    /// The frame in which elements and texts are looked for; empty for the main document.
    frame: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Selector(Selector),
    UrlContains(String),
    UrlMatches(Pattern),
    Text(String),
    Any(Vec<Condition>),
    All(Vec<Condition>),
    None(Vec<Condition>),
}

impl Condition {
    /// Returns whether the condition holds on the main page now. An error means that this could not be determined.
    pub async fn holds<P: Page>(&self, page: &P) -> Result<bool, PageError> {
        self.holds_boxed(page).await
    }

    /// Boxed, because conditions nest.
    fn holds_boxed<'a, P: Page>(
        &'a self,
        page: &'a P,
    ) -> Pin<Box<dyn Future<Output = Result<bool, PageError>> + Send + 'a>> {
        Box::pin(async move {
            for test in &self.tests {
                if !self.passes(test, page).await? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    async fn passes<P: Page>(&self, test: &Test, page: &P) -> Result<bool, PageError> {
        let main = Scope::default();
        Ok(match test {
            Test::Selector(selector) => {
                let look = self.has_element(selector, page).await;
                // Between finding and asking, the page may have replaced the element.
                let look = if matches!(look, Err(PageError::Gone(_))) {
                    self.has_element(selector, page).await
                } else {
                    look
                };
                self.in_frame(look, page).await?
            }
            Test::Text(text) => {
                let look = page.evaluate(&self.scope(), &has_text(text)).await;
                self.in_frame(look.map(|shows| shows == Value::Bool(true)), page).await?
            }
            Test::UrlContains(part) => page.url(&main).await?.contains(part.as_str()),
            Test::UrlMatches(pattern) => pattern.is_match(&page.url(&main).await?),
            Test::Any(inner) => first(inner, page, true).await?,
            Test::All(inner) => !first(inner, page, false).await?,
            Test::None(inner) => !first(inner, page, true).await?,
        })
    }

    async fn has_element<P: Page>(&self, selector: &Selector, page: &P) -> Result<bool, PageError> {
        let found = page.find(&self.scope(), selector).await?;
        if !self.must_be_visible {
            return Ok(!found.is_empty());
        }
        for element in found.iter().take(MATCHES_ASKED) {
            if page.call(element, &SHOWN, &[]).await? == true {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A frame that is not there shows nothing; of a page that is not there, nothing is known.
    async fn in_frame<P: Page>(&self, look: Result<bool, PageError>, page: &P) -> Result<bool, PageError> {
        match look {
            Err(PageError::Gone(_)) if !self.frame.is_empty() => {
                page.url(&Scope::default()).await.map(|_| false)
            }
            look => look,
        }
    }

    fn scope(&self) -> Scope {
        Scope { target: None, frame: self.frame.clone() }
    }

    /// Returns nesting depth and number of tests, for the limits.
    fn size(&self) -> (usize, usize) {
        let mut total = (1, self.tests.len());
        for inner in self.tests.iter().flat_map(Test::inner) {
            let (depth, tests) = inner.size();
            total = (total.0.max(depth + 1), total.1 + tests);
        }
        total
    }
}

impl Test {
    fn inner(&self) -> &[Condition] {
        match self {
            Self::Any(inner) | Self::All(inner) | Self::None(inner) => inner,
            Self::Selector(_) | Self::UrlContains(_) | Self::UrlMatches(_) | Self::Text(_) => &[],
        }
    }
}

/// Returns whether one of `conditions` has the result `wanted`; stops at the first.
async fn first<P: Page>(conditions: &[Condition], page: &P, wanted: bool) -> Result<bool, PageError> {
    for condition in conditions {
        if condition.holds_boxed(page).await? == wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the expression that checks whether the page shows `text`: the search runs in the page, so that a long page
/// need not be transferred.
pub(crate) fn has_text(text: &str) -> String {
    // A JSON string is a JavaScript string.
    format!("{SHOWS_TEXT}({})", Value::from(text))
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = Condition;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "a condition: a table with at least one of {}", FIELDS.join(", "))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Condition, A::Error> {
                let (mut tests, mut seen) = (Vec::new(), Vec::new());
                let (mut must_be_visible, mut frame) = (true, Vec::new());
                while let Some(name) = fields.next_key::<String>()? {
                    if seen.contains(&name) {
                        return Err(de::Error::custom(format_args!("`{name}` is defined twice")));
                    }
                    match name.as_str() {
                        "visible" => must_be_visible = fields.next_value()?,
                        "frame" => frame = read_frame(&mut fields)?,
                        test => tests.push(read_test(test, &mut fields)?),
                    }
                    seen.push(name);
                }
                if tests.is_empty() {
                    return Err(de::Error::invalid_length(0, &self));
                }
                let has_element = tests.iter().any(|test| matches!(test, Test::Selector(_)));
                let has_text = tests.iter().any(|test| matches!(test, Test::Text(_)));
                if seen.iter().any(|name| name == "visible") && !has_element {
                    return Err(de::Error::custom("`visible` requires `selector` in the same table"));
                }
                if !frame.is_empty() && !has_element && !has_text {
                    return Err(de::Error::custom("`frame` requires `selector` or `text` in the same table"));
                }
                let condition = Condition { tests, must_be_visible, frame };
                let (depth, tests) = condition.size();
                if depth > MAX_DEPTH || tests > MAX_TESTS {
                    return Err(de::Error::custom(format_args!(
                        "a condition may be nested {MAX_DEPTH} deep and have {MAX_TESTS} tests"
                    )));
                }
                Ok(condition)
            }
        }
        deserializer.deserialize_map(Shape)
    }
}

fn read_test<'de, A: MapAccess<'de>>(name: &str, fields: &mut A) -> Result<Test, A::Error> {
    Ok(match name {
        "selector" => Test::Selector(fields.next_value()?),
        "url_contains" => Test::UrlContains(read_text(name, fields)?),
        "url_matches" => Test::UrlMatches(Pattern::new(&read_text(name, fields)?).map_err(|error| {
            de::Error::custom(format_args!("`url_matches` is not a regular expression: {error}"))
        })?),
        "text" => Test::Text(read_text(name, fields)?),
        "any" => Test::Any(read_inner(name, fields)?),
        "all" => Test::All(read_inner(name, fields)?),
        "none" => Test::None(read_inner(name, fields)?),
        unknown => return Err(de::Error::unknown_field(unknown, &FIELDS)),
    })
}

fn read_frame<'de, A: MapAccess<'de>>(fields: &mut A) -> Result<Vec<usize>, A::Error> {
    let frame: Vec<usize> = fields.next_value()?;
    if frame.is_empty() || frame.len() > MAX_FRAME_DEPTH {
        let problem = format_args!("`frame` must have 1 to {MAX_FRAME_DEPTH} indices, from the top down");
        return Err(de::Error::custom(problem));
    }
    Ok(frame)
}

fn read_text<'de, A: MapAccess<'de>>(name: &str, fields: &mut A) -> Result<String, A::Error> {
    let text: String = fields.next_value()?;
    // An empty string is contained in every text, which is certainly not intended.
    if text.is_empty() || text.len() > MAX_TEXT_BYTES {
        return Err(de::Error::custom(format_args!("`{name}` must have 1 to {MAX_TEXT_BYTES} bytes")));
    }
    Ok(text)
}

fn read_inner<'de, A: MapAccess<'de>>(name: &str, fields: &mut A) -> Result<Vec<Condition>, A::Error> {
    let inner: Vec<Condition> = fields.next_value()?;
    if inner.is_empty() {
        return Err(de::Error::custom(format_args!("`{name}` needs at least one condition")));
    }
    Ok(inner)
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        for test in &self.tests {
            match test {
                Test::Selector(selector) => fields.serialize_entry("selector", selector)?,
                Test::UrlContains(part) => fields.serialize_entry("url_contains", part)?,
                Test::UrlMatches(pattern) => fields.serialize_entry("url_matches", pattern.as_str())?,
                Test::Text(text) => fields.serialize_entry("text", text)?,
                Test::Any(inner) => fields.serialize_entry("any", inner)?,
                Test::All(inner) => fields.serialize_entry("all", inner)?,
                Test::None(inner) => fields.serialize_entry("none", inner)?,
            }
        }
        if !self.must_be_visible {
            fields.serialize_entry("visible", &false)?;
        }
        if !self.frame.is_empty() {
            fields.serialize_entry("frame", &self.frame)?;
        }
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fake::{FakeElement, FakePage};

    const SIGNED_IN: &str = r##"signed_in = { any = [ { selector = "#user" }, { selector = "xpath///button[contains(@class,'user')]" } ], none = [ { url_contains = "/login" } ] }"##;

    #[derive(Debug, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Site {
        signed_in: Condition,
    }

    fn condition(json: &str) -> Condition {
        serde_json::from_str(json).unwrap()
    }

    #[tokio::test]
    async fn signed_in_as_a_site_writes_it() {
        let condition = toml::from_str::<Site>(SIGNED_IN).unwrap().signed_in;
        let page = FakePage::new("http://portal/");
        assert!(!condition.holds(&page).await.unwrap());
        page.add("#user");
        assert!(condition.holds(&page).await.unwrap());
        page.set_url("http://portal/login?next=1");
        assert!(!condition.holds(&page).await.unwrap());
    }

    #[tokio::test]
    async fn every_test_and_every_combination() {
        let page = FakePage::new("http://portal/truck/7");
        page.add("#a");
        page.set_text("Welcome \"back\"");
        let cases = [
            (r##"{"selector": "#a"}"##, true),
            (r##"{"selector": ["#a", "#b"]}"##, false),
            (r#"{"url_contains": "/truck"}"#, true),
            (r#"{"url_matches": "/truck/[0-9]+$"}"#, true),
            (r#"{"url_matches": "^/truck"}"#, false),
            (r#"{"text": "Welcome \"back\""}"#, true),
            (r#"{"text": "Bye"}"#, false),
            (r##"{"selector": "#a", "text": "Bye"}"##, false),
            (r##"{"all": [{"selector": "#a"}, {"any": [{"text": "Bye"}, {"text": "Welcome"}]}]}"##, true),
            (r##"{"none": [{"text": "Bye"}, {"selector": "#b"}]}"##, true),
            (r##"{"none": [{"text": "Bye"}, {"selector": "#a"}]}"##, false),
        ];
        for (json, expected) in cases {
            assert_eq!(condition(json).holds(&page).await.unwrap(), expected, "{json}");
        }
    }

    #[tokio::test]
    async fn an_element_counts_where_it_can_be_seen() {
        let page = FakePage::new("http://portal/");
        page.put(FakeElement { visible: false, ..FakeElement::new(&["#user"]) });
        let holds = async |json| condition(json).holds(&page).await.unwrap();
        assert!(!holds(r##"{"selector": "#user"}"##).await);
        assert!(holds(r##"{"selector": "#user", "visible": false}"##).await);
        page.add("#user");
        assert!(holds(r##"{"selector": "#user"}"##).await, "one of several can be seen");
    }

    #[tokio::test]
    async fn a_frame_is_looked_into_and_one_that_is_not_there_shows_nothing() {
        let page = FakePage::new("http://portal/");
        page.add("#user");
        page.set_frames(1);
        let holds = async |json| condition(json).holds(&page).await.unwrap();
        assert!(holds(r##"{"selector": "#user", "frame": [0]}"##).await);
        assert!(!holds(r##"{"selector": "#user", "frame": [1]}"##).await);
        assert!(!holds(r##"{"text": "Welcome", "frame": [1]}"##).await);
        page.lose();
        assert!(condition(r##"{"selector": "#user", "frame": [0]}"##).holds(&page).await.is_err());
    }

    #[tokio::test]
    async fn a_page_that_cannot_tell_is_an_error() {
        let page = FakePage::new("http://portal/");
        page.lose();
        assert!(matches!(condition(r#"{"text": "x"}"#).holds(&page).await, Err(PageError::Gone(_))));
    }

    #[test]
    fn it_is_written_as_it_was_read() {
        let site: Site = toml::from_str(SIGNED_IN).unwrap();
        let again: Site = toml::from_str(&toml::to_string(&site).unwrap()).unwrap();
        assert_eq!(site.signed_in, again.signed_in);
        let json = r##"{"selector":["a","#b"],"url_matches":"x+","none":[{"text":"y"}]}"##;
        assert_eq!(serde_json::to_string(&condition(json)).unwrap(), json);
        let json = r##"{"selector":"#b","visible":false,"frame":[0,2]}"##;
        assert_eq!(serde_json::to_string(&condition(json)).unwrap(), json);
    }

    #[test]
    fn mistakes_are_named() {
        let deep = format!("{}{}{}", r#"{"any":["#.repeat(9), r#"{"text":"x"}"#, "]}".repeat(9));
        let wide = format!(r#"{{"any":[{}]}}"#, vec![r#"{"text":"x"}"#; MAX_TESTS].join(","));
        let cases = [
            ("{}", "invalid length 0, expected a condition: a table with at least one of selector"),
            ("[]", "expected a condition"),
            (r#"{"url": "x"}"#, "unknown field `url`, expected one of `selector`, `url_contains`"),
            (r#"{"text": ""}"#, "`text` must have 1 to 4096 bytes"),
            (r#"{"text": "a", "text": "b"}"#, "`text` is defined twice"),
            (r#"{"any": []}"#, "`any` needs at least one condition"),
            (r#"{"url_matches": "("}"#, "`url_matches` is not a regular expression"),
            (r#"{"selector": 3}"#, "expected a selector"),
            (r#"{"text": "x", "visible": true}"#, "`visible` requires `selector`"),
            (r#"{"url_contains": "x", "frame": [0]}"#, "`frame` requires `selector` or `text`"),
            (r##"{"selector": "#a", "frame": []}"##, "`frame` must have 1 to 16 indices"),
            (&deep, "nested 8 deep"),
            (&wide, "64 tests"),
        ];
        for (json, expected) in cases {
            let error = serde_json::from_str::<Condition>(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(
            name in prop::sample::select(FIELDS.to_vec()),
            value in r#"[\[\]{}":,a-z0-9()+*\\]{0,30}"#,
        ) {
            let _ = serde_json::from_str::<Condition>(&format!(r#"{{"{name}": {value}}}"#));
            let _ = serde_json::from_str::<Condition>(&format!(r#"{{"{name}": "{value}"}}"#));
        }
    }
}
