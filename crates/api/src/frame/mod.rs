//! What every request passes, from outside in: request id and log line, client address and its limit, time limit, problem
//! documents, then the route with its [`guard`] (key, its limit, permission).

pub mod address;
pub mod guard;
pub mod limit;
mod outer;

use axum::{Router, extract::DefaultBodyLimit, middleware};
use utoipa_axum::router::OpenApiRouter;

use crate::{document, problem, routes, state::ApiState};

/// The whole API as a router, with its frame around it. It has a fallback for unknown paths under its own frame; a router merged to
/// it must have none.
pub fn router(state: ApiState) -> Router {
    let limits = guard::KeyLimiter::new(&state);
    let endpoints = routes::all().into_iter().fold(OpenApiRouter::new(), |router, endpoint| router.routes(endpoint.guarded(&state, &limits)));
    let body = state.limits.body;
    let outer = outer::Outer::new(state.clone());
    Router::from(endpoints)
        .with_state(state)
        .merge(document::pages())
        .fallback(|| async { problem::ApiError::from(problem::of_status(http::StatusCode::NOT_FOUND, false)) })
        .method_not_allowed_fallback(|| async { problem::ApiError::from(problem::of_status(http::StatusCode::METHOD_NOT_ALLOWED, false)) })
        .layer(DefaultBodyLimit::max(body))
        .layer(tower_http::catch_panic::CatchPanicLayer::new())
        .layer(middleware::from_fn_with_state(outer, outer::outer))
}
