//! `POST /api/partners/{id}/keys`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use pv_kernel::problem::Problem;
use pv_vault::{
    audit::{Environment, Permission},
    partner::api_key::{self, KeyLimits, NewKey},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{KeyLimitsRequest, MadeApiKey, Shown};
use crate::{
    endpoint::{Access, Endpoint, KeyUse},
    extract::{Caller, Id, IdempotencyKey, Json, one_line},
    once::{Effect, Once},
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// A key to be made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct NewKeyRequest {
    /// For people.
    #[garde(length(chars, min = 1, max = 100), custom(one_line))]
    #[schema(min_length = 1, max_length = 100, example = "Core banking, Nairobi")]
    pub label: String,
    /// `sandbox` or `production`: that of this installation. Never guessed.
    #[schema(value_type = String, pattern = "^(sandbox|production)$", example = "sandbox")]
    pub environment: Environment,
    /// `partner_admin`, `maker`, `checker` or `viewer`.
    #[garde(length(min = 1, max = 60), custom(one_line))]
    #[schema(min_length = 1, max_length = 60, example = "maker")]
    pub role: String,
    /// From where it may be used: addresses and networks, at most 50. Empty: from everywhere.
    #[garde(length(max = 50), inner(length(max = 60)))]
    #[schema(max_items = 50, example = json!(["41.90.0.0/16"]))]
    #[serde(default)]
    pub addresses: Vec<String>,
    /// What it may do at most.
    #[schema(value_type = KeyLimitsRequest)]
    #[serde(default)]
    pub limits: KeyLimits,
    /// When it ends; left out: when it is revoked.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

/// Makes an API key for a partner. It is shown once and kept as a hash. Nobody gives more than he has.
#[utoipa::path(post, path = "/api/partners/{id}/keys", tag = "API keys", operation_id = "createKey", request_body = NewKeyRequest,
    params(("id" = Uuid, Path, description = "The partner.")),
    responses((status = 201, description = "The key, shown this once.", body = MadeApiKey)))]
async fn create(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Id(id): Id,
    key: IdempotencyKey,
    Json(body): Json<NewKeyRequest>,
) -> Result<Answer, ApiError> {
    let partner = actor.partner_for(Some(id.into()))?;
    let new = NewKey {
        label: body.label.clone(),
        environment: body.environment,
        role: body.role.clone(),
        addresses: body.addresses.clone(),
        limits: body.limits.clone(),
        expires_at: body.expires_at,
    };
    let once = Once { api: &api, actor: &actor, partner: Some(partner), route: "POST /api/partners/{id}/keys", key, need: KeyUse::Required };
    let outcome = once
        .run(&(id, body), move |engine, actor| async move {
            let made = api_key::create(&engine, &actor, Some(partner), new).await?;
            Ok(Effect::created(made.view.id.uuid(), made))
        })
        .await?;
    let shown = match &outcome.extra {
        Some(made) => Shown::once(made),
        None => Shown::again(super::revoke::one(&api, &actor, outcome.made()?).await?.ok_or_else(|| Problem::not_found("API key"))?),
    };
    Ok(Answer::new(outcome.status, &shown).replayed(outcome.replayed))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::KeysWrite), routes!(create)).keyed(KeyUse::Required)
}
