//! Reading a request: body, path and query, each refused with a problem that points at the member that is wrong.

use std::fmt;

use axum::{
    RequestPartsExt as _,
    extract::{FromRequest, FromRequestParts, OptionalFromRequestParts, Request, rejection::JsonRejection},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header, request::Parts};
use pv_kernel::{crypto::sha256, problem::Problem};
use pv_vault::audit::Actor;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use uuid::Uuid;

use crate::problem::{ApiError, of_status};

/// Who is asking, as the guard found him.
#[derive(Debug, Clone)]
pub struct Caller(pub Actor);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Behind the guard he is always there; a public route has no caller.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            Problem::refused("not_authenticated", 401, "The API key is missing.", "Send a valid key as Authorization: Bearer …").into()
        })
    }
}

/// A JSON body: checked for its type, size, syntax, shape and bounds, in this order.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + garde::Validate<Context = ()>> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, false).into());
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| of_status(rejection.status(), false))?;
        Ok(Self(read(&bytes)?))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// Reads a body.
pub(crate) fn read<T: DeserializeOwned + garde::Validate<Context = ()>>(bytes: &[u8]) -> Result<T, Box<Problem>> {
    let value = axum::Json::<T>::from_bytes(bytes)
        .map_err(|rejection| match rejection {
            JsonRejection::JsonDataError(error) => misfit(&error.body_text(), "Failed to deserialize the JSON body into the target type: "),
            other => Box::new(Problem::refused(
                "invalid_json",
                400,
                format!("The body is not JSON: {}", other.body_text().trim_start_matches("Failed to parse the request body as JSON: ")),
                "Send one JSON object.",
            )),
        })?
        .0;
    no_nul(bytes)?;
    value.validate().map_err(|report| {
        let first = report.iter().next().map(|(path, error)| (pointer_of(&path.to_string()), error.to_string()));
        let (pointer, detail) = first.unwrap_or_default();
        Box::new(Problem::invalid(pointer, capital(&detail)))
    })?;
    Ok(value)
}

/// A NUL can be written in JSON and cannot be stored in a text: refused by name, instead of as a fault of ours.
fn no_nul(bytes: &[u8]) -> Result<(), Box<Problem>> {
    if !bytes.windows(6).any(|w| w == b"\\u0000") {
        return Ok(());
    }
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    nul_in(&value, String::new()).map_or(Ok(()), |pointer| Err(Box::new(Problem::invalid(pointer, "A text holds the character NUL."))))
}

fn nul_in(value: &serde_json::Value, at: String) -> Option<String> {
    match value {
        serde_json::Value::String(text) => text.contains('\0').then_some(at),
        serde_json::Value::Array(items) => items.iter().enumerate().find_map(|(i, item)| nul_in(item, format!("{at}/{i}"))),
        serde_json::Value::Object(members) => members.iter().find_map(|(name, item)| {
            let here = format!("{at}/{}", escaped(name));
            if name.contains('\0') { Some(here) } else { nul_in(item, here) }
        }),
        _ => None,
    }
}

/// A value that does not have the shape: the text is `path: what is wrong`.
fn misfit(text: &str, before: &str) -> Box<Problem> {
    let text = text.strip_prefix(before).unwrap_or(text);
    let text = text.split(" at line ").next().unwrap_or(text);
    let (path, what) = match text.split_once(": ") {
        Some((path, what)) if !path.contains(' ') => (path, what),
        _ => ("", text),
    };
    let mut pointer = pointer_of(path);
    if let Some(name) = what.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        pointer = format!("{pointer}/{}", escaped(name));
        return Box::new(Problem::invalid(pointer, "This member is missing."));
    }
    let named = ["unknown field `", "duplicate field `"].iter().find_map(|start| what.strip_prefix(start)).and_then(|rest| rest.split('`').next());
    if let Some(name) = named {
        let tail = format!("/{}", escaped(name));
        if !pointer.ends_with(&tail) {
            pointer.push_str(&tail);
        }
    }
    Box::new(Problem::invalid(pointer, capital(&bounded(what))))
}

/// `a.b[0]` as `/a/b/0`.
fn pointer_of(path: &str) -> String {
    let mut pointer = String::new();
    for part in path.split(['.', '[']).map(|p| p.trim_end_matches(']')).filter(|p| !p.is_empty() && *p != "?") {
        pointer.push('/');
        pointer.push_str(&escaped(part));
    }
    bounded(&pointer)
}

fn escaped(part: &str) -> String {
    bounded(part).replace('~', "~0").replace('/', "~1")
}

fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let mut text: String = letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default();
    if !text.ends_with('.') {
        text.push('.');
    }
    text
}

/// The id in the path. A text that is no UUID names nothing: 404, like an id that is not there.
#[derive(Debug, Clone, Copy)]
pub struct Id(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Name(text) = parts.extract::<Name>().await?;
        text.parse()
            .map(Self)
            .map_err(|_| Problem::refused("not_found", 404, "The id in the path is no UUID, so there is no such thing.", "Check the id.").into())
    }
}

/// The text in the path, at most 200 printable characters.
#[derive(Debug, Clone)]
pub struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let wrong = || ApiError::from(Problem::refused("not_found", 404, "What the path names cannot be the name of anything.", "Check the path."));
        let axum::extract::Path(text) = parts.extract::<axum::extract::Path<String>>().await.map_err(|_| wrong())?;
        if text.is_empty() || text.chars().count() > 200 || text.chars().any(char::is_control) {
            return Err(wrong());
        }
        Ok(Self(text))
    }
}

/// The query of the URL; unknown members are refused.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + garde::Validate<Context = ()>> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map_err(|rejection| misfit(&rejection.body_text(), "Failed to deserialize query string: "))?;
        query.0.validate().map_err(|report| {
            let (pointer, detail) = report.iter().next().map(|(path, error)| (pointer_of(&path.to_string()), error.to_string())).unwrap_or_default();
            Problem::invalid(pointer, capital(&detail))
        })?;
        Ok(Self(query.0))
    }
}

/// The `Idempotency-Key` of the request (rule D3), where there is one.
#[derive(Debug, Clone)]
pub struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut values = parts.headers.get_all("idempotency-key").iter();
        let refused = |why| {
            ApiError::from(Problem::refused(
                "bad_idempotency_key",
                400,
                why,
                "Send one Idempotency-Key: a UUID that you keep with your own record of the request.",
            ))
        };
        let Some(first) = values.next() else { return Ok(Self(None)) };
        if values.next().is_some() {
            return Err(refused("There is more than one Idempotency-Key."));
        }
        let text = first.to_str().map_err(|_| refused("An Idempotency-Key has printable ASCII characters."))?.trim();
        // The draft writes the key as a quoted string; most clients do not.
        let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
        if text.is_empty() || text.len() > 255 {
            return Err(refused("An Idempotency-Key has 1 to 255 characters."));
        }
        Ok(Self(Some(text.to_owned())))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, ApiError> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

/// A secret of a request. It is never printed; where the request is fingerprinted (rule D3), its SHA-256 stands for it.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// As the use cases take it.
    pub fn into_inner(self) -> SecretString {
        self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(SecretString::from(String::deserialize(deserializer)?)))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(sha256(self.0.expose_secret().as_bytes())))
    }
}

/// A member that stands there, be it `null`: left out is left alone, `null` empties.
#[expect(clippy::option_option, reason = "left alone, emptied and set are three different wishes")]
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A text in one line (for garde).
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that garde calls")]
pub(crate) fn one_line(text: &str, (): &()) -> garde::Result {
    if text.chars().any(char::is_control) { Err(garde::Error::new("this is written in one line, without control characters")) } else { Ok(()) }
}

/// The same for a member that may be left out.
#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "the signature that garde calls")]
pub(crate) fn one_line_if_any(text: &Option<String>, (): &()) -> garde::Result {
    text.as_deref().map_or(Ok(()), |text| one_line(text, &()))
}

#[cfg(test)]
mod tests {
    use pv_kernel::{Money, Msisdn};

    use super::*;

    #[derive(Debug, Deserialize, garde::Validate)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[garde(skip)]
        #[expect(dead_code, reason = "only its reading is tested")]
        amount: Money,
        #[garde(skip)]
        #[expect(dead_code, reason = "only its reading is tested")]
        phone: Option<Msisdn>,
        #[garde(length(chars, min = 2, max = 5))]
        name: Option<String>,
        #[garde(dive)]
        inner: Option<Vec<Inner>>,
    }

    #[derive(Debug, Deserialize, garde::Validate)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[garde(range(max = 5))]
        n: i32,
    }

    fn refused(body: &str) -> (u16, &'static str, String, String) {
        let p = *read::<Order>(body.as_bytes()).unwrap_err();
        (p.status, p.code, p.pointer.unwrap_or_default(), p.detail.into_owned())
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (body, pointer, words) in [
            (r#"{"amount": "x"}"#, "/amount", "Not an amount"),
            (r#"{"amount": 1e3}"#, "/amount", ""),
            (r#"{"amount": [1]}"#, "/amount", ""),
            (r#"{"amount": 1, "phone": "+1 202 555 0100"}"#, "/phone", "Kenyan"),
            (r#"{"amount": 1, "phone": 5}"#, "/phone", "Invalid type"),
            ("{}", "/amount", "missing"),
            (r#"{"amount": 1, "amuont": 2}"#, "/amuont", "Unknown field"),
            (r#"{"amount": 1, "amount": 2}"#, "/amount", "Duplicate"),
            (r#"{"amount": 1, "inner": [{"n": 1}, {"n": "x"}]}"#, "/inner/1/n", "Invalid type"),
            (r#"{"amount": 1, "inner": [{"n": 1}, {"n": 6}]}"#, "/inner/1/n", ""),
            (r#"{"amount": 1, "inner": [{"m": 1}]}"#, "/inner/0/m", "Unknown field"),
            (r#"{"amount": 1, "inner": [{}]}"#, "/inner/0/n", "missing"),
            (r#"{"amount": 1, "name": "x"}"#, "/name", ""),
            (r#"{"amount": 1, "name": "a\u0000b"}"#, "/name", "NUL"),
        ] {
            let (status, code, at, detail) = refused(body);
            assert_eq!((status, code, at.as_str()), (422, "invalid_request", pointer), "{body}: {detail}");
            assert!(detail.contains(words), "{body}: {detail}");
            assert!(!detail.contains("at line"), "{detail}");
        }
    }

    #[test]
    fn what_is_no_json_is_400() {
        for body in ["", "{", "nope", "{\"amount\": 1} x", "\u{feff}{}", &"[".repeat(5_000), "{\"amount\": 01}"] {
            let (status, code, ..) = refused(body);
            assert!(matches!((status, code), (400, "invalid_json") | (422, "invalid_request")), "{body}: {status} {code}");
        }
        assert_eq!(refused("{").1, "invalid_json");
    }

    #[test]
    fn a_name_of_a_member_cannot_break_the_pointer() {
        let (.., pointer, _) = refused(r#"{"amount": 1, "a/b~c": 2}"#);
        assert_eq!(pointer, "/a~1b~0c");
    }

    #[test]
    fn a_secret_is_not_printed_and_its_fingerprint_depends_on_it() {
        let read = |text: &str| serde_json::from_value::<Secret>(text.into()).unwrap();
        assert!(!format!("{:?}", read("hunter2")).contains("hunter2"));
        let a = serde_json::to_string(&read("hunter2")).unwrap();
        assert!(!a.contains("hunter2"));
        assert_ne!(a, serde_json::to_string(&read("hunter3")).unwrap());
    }
}
