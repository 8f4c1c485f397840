//! `GET /api/audit`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use pv_vault::audit::{self, Permission};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Query},
    problem::ApiError,
    schema::{Answer, PageOf},
    state::ApiState,
};

/// What to list.
#[derive(Debug, Clone, Deserialize, IntoParams, garde::Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[garde(allow_unvalidated)]
pub struct AuditQuery {
    /// `next_cursor` of the page before.
    cursor: Option<Uuid>,
    /// Rows of a page, 1 to 200; 50 when left out.
    #[garde(range(min = 1, max = 200))]
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditRow {
    /// Its id.
    pub id: Uuid,
    /// Whose rows it touched.
    pub partner_id: Option<Uuid>,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: String,
    /// What.
    #[schema(example = "disbursement.ordered")]
    pub action: String,
    /// To what.
    pub subject: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// As it was.
    #[schema(value_type = Option<Object>)]
    pub before: Option<serde_json::Value>,
    /// As it became.
    #[schema(value_type = Option<Object>)]
    pub after: Option<serde_json::Value>,
    /// The request.
    pub request_id: Option<String>,
    /// From where.
    pub address: Option<String>,
}

#[derive(Serialize)]
struct Rows {
    items: Vec<audit::AuditRow>,
    next_cursor: Option<Uuid>,
    has_more: bool,
}

/// The audit trail, newest first.
#[utoipa::path(get, path = "/api/audit", tag = "Knowing", operation_id = "listAudit", params(AuditQuery),
    responses((status = 200, description = "A page.", body = PageOf<AuditRow>)))]
async fn list(State(api): State<ApiState>, Caller(actor): Caller, Query(q): Query<AuditQuery>) -> Result<Answer, ApiError> {
    let limit = q.limit.unwrap_or(50);
    let mut items = audit::list(&api.engine, &actor, q.cursor, limit + 1).await?;
    let most = usize::try_from(limit).unwrap_or(50);
    let has_more = items.len() > most;
    items.truncate(most);
    let next_cursor = items.last().filter(|_| has_more).map(|row| row.id);
    Ok(Answer::ok(&Rows { items, next_cursor, has_more }))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::AuditRead), routes!(list))
}
