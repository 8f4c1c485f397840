//! `POST /api/requests/{id}/decide`.

use axum::extract::State;
use pv_vault::{audit::Permission, engine::Step, payout::ruling};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{
    endpoint::{Access, Endpoint, KeyUse},
    extract::{Caller, Id, IdempotencyKey, Json},
    once::{Effect, Once},
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// A decision.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields)]
pub struct DecideRequest {
    /// True: it is carried out. False: it is not.
    #[garde(skip)]
    pub approve: bool,
    /// Why, 3 to 500 characters.
    #[garde(length(chars, min = 3, max = 500))]
    #[schema(min_length = 3, max_length = 500, example = "Checked against the portal statement.")]
    pub reason: String,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// The request.
    pub request: Uuid,
    /// `approved` and carried out, or `rejected`.
    #[schema(example = "approved")]
    pub decision: String,
}

/// Decides what somebody else asked for. Who asked cannot decide.
#[utoipa::path(post, path = "/api/requests/{id}/decide", tag = "Four eyes", operation_id = "decideRequest", request_body = DecideRequest,
    params(("id" = Uuid, Path, description = "The request.")),
    responses((status = 200, description = "It is decided.", body = Decided)))]
async fn decide(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Id(id): Id,
    key: IdempotencyKey,
    Json(body): Json<DecideRequest>,
) -> Result<Answer, ApiError> {
    let once = Once { api: &api, actor: &actor, partner: None, route: "POST /api/requests/{id}/decide", key, need: KeyUse::Optional };
    let (approve, reason) = (body.approve, body.reason.clone());
    let outcome = once
        .run(&(id, body), move |engine, actor| async move {
            ruling::decide(&engine, &actor, id, approve, &reason).await?;
            Ok(Effect::done(Some(id), false, ()))
        })
        .await?;
    api.wake(&[Step::Pay, Step::Ask, Step::Book, Step::Sequence]);
    let decision = if approve { "approved" } else { "rejected" }.to_owned();
    Ok(Answer::new(outcome.status, &Decided { request: id, decision }).replayed(outcome.replayed))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::DisbursementsApprove), routes!(decide)).keyed(KeyUse::Optional)
}
