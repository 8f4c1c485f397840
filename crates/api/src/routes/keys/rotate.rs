//! `POST /api/keys/{id}/rotate`.

use axum::extract::State;
use chrono::Duration;
use pv_kernel::problem::Problem;
use pv_vault::{audit::Permission, partner::api_key};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{MadeApiKey, Shown};
use crate::{
    endpoint::{Access, Endpoint, KeyUse},
    extract::{Caller, Id, IdempotencyKey, Json},
    once::{Effect, Once},
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// How a key is rotated.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields)]
pub struct RotateKeyRequest {
    /// For so many hours both keys are good, 0 to 720.
    #[garde(range(min = 0, max = 720))]
    #[schema(minimum = 0, maximum = 720, example = 24)]
    pub overlap_hours: i64,
}

/// Makes a new key with the same role, addresses and limits. The old one ends after the overlap.
#[utoipa::path(post, path = "/api/keys/{id}/rotate", tag = "API keys", operation_id = "rotateKey", request_body = RotateKeyRequest,
    params(("id" = Uuid, Path, description = "The key to be replaced.")),
    responses((status = 201, description = "The new key, shown this once.", body = MadeApiKey)))]
async fn rotate(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Id(id): Id,
    key: IdempotencyKey,
    Json(body): Json<RotateKeyRequest>,
) -> Result<Answer, ApiError> {
    let overlap = Duration::hours(body.overlap_hours);
    let once = Once { api: &api, actor: &actor, partner: None, route: "POST /api/keys/{id}/rotate", key, need: KeyUse::Required };
    let outcome = once
        .run(&(id, body), move |engine, actor| async move {
            let made = api_key::rotate(&engine, &actor, id.into(), overlap).await?;
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
    Endpoint::new(Access::Needs(Permission::KeysWrite), routes!(rotate)).keyed(KeyUse::Required)
}
