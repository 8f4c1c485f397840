//! `PATCH /api/shortcodes/{id}`.

use axum::extract::State;
use pv_vault::{
    audit::Permission,
    engine::Step,
    partner::shortcode::{self, ShortcodePatch},
    wallet::quote::TariffPayer,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::Shortcode;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id, Json},
    once::spawned,
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// What is to be changed; what is left out stays.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct ShortcodePatchRequest {
    /// Base URL of the API.
    #[garde(length(min = 8, max = 300))]
    #[schema(min_length = 8, max_length = 300)]
    pub base_url: Option<String>,
    /// Who pays Safaricom's tariff: `rail` or `platform`.
    #[schema(value_type = Option<String>, pattern = "^(rail|platform)$")]
    pub tariff_payer: Option<TariffPayer>,
    /// Requests per second that it may make.
    #[garde(range(min = 1, max = 500))]
    #[schema(minimum = 1, maximum = 500, example = 10)]
    pub requests_per_second: Option<i32>,
    /// In use.
    pub is_active: Option<bool>,
    /// `true` makes it the default; the default is moved, not switched off.
    pub is_default: Option<bool>,
}

/// Changes a shortcode. Its number and environment stay.
#[utoipa::path(patch, path = "/api/shortcodes/{id}", tag = "M-Pesa connections", operation_id = "updateShortcode", request_body = ShortcodePatchRequest,
    params(("id" = Uuid, Path, description = "The shortcode.")),
    responses((status = 200, description = "The shortcode.", body = Shortcode)))]
async fn update(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id, Json(body): Json<ShortcodePatchRequest>) -> Result<Answer, ApiError> {
    let patch = ShortcodePatch {
        base_url: body.base_url,
        tariff_payer: body.tariff_payer,
        requests_per_second: body.requests_per_second,
        is_active: body.is_active,
        is_default: body.is_default,
    };
    let (engine, rules) = (api.engine.clone(), api.host_rules);
    let view = spawned(async move { shortcode::update(&engine, &actor, id.into(), patch, rules).await }).await??;
    api.wake(&[Step::Pay]);
    Ok(Answer::ok(&view))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsWrite), routes!(update))
}
