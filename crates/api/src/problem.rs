//! Problem documents (RFC 9457): every error of this API is one, with a stable `code` and the three answers: did money move, what do
//! we do next, what can you do.
//!
//! An error leaves its [`Problem`] in the extensions of the answer; the frame writes the document, because only the frame knows the
//! id of the request. What comes without a problem (a router's own refusal, a panic) gets one there, by its status.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, Uri, header};
use problem_details::ProblemDetails;
use pv_kernel::problem::{MoneyMoved, Problem};
use pv_vault::VaultError;
use serde::{Deserialize, Serialize};

/// Under this stand the types of the problems, one page per code.
pub const TYPES: &str = "/api/problems/";

/// A problem as it is told: fresh, or as it was kept under an idempotency key (rule D3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Stable machine name.
    pub code: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened.
    pub detail: String,
    /// `no`, `yes` or `not_yet_known`.
    pub money_moved: String,
    /// What we do next.
    pub we_do: String,
    /// What you can do.
    pub you_can: String,
    /// The member that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Seconds after which a repeat makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    /// The id of what it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub related: Option<String>,
}

impl From<Problem> for Told {
    fn from(p: Problem) -> Self {
        let money_moved = match p.money_moved {
            MoneyMoved::No => "no",
            MoneyMoved::Yes => "yes",
            MoneyMoved::NotYetKnown => "not_yet_known",
        };
        Self {
            code: p.code.to_owned(),
            status: p.status,
            detail: p.detail.into_owned(),
            money_moved: money_moved.to_owned(),
            we_do: p.we_do.into_owned(),
            you_can: p.you_can.into_owned(),
            pointer: p.pointer,
            retry_after: p.retry_after,
            related: p.related,
        }
    }
}

/// A refused or failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// What is told about it.
    pub told: Box<Told>,
    /// It is the stored answer to the same request made before (rule D3).
    pub replayed: bool,
}

impl From<Told> for ApiError {
    fn from(told: Told) -> Self {
        Self { told: Box::new(told), replayed: false }
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Told::from(problem).into()
    }
}

impl From<Box<Problem>> for ApiError {
    fn from(problem: Box<Problem>) -> Self {
        Self::from(*problem)
    }
}

impl From<VaultError> for ApiError {
    fn from(error: VaultError) -> Self {
        error.into_problem().into()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.told.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// A member of the request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Pointed {
    pointer: String,
    detail: String,
}

/// What we add to the members of the RFC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Ours {
    code: String,
    money_moved: String,
    what_we_do: String,
    what_you_can_do: String,
    request_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Pointed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    related: Option<String>,
}

/// The answer with the document of a problem.
pub(crate) fn document(told: &Told, request_id: &str) -> Response {
    let status = StatusCode::from_u16(told.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let errors = told.pointer.iter().map(|pointer| Pointed { pointer: pointer.clone(), detail: told.detail.clone() }).collect();
    let ours = Ours {
        code: told.code.clone(),
        money_moved: told.money_moved.clone(),
        what_we_do: told.we_do.clone(),
        what_you_can_do: told.you_can.clone(),
        request_id: request_id.to_owned(),
        errors,
        related: told.related.clone(),
    };
    let kind: Uri = format!("{TYPES}{}", told.code).parse().unwrap_or_default();
    let details = ProblemDetails::new()
        .with_type(kind)
        .with_title(title(&told.code, status))
        .with_status(status)
        .with_detail(told.detail.clone())
        .with_extensions(ours);
    let body = serde_json::to_vec(&details).unwrap_or_default();
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = told.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"payvault\""));
    }
    response
}

/// The code as a short title: `amount_has_cents` is "Amount has cents".
fn title(code: &str, status: StatusCode) -> String {
    let words = code.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(|| status.canonical_reason().unwrap_or("Problem").to_owned(), |first| first.to_uppercase().chain(letters).collect())
}

/// The problem of an answer that came without one. `changes`: the request was no mere reading, so after a fault of ours nothing can
/// be said about its effect.
pub(crate) fn of_status(status: StatusCode, changes: bool) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::refused("no_such_path", 404, "There is nothing under this path.", "Look at the reference under /api/docs."),
        StatusCode::METHOD_NOT_ALLOWED => {
            Problem::refused("method_not_allowed", 405, "This path does not take this method.", "The header Allow names the methods; see /api/docs.")
        }
        StatusCode::PAYLOAD_TOO_LARGE => Problem::refused("body_too_large", 413, "The body is too large.", "Send a smaller body: at most 64 KiB."),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Problem::refused("unsupported_media_type", 415, "The body is not declared as JSON.", "Send Content-Type: application/json.")
        }
        status if status.is_client_error() => {
            Problem::refused("bad_request", status.as_u16(), "The request cannot be understood.", "Look at the reference under /api/docs.")
        }
        _ => internal(changes),
    }
}

/// A fault of ours that leaves the effect open.
pub(crate) fn internal(changes: bool) -> Problem {
    let mut problem = Problem::refused(
        "internal_error",
        500,
        "The request broke because of a fault on our side.",
        "Send the same request again with the same Idempotency-Key (it can have no second effect), or look at its subject. Tell us the request_id.",
    )
    .we_do("The fault is written down and looked at.");
    if changes {
        problem = problem.money(MoneyMoved::NotYetKnown);
    }
    problem
}

/// It took too long. The work itself goes on: commands run in tasks of their own.
pub(crate) fn timed_out(changes: bool) -> Problem {
    let mut problem = Problem::refused(
        "timeout",
        503,
        "The request took too long to answer.",
        "Send the same request again with the same Idempotency-Key, or look at its subject: it can have no second effect.",
    );
    problem.retry_after = Some(5);
    if changes {
        problem = problem.money(MoneyMoved::NotYetKnown).we_do("What was begun is finished; only the answer is missing.");
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_reads_as_words() {
        assert_eq!(title("amount_has_cents", StatusCode::OK), "Amount has cents");
        assert_eq!(title("", StatusCode::NOT_FOUND), "Not Found");
    }

    #[test]
    fn a_fault_of_ours_in_a_command_leaves_the_money_open() {
        assert_eq!(of_status(StatusCode::INTERNAL_SERVER_ERROR, true).money_moved, MoneyMoved::NotYetKnown);
        assert_eq!(of_status(StatusCode::BAD_GATEWAY, false).money_moved, MoneyMoved::No);
        assert_eq!(timed_out(true).money_moved, MoneyMoved::NotYetKnown);
    }
}
