//! `POST /api/partners` (requirement M2).

use axum::extract::State;
use pv_kernel::Msisdn;
use pv_vault::{
    audit::Permission,
    partner::{self, NewPartner, PartnerPolicy},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{PartnerAnswer, Policy};
use crate::{
    endpoint::{Access, Endpoint, KeyUse},
    extract::{Caller, IdempotencyKey, Json, one_line, one_line_if_any},
    once::{Effect, Once},
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// A partner to be made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct NewPartnerRequest {
    /// Its whole name.
    #[garde(length(chars, min = 2, max = 120), custom(one_line))]
    #[schema(min_length = 2, max_length = 120, example = "Umoja SACCO Society Ltd")]
    pub name: String,
    /// As in texts and remarks.
    #[garde(length(chars, min = 2, max = 30), custom(one_line))]
    #[schema(min_length = 2, max_length = 30, example = "Umoja SACCO")]
    pub short_name: String,
    /// IANA name of its zone; left out: Africa/Nairobi.
    #[garde(length(min = 1, max = 60), custom(one_line_if_any))]
    #[schema(min_length = 1, max_length = 60, example = "Africa/Nairobi")]
    #[serde(default)]
    pub zone: Option<String>,
    /// Its limits and switches.
    #[schema(value_type = Policy)]
    #[serde(default)]
    pub policy: PartnerPolicy,
    /// Who is told about wallet and failures; at most 20.
    #[schema(value_type = Vec<String>, max_items = 20, example = json!(["0712345678"]))]
    #[serde(default)]
    pub notification_phones: Vec<Msisdn>,
}

/// Makes a partner with its books. Platform only.
#[utoipa::path(post, path = "/api/partners", tag = "Partners", operation_id = "createPartner", request_body = NewPartnerRequest,
    responses((status = 201, description = "The partner.", body = PartnerAnswer)))]
async fn create(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    key: IdempotencyKey,
    Json(body): Json<NewPartnerRequest>,
) -> Result<Answer, ApiError> {
    let new = NewPartner {
        name: body.name.clone(),
        short_name: body.short_name.clone(),
        zone: body.zone.clone(),
        policy: body.policy.clone(),
        notification_phones: body.notification_phones.clone(),
    };
    let once = Once { api: &api, actor: &actor, partner: None, route: "POST /api/partners", key, need: KeyUse::Required };
    let outcome =
        once.run(&body, move |engine, actor| async move { Ok(Effect::created(partner::create(&engine, &actor, new).await?.id.uuid(), ())) }).await?;
    let today = partner::get(&api.engine, &actor, outcome.made()?.into()).await?;
    Ok(Answer::new(outcome.status, &super::one_with_mifos(&api, &actor, today).await?).replayed(outcome.replayed))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::PartnersWrite), routes!(create)).keyed(KeyUse::Required)
}
