//! `POST /api/partners/{id}/shortcodes` (requirement M6).

use axum::extract::State;
use pv_kernel::problem::Problem;
use pv_vault::{
    audit::{Environment, Permission},
    partner::shortcode::{self, NewShortcode},
    wallet::quote::TariffPayer,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::Shortcode;
use crate::{
    endpoint::{Access, Endpoint, KeyUse},
    extract::{Caller, Id, IdempotencyKey, Json},
    once::{Effect, Once},
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// A shortcode to be added.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct NewShortcodeRequest {
    /// 5 to 7 digits.
    #[garde(length(min = 5, max = 7))]
    #[schema(pattern = "^[0-9]{5,7}$", example = "600111")]
    pub shortcode: String,
    /// `sandbox` or `production`: that of this installation. Never guessed.
    #[schema(value_type = String, pattern = "^(sandbox|production)$", example = "sandbox")]
    pub environment: Environment,
    /// Base URL of that environment's API.
    #[garde(length(min = 8, max = 300))]
    #[schema(min_length = 8, max_length = 300, example = "https://sandbox.safaricom.co.ke")]
    pub base_url: String,
    /// Who pays Safaricom's tariff: `rail` (taken from the partner's account there, the default) or `platform`.
    #[schema(value_type = Option<String>, pattern = "^(rail|platform)$", example = "rail")]
    #[serde(default)]
    pub tariff_payer: Option<TariffPayer>,
    /// Requests per second that it may make; 5 when left out.
    #[garde(range(min = 1, max = 500))]
    #[schema(minimum = 1, maximum = 500, example = 5)]
    #[serde(default)]
    pub requests_per_second: Option<i32>,
    /// Becomes the one that pays when none is named. The first always does.
    #[serde(default)]
    pub is_default: bool,
}

/// Adds a shortcode with its books.
#[utoipa::path(post, path = "/api/partners/{id}/shortcodes", tag = "M-Pesa connections", operation_id = "createShortcode", request_body = NewShortcodeRequest,
    params(("id" = Uuid, Path, description = "The partner.")),
    responses((status = 201, description = "The shortcode.", body = Shortcode)))]
async fn create(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Id(id): Id,
    key: IdempotencyKey,
    Json(body): Json<NewShortcodeRequest>,
) -> Result<Answer, ApiError> {
    let partner = actor.partner_for(Some(id.into()))?;
    if body.environment != api.environment {
        return Err(Problem::invalid(
            "/environment",
            format!("This installation is {}: a shortcode of another environment does not belong here.", api.environment),
        )
        .into());
    }
    let new = NewShortcode {
        shortcode: body.shortcode.clone(),
        environment: body.environment,
        base_url: body.base_url.clone(),
        tariff_payer: body.tariff_payer.unwrap_or(TariffPayer::Rail),
        requests_per_second: body.requests_per_second.unwrap_or(5),
        is_default: body.is_default,
    };
    let rules = api.host_rules;
    let once = Once { api: &api, actor: &actor, partner: Some(partner), route: "POST /api/partners/{id}/shortcodes", key, need: KeyUse::Optional };
    let outcome = once
        .run(&(id, body), move |engine, actor| async move {
            Ok(Effect::created(shortcode::create(&engine, &actor, Some(partner), new, rules).await?.id.uuid(), ()))
        })
        .await?;
    Ok(Answer::new(outcome.status, &shortcode::get(&api.engine, &actor, outcome.made()?.into()).await?).replayed(outcome.replayed))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsWrite), routes!(create)).keyed(KeyUse::Optional)
}
