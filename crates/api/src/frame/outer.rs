//! The outermost layer: gives the request its id and address, limits the address and the time, and makes of every error a problem
//! document.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderValue, Method, header};
use tracing::Instrument as _;

use super::{
    address,
    guard::{ClientAddress, RequestId},
    limit::{Left, Limiter},
};
use crate::{
    once::REPLAYED,
    problem::{self, ApiError, Told},
    state::ApiState,
};

/// What the layer holds.
#[derive(Debug, Clone)]
pub(super) struct Outer {
    state: ApiState,
    addresses: Arc<Limiter<Option<std::net::IpAddr>>>,
}

impl Outer {
    pub(super) fn new(state: ApiState) -> Self {
        let addresses = Arc::new(Limiter::new("address", state.limits.per_address, state.engine.clock.clone()));
        Self { state, addresses }
    }
}

pub(super) async fn outer(State(outer): State<Outer>, mut request: Request, next: Next) -> Response {
    let clock = &outer.state.engine.clock;
    let began = clock.monotonic();
    let id = request_id(request.headers(), &outer.state);
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|c| c.0);
    let client = address::client(peer, request.headers(), &outer.state.trusted_proxies);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("-", MatchedPath::as_str).to_owned();
    let changes = !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(ClientAddress(client));
    let span = tracing::info_span!("request", request_id = %id, %method, route = %route, actor = tracing::field::Empty);
    let mut response = match outer.addresses.take(&client) {
        Err((left, problem)) => limited(left, &Told::from(*problem), &id),
        Ok(left) => {
            let mut response = handle(&outer.state, request, next, changes).instrument(span.clone()).await;
            response = as_problem(response, &id, changes);
            if !response.headers().contains_key("ratelimit") {
                left.write(response.headers_mut());
            }
            response
        }
    };
    finish(response.headers_mut(), &id);
    let millis = clock.monotonic().saturating_sub(began).as_millis();
    let _in = span.enter();
    tracing::info!(status = response.status().as_u16(), millis, address = client.map(tracing::field::display), "request");
    response
}

async fn handle(state: &ApiState, request: Request, next: Next, changes: bool) -> Response {
    use axum::response::IntoResponse as _;
    let path_or_query = request.uri().path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    if path_or_query.contains("%00") {
        return ApiError::from(pv_kernel::problem::Problem::refused("bad_request", 400, "The URL holds the character NUL.", "Remove it."))
            .into_response();
    }
    match tokio::time::timeout(state.limits.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::from(problem::timed_out(changes)).into_response(),
    }
}

fn limited(left: Left, problem: &Told, id: &str) -> Response {
    let mut response = problem::document(problem, id);
    left.write(response.headers_mut());
    response
}

/// An error becomes the document of its problem; one that has none gets that of its status.
fn as_problem(mut response: Response, id: &str, changes: bool) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let written = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let (told, replayed) = match response.extensions_mut().remove::<ApiError>() {
        Some(error) => (*error.told, error.replayed),
        // An answer of ours that is an error and no problem: a readiness report.
        None if written => return response,
        None => (problem::of_status(status, changes).into(), false),
    };
    let mut document = problem::document(&told, id);
    if replayed {
        document.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    for name in [header::ALLOW.as_str(), "ratelimit", "ratelimit-policy"] {
        if let (Some(value), Ok(name)) = (response.headers_mut().remove(name), http::HeaderName::try_from(name)) {
            document.headers_mut().insert(name, value);
        }
    }
    document
}

/// Theirs when it is one, else a new one.
fn request_id(headers: &HeaderMap, state: &ApiState) -> String {
    let theirs = headers
        .get("x-request-id")
        .and_then(|v| v.to_str().ok())
        .filter(|text| (1..=100).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-')));
    theirs.map_or_else(|| state.engine.id().to_string(), str::to_owned)
}

fn finish(headers: &mut HeaderMap, id: &str) {
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert("x-request-id", value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
}
