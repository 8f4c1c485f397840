//! `GET /api/loans/disbursements`.

use axum::extract::State;
use chrono::NaiveDate;
use pv_kernel::Msisdn;
use pv_vault::{
    audit::Permission,
    disbursement::view::{self, Filter},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

use super::Disbursement;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Query},
    problem::ApiError,
    schema::{Answer, PageOf},
    state::ApiState,
};

/// The five words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing was sent yet.
    ToDo,
    /// At the rail.
    OnItsWay,
    /// Paid.
    Paid,
    /// Proven not paid.
    NotPaid,
    /// Nobody knows yet; it is being asked.
    NotYetKnown,
}

impl Status {
    const fn word(self) -> &'static str {
        match self {
            Self::ToDo => "to_do",
            Self::OnItsWay => "on_its_way",
            Self::Paid => "paid",
            Self::NotPaid => "not_paid",
            Self::NotYetKnown => "not_yet_known",
        }
    }
}

/// What to list.
#[derive(Debug, Clone, Deserialize, IntoParams, garde::Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[garde(allow_unvalidated)]
pub struct ListQuery {
    /// Only this partner (for the platform).
    partner_id: Option<Uuid>,
    /// One of the five words.
    #[param(inline)]
    status: Option<Status>,
    /// The finer state.
    #[garde(length(max = 40))]
    #[param(max_length = 40)]
    state: Option<String>,
    /// The reason, `waiting_wallet`.
    #[garde(length(max = 60))]
    #[param(max_length = 60)]
    reason: Option<String>,
    /// A connection.
    core_id: Option<Uuid>,
    /// A loan.
    #[garde(length(max = 60))]
    #[param(max_length = 60)]
    loan_id: Option<String>,
    /// A receiver, in any usual form.
    #[param(value_type = Option<String>, max_length = 40)]
    phone: Option<Msisdn>,
    /// An M-Pesa receipt.
    #[garde(length(max = 20))]
    #[param(max_length = 20)]
    receipt: Option<String>,
    /// Your own reference.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    reference: Option<String>,
    /// Made on or after this day in Nairobi.
    from: Option<NaiveDate>,
    /// Made on or before this day in Nairobi.
    to: Option<NaiveDate>,
    /// `next_cursor` of the page before.
    #[garde(length(max = 100))]
    #[param(max_length = 100)]
    cursor: Option<String>,
    /// Rows of a page, 1 to 200; 50 when left out.
    #[garde(range(min = 1, max = 200))]
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
}

/// Lists disbursements, newest first.
#[utoipa::path(get, path = "/api/loans/disbursements", tag = "Disbursements", operation_id = "listDisbursements", params(ListQuery),
    responses((status = 200, description = "A page.", body = PageOf<Disbursement>)))]
async fn list(State(api): State<ApiState>, Caller(actor): Caller, Query(q): Query<ListQuery>) -> Result<Answer, ApiError> {
    let filter = Filter {
        partner: q.partner_id,
        status: q.status.map(|s| s.word().to_owned()),
        state: q.state,
        reason: q.reason,
        core: q.core_id,
        loan_id: q.loan_id,
        msisdn: q.phone.map(|m| m.to_string()),
        receipt: q.receipt.map(|r| r.to_uppercase()),
        reference: q.reference,
        from: q.from,
        to: q.to,
    };
    let page = view::list(&api.engine, &actor, &filter, q.cursor.as_deref(), q.limit.unwrap_or(50)).await?;
    Ok(Answer::ok(&page))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::DisbursementsRead), routes!(list))
}
