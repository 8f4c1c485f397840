//! `PATCH /api/partners/{id}`.

use axum::extract::State;
use pv_kernel::Msisdn;
use pv_vault::{
    audit::Permission,
    partner::{self, PartnerPatch, PartnerPolicy},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{PartnerAnswer, Policy};
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id, Json, one_line_if_any},
    once::spawned,
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// What is to be changed; what is left out stays.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct PartnerPatchRequest {
    /// Its whole name.
    #[garde(length(chars, min = 2, max = 120), custom(one_line_if_any))]
    #[schema(min_length = 2, max_length = 120)]
    pub name: Option<String>,
    /// As in texts and remarks.
    #[garde(length(chars, min = 2, max = 30), custom(one_line_if_any))]
    #[schema(min_length = 2, max_length = 30, example = "Umoja")]
    pub short_name: Option<String>,
    /// IANA name of its zone.
    #[garde(length(min = 1, max = 60), custom(one_line_if_any))]
    #[schema(min_length = 1, max_length = 60)]
    pub zone: Option<String>,
    /// Its limits and switches, all of them.
    #[schema(value_type = Option<Policy>)]
    pub policy: Option<PartnerPolicy>,
    /// Who is told, all of them; at most 20.
    #[schema(value_type = Option<Vec<String>>, max_items = 20)]
    pub notification_phones: Option<Vec<Msisdn>>,
}

/// Changes a partner.
#[utoipa::path(patch, path = "/api/partners/{id}", tag = "Partners", operation_id = "updatePartner", request_body = PartnerPatchRequest,
    params(("id" = Uuid, Path, description = "The partner.")),
    responses((status = 200, description = "The partner.", body = PartnerAnswer)))]
async fn update(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id, Json(body): Json<PartnerPatchRequest>) -> Result<Answer, ApiError> {
    let patch = PartnerPatch {
        name: body.name,
        short_name: body.short_name,
        zone: body.zone,
        policy: body.policy,
        notification_phones: body.notification_phones,
    };
    let (engine, by) = (api.engine.clone(), actor.clone());
    let partner = spawned(async move { partner::update(&engine, &by, id.into(), patch).await }).await??;
    Ok(Answer::ok(&super::one_with_mifos(&api, &actor, partner).await?))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::PartnersWrite), routes!(update))
}
