//! Shapes that several endpoints share, and the answer that carries them.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, Type},
};

use crate::once::REPLAYED;

/// An amount in a request: a JSON number or a decimal string, in shillings, at most two places. Read from the raw token, never
/// through a float.
#[derive(Debug, Clone, Copy)]
pub struct Amount;

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .description(Some("Shillings, as a number or as a decimal string, with at most two places. Read exactly, never through a float."))
            .item(ObjectBuilder::new().schema_type(Type::Number).minimum(Some(-1_000_000_000_000i64)).maximum(Some(1_000_000_000_000i64)))
            .item(ObjectBuilder::new().schema_type(Type::String).pattern(Some(r"^-?[0-9]{1,13}(\.[0-9]{1,2})?$")))
            .examples([serde_json::json!("1500.00")])
            .into()
    }
}

impl ToSchema for Amount {}

/// An amount in an answer: a decimal string with two places, in shillings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(pattern = r"^-?[0-9]{1,13}\.[0-9]{2}$", example = "1500.00")]
pub struct Shillings(pub String);

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PageOf<T> {
    /// The rows, newest first.
    pub items: Vec<T>,
    /// Hand this in as `cursor` to get the next page.
    pub next_cursor: Option<String>,
    /// There is a next page.
    pub has_more: bool,
}

/// A whole list, which is never long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListOf<T> {
    /// The rows.
    pub items: Vec<T>,
}

/// Why something is done, in the person's words; kept in the audit trail.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// 3 to 500 characters.
    #[garde(length(chars, min = 3, max = 500))]
    #[schema(min_length = 3, max_length = 500, example = "Agreed with the branch by phone.")]
    pub reason: String,
}

/// The query of a list that the platform may narrow to one partner.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams, garde::Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[garde(allow_unvalidated)]
pub struct OfPartner {
    /// Only this partner. A partner's key sees its own anyway.
    pub partner_id: Option<uuid::Uuid>,
}

/// An RFC 9457 problem document. Every error has this shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename = "Problem")]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// Names the kind of problem; stable.
    #[serde(rename = "type")]
    #[schema(example = "/api/problems/amount_has_cents")]
    pub kind: String,
    /// The kind in a few words.
    #[schema(example = "Amount has cents")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 422, minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened, for a person.
    #[schema(example = "M-Pesa moves whole shillings only.")]
    pub detail: String,
    /// Stable machine name; never renamed once published.
    #[schema(example = "amount_has_cents")]
    pub code: String,
    /// Did money move because of this request: `no`, `yes` or `not_yet_known`.
    #[schema(example = "no", pattern = "^(no|yes|not_yet_known)$")]
    pub money_moved: String,
    /// What we do next.
    #[schema(example = "Nothing: the request was not carried out.")]
    pub what_we_do: String,
    /// What you can do.
    #[schema(example = "Send an amount without cents.")]
    pub what_you_can_do: String,
    /// The id of the request, as in `X-Request-Id`.
    #[schema(example = "019aa0c4-9d1c-7a53-b6cf-2f2a3a0f6f10")]
    pub request_id: String,
    /// The members that are wrong, as JSON pointers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemMember>,
    /// The id of what it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub related: Option<String>,
}

/// A member that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemMember {
    /// Where: a JSON pointer into the body, or the name in the query.
    #[schema(example = "/amount")]
    pub pointer: String,
    /// What is wrong with it.
    #[schema(example = "M-Pesa moves whole shillings only.")]
    pub detail: String,
}

/// An answer: its status, whether it repeats an earlier one, and its body.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    replayed: bool,
    body: Result<Vec<u8>, serde_json::Error>,
}

impl Answer {
    /// With this status.
    pub fn new(status: StatusCode, body: &impl Serialize) -> Self {
        Self { status, replayed: false, body: serde_json::to_vec(body) }
    }

    /// 200.
    pub fn ok(body: &impl Serialize) -> Self {
        Self::new(StatusCode::OK, body)
    }

    /// A whole list.
    pub fn list(items: Vec<impl Serialize>) -> Self {
        Self::ok(&ListOf { items })
    }

    /// Marked as repeating an earlier one, where it does.
    #[must_use]
    pub fn replayed(mut self, replayed: bool) -> Self {
        self.replayed = replayed;
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let body = match self.body {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(%error, "an answer could not be written");
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
        };
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if self.replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}
