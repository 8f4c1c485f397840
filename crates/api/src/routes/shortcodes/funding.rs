//! `POST /api/shortcodes/{id}/funding`: float that was added or taken out outside (ledger rule f1).

use axum::extract::State;
use pv_kernel::Money;
use pv_vault::{
    audit::Permission,
    engine::Step,
    reconciliation::rail::{self, NewFunding},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{
    endpoint::{Access, Endpoint, KeyUse},
    extract::{Caller, Id, IdempotencyKey, Json, one_line},
    once::{Effect, Once},
    problem::ApiError,
    schema::{Amount, Answer, Shillings},
    state::ApiState,
};

/// What was added or taken out.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct FundingRequest {
    /// How much was added; with a minus sign: taken out.
    #[schema(value_type = Amount, example = "500000.00")]
    pub amount: Money,
    /// The bank's or M-Pesa's reference: the same reference is the same funding.
    #[garde(length(chars, min = 1, max = 100), custom(one_line))]
    #[schema(min_length = 1, max_length = 100, example = "SKJ3ZX19AB")]
    pub reference: String,
    /// Why, 3 to 500 characters.
    #[garde(length(chars, min = 3, max = 500))]
    #[schema(min_length = 3, max_length = 500, example = "Bank transfer to the utility account")]
    pub reason: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FundingAnswer {
    /// The ledger transfer.
    pub transfer: Uuid,
    /// What M-Pesa still shows and we cannot explain; negative: misses. `null` when the answer repeats an earlier one.
    pub unexplained: Option<Shillings>,
}

#[derive(Serialize)]
struct Recorded {
    transfer: Uuid,
    unexplained: Option<Money>,
}

/// Records float that was added to the utility account outside, or taken out of it, and takes back the difference that it explains.
#[utoipa::path(post, path = "/api/shortcodes/{id}/funding", tag = "M-Pesa connections", operation_id = "recordFunding", request_body = FundingRequest,
    params(("id" = Uuid, Path, description = "The shortcode.")),
    responses((status = 201, description = "It is recorded.", body = FundingAnswer)))]
async fn funding(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Id(id): Id,
    key: IdempotencyKey,
    Json(body): Json<FundingRequest>,
) -> Result<Answer, ApiError> {
    let new = NewFunding { shortcode: id.into(), amount: body.amount, reference: body.reference.clone(), reason: body.reason.clone() };
    let once = Once { api: &api, actor: &actor, partner: None, route: "POST /api/shortcodes/{id}/funding", key, need: KeyUse::Optional };
    let outcome = once
        .run(&(id, body), move |engine, actor| async move {
            let done = rail::record_funding(&engine, &actor, &new).await?;
            Ok(Effect { already: !done.recorded, ..Effect::created(done.transfer.uuid(), done.unexplained) })
        })
        .await?;
    api.wake(&[Step::Pay]);
    Ok(Answer::new(outcome.status, &Recorded { transfer: outcome.made()?, unexplained: outcome.extra }).replayed(outcome.replayed))
}

/// The route. The use case also lets in `wallet.adjust`, which only platform roles have that read no connections.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsWrite), routes!(funding)).keyed(KeyUse::Optional)
}
