//! `GET /api/me`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{
    endpoint::{Access, Endpoint},
    extract::Caller,
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Me {
    /// The key's id.
    pub id: Uuid,
    /// Its label.
    #[schema(example = "Core banking, Nairobi")]
    pub name: String,
    /// The partner; `null`: the platform.
    pub partner_id: Option<Uuid>,
    /// The role.
    #[schema(example = "maker")]
    pub role: String,
    /// What the role may do.
    #[schema(example = json!(["disbursements.create", "disbursements.read"]))]
    pub permissions: Vec<String>,
    /// `sandbox` or `production`.
    #[schema(example = "sandbox")]
    pub environment: String,
    /// The address that we see.
    pub address: Option<String>,
}

/// Who the key belongs to and what it may do.
#[utoipa::path(get, path = "/api/me", tag = "Knowing", operation_id = "readMe", responses((status = 200, description = "The caller.", body = Me)))]
async fn me(State(api): State<ApiState>, Caller(actor): Caller) -> Result<Answer, ApiError> {
    Ok(Answer::ok(&Me {
        id: actor.id,
        name: actor.name,
        partner_id: actor.partner.map(pv_kernel::ids::PartnerId::uuid),
        role: actor.role,
        permissions: actor.permissions.iter().map(ToString::to_string).collect(),
        environment: api.environment.to_string(),
        address: actor.address,
    }))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::AnyKey, routes!(me))
}
