//! Delivery reports. They repeat and come out of order; a later state is never taken back, and `delivered` beats everything (SMS contract 1.1).

use pv_database::PgConnection;
use pv_kernel::{
    ids::PartnerId,
    sms::{DeliveryReport, DeliveryState},
};
use uuid::Uuid;

use crate::{Engine, VaultError, partner::sms_settings};

/// Takes a report; answers in words what became of it.
pub(crate) async fn take_in_tx(
    conn: &mut PgConnection,
    engine: &Engine,
    partner: Option<Uuid>,
    body: &[u8],
    signature: Option<&str>,
) -> Result<String, VaultError> {
    let Some(partner) = partner else { return Ok("no account has this path".to_owned()) };
    let settings = sms_settings::load_accounts_in_tx(conn, &engine.keys, &[PartnerId(partner)]).await?;
    let Some(settings) = settings.get(&PartnerId(partner)) else { return Ok("no account has this path".to_owned()) };
    if !engine.sms.report_is_genuine(&settings.account, signature, body) {
        return Ok("the signature is not this account's: not believed".to_owned());
    }
    let reports = match engine.sms.read_report(body) {
        Ok(reports) => reports,
        Err(error) => return Ok(format!("unreadable: {}", error.0)),
    };
    let mut moved = 0;
    for report in &reports {
        moved += apply_in_tx(conn, engine, partner, report).await?;
    }
    Ok(format!("{moved} of {} reports changed a message", reports.len()))
}

async fn apply_in_tx(conn: &mut PgConnection, engine: &Engine, partner: Uuid, report: &DeliveryReport) -> Result<u64, VaultError> {
    let (state, status) = match report.state {
        DeliveryState::Queued | DeliveryState::NoReport => return Ok(0),
        DeliveryState::Accepted => ("accepted", "sent"),
        DeliveryState::Submitted => ("submitted", "sent"),
        DeliveryState::Buffered => ("buffered", "sent"),
        DeliveryState::Rejected => ("rejected", "failed"),
        DeliveryState::Expired => ("expired", "failed"),
        DeliveryState::Undelivered => ("undelivered", "failed"),
        DeliveryState::Delivered => ("delivered", "delivered"),
    };
    let reference = report.reference.as_deref().and_then(|r| r.parse::<Uuid>().ok());
    let done = sqlx::query(
        "update sms_notifications set state = $4, status = $5, due_at = null, last_error = coalesce($6, last_error), updated_at = $7,
             damza_reference = coalesce(damza_reference, $3),
             handed_over_at = coalesce(handed_over_at, $7), delivered_at = case when $4 = 'delivered' then $7 else delivered_at end
         where partner_id = $1 and (id = $2 or damza_reference = $3)
           and state <> 'delivered' and ($4 = 'delivered' or status in ('pending', 'sent'))
           and array_position(array['queued','no_report','accepted','submitted','buffered','rejected','expired','undelivered','delivered'], state)
             < array_position(array['queued','no_report','accepted','submitted','buffered','rejected','expired','undelivered','delivered'], $4)",
    )
    .bind(partner)
    .bind(reference)
    .bind(report.message_id.as_deref())
    .bind(state)
    .bind(status)
    .bind(report.error.as_deref().map(|e| e.chars().take(300).collect::<String>()))
    .bind(engine.now())
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
