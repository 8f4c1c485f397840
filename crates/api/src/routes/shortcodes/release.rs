//! `POST /api/shortcodes/{id}/release` (rule A21).

use axum::extract::State;
use pv_vault::{audit::Permission, engine::Step, partner::shortcode};
use utoipa_axum::routes;

use super::Shortcode;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id, Json},
    once::spawned,
    problem::ApiError,
    schema::{Answer, Why},
    state::ApiState,
};

/// Releases a shortcode from the quarantine after a restore: sending goes on. Platform only.
#[utoipa::path(post, path = "/api/shortcodes/{id}/release", tag = "M-Pesa connections", operation_id = "releaseShortcode", request_body = Why,
    params(("id" = Uuid, Path, description = "The shortcode.")),
    responses((status = 200, description = "The shortcode.", body = Shortcode)))]
async fn release(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id, Json(why): Json<Why>) -> Result<Answer, ApiError> {
    let engine = api.engine.clone();
    let view = spawned(async move { shortcode::release(&engine, &actor, id.into(), &why.reason).await }).await??;
    api.wake(&[Step::Ask, Step::Pay]);
    Ok(Answer::ok(&view))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::QuarantineRelease), routes!(release))
}
