//! `POST /api/credentials/{id}/activate`.

use axum::extract::State;
use pv_vault::{audit::Permission, engine::Step, partner::credential};
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

/// Makes a version the one that new payouts use. One send at a time until one succeeds.
#[utoipa::path(post, path = "/api/credentials/{id}/activate", tag = "M-Pesa connections", operation_id = "activateCredential", request_body = Why,
    params(("id" = Uuid, Path, description = "The version.")),
    responses((status = 200, description = "The version.", body = Credential)))]
async fn activate(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id, Json(why): Json<Why>) -> Result<Answer, ApiError> {
    let engine = api.engine.clone();
    let view = spawned(async move { credential::activate(&engine, &actor, id.into(), &why.reason).await }).await??;
    api.wake(&[Step::Pay]);
    Ok(Answer::ok(&view))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsWrite), routes!(activate))
}
