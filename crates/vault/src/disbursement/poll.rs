//! Reads every partner's approved loans on a schedule: the source of truth of what is to be paid; hooks only make it faster (Mifos X contract 7.3).

use futures::{StreamExt as _, future::BoxFuture, stream};
use pv_kernel::{core_banking::CoreError, ids::CoreId};
use uuid::Uuid;

use super::sighting::{self, Sighting};
use crate::{
    Engine, VaultError,
    engine::Worked,
    item,
    partner::core_link::{self, CoreSettings},
};

/// Runs once: polls every connection that is due.
pub async fn run(engine: &Engine) -> Result<Worked, VaultError> {
    let mut tx = engine.begin().await?;
    let due: Vec<(Uuid,)> = sqlx::query_as(
        "with due as (
             select id from mifos_partners where next_poll_at <= $1 and is_active and retired_at is null and ($3::uuid[] is null or partner_id = any($3))
             order by next_poll_at, id limit $2 for no key update skip locked)
         update mifos_partners m set next_poll_at = $1 + make_interval(secs => m.poll_seconds), poll_lease_until = $4
         from due where m.id = due.id returning m.id",
    )
    .bind(engine.now())
    .bind(engine.limits.batch.min(50))
    .bind(engine.only_partners.as_deref())
    .bind(engine.in_(engine.limits.lease))
    .fetch_all(tx.conn())
    .await?;
    let cores: Vec<CoreId> = due.iter().map(|(id,)| CoreId(*id)).collect();
    let links = core_link::load_links_in_tx(tx.conn(), &engine.keys, &cores).await?;
    tx.commit_at("poll.claim").await?;
    let taken = links.len();
    let mut polls: Vec<BoxFuture<'_, Result<usize, VaultError>>> = Vec::with_capacity(taken);
    for settings in links.into_values() {
        polls.push(Box::pin(async move { one(engine, &settings).await }));
    }
    let mut work = stream::iter(polls).buffer_unordered(8);
    while let Some(result) = work.next().await {
        result?;
    }
    Ok(Worked { taken, more: false })
}

/// Polls one connection now; returns how many approved loans it shows.
pub async fn one(engine: &Engine, settings: &CoreSettings) -> Result<usize, VaultError> {
    let core_id = settings.link.core_id;
    let profile = match &settings.link.profile {
        Some(profile) => Ok(profile.clone()),
        None => engine.core.detect(&settings.link).await,
    };
    let link = match &profile {
        Ok(profile) => {
            let mut link = settings.link.clone();
            link.profile = Some(profile.clone());
            link
        }
        Err(_) => settings.link.clone(),
    };
    let loans = match profile.clone() {
        Ok(_) => engine.core.approved_loans(&link).await,
        Err(error) => Err(error),
    };
    let now = engine.now();
    let mut tx = engine.begin().await?;
    let found = match loans {
        Err(CoreError::Crashed) => return Err(VaultError::Crashed),
        Err(error) => {
            sqlx::query("update mifos_partners set last_poll_at = $2, last_error = $3, last_error_at = $2, poll_lease_until = null where id = $1")
                .bind(core_id.uuid())
                .bind(now)
                .bind(error.to_string().chars().take(300).collect::<String>())
                .execute(tx.conn())
                .await?;
            let detail = format!(
                "Its approved loans could not be read: {error}. It is tried again every {} s; nothing is paid meanwhile.",
                settings.poll_seconds
            );
            let item =
                item::about("core_down", Some(settings.partner_id.uuid()), core_id.uuid(), format!("/api/mifos/partners/{core_id}"), detail, false);
            item::open_in_tx(tx.conn(), engine, now, &[item]).await?;
            0
        }
        Ok(loans) => {
            if let (Ok(profile), None) = (&profile, &settings.link.profile) {
                core_link::store_profile_in_tx(tx.conn(), core_id, profile, None, now).await?;
            }
            sqlx::query("update mifos_partners set last_poll_at = $2, last_ok_at = $2, last_error = null, poll_lease_until = null where id = $1")
                .bind(core_id.uuid())
                .bind(now)
                .execute(tx.conn())
                .await?;
            item::settle_in_tx(tx.conn(), now, &[("core_down", core_id.uuid())]).await?;
            let sightings: Vec<Sighting> = loans
                .iter()
                .map(|l| Sighting {
                    partner: settings.partner_id.uuid(),
                    core_id: core_id.uuid(),
                    loan_id: l.loan_id.clone(),
                    way: "poll",
                    claimed: None,
                    asked_by: None,
                    create: true,
                })
                .collect();
            sighting::upsert_in_tx(tx.conn(), engine, &sightings).await?;
            loans.len()
        }
    };
    tx.commit_at("poll.write").await?;
    Ok(found)
}
