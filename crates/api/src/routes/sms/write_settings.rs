//! `POST /api/sms/settings`.

use axum::extract::State;
use pv_kernel::{Money, Msisdn, ids::PartnerId};
use pv_vault::{
    audit::Permission,
    engine::Step,
    partner::sms_settings::{self, SmsPatch},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::SmsSettingsAnswer;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Json, Secret, one_line_if_any},
    once::spawned,
    problem::ApiError,
    schema::{Amount, Answer},
    state::ApiState,
};

/// The settings; what is left out stays. The first time address, key, sender id, user and password are needed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields, default)]
#[garde(allow_unvalidated)]
pub struct SmsSettingsRequest {
    /// For whom. Implied by a partner's key.
    #[schema(value_type = Option<Uuid>)]
    pub partner_id: Option<PartnerId>,
    /// Base URL of the gateway. Another one needs key and password again.
    #[garde(length(min = 8, max = 300))]
    #[schema(min_length = 8, max_length = 300, example = "https://sms.example.co.ke")]
    pub damza_base_url: Option<String>,
    /// The account's key.
    #[schema(value_type = Option<String>, format = Password, min_length = 1, max_length = 4096)]
    pub damza_api_key: Option<Secret>,
    /// Registered sender id, 1 to 11 characters.
    #[garde(length(min = 1, max = 11), custom(one_line_if_any))]
    #[schema(min_length = 1, max_length = 11, example = "UMOJA")]
    pub damza_sender_id: Option<String>,
    /// User name.
    #[garde(length(chars, min = 1, max = 255), custom(one_line_if_any))]
    #[schema(min_length = 1, max_length = 255, example = "umoja")]
    pub damza_username: Option<String>,
    /// Password.
    #[schema(value_type = Option<String>, format = Password, min_length = 1, max_length = 4096)]
    pub damza_password: Option<Secret>,
    /// Texts go out; one-time passwords go out anyway.
    pub sms_enabled: Option<bool>,
    /// The wallet is low below this.
    #[schema(value_type = Option<Amount>)]
    pub low_balance_threshold: Option<Money>,
    /// Who is told; at most 20.
    #[schema(value_type = Option<Vec<String>>, max_items = 20)]
    pub notification_phone_numbers: Option<Vec<Msisdn>>,
}

/// Writes the SMS settings of a partner. The secrets are sealed and never shown again.
#[utoipa::path(post, path = "/api/sms/settings", tag = "SMS", operation_id = "writeSmsSettings", request_body = SmsSettingsRequest,
    responses((status = 200, description = "The settings.", body = SmsSettingsAnswer)))]
async fn write(State(api): State<ApiState>, Caller(actor): Caller, Json(body): Json<SmsSettingsRequest>) -> Result<Answer, ApiError> {
    let partner = body.partner_id;
    let patch = SmsPatch {
        damza_base_url: body.damza_base_url,
        damza_api_key: body.damza_api_key.map(Secret::into_inner),
        damza_sender_id: body.damza_sender_id,
        damza_username: body.damza_username,
        damza_password: body.damza_password.map(Secret::into_inner),
        sms_enabled: body.sms_enabled,
        low_balance_threshold: body.low_balance_threshold,
        notification_phone_numbers: body.notification_phone_numbers,
    };
    let (engine, rules) = (api.engine.clone(), api.host_rules);
    let view = spawned(async move { sms_settings::upsert(&engine, &actor, partner, patch, rules).await }).await??;
    api.wake(&[Step::Text]);
    Ok(Answer::ok(&view))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsWrite), routes!(write))
}
