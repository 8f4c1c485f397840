//! Gives what grows old an owner: unknown payouts (rule A12), bookings that do not get through, cores that stay silent.

use pv_database::PgConnection;
use pv_kernel::clock::nairobi_day;
use uuid::Uuid;

use super::NewItem;
use crate::{Engine, VaultError, engine::Worked, payout::store as payout_store};

/// Initiator passwords live this long (M-Pesa contract 3), and somebody is told this long before.
const PASSWORD_DAYS: i64 = 90;
const TOLD_BEFORE_DAYS: i64 = 14;

/// Runs once.
pub async fn run(engine: &Engine) -> Result<Worked, VaultError> {
    let now = engine.now();
    let chrono = |d| chrono::Duration::from_std(d).unwrap_or(chrono::Duration::days(1));
    let mut tx = engine.begin().await?;
    // Index: payouts_live.
    let unknown: Vec<payout_store::Row> = sqlx::query_as(
        "select p.* from payouts p
         where p.state in ('sending', 'accepted', 'unknown') and p.first_sent_at < $1 and ($2::uuid[] is null or p.partner_id = any($2))
           and not exists (select from items i where i.kind = 'unknown_payout' and i.subject = p.id and i.closed_at is null
                           and (i.urgency = 'page' or p.first_sent_at >= $3))
         order by p.id limit $4",
    )
    .bind(now - chrono(engine.limits.unknown_owner))
    .bind(engine.only_partners.as_deref())
    .bind(now - chrono(engine.limits.unknown_page))
    .bind(engine.limits.batch)
    .fetch_all(tx.conn())
    .await?;
    let mut items = Vec::new();
    for p in &unknown {
        let page = p.first_sent_at.is_some_and(|t| now - t > chrono(engine.limits.unknown_page));
        let since = p.first_sent_at.map(|t| t.to_rfc3339()).unwrap_or_default();
        let detail = format!(
            "{} was sent first at {since} and its fate is not known; it is asked for at growing intervals. Its money and charges stay held.",
            p.rail_id
        );
        items.push(super::about_payout("unknown_payout", p, detail, page));
    }
    // Index: bookings_open.
    let late: Vec<(uuid::Uuid, uuid::Uuid, String, Option<String>, i64)> = sqlx::query_as(
        "select b.disbursement_id, b.partner_id, b.receipt, b.last_error, b.gross_minor from bookings b
         where b.state not in ('booked', 'adopted', 'person') and b.created_at < $1 and ($2::uuid[] is null or b.partner_id = any($2))
           and not exists (select from items i where i.kind = 'booking_late' and i.subject = b.disbursement_id and i.closed_at is null)
         order by b.disbursement_id limit $3",
    )
    .bind(now - chrono(engine.limits.unknown_owner))
    .bind(engine.only_partners.as_deref())
    .bind(engine.limits.batch)
    .fetch_all(tx.conn())
    .await?;
    for (disbursement, partner, receipt, error, gross) in late {
        let detail = format!("Paid under receipt {receipt}, not booked since. Last answer of the core: {}", error.unwrap_or_else(|| "none".into()));
        let mut item = super::about("booking_late", Some(partner), disbursement, format!("/api/loans/disbursements/{disbursement}"), detail, false);
        item.amount_minor = Some(gross);
        items.push(item);
    }
    items.extend(expiring_in_tx(tx.conn(), engine).await?);
    super::open_in_tx(tx.conn(), engine, now, &items).await?;
    tx.commit_at("watch").await?;
    Ok(Worked::of(items.len(), engine.limits.batch))
}

/// Credentials whose initiator password expires soon (requirement M6). The item ends with the version that it is about.
async fn expiring_in_tx(conn: &mut PgConnection, engine: &Engine) -> Result<Vec<NewItem>, VaultError> {
    let today = nairobi_day(engine.now());
    sqlx::query(
        "update items i set closed_at = $1, closed_by = 'system', resolution = 'another version is in use'
         from mpesa_credentials c where i.kind = 'password_expires' and i.subject = c.id and i.closed_at is null and not c.is_active
           and ($2::uuid[] is null or c.partner_id = any($2))",
    )
    .bind(engine.now())
    .bind(engine.only_partners.as_deref())
    .execute(&mut *conn)
    .await?;
    let rows: Vec<(Uuid, Uuid, chrono::NaiveDate)> = sqlx::query_as(
        "select c.id, c.partner_id, c.password_set_on from mpesa_credentials c
         where c.is_active and c.password_set_on <= $1 and ($2::uuid[] is null or c.partner_id = any($2))
           and not exists (select from items i where i.kind = 'password_expires' and i.subject = c.id and i.closed_at is null)
         order by c.id limit $3",
    )
    .bind(today - chrono::Duration::days(PASSWORD_DAYS - TOLD_BEFORE_DAYS))
    .bind(engine.only_partners.as_deref())
    .bind(engine.limits.batch)
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(credential, partner, set_on)| {
            let last = set_on + chrono::Duration::days(PASSWORD_DAYS);
            let detail = format!("The initiator password was set on {set_on} and ends on {last}. After that every payment is refused.");
            super::about("password_expires", Some(partner), credential, format!("/api/partners/{partner}/shortcodes"), detail, last <= today)
        })
        .collect())
}
