//! `POST /api/mpesa/b2c/pay`: pays somebody (requirement M1).

use axum::extract::State;
use pv_kernel::{Money, Msisdn, ids::PartnerId};
use pv_vault::{
    audit::Permission,
    disbursement::{
        commands::{self, Done, PayCommand},
        view,
    },
    engine::Step,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    endpoint::{Access, Endpoint, KeyUse},
    extract::{Caller, IdempotencyKey, Json, one_line, one_line_if_any},
    once::{Effect, Once},
    problem::ApiError,
    routes::disbursements::DisbursementDetail,
    schema::{Amount, Answer},
    state::ApiState,
};

/// An order to pay somebody.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct PayRequest {
    /// Your own reference: the same reference is the same payment, for ever. 1 to 100 printable characters.
    #[garde(length(chars, min = 1, max = 100), custom(one_line))]
    #[schema(min_length = 1, max_length = 100, example = "REFUND-2026-0042")]
    pub reference: String,
    /// The receiver: a Kenyan mobile number in any usual form.
    #[schema(value_type = String, min_length = 9, max_length = 40, example = "0712345678")]
    pub phone: Msisdn,
    /// Whole shillings, 10 to 250,000.
    #[schema(value_type = Amount, example = "1500.00")]
    pub amount: Money,
    /// The receiver's name: for people, and compared with the name that M-Pesa knows.
    #[garde(length(chars, min = 1, max = 100), custom(one_line_if_any))]
    #[schema(min_length = 1, max_length = 100, example = "Jane Wanjiku")]
    #[serde(default)]
    pub name: Option<String>,
    /// For people.
    #[garde(length(chars, min = 1, max = 500), custom(one_line_if_any))]
    #[schema(min_length = 1, max_length = 500, example = "Refund of the double instalment of October")]
    #[serde(default)]
    pub note: Option<String>,
    /// For whom. Implied by a partner's key; the platform names it.
    #[schema(value_type = Option<Uuid>)]
    #[serde(default)]
    pub partner_id: Option<PartnerId>,
}

/// Pays somebody by M-Pesa.
///
/// The order is kept, checked and sent a moment later; ask `GET /api/mpesa/query/{id}` for its fate. A repeated request with the same
/// reference, receiver and amount is answered with the payment that it made the first time. The charges are taken from the wallet,
/// the amount from the partner's own float.
#[utoipa::path(post, path = "/api/mpesa/b2c/pay", tag = "M-Pesa", operation_id = "payByMpesa", request_body = PayRequest,
    responses((status = 202, description = "Taken on: it goes on in the background.", body = DisbursementDetail)))]
async fn pay(State(api): State<ApiState>, Caller(actor): Caller, key: IdempotencyKey, Json(body): Json<PayRequest>) -> Result<Answer, ApiError> {
    let partner = actor.partner_for(body.partner_id)?;
    let command =
        PayCommand { reference: body.reference.clone(), msisdn: body.phone, amount: body.amount, name: body.name.clone(), note: body.note.clone() };
    let once = Once { api: &api, actor: &actor, partner: Some(partner), route: "POST /api/mpesa/b2c/pay", key, need: KeyUse::Optional };
    let outcome = once
        .run(&body, move |engine, actor| async move {
            let done = commands::pay(&engine, &actor, partner, &command).await?;
            Ok(Effect::accepted(Some(done.disbursement().uuid()), matches!(done, Done::AlreadyApplied(_)), ()))
        })
        .await?;
    api.wake(&[Step::Pay]);
    let today = view::get(&api.engine, &actor, outcome.made()?.into()).await?;
    Ok(Answer::new(outcome.status, &today).replayed(outcome.replayed))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::DisbursementsCreate), routes!(pay)).keyed(KeyUse::Optional)
}
