//! `GET /api/requests`.

use axum::extract::State;
use pv_vault::{audit::Permission, payout::ruling};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{
    endpoint::{Access, Endpoint},
    extract::Caller,
    problem::ApiError,
    schema::{Answer, ListOf},
    state::ApiState,
};

/// What waits for a second person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenRequest {
    /// The request.
    pub id: Uuid,
    /// The partner.
    pub partner_id: Option<Uuid>,
    /// `ruling` or `new_generation`.
    #[schema(example = "ruling")]
    pub action: String,
    /// The payout or disbursement.
    pub subject: Uuid,
    /// What is asked for.
    #[schema(value_type = Object)]
    pub payload: serde_json::Value,
    /// Who asked: somebody else decides.
    #[schema(example = "partner/key Head office")]
    pub requested_by: String,
    /// Since when.
    pub requested_at: chrono::DateTime<chrono::Utc>,
}

/// Open requests for a second person, oldest first, 200 at the most.
#[utoipa::path(get, path = "/api/requests", tag = "Four eyes", operation_id = "listRequests",
    responses((status = 200, description = "The open requests.", body = ListOf<OpenRequest>)))]
async fn list(State(api): State<ApiState>, Caller(actor): Caller) -> Result<Answer, ApiError> {
    Ok(Answer::list(ruling::open_requests(&api.engine, &actor, 200).await?))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::DisbursementsRead), routes!(list))
}
