//! `POST /api/credentials/{id}/lift-halt` (rule A19).

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

/// Lets a halted version try again, one send at a time: what M-Pesa refused about it was mended at the portal.
#[utoipa::path(post, path = "/api/credentials/{id}/lift-halt", tag = "M-Pesa connections", operation_id = "liftCredentialHalt", request_body = Why,
    params(("id" = Uuid, Path, description = "The version.")),
    responses((status = 200, description = "The version.", body = Credential)))]
async fn lift_halt(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id, Json(why): Json<Why>) -> Result<Answer, ApiError> {
    let engine = api.engine.clone();
    let view = spawned(async move { credential::lift_halt(&engine, &actor, id.into(), &why.reason).await }).await??;
    api.wake(&[Step::Pay]);
    Ok(Answer::ok(&view))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsWrite), routes!(lift_halt))
}
