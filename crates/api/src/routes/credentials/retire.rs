//! `POST /api/credentials/{id}/retire`.

use axum::extract::State;
use pv_vault::{audit::Permission, partner::credential};
use utoipa_axum::routes;

use super::Credential;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id, Json},
    once::spawned,
    problem::ApiError,
    schema::{Answer, Why},
    state::ApiState,
};

/// Gives a version up for good: no new payout uses it. What was sent with it is still asked about with it.
#[utoipa::path(post, path = "/api/credentials/{id}/retire", tag = "M-Pesa connections", operation_id = "retireCredential", request_body = Why,
    params(("id" = Uuid, Path, description = "The version.")),
    responses((status = 200, description = "The version.", body = Credential)))]
async fn retire(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id, Json(why): Json<Why>) -> Result<Answer, ApiError> {
    let engine = api.engine.clone();
    let view = spawned(async move { credential::retire(&engine, &actor, id.into(), &why.reason).await }).await??;
    Ok(Answer::ok(&view))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsWrite), routes!(retire))
}
