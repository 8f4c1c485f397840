//! `GET /api/partners/{id}/keys`.

use axum::extract::State;
use pv_vault::{audit::Permission, partner::api_key};
use utoipa_axum::routes;

use super::ApiKey;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id},
    problem::ApiError,
    schema::{Answer, ListOf},
    state::ApiState,
};

/// The keys of a partner, newest first, those that have ended among them.
#[utoipa::path(get, path = "/api/partners/{id}/keys", tag = "API keys", operation_id = "listKeys", params(("id" = Uuid, Path, description = "The partner.")),
    responses((status = 200, description = "The keys.", body = ListOf<ApiKey>)))]
async fn list(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id) -> Result<Answer, ApiError> {
    let partner = actor.partner_for(Some(id.into()))?;
    Ok(Answer::list(api_key::list(&api.engine, &actor, Some(partner)).await?))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::KeysWrite), routes!(list))
}
