//! `POST /api/stop`.

use axum::extract::State;
use pv_kernel::{
    ids::{PartnerId, ShortcodeId},
    problem::Problem,
};
use pv_vault::{
    audit::Permission,
    stop::{self, StopTarget},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Stop;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Json, one_line_if_any},
    once::spawned,
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// How wide a stop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopScope {
    /// Everything (platform only).
    All,
    /// A rail (platform only).
    Rail,
    /// A shortcode.
    Shortcode,
    /// A partner.
    Partner,
    /// A loan product.
    Product,
}

/// What to stop.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct StopRequest {
    /// How wide.
    pub scope: StopScope,
    /// The rail's name (`mpesa`), or the id of the shortcode, partner or product. Nothing for `all`; a partner's key may leave it out
    /// for `partner`.
    #[garde(length(min = 1, max = 60), custom(one_line_if_any))]
    #[schema(min_length = 1, max_length = 60, example = "019aa0c4-9d1c-7a53-b6cf-2f2a3a0f6f10")]
    #[serde(default)]
    pub target: Option<String>,
    /// Why, 3 to 500 characters.
    #[garde(length(chars, min = 3, max = 500))]
    #[schema(min_length = 3, max_length = 500, example = "The portal shows payments that we did not order.")]
    pub reason: String,
}

impl StopRequest {
    fn target(&self, own: Option<PartnerId>) -> Result<StopTarget, Box<Problem>> {
        let wrong = || Box::new(Problem::invalid("/target", "Name what is stopped: for this scope the target is an id."));
        let id = || self.target.as_deref().and_then(|t| t.parse::<Uuid>().ok()).ok_or_else(wrong);
        Ok(match (self.scope, self.target.as_deref()) {
            (StopScope::All, None) => StopTarget::All,
            (StopScope::All, Some(_)) => return Err(Box::new(Problem::invalid("/target", "Everything has no target."))),
            (StopScope::Rail, Some(name)) => StopTarget::Rail(name.to_owned()),
            (StopScope::Rail, None) => return Err(Box::new(Problem::invalid("/target", "Name the rail, for example mpesa."))),
            (StopScope::Shortcode, _) => StopTarget::Shortcode(ShortcodeId(id()?)),
            (StopScope::Partner, None) => StopTarget::Partner(own.ok_or_else(wrong)?),
            (StopScope::Partner, Some(_)) => StopTarget::Partner(PartnerId(id()?)),
            (StopScope::Product, _) => StopTarget::Product(id()?),
        })
    }
}

/// Stops sending, at once. What is under way is resolved and booked; only new sends stop. What is stopped already stays stopped.
#[utoipa::path(post, path = "/api/stop", tag = "Stop", operation_id = "setStop", request_body = StopRequest,
    responses((status = 200, description = "It is stopped.", body = Stop)))]
async fn set(State(api): State<ApiState>, Caller(actor): Caller, Json(body): Json<StopRequest>) -> Result<Answer, ApiError> {
    let target = body.target(actor.partner)?;
    let engine = api.engine.clone();
    let stop = spawned(async move { stop::set(&engine, &actor, target, &body.reason).await }).await??;
    Ok(Answer::ok(&stop))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::StopSet), routes!(set))
}
