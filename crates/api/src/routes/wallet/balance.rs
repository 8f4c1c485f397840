//! `GET /api/wallet/balance`.

use axum::extract::State;
use pv_vault::{audit::Permission, wallet::adjust};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Query},
    problem::ApiError,
    schema::{Answer, OfPartner, Shillings},
    state::ApiState,
};

/// What a wallet shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WalletBalance {
    /// Posted.
    pub balance: Shillings,
    /// Held for charges of payments under way.
    pub held: Shillings,
    /// What commands may use.
    pub available: Shillings,
}

/// The wallet's balance. The platform names the partner.
#[utoipa::path(get, path = "/api/wallet/balance", tag = "Wallet", operation_id = "readWallet", params(OfPartner),
    responses((status = 200, description = "The balance.", body = WalletBalance)))]
async fn balance(State(api): State<ApiState>, Caller(actor): Caller, Query(q): Query<OfPartner>) -> Result<Answer, ApiError> {
    let partner = actor.partner_for(q.partner_id.map(Into::into))?;
    Ok(Answer::ok(&adjust::balance(&api.engine, &actor, partner).await?))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::WalletRead), routes!(balance))
}
