//! `POST /api/wallet/adjustments` (requirement W7).

use axum::extract::State;
use pv_kernel::{Money, ids::PartnerId};
use pv_vault::{
    audit::Permission,
    engine::Step,
    wallet::adjust::{self, Adjustment},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{
    endpoint::{Access, Endpoint, KeyUse},
    extract::{Caller, IdempotencyKey, Json, one_line},
    once::{Effect, Once},
    problem::ApiError,
    schema::{Amount, Answer, Shillings},
    state::ApiState,
};

/// An adjustment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct AdjustmentRequest {
    /// Whose wallet.
    #[schema(value_type = Uuid)]
    pub partner_id: PartnerId,
    /// Into the wallet, or with a minus sign out of it.
    #[schema(value_type = Amount, example = "25000.00")]
    pub amount: Money,
    /// The bank's or the partner's reference: the same reference is the same adjustment, for ever.
    #[garde(length(chars, min = 1, max = 100), custom(one_line))]
    #[schema(min_length = 1, max_length = 100, example = "FT26324ABC12")]
    pub reference: String,
    /// Why, 3 to 500 characters.
    #[garde(length(chars, min = 3, max = 500))]
    #[schema(min_length = 3, max_length = 500, example = "Bank transfer of 20 November, seen on the statement")]
    pub reason: String,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdjustmentAnswer {
    /// The adjustment.
    pub id: Uuid,
    /// The wallet afterwards: posted.
    pub balance: Shillings,
    /// Held for charges.
    pub held: Shillings,
    /// What commands may use.
    pub available: Shillings,
}

#[derive(Serialize)]
struct Adjusted {
    id: Uuid,
    #[serde(flatten)]
    wallet: adjust::WalletBalance,
}

/// Adjusts a wallet: money that came by bank, or a correction. Platform only; the same reference twice is one adjustment.
#[utoipa::path(post, path = "/api/wallet/adjustments", tag = "Wallet", operation_id = "adjustWallet", request_body = AdjustmentRequest,
    responses((status = 201, description = "It is posted.", body = AdjustmentAnswer)))]
async fn adjustment(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    key: IdempotencyKey,
    Json(body): Json<AdjustmentRequest>,
) -> Result<Answer, ApiError> {
    let partner = body.partner_id;
    let order = Adjustment { partner, amount: body.amount, reference: body.reference.clone(), reason: body.reason.clone() };
    let once = Once { api: &api, actor: &actor, partner: Some(partner), route: "POST /api/wallet/adjustments", key, need: KeyUse::Optional };
    let outcome = once
        .run(&body, move |engine, actor| async move {
            let done = adjust::adjust(&engine, &actor, &order).await?;
            Ok(Effect { already: !done.executed, ..Effect::created(done.id, ()) })
        })
        .await?;
    api.wake(&[Step::Pay]);
    let wallet = adjust::balance(&api.engine, &actor, partner).await?;
    Ok(Answer::new(outcome.status, &Adjusted { id: outcome.made()?, wallet }).replayed(outcome.replayed))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::WalletAdjust), routes!(adjustment)).keyed(KeyUse::Optional)
}
