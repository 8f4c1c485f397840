//! What callers are told. Providers read little of it; people who set a webhook up read all of it.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use pv_kernel::problem::Problem;
use serde_json::json;

fn body(status: StatusCode, content_type: &'static str, value: &serde_json::Value) -> Response {
    let mut response = (status, value.to_string()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn of_json(status: StatusCode, value: &serde_json::Value) -> Response {
    body(status, "application/json", value)
}

/// What M-Pesa expects once a message is stored (M-Pesa contract 8.5).
pub(crate) fn accepted_by_mpesa() -> Response {
    of_json(StatusCode::OK, &json!({ "ResultCode": 0, "ResultDesc": "Accepted" }))
}

/// It is not stored: M-Pesa may send it again, and a status question finds the truth.
pub(crate) fn not_taken_from_mpesa(status: StatusCode) -> Response {
    of_json(status, &json!({ "ResultCode": 1, "ResultDesc": "Not stored; send it again" }))
}

/// What gateways expect (SMS contract 2.4), and the answer to a probe.
pub(crate) fn ok() -> Response {
    of_json(StatusCode::OK, &json!({ "ok": true }))
}

/// A hook or webhook is stored.
pub(crate) fn stored(id: uuid::Uuid) -> Response {
    of_json(StatusCode::OK, &json!({ "status": "accepted", "message_id": id }))
}

/// The way in works.
pub(crate) fn reachable(hint: &str) -> Response {
    of_json(StatusCode::OK, &json!({ "status": "ok", "detail": hint }))
}

/// A problem document (RFC 9457).
pub(crate) fn problem(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut value = serde_json::to_value(problem).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        members.insert("title".to_owned(), json!(status.canonical_reason().unwrap_or("Problem")));
    }
    let mut response = body(status, "application/problem+json", &value);
    if let Some(seconds) = problem.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Over a limit.
pub(crate) fn too_many() -> Response {
    let mut refusal = Problem::refused(
        "too_many_requests",
        429,
        "Too many requests came from here.",
        "Wait as long as Retry-After says. Approved loans are also found by polling.",
    );
    refusal.retry_after = Some(10);
    problem(&refusal)
}
