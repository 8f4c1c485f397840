//! `GET /api/sms/settings`.

use axum::extract::State;
use pv_kernel::problem::Problem;
use pv_vault::{audit::Permission, partner::sms_settings};
use utoipa_axum::routes;

use super::SmsSettingsAnswer;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Query},
    problem::ApiError,
    schema::{Answer, OfPartner},
    state::ApiState,
};

/// The SMS settings of a partner, without their secrets. 404 when it has none.
#[utoipa::path(get, path = "/api/sms/settings", tag = "SMS", operation_id = "readSmsSettings", params(OfPartner),
    responses((status = 200, description = "The settings.", body = SmsSettingsAnswer), (status = 404, description = "There are none.", body = crate::schema::ProblemDocument, content_type = "application/problem+json")))]
async fn read(State(api): State<ApiState>, Caller(actor): Caller, Query(q): Query<OfPartner>) -> Result<Answer, ApiError> {
    let view = sms_settings::get(&api.engine, &actor, q.partner_id.map(Into::into)).await?;
    Ok(Answer::ok(&view.ok_or_else(|| Problem::not_found("SMS account of this partner"))?))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsRead), routes!(read))
}
