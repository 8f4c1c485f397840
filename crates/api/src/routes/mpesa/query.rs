//! `GET /api/mpesa/query/{id}`: what became of a payment.

use axum::extract::State;
use pv_kernel::{ids::DisbursementId, problem::Problem};
use pv_vault::{
    Engine,
    audit::{Actor, Permission},
    disbursement::view,
    reconciliation::explain,
};
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Name},
    problem::ApiError,
    routes::disbursements::DisbursementDetail,
    schema::Answer,
    state::ApiState,
};

/// What became of a payment: by our id, by the id that M-Pesa got from us, by M-Pesa's conversation id, or by its receipt.
#[utoipa::path(get, path = "/api/mpesa/query/{id}", tag = "M-Pesa", operation_id = "queryPayment",
    params(("id" = String, Path, description = "Id of the disbursement or payout, rail id (`OriginatorConversationID`), `ConversationID`, or M-Pesa receipt.", min_length = 1, max_length = 200, example = "SKJ3ZX19AB")),
    responses((status = 200, description = "The payment with its timeline.", body = DisbursementDetail)))]
async fn query(State(api): State<ApiState>, Caller(actor): Caller, Name(id): Name) -> Result<Answer, ApiError> {
    let found = find(&api.engine, &actor, id.trim()).await?;
    Ok(Answer::ok(&view::get(&api.engine, &actor, found).await?))
}

/// The one disbursement that carries this very id. A phone, a loan or a reference is no id of a payment.
async fn find(engine: &Engine, actor: &Actor, id: &str) -> Result<DisbursementId, ApiError> {
    let uuid: Option<Uuid> = id.parse().ok();
    let receipt = id.to_uppercase();
    let paths = explain::explain(engine, id, actor.partner).await?;
    let found = paths.iter().find(|path| {
        let of_payout = path.payouts.iter().map(|part| &part.payout).any(|p| {
            Some(p.id) == uuid
                || p.rail_id.eq_ignore_ascii_case(id)
                || p.conversation_id.as_deref() == Some(id)
                || p.receipt.as_deref() == Some(&receipt)
        });
        of_payout || Some(path.intent.disbursement_id) == uuid || path.receipt.as_deref() == Some(&receipt)
    });
    found.map(|path| DisbursementId(path.intent.disbursement_id)).ok_or_else(|| Problem::not_found("payment").into())
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::DisbursementsRead), routes!(query))
}
