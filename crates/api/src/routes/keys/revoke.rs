//! `DELETE /api/keys/{id}`: ends a key. The row stays.

use axum::extract::State;
use pv_vault::{
    audit::{Actor, Permission},
    partner::api_key::{self, KeyView},
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;
use uuid::Uuid;

use super::ApiKey;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id, Query},
    once::spawned,
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// Why; in the query, because not every client sends a body with DELETE.
#[derive(Debug, Clone, Deserialize, IntoParams, garde::Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RevokeQuery {
    /// Why, 3 to 500 characters.
    #[garde(length(chars, min = 3, max = 500))]
    #[param(min_length = 3, max_length = 500, example = "Found in a public repository")]
    reason: String,
}

/// Ends a key at once. Ending it again changes nothing.
#[utoipa::path(delete, path = "/api/keys/{id}", tag = "API keys", operation_id = "revokeKey", params(("id" = Uuid, Path, description = "The key."), RevokeQuery),
    responses((status = 200, description = "The key as it ended.", body = ApiKey)))]
async fn revoke(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id, Query(q): Query<RevokeQuery>) -> Result<Answer, ApiError> {
    let engine = api.engine.clone();
    let view = spawned(async move { api_key::revoke(&engine, &actor, id.into(), &q.reason).await }).await??;
    Ok(Answer::ok(&view))
}

/// One key that the actor sees.
pub(super) async fn one(api: &ApiState, actor: &Actor, id: Uuid) -> Result<Option<KeyView>, ApiError> {
    let keys = api_key::list(&api.engine, actor, None).await?;
    Ok(keys.into_iter().find(|key| key.id.uuid() == id))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::KeysWrite), routes!(revoke))
}
