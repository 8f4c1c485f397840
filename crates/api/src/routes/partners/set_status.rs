//! `POST /api/partners/{id}/status`.

use axum::extract::State;
use pv_vault::{
    audit::Permission,
    partner::{self, PartnerStatus},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::PartnerAnswer;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id, Json},
    once::spawned,
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// Where to.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields)]
pub struct PartnerStatusRequest {
    /// `active`, `suspended`, `closing` or `closed`.
    #[garde(skip)]
    #[schema(value_type = String, pattern = "^(active|suspended|closing|closed)$", example = "suspended")]
    pub status: PartnerStatus,
    /// Why, 3 to 500 characters.
    #[garde(length(chars, min = 3, max = 500))]
    #[schema(min_length = 3, max_length = 500, example = "Asked for by the partner's board.")]
    pub reason: String,
}

/// Moves a partner along its life: active, suspended, closing, closed. Closing for good needs that nothing is open. Platform only.
#[utoipa::path(post, path = "/api/partners/{id}/status", tag = "Partners", operation_id = "setPartnerStatus", request_body = PartnerStatusRequest,
    params(("id" = Uuid, Path, description = "The partner.")),
    responses((status = 200, description = "The partner.", body = PartnerAnswer)))]
async fn set_status(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Id(id): Id,
    Json(body): Json<PartnerStatusRequest>,
) -> Result<Answer, ApiError> {
    let (engine, by) = (api.engine.clone(), actor.clone());
    let partner = spawned(async move { partner::set_status(&engine, &by, id.into(), body.status, &body.reason).await }).await??;
    Ok(Answer::ok(&super::one_with_mifos(&api, &actor, partner).await?))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::PartnersWrite), routes!(set_status))
}
