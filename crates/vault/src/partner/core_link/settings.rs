//! A connection as the steps use it, with its password.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use pv_database::PgConnection;
use pv_kernel::{
    Money, Msisdn,
    core_banking::CoreLink,
    ids::{CoreId, PartnerId},
};
use uuid::Uuid;

use super::{PASSWORD, Row, fetch};
use crate::{
    audit::{Actor, Permission},
    engine::Engine,
    error::VaultError,
    partner::store,
    secret::{KeyRing, Place},
};

/// What the steps need of a connection.
#[derive(Debug, Clone)]
pub struct CoreSettings {
    /// How to reach it, with its password.
    pub link: CoreLink,
    /// Whose.
    pub partner_id: PartnerId,
    /// For people.
    pub label: String,
    /// The tenant's zone.
    pub zone: Tz,
    /// In use: hooks are heard and loans are swept. Bookings go on without it.
    pub active: bool,
    /// Given up for good.
    pub retired: bool,
    /// Approved loans are paid by themselves.
    pub auto_enabled: bool,
    /// Only those approved after this moment (rule A16).
    pub auto_since: Option<DateTime<Utc>>,
    /// Smallest amount paid by itself.
    pub min: Option<Money>,
    /// Largest amount paid by itself.
    pub max: Option<Money>,
    /// The payment type that carries the receipt; without one nothing can be booked.
    pub payment_type_id: Option<String>,
    /// The tenant keeps a business date.
    pub business_date: bool,
    /// Texts about loans of this connection.
    pub sms_enabled: bool,
    /// Who is told, besides the partner's own phones.
    pub sms_phones: Vec<Msisdn>,
    /// Seconds between two sweeps.
    pub poll_seconds: i32,
}

/// Connections by id, retired ones included. One whose password cannot be opened is left out and logged, so that it stops nobody
/// else (rule D6).
pub async fn load_links_in_tx(conn: &mut PgConnection, keys: &KeyRing, ids: &[CoreId]) -> Result<BTreeMap<CoreId, CoreSettings>, VaultError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows: Vec<Row> = sqlx::query_as(select_core!("where id = any($1)")).bind(ids).fetch_all(conn).await?;
    let mut links = BTreeMap::new();
    for row in rows {
        let id = CoreId(row.id);
        match settings(keys, row) {
            Ok(settings) => {
                links.insert(id, settings);
            }
            Err(error) => tracing::error!(core = %id, %error, "a connection cannot be used"),
        }
    }
    Ok(links)
}

/// The connection as the steps would see it, for a test that a person asked for (requirement L1).
pub async fn load_for(engine: &Engine, actor: &Actor, id: CoreId) -> Result<CoreSettings, VaultError> {
    actor.require(Permission::ConnectionsWrite)?;
    let mut tx = actor.begin(engine).await?;
    let row = fetch(tx.conn(), id).await?;
    tx.commit().await?;
    settings(&engine.keys, row)
}

fn settings(keys: &KeyRing, row: Row) -> Result<CoreSettings, VaultError> {
    let id = CoreId(row.id);
    Ok(CoreSettings {
        link: CoreLink {
            core_id: id,
            base_url: format!("{}{}", row.mifos_host_url, row.api_endpoint),
            tenant: row.mifos_tenant_id,
            username: row.mifos_username,
            password: keys.open(Place { column: PASSWORD, row: id.uuid() }, &row.mifos_password)?,
            trust: row.ca_pem,
            profile: row.profile.map(|p| p.0),
        },
        partner_id: PartnerId(row.partner_id),
        label: row.label,
        zone: store::zone_of(&row.zone)?,
        active: row.is_active,
        retired: row.retired_at.is_some(),
        auto_enabled: row.mifos_auto_disbursement_enabled,
        auto_since: row.auto_since,
        min: row.min_minor.map(Money::from_minor),
        max: row.max_minor.map(Money::from_minor),
        payment_type_id: row.payment_type_id,
        business_date: row.business_date,
        sms_enabled: row.sms_notifications_enabled,
        sms_phones: row.sms_phone_numbers.0,
        poll_seconds: row.poll_seconds,
    })
}
