//! `GET /api/loans/disbursements/{id}`.

use axum::extract::State;
use pv_vault::{audit::Permission, disbursement::view};
use utoipa_axum::routes;

use super::DisbursementDetail;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id},
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// One disbursement with its attempts, its timeline, its booking, its texts and its open items.
#[utoipa::path(get, path = "/api/loans/disbursements/{id}", tag = "Disbursements", operation_id = "readDisbursement",
    params(("id" = Uuid, Path, description = "The disbursement.")),
    responses((status = 200, description = "The disbursement.", body = DisbursementDetail)))]
async fn read(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id) -> Result<Answer, ApiError> {
    Ok(Answer::ok(&view::get(&api.engine, &actor, id.into()).await?))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::DisbursementsRead), routes!(read))
}
