//! `POST /api/mifos/partners`: makes a connection, or changes the one that the body names.

use axum::extract::State;
use http::StatusCode;
use pv_kernel::{
    Money, Msisdn,
    ids::{CoreId, PartnerId},
    problem::Problem,
};
use pv_vault::{
    audit::Permission,
    partner::core_link::{self, CorePatch, NewCore},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::MifosConnection;
use crate::{
    endpoint::{Access, Endpoint, KeyUse},
    extract::{Caller, IdempotencyKey, Json, Secret, given, one_line_if_any},
    once::{Effect, Once},
    problem::ApiError,
    schema::{Amount, Answer},
    state::ApiState,
};

/// A connection to be made; or, with `id`, the members to be changed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields, default)]
#[garde(allow_unvalidated)]
pub struct MifosConnectionRequest {
    /// The connection to be changed; left out: a new one is made.
    #[schema(value_type = Option<Uuid>)]
    pub id: Option<CoreId>,
    /// For whom. Implied by a partner's key; the platform names it for a new one.
    #[schema(value_type = Option<Uuid>)]
    pub partner_id: Option<PartnerId>,
    /// For people.
    #[garde(length(chars, min = 1, max = 100), custom(one_line_if_any))]
    #[schema(min_length = 1, max_length = 100, example = "Mifos X, head office")]
    pub label: Option<String>,
    /// The host; the path of the API may be part of it. Needed for a new one.
    #[garde(length(min = 8, max = 500))]
    #[schema(min_length = 8, max_length = 500, example = "https://mifos.example.co.ke")]
    pub mifos_host_url: Option<String>,
    /// The integration user. Needed for a new one.
    #[garde(length(chars, min = 1, max = 255), custom(one_line_if_any))]
    #[schema(min_length = 1, max_length = 255, example = "payvault")]
    pub mifos_username: Option<String>,
    /// Its password. Needed for a new one, and with another host, tenant or user.
    #[schema(value_type = Option<String>, format = Password, min_length = 1, max_length = 4096)]
    pub mifos_password: Option<Secret>,
    /// The tenant; `default` on a stock host. Needed for a new one.
    #[garde(length(min = 1, max = 100), custom(one_line_if_any))]
    #[schema(min_length = 1, max_length = 100, example = "default")]
    pub mifos_tenant_id: Option<String>,
    /// The path of the API; left out for a new one: that of a stock host.
    #[garde(length(max = 500), custom(one_line_if_any))]
    #[schema(max_length = 500, example = "/fineract-provider/api/v1")]
    pub mifos_api_endpoint: Option<String>,
    /// An extra certificate authority, PEM; `null` takes it away.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 60000)]
    pub ca_pem: Option<Option<String>>,
    /// The tenant's zone, an IANA name.
    #[garde(length(min = 1, max = 60), custom(one_line_if_any))]
    #[schema(min_length = 1, max_length = 60, example = "Africa/Nairobi")]
    pub zone: Option<String>,
    /// The payment type that carries the receipt; without one nothing can be booked. `null` takes it away.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 50, example = "1")]
    pub payment_type_id: Option<Option<String>>,
    /// Approved loans are paid by themselves, from the moment it is switched on.
    pub mifos_auto_disbursement_enabled: Option<bool>,
    /// Largest amount paid by itself; `null`: none.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Amount>)]
    pub mifos_max_disbursement_amount: Option<Option<Money>>,
    /// Smallest amount paid by itself; `null`: none.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Amount>)]
    pub mifos_min_disbursement_amount: Option<Option<Money>>,
    /// Texts about loans of this connection.
    pub sms_notifications_enabled: Option<bool>,
    /// Who is told, besides the partner's own phones; at most 20.
    #[schema(value_type = Option<Vec<String>>, max_items = 20)]
    pub sms_phone_numbers: Option<Vec<Msisdn>>,
    /// Seconds between two sweeps, 1 to 86400; 600 when left out for a new one.
    #[garde(range(min = 1, max = 86_400))]
    #[schema(minimum = 1, maximum = 86400, example = 600)]
    pub poll_seconds: Option<i32>,
    /// In use: hooks are heard and loans are swept.
    pub is_active: Option<bool>,
    /// Meant when none is named. The first always is.
    pub is_default: Option<bool>,
}

impl MifosConnectionRequest {
    fn new_core(self) -> Result<NewCore, Box<Problem>> {
        let needed = |pointer: &'static str| Box::new(Problem::invalid(pointer, "Needed for a new connection."));
        if self.is_active.is_some() {
            return Err(Box::new(Problem::invalid("/is_active", "A new connection is in use; it is switched off by changing it.")));
        }
        let host = self.mifos_host_url.ok_or_else(|| needed("/mifos_host_url"))?;
        let tenant = self.mifos_tenant_id.ok_or_else(|| needed("/mifos_tenant_id"))?;
        let user = self.mifos_username.ok_or_else(|| needed("/mifos_username"))?;
        let password = self.mifos_password.ok_or_else(|| needed("/mifos_password"))?;
        let plain = NewCore::new(host, tenant, user, password.into_inner());
        Ok(NewCore {
            label: self.label.unwrap_or(plain.label),
            mifos_api_endpoint: self.mifos_api_endpoint,
            ca_pem: self.ca_pem.flatten(),
            zone: self.zone,
            payment_type_id: self.payment_type_id.flatten(),
            mifos_auto_disbursement_enabled: self.mifos_auto_disbursement_enabled.unwrap_or(false),
            mifos_max_disbursement_amount: self.mifos_max_disbursement_amount.flatten(),
            mifos_min_disbursement_amount: self.mifos_min_disbursement_amount.flatten(),
            sms_notifications_enabled: self.sms_notifications_enabled.unwrap_or(plain.sms_notifications_enabled),
            sms_phone_numbers: self.sms_phone_numbers.unwrap_or_default(),
            poll_seconds: self.poll_seconds.unwrap_or(plain.poll_seconds),
            is_default: self.is_default.unwrap_or(false),
            ..plain
        })
    }

    /// The same as a change of an existing one.
    pub(super) fn patch(self) -> CorePatch {
        CorePatch {
            label: self.label,
            mifos_host_url: self.mifos_host_url,
            mifos_username: self.mifos_username,
            mifos_password: self.mifos_password.map(Secret::into_inner),
            mifos_tenant_id: self.mifos_tenant_id,
            mifos_api_endpoint: self.mifos_api_endpoint,
            ca_pem: self.ca_pem,
            zone: self.zone,
            payment_type_id: self.payment_type_id,
            mifos_auto_disbursement_enabled: self.mifos_auto_disbursement_enabled,
            mifos_max_disbursement_amount: self.mifos_max_disbursement_amount,
            mifos_min_disbursement_amount: self.mifos_min_disbursement_amount,
            sms_notifications_enabled: self.sms_notifications_enabled,
            sms_phone_numbers: self.sms_phone_numbers,
            poll_seconds: self.poll_seconds,
            is_active: self.is_active,
            is_default: self.is_default,
        }
    }
}

/// Makes a connection to Mifos X (201), or changes the one whose `id` stands in the body (200).
///
/// A kept password is never sent to another host: with another host, tenant or user the password is given again. One partner has one
/// connection per host and tenant.
#[utoipa::path(post, path = "/api/mifos/partners", tag = "Mifos X", operation_id = "saveMifosConnection", request_body = MifosConnectionRequest,
    responses((status = 201, description = "The new connection.", body = MifosConnection), (status = 200, description = "The changed connection.", body = MifosConnection)))]
async fn save(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    key: IdempotencyKey,
    Json(body): Json<MifosConnectionRequest>,
) -> Result<Answer, ApiError> {
    let (rules, wanted) = (api.host_rules, body.clone());
    if let (Some(id), Some(partner)) = (body.id, body.partner_id) {
        super::the_core(&api.engine, &actor, Some(id), Some(partner)).await?;
    }
    let partner = if body.id.is_some() { None } else { Some(actor.partner_for(body.partner_id)?) };
    let once = Once { api: &api, actor: &actor, partner, route: "POST /api/mifos/partners", key, need: KeyUse::Optional };
    let outcome = once
        .run(&body, move |engine, actor| async move {
            Ok(match wanted.id {
                Some(id) => Effect::done(Some(core_link::update(&engine, &actor, id, wanted.patch(), rules).await?.id.uuid()), false, ()),
                None => Effect::created(core_link::create(&engine, &actor, partner, wanted.new_core()?, rules).await?.id.uuid(), ()),
            })
        })
        .await?;
    let status = if body.id.is_some() { StatusCode::OK } else { outcome.status };
    Ok(Answer::new(status, &core_link::get(&api.engine, &actor, outcome.made()?.into()).await?).replayed(outcome.replayed))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsWrite), routes!(save)).keyed(KeyUse::Optional)
}
