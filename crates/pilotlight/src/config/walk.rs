//! Walks a parsed file with the tables of known keys, so that one error does not hide the next.

use std::collections::BTreeMap;
use std::ops::Range;

use pilotlight_api::{SignIn, SiteDefinition, validate};
use pilotlight_flow::schema::MAX_FLOW_BYTES;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

use super::document::{self, Document, Table};
use super::keys::{KEYS, Raw, Value};
use super::load::Loader;
use super::problem::{Place, did_you_mean, nearest};
use super::site::Site;
use super::types::ProfileDefinition;
use crate::sentence::with_sources;

const SECTIONS: [&str; 6] = ["server", "limits", "sessions", "chromium", "profiles", "sites"];
const PROFILE_KEYS: [&str; 6] = ["base", "add", "remove", "images", "site_isolation", "window_size"];
const SITE_KEYS: [&str; 16] = [
    "start_url",
    "sign_in",
    "signed_in",
    "signed_in_as",
    "needs_attention",
    "locked_out",
    "second_factor",
    "shared_account",
    "dialogs",
    "refresh",
    "operations",
    "max_sign_ins",
    "quiet_hours",
    "freeze",
    "restore_fields",
    "ready",
];

/// Walks a configuration file; with `only`, only that section.
pub(super) fn root(loader: &mut Loader<'_>, document: &Document, table: &Table<'_>, only: Option<&str>) {
    for (name, value) in table {
        let place = document.place(&name.span());
        let section = name.get_ref().as_ref();
        if only.is_some_and(|only| only != section) {
            continue;
        }
        match value.get_ref() {
            _ if !SECTIONS.contains(&section) => {
                loader.problem(
                    place,
                    format!("unknown section `{section}`: {}", did_you_mean(section, SECTIONS)),
                );
            }
            DeValue::Table(table) if section == "profiles" => profiles(loader, document, table),
            DeValue::Table(table) if section == "sites" => sites(loader, document, table),
            DeValue::Table(table) => fixed(loader, document, section, table),
            _ => loader.problem(place, format!("`{section}` must be a section: write `[{section}]`")),
        }
    }
}

fn fixed(loader: &mut Loader<'_>, document: &Document, section: &str, table: &Table<'_>) {
    for (name, value) in table {
        match KEYS.iter().find(|key| key.section == section && name.get_ref() == key.name) {
            Some(key) => {
                let place = document.place(&value.span());
                loader.set(key, &Value { raw: Raw::Toml(value.get_ref()), base: document.folder() }, place);
            }
            None => {
                let message = unknown_key(section, name.get_ref());
                loader.problem(document.place(&name.span()), message);
            }
        }
    }
}

fn unknown_key(section: &str, name: &str) -> String {
    if let Some(elsewhere) = KEYS.iter().find(|key| key.name == name) {
        return format!("unknown key `{name}` in [{section}]: it belongs in [{}]", elsewhere.section);
    }
    let known: Vec<&str> = KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
    format!("unknown key `{name}` in [{section}]: {}", did_you_mean(name, known))
}

fn profiles(loader: &mut Loader<'_>, document: &Document, table: &Table<'_>) {
    for (name, value) in table {
        let place = document.place(&name.span());
        match value.get_ref() {
            DeValue::Table(table) if is_name(loader, name, &place) => {
                profile(loader, document, name.get_ref(), table, place);
            }
            DeValue::Table(_) => {}
            _ => loader
                .problem(place, format!("`{}` must be a section: write `[profiles.NAME]`", name.get_ref())),
        }
    }
}

fn profile(loader: &mut Loader<'_>, document: &Document, profile: &str, table: &Table<'_>, place: Place) {
    let mut definition = ProfileDefinition::default();
    for (name, raw) in table {
        let value = Value { raw: Raw::Toml(raw.get_ref()), base: document.folder() };
        let set = match name.get_ref().as_ref() {
            "base" => value.name().map(|base| definition.base = Some(base)),
            "add" => value.switches().map(|switches| definition.add = switches),
            "remove" => value.list().map(|switches| definition.remove = switches),
            "images" => value.boolean().map(|images| definition.images = Some(images)),
            "site_isolation" => value.boolean().map(|isolation| definition.site_isolation = Some(isolation)),
            "window_size" => value.window_size().map(|size| definition.window_size = Some(size)),
            unknown => {
                let suggestion = did_you_mean(unknown, PROFILE_KEYS);
                let message = format!("unknown key `{unknown}` in profile `{profile}`: {suggestion}");
                loader.problem(document.place(&name.span()), message);
                continue;
            }
        };
        if let Err(problem) = set {
            let message = format!("`{}` of profile `{profile}` {problem}", name.get_ref());
            loader.problem(document.place(&raw.span()), message);
        }
    }
    loader.profile_places.insert(profile.to_owned(), place);
    loader.config.profiles.insert(profile.to_owned(), definition);
}

fn sites(loader: &mut Loader<'_>, document: &Document, table: &Table<'_>) {
    for (name, value) in table {
        let place = document.place(&name.span());
        match value.get_ref() {
            DeValue::Table(table) => site(loader, document, name.get_ref(), table, place),
            _ => {
                loader
                    .problem(place, format!("`{}` must be a section: write `[sites.NAME]`", name.get_ref()));
            }
        }
    }
}

/// Walks a site, reads its flows, and adds it if it has no errors.
pub(super) fn site(
    loader: &mut Loader<'_>,
    document: &Document,
    name: &str,
    table: &Table<'_>,
    place: Place,
) {
    if let Err(error) = validate::name("", name) {
        return loader.problem(place, format!("the name of site `{name}` {}", error.problem));
    }
    if let Some(other) = loader.site_places.insert(name.to_owned(), place.clone()) {
        return loader.problem(place, format!("site `{name}` is defined twice: see {other}"));
    }
    let before = loader.problems.len();
    let fields = SiteFields::walk(loader, document, name, table);
    let Some(start_url) = fields.start_url else {
        if loader.problems.len() == before {
            loader.problem(place, format!("site `{name}` has no `start_url`"));
        }
        return;
    };
    let mut read = |key, written| match written {
        Some(SignIn::File(file)) => flow_file(loader, document, name, table, key, &file).map(SignIn::Flow),
        other => other,
    };
    let sign_in = read("sign_in", fields.sign_in);
    let mut operations = fields.operations;
    for phase in operations.values_mut().flat_map(|operation| &mut operation.phases) {
        if let Some(flow) = read("operations", Some(phase.flow.clone())) {
            phase.flow = flow;
        }
    }
    let mut refresh = fields.refresh.unwrap_or_default();
    refresh.flow = read("refresh", refresh.flow);
    // Errors that follow from one that is already reported would be confusing.
    if loader.problems.len() > before {
        return;
    }
    let definition = SiteDefinition {
        start_url,
        sign_in,
        signed_in: fields.signed_in,
        signed_in_as: fields.signed_in_as,
        needs_attention: fields.needs_attention,
        locked_out: fields.locked_out,
        second_factor: fields.second_factor,
        shared_account: fields.shared_account,
        dialogs: fields.dialogs,
        refresh,
        operations,
        max_sign_ins: fields.max_sign_ins,
        quiet_hours: fields.quiet_hours,
        freeze: fields.freeze.unwrap_or(true),
        restore_fields: fields.restore_fields.unwrap_or_default(),
        ready: fields.ready.unwrap_or_default(),
    };
    match Site::new(definition) {
        Ok(site) => {
            loader.config.warnings.extend(site.warning(name));
            loader.config.sites.insert(name.to_owned(), site);
        }
        Err(error) => {
            let field = error.field().split('.').next().unwrap_or_default();
            let span = span_of(table, field);
            let place = span.map_or(place, |span| document.place(&span));
            loader.problem(place, format!("site `{name}`: {}", with_sources(&error)));
        }
    }
}

/// The fields of a site, each parsed separately.
#[derive(Default)]
struct SiteFields {
    start_url: Option<String>,
    sign_in: Option<SignIn>,
    signed_in: Option<pilotlight_flow::condition::Condition>,
    signed_in_as: Option<pilotlight_api::SignedInAs>,
    needs_attention: Option<pilotlight_flow::condition::Condition>,
    locked_out: Option<pilotlight_flow::condition::Condition>,
    second_factor: Option<pilotlight_flow::condition::Condition>,
    shared_account: bool,
    dialogs: Vec<pilotlight_flow::DialogRule>,
    refresh: Option<pilotlight_api::RefreshDefinition>,
    operations: BTreeMap<String, pilotlight_api::OperationDefinition>,
    max_sign_ins: Option<u32>,
    quiet_hours: Option<pilotlight_api::QuietHours>,
    freeze: Option<bool>,
    restore_fields: Option<pilotlight_api::RestoreFields>,
    ready: Option<pilotlight_api::Ready>,
}

impl SiteFields {
    fn walk(loader: &mut Loader<'_>, document: &Document, site: &str, table: &Table<'_>) -> Self {
        let mut fields = Self::default();
        for (name, value) in table {
            let key = name.get_ref().as_ref();
            let read = match key {
                "start_url" => read(value).map(|url| fields.start_url = Some(url)),
                "sign_in" => read(value).map(|sign_in| fields.sign_in = Some(sign_in)),
                "signed_in" => read(value).map(|condition| fields.signed_in = Some(condition)),
                "signed_in_as" => read(value).map(|element| fields.signed_in_as = Some(element)),
                "needs_attention" => read(value).map(|condition| fields.needs_attention = Some(condition)),
                "locked_out" => read(value).map(|condition| fields.locked_out = Some(condition)),
                "second_factor" => read(value).map(|condition| fields.second_factor = Some(condition)),
                "shared_account" => read(value).map(|is_shared| fields.shared_account = is_shared),
                "dialogs" => read(value).map(|dialogs| fields.dialogs = dialogs),
                "refresh" => read(value).map(|refresh| fields.refresh = Some(refresh)),
                "operations" => read(value).map(|operations| fields.operations = operations),
                "max_sign_ins" => read(value).map(|limit| fields.max_sign_ins = Some(limit)),
                "quiet_hours" => read(value).map(|quiet| fields.quiet_hours = Some(quiet)),
                "freeze" => read(value).map(|freeze| fields.freeze = Some(freeze)),
                "restore_fields" => read(value).map(|how| fields.restore_fields = Some(how)),
                "ready" => read(value).map(|ready| fields.ready = Some(ready)),
                unknown => Err((name.span(), format!("unknown key: {}", did_you_mean(unknown, SITE_KEYS)))),
            };
            if let Err((span, problem)) = read {
                loader.problem(document.place(&span), format!("`{key}` of site `{site}`: {problem}"));
            }
        }
        fields
    }
}

fn read<T: for<'de> Deserialize<'de>>(value: &Spanned<DeValue<'_>>) -> Result<T, (Range<usize>, String)> {
    T::deserialize(ValueDeserializer::from(value.clone()))
        .map_err(|error| (error.span().unwrap_or_else(|| value.span()), suggest(error.message())))
}

/// Reads a flow and validates it early, so that errors are reported with the flow's own file.
fn flow_file(
    loader: &mut Loader<'_>,
    document: &Document,
    site: &str,
    table: &Table<'_>,
    key: &str,
    file: &str,
) -> Option<serde_json::Value> {
    let path = document.folder().join(file);
    let text = match document::read(&path, MAX_FLOW_BYTES as u64) {
        Ok(text) => text,
        Err(problem) => {
            let place = span_of(table, key).map_or(problem.place, |span| document.place(&span));
            loader
                .problem(place, format!("`{key}` of site `{site}`: {} {}", path.display(), problem.message));
            return None;
        }
    };
    let flow = match serde_json::from_str(&text) {
        Ok(flow) => flow,
        Err(error) => {
            let place = Place::File { path, position: Some((error.line(), error.column())) };
            loader.problem(place, format!("not JSON: {error}"));
            return None;
        }
    };
    if let Err(error) = pilotlight_flow::schema::Flow::from_value(&flow) {
        loader.problem(Place::file(path), with_sources(&error));
        return None;
    }
    Some(flow)
}

/// Replaces the list in "unknown field `evry`, expected one of `how`, `every`" with a suggestion.
fn suggest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let suggestion = quoted.next().and_then(|word| nearest(word, quoted).map(|meant| (word, meant)));
    match suggestion {
        Some((word, meant)) if message.starts_with("unknown ") => {
            format!("unknown `{word}`: did you mean `{meant}`?")
        }
        _ => message.to_owned(),
    }
}

fn is_name(loader: &mut Loader<'_>, name: &Spanned<std::borrow::Cow<'_, str>>, place: &Place) -> bool {
    match validate::name("", name.get_ref()) {
        Ok(()) => true,
        Err(error) => {
            loader.problem(place.clone(), format!("the name `{}` {}", name.get_ref(), error.problem));
            false
        }
    }
}

fn span_of(table: &Table<'_>, key: &str) -> Option<Range<usize>> {
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value.span())
}
