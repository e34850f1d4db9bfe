//! The buckets of the archive.

use super::codes::Code;
use super::fields::KEYS;
use super::problem::{Draft, Log};
use super::secret::{self, Known};
use super::section::{self, Section};
use super::source::quote;
use super::spec::{BucketSpec, StorageSpec};
use super::url::{self, UrlFault};
use super::vocabulary::{nearest, one_of};

/// The credentials of a store, by name.
const KEY_NAMES: &[&str] = &["access_key_id", "secret_access_key"];

/// Reads `spec.storage` of the environment called `environment`.
pub(super) fn read(
    spec: &Section<'_, '_>,
    environment: Option<&str>,
    secrets: &Known,
    log: &mut Log<'_>,
) -> Option<StorageSpec> {
    spec.exclude("storage", "store", log);
    let section = spec.section("storage", log)?;
    if section.is_empty() {
        section::empty(section.span(), &spec.shown("storage"), log);
    }
    let mut bucket = |key| {
        let section = section.section(key, log)?;
        bucket(&section, key, environment, secrets, log)
    };
    Some(StorageSpec { raw: bucket("raw"), normalized: bucket("normalized") })
}

fn bucket(
    section: &Section<'_, '_>,
    kind: &str,
    environment: Option<&str>,
    secrets: &Known,
    log: &mut Log<'_>,
) -> Option<BucketSpec> {
    let name = name(section, kind, environment, log);
    let allow_plaintext = section.truth("allow_plaintext", log);
    // Where what `allow_plaintext` meant to say is not known, it is not the place to complain.
    let strict = !section.has("allow_plaintext") || allow_plaintext == Some(false);
    let endpoint = endpoint(section, strict, log);
    let keys = section
        .value(KEYS)
        .map(|node| secret::read_map(node, Some(KEY_NAMES), "", &section.path(KEYS), secrets, log));
    let keys = keys.unwrap_or_default();
    if let (1, Some((key, _))) = (keys.len(), section.get(KEYS)) {
        let missing = KEY_NAMES.iter().find(|name| !keys.contains_key(**name)).copied().unwrap_or_default();
        let message = format!("`{missing}` is missing in {}", section.shown(KEYS));
        log.add(Draft::new(Code::MissingKey, key.span, message).expected("both or neither"));
    }
    let region = section.id("region", log);
    let retention_days = section.days("retention_days", log).flatten();
    if let (Some(_), Some((key, _))) = (retention_days, section.get("retention_days")) {
        let message = format!("{} other than for ever is not built yet", section.shown("retention_days"));
        log.note(Draft::new(Code::NotBuiltYet, key.span, message).expected("`-1`, or a document without it"));
    }
    let allow_plaintext = allow_plaintext.unwrap_or(false);
    Some(BucketSpec { bucket: name?, endpoint, region, allow_plaintext, keys, retention_days })
}

/// A bucket's name says what is in it, and whose it is if it is not everybody's: nobody deletes the wrong one.
fn name(
    section: &Section<'_, '_>,
    kind: &str,
    environment: Option<&str>,
    log: &mut Log<'_>,
) -> Option<String> {
    let node = section.value("bucket")?;
    let text = section::text(node, &section.shown("bucket"), log)?;
    let shared = format!("ssmd-{kind}");
    let own = environment.map(|environment| format!("ssmd-{environment}-{kind}"));
    let fits = |name: &str| text == name;
    // Without the environment's name, whatever could be it is accepted: that it is missing is a problem already.
    let unknown = own.is_none() && text.starts_with("ssmd-") && text.ends_with(kind);
    if fits(&shared) || own.as_deref().is_some_and(fits) || unknown {
        return Some(text.to_owned());
    }
    let right: Vec<_> = own.into_iter().chain([shared]).collect();
    let message = format!("bucket {} does not match the naming convention", quote(text));
    let draft = Draft::new(Code::Bucket, node.span, message);
    log.add(draft.expected(one_of(&right)).nearest(nearest(text, right.iter().map(String::as_str))));
    None
}

/// An address; without a scheme it is `https://`. If it is to be `strict`, `http://` is for this machine only.
fn endpoint(section: &Section<'_, '_>, strict: bool, log: &mut Log<'_>) -> Option<String> {
    let node = section.value("endpoint")?;
    let shown = section.shown("endpoint");
    let text = section::text(node, &shown, log)?;
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let local: &[&str] = if strict { &["http"] } else { &[] };
    match url::check(&whole, &["https", "http"], local) {
        Ok(()) => Some(whole),
        Err(UrlFault::Form(why)) => {
            if text.contains('@') {
                node.hide(log);
            }
            let message = format!("{shown} is not an address: {why}");
            let expected = "a host, `https://host` or `http://host`, each with a port if need be";
            log.add(Draft::new(Code::Url, node.span, message).expected(expected));
            None
        }
        Err(UrlFault::Plaintext(scheme)) => {
            let message = format!("{shown} is `{scheme}://` to another machine");
            log.add(Draft::new(Code::Plaintext, node.span, message).expected("`https://host`"));
            None
        }
    }
}
