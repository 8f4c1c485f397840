//! Connections to Mifos X (table `mifos_partners`): host, user, limits, and whether approved loans are paid by themselves.
//!
//! The id is `core_id` of rule A1: a connection is changed or retired, never deleted, and keeps its id when its host moves.
//! The ways in from Mifos X (tokens, keys) stand in [`super::webhook`], its products in [`super::product`].

mod view;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use pv_database::PgConnection;
use pv_kernel::{
    Money, Msisdn,
    core_banking::CoreProfile,
    ids::{CoreId, PartnerId},
    problem::Problem,
};
use secrecy::ExposeSecret as _;
use sqlx::types::Json;
use uuid::Uuid;
pub use view::{CorePatch, CoreView, MifosFields, NewCore};

use super::{
    checked_phones, checked_secret, checked_text, checked_zone,
    host_url::{HostRules, checked_path, checked_url},
    shortcode::still_open,
    store,
};
use crate::{
    audit::{Actor, AuditEntry, Permission, record_in_tx},
    engine::Engine,
    error::VaultError,
    secret::Place,
};

/// The endpoint of a stock host (Mifos X contract 1).
pub const DEFAULT_ENDPOINT: &str = "/fineract-provider/api/v1";

pub(super) const PASSWORD: &str = "mifos_partners.mifos_password";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    partner_id: Uuid,
    label: String,
    mifos_host_url: String,
    mifos_username: String,
    mifos_tenant_id: String,
    api_endpoint: String,
    webhook_url: Option<String>,
    has_token: bool,
    webhook_previous_until: Option<DateTime<Utc>>,
    has_hmac: bool,
    mifos_auto_disbursement_enabled: bool,
    auto_since: Option<DateTime<Utc>>,
    max_minor: Option<i64>,
    min_minor: Option<i64>,
    sms_notifications_enabled: bool,
    sms_phone_numbers: Json<Vec<Msisdn>>,
    is_active: bool,
    is_default: bool,
    ca_pem: Option<String>,
    profile: Option<Json<CoreProfile>>,
    zone: String,
    business_date: bool,
    payment_type_id: Option<String>,
    poll_seconds: i32,
    last_poll_at: Option<DateTime<Utc>>,
    last_ok_at: Option<DateTime<Utc>>,
    last_error: Option<String>,
    last_error_at: Option<DateTime<Utc>>,
    retired_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    mifos_password: String,
}

impl Row {
    fn view(self) -> CoreView {
        CoreView {
            id: CoreId(self.id),
            partner_id: PartnerId(self.partner_id),
            label: self.label,
            is_mifos_configured: true,
            mifos_host_url: self.mifos_host_url,
            mifos_username: self.mifos_username,
            mifos_tenant_id: self.mifos_tenant_id,
            mifos_api_endpoint: self.api_endpoint,
            mifos_webhook_url: self.webhook_url,
            has_webhook_secret_token: self.has_token,
            webhook_previous_until: self.webhook_previous_until,
            has_webhook_hmac_key: self.has_hmac,
            mifos_auto_disbursement_enabled: self.mifos_auto_disbursement_enabled,
            auto_since: self.auto_since,
            mifos_max_disbursement_amount: self.max_minor.map(Money::from_minor),
            mifos_min_disbursement_amount: self.min_minor.map(Money::from_minor),
            sms_notifications_enabled: self.sms_notifications_enabled,
            sms_phone_numbers: self.sms_phone_numbers.0,
            is_active: self.is_active,
            is_default: self.is_default,
            has_ca: self.ca_pem.is_some(),
            profile: self.profile.map(|p| p.0),
            zone: self.zone,
            business_date: self.business_date,
            payment_type_id: self.payment_type_id,
            poll_seconds: self.poll_seconds,
            last_poll_at: self.last_poll_at,
            last_ok_at: self.last_ok_at,
            last_error: self.last_error,
            last_error_at: self.last_error_at,
            retired_at: self.retired_at,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// The columns of [`Row`], in one place: every reader below joins it to its own condition.
macro_rules! select_core {
    ($condition:literal) => {
        concat!(
            "select id, partner_id, label, mifos_host_url, mifos_username, mifos_tenant_id, api_endpoint, webhook_url,
                    webhook_secret_token is not null as has_token, webhook_previous_until, webhook_hmac_enc is not null as has_hmac,
                    mifos_auto_disbursement_enabled, auto_since, (mifos_max_disbursement_amount * 100)::bigint as max_minor,
                    (mifos_min_disbursement_amount * 100)::bigint as min_minor, sms_notifications_enabled, sms_phone_numbers, is_active,
                    is_default, ca_pem, profile, zone, business_date, payment_type_id, poll_seconds, last_poll_at, last_ok_at, last_error,
                    last_error_at, retired_at, created_at, updated_at, mifos_password
             from mifos_partners ",
            $condition
        )
    };
}

// Below the macro, which it uses.
mod settings;
pub use settings::{CoreSettings, load_for, load_links_in_tx};

/// The whole of a connection, as it is written.
struct Written {
    label: String,
    host: String,
    endpoint: String,
    username: String,
    tenant: String,
    ca_pem: Option<String>,
    zone: Tz,
    payment_type_id: Option<String>,
    auto: bool,
    auto_since: Option<DateTime<Utc>>,
    max: Option<Money>,
    min: Option<Money>,
    sms: bool,
    phones: Vec<Msisdn>,
    poll_seconds: i32,
    is_active: bool,
}

impl Written {
    fn check(mut self, rules: HostRules) -> Result<Self, Box<Problem>> {
        self.label = checked_text("/label", &self.label, 100)?;
        self.endpoint = checked_path("/mifos_api_endpoint", &self.endpoint, 500)?;
        let host = checked_url("/mifos_host_url", &self.host, 500, rules)?;
        // People paste the whole base URL: the endpoint does not go in twice.
        self.host = if self.endpoint.is_empty() { host } else { host.strip_suffix(self.endpoint.as_str()).unwrap_or(&host).to_owned() };
        self.username = checked_text("/mifos_username", &self.username, 255)?;
        self.tenant = checked_text("/mifos_tenant_id", &self.tenant, 100)?;
        if !self.tenant.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            return Err(Box::new(Problem::invalid("/mifos_tenant_id", "A tenant is written with letters, digits, - _ and .")));
        }
        if let Some(pem) = &self.ca_pem
            && (pem.len() > 100_000 || !pem.contains("-----BEGIN CERTIFICATE-----"))
        {
            return Err(Box::new(Problem::invalid("/ca_pem", "A certificate authority is given as PEM.")));
        }
        if let Some(kind) = &self.payment_type_id {
            self.payment_type_id = Some(checked_text("/payment_type_id", kind, 50)?);
        }
        for (pointer, amount) in [("/mifos_max_disbursement_amount", self.max), ("/mifos_min_disbursement_amount", self.min)] {
            if amount.is_some_and(|a| a.minor() < 0) {
                return Err(Box::new(Problem::invalid(pointer, "A limit is not negative.")));
            }
        }
        if matches!((self.min, self.max), (Some(min), Some(max)) if min > max) {
            return Err(Box::new(Problem::invalid("/mifos_min_disbursement_amount", "The smallest amount is above the largest.")));
        }
        if !(1..=86_400).contains(&self.poll_seconds) {
            return Err(Box::new(Problem::invalid("/poll_seconds", "Between 1 and 86400 seconds.")));
        }
        self.phones = checked_phones("/sms_phone_numbers", self.phones)?;
        Ok(self)
    }
}

/// Makes a connection.
pub async fn create(engine: &Engine, actor: &Actor, partner: Option<PartnerId>, new: NewCore, rules: HostRules) -> Result<CoreView, VaultError> {
    actor.require(Permission::ConnectionsWrite)?;
    let partner = actor.partner_for(partner)?;
    checked_secret("/mifos_password", &new.mifos_password)?;
    let now = engine.now();
    let auto = new.mifos_auto_disbursement_enabled;
    let written = Written {
        label: new.label,
        host: new.mifos_host_url,
        endpoint: new.mifos_api_endpoint.unwrap_or_else(|| DEFAULT_ENDPOINT.into()),
        username: new.mifos_username,
        tenant: new.mifos_tenant_id,
        ca_pem: new.ca_pem,
        zone: checked_zone(new.zone.as_deref().unwrap_or("Africa/Nairobi"))?,
        payment_type_id: new.payment_type_id,
        auto,
        auto_since: auto.then_some(now),
        max: new.mifos_max_disbursement_amount,
        min: new.mifos_min_disbursement_amount,
        sms: new.sms_notifications_enabled,
        phones: new.sms_phone_numbers,
        poll_seconds: new.poll_seconds,
        is_active: true,
    }
    .check(rules)?;
    let id = CoreId(engine.id());
    let password = engine.keys.seal(Place { column: PASSWORD, row: id.uuid() }, new.mifos_password.expose_secret())?;
    let mut tx = actor.begin(engine).await?;
    let owner = store::lock(tx.conn(), partner).await?;
    still_open(owner.status)?;
    let has_default: bool =
        sqlx::query_scalar("select exists (select 1 from mifos_partners where partner_id = $1 and is_default and retired_at is null)")
            .bind(partner.uuid())
            .fetch_one(tx.conn())
            .await?;
    if new.is_default {
        clear_default(tx.conn(), partner, now).await?;
    }
    sqlx::query(
        "insert into mifos_partners
             (id, partner_id, label, mifos_host_url, mifos_username, mifos_password, mifos_tenant_id, api_endpoint, ca_pem, zone, payment_type_id,
              mifos_auto_disbursement_enabled, auto_since, mifos_max_disbursement_amount, mifos_min_disbursement_amount,
              sms_notifications_enabled, sms_phone_numbers, poll_seconds, is_active, is_default, next_poll_at, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14::bigint::numeric / 100, $15::bigint::numeric / 100,
                 $16, $17, $18, true, $19, $20, $20, $20)",
    )
    .bind(id.uuid())
    .bind(partner.uuid())
    .bind(&written.label)
    .bind(&written.host)
    .bind(&written.username)
    .bind(password)
    .bind(&written.tenant)
    .bind(&written.endpoint)
    .bind(&written.ca_pem)
    .bind(written.zone.name())
    .bind(&written.payment_type_id)
    .bind(written.auto)
    .bind(written.auto_since)
    .bind(written.max.map(Money::minor))
    .bind(written.min.map(Money::minor))
    .bind(written.sms)
    .bind(Json(&written.phones))
    .bind(written.poll_seconds)
    .bind(new.is_default || !has_default)
    .bind(now)
    .execute(tx.conn())
    .await
    .map_err(|error| store::taken(error, "mifos_partners_host", core_taken))?;
    let view = fetch(tx.conn(), id).await?.view();
    let entry = AuditEntry::of(Some(partner), "core.create", id).change(None::<&CoreView>, Some(&view));
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit().await?;
    Ok(view)
}

fn core_taken() -> Problem {
    Problem::refused(
        "core_exists",
        409,
        "This partner has a connection to that host and tenant already.",
        "Change the existing connection: a second one would see every loan as another loan.",
    )
}

async fn clear_default(conn: &mut PgConnection, partner: PartnerId, now: DateTime<Utc>) -> Result<(), VaultError> {
    sqlx::query("update mifos_partners set is_default = false, updated_at = $2 where partner_id = $1 and is_default")
        .bind(partner.uuid())
        .bind(now)
        .execute(conn)
        .await?;
    Ok(())
}

async fn fetch(conn: &mut PgConnection, id: CoreId) -> Result<Row, VaultError> {
    let row: Option<Row> = sqlx::query_as(select_core!("where id = $1")).bind(id.uuid()).fetch_optional(conn).await?;
    row.ok_or_else(|| Problem::not_found("connection").into())
}

async fn lock(conn: &mut PgConnection, id: CoreId) -> Result<Row, VaultError> {
    let row: Option<Row> = sqlx::query_as(select_core!("where id = $1 for update")).bind(id.uuid()).fetch_optional(conn).await?;
    row.ok_or_else(|| Problem::not_found("connection").into())
}

/// Locks a connection that may still be changed, and tells whose it is.
pub(super) async fn lock_owner(conn: &mut PgConnection, id: CoreId) -> Result<PartnerId, VaultError> {
    let row = lock(conn, id).await?;
    not_retired(&row)?;
    Ok(PartnerId(row.partner_id))
}

fn not_retired(row: &Row) -> Result<(), Box<Problem>> {
    if row.retired_at.is_some() {
        let detail = "This connection is retired.";
        return Err(Box::new(Problem::refused("core_retired", 409, detail, "Make a new connection.")));
    }
    Ok(())
}

/// One connection.
pub async fn get(engine: &Engine, actor: &Actor, id: CoreId) -> Result<CoreView, VaultError> {
    actor.require(Permission::ConnectionsRead)?;
    let mut tx = actor.begin(engine).await?;
    let row = fetch(tx.conn(), id).await?;
    tx.commit().await?;
    Ok(row.view())
}

/// The connections that the actor sees, retired ones last; the platform may name one partner.
pub async fn list(engine: &Engine, actor: &Actor, partner: Option<PartnerId>) -> Result<Vec<CoreView>, VaultError> {
    actor.require(Permission::ConnectionsRead)?;
    let mut tx = actor.begin(engine).await?;
    let rows: Vec<Row> = sqlx::query_as(select_core!(
        "where $1::uuid is null or partner_id = $1
         order by partner_id, (retired_at is not null), is_default desc, created_at, id limit 10000"
    ))
    .bind(partner.map(PartnerId::uuid))
    .fetch_all(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(rows.into_iter().map(Row::view).collect())
}

/// The `mifos_*` fields of a partner (requirement L1).
pub async fn mifos_fields(engine: &Engine, actor: &Actor, partner: PartnerId) -> Result<MifosFields, VaultError> {
    let partner = actor.partner_for(Some(partner))?;
    let views = list(engine, actor, Some(partner)).await?;
    Ok(MifosFields::from(views.iter().find(|view| view.is_default && view.retired_at.is_none())))
}

/// Changes a connection. Its id, and with it the identity of its loans, stays (rule A1). Another host or tenant may hold other
/// approvals: automatic payment then counts from this moment again (rule A16), and what was detected is forgotten.
pub async fn update(engine: &Engine, actor: &Actor, id: CoreId, patch: CorePatch, rules: HostRules) -> Result<CoreView, VaultError> {
    actor.require(Permission::ConnectionsWrite)?;
    let now = engine.now();
    let mut tx = actor.begin(engine).await?;
    let old = lock(tx.conn(), id).await?;
    not_retired(&old)?;
    let partner = PartnerId(old.partner_id);
    let auto = patch.mifos_auto_disbursement_enabled.unwrap_or(old.mifos_auto_disbursement_enabled);
    let written = Written {
        label: patch.label.unwrap_or_else(|| old.label.clone()),
        host: patch.mifos_host_url.unwrap_or_else(|| old.mifos_host_url.clone()),
        endpoint: patch.mifos_api_endpoint.unwrap_or_else(|| old.api_endpoint.clone()),
        username: patch.mifos_username.unwrap_or_else(|| old.mifos_username.clone()),
        tenant: patch.mifos_tenant_id.unwrap_or_else(|| old.mifos_tenant_id.clone()),
        ca_pem: patch.ca_pem.unwrap_or_else(|| old.ca_pem.clone()),
        zone: match patch.zone {
            Some(zone) => checked_zone(&zone)?,
            None => store::zone_of(&old.zone)?,
        },
        payment_type_id: patch.payment_type_id.unwrap_or_else(|| old.payment_type_id.clone()),
        auto,
        auto_since: None,
        max: patch.mifos_max_disbursement_amount.unwrap_or(old.max_minor.map(Money::from_minor)),
        min: patch.mifos_min_disbursement_amount.unwrap_or(old.min_minor.map(Money::from_minor)),
        sms: patch.sms_notifications_enabled.unwrap_or(old.sms_notifications_enabled),
        phones: patch.sms_phone_numbers.unwrap_or_else(|| old.sms_phone_numbers.0.clone()),
        poll_seconds: patch.poll_seconds.unwrap_or(old.poll_seconds),
        is_active: patch.is_active.unwrap_or(old.is_active),
    }
    .check(rules)?;
    let moved = written.host != old.mifos_host_url || written.endpoint != old.api_endpoint || written.tenant != old.mifos_tenant_id;
    if (moved || written.username != old.mifos_username) && patch.mifos_password.is_none() {
        let detail = "Another host, endpoint, tenant or user needs the password again.";
        return Err(Problem::invalid("/mifos_password", detail).into());
    }
    let written = Written { auto_since: auto_since(&old, auto, moved, now), ..written };
    let password = match &patch.mifos_password {
        Some(password) => {
            checked_secret("/mifos_password", password)?;
            engine.keys.seal(Place { column: PASSWORD, row: id.uuid() }, password.expose_secret())?
        }
        None => old.mifos_password.clone(),
    };
    if patch.is_default == Some(false) && old.is_default {
        return Err(Problem::invalid("/is_default", "The default connection is moved by making another one the default.").into());
    }
    let is_default = old.is_default || patch.is_default == Some(true);
    if is_default && !old.is_default {
        clear_default(tx.conn(), partner, now).await?;
    }
    sqlx::query(
        "update mifos_partners set label = $3, mifos_host_url = $4, mifos_username = $5, mifos_password = $6, mifos_tenant_id = $7,
                api_endpoint = $8, ca_pem = $9, zone = $10, payment_type_id = $11, mifos_auto_disbursement_enabled = $12, auto_since = $13,
                mifos_max_disbursement_amount = $14::bigint::numeric / 100, mifos_min_disbursement_amount = $15::bigint::numeric / 100,
                sms_notifications_enabled = $16, sms_phone_numbers = $17, poll_seconds = $18, is_active = $19, is_default = $20,
                profile = case when $21 then null else profile end, next_poll_at = least(next_poll_at, $22), updated_at = $22
         where partner_id = $1 and id = $2",
    )
    .bind(partner.uuid())
    .bind(id.uuid())
    .bind(&written.label)
    .bind(&written.host)
    .bind(&written.username)
    .bind(password)
    .bind(&written.tenant)
    .bind(&written.endpoint)
    .bind(&written.ca_pem)
    .bind(written.zone.name())
    .bind(&written.payment_type_id)
    .bind(written.auto)
    .bind(written.auto_since)
    .bind(written.max.map(Money::minor))
    .bind(written.min.map(Money::minor))
    .bind(written.sms)
    .bind(Json(&written.phones))
    .bind(written.poll_seconds)
    .bind(written.is_active)
    .bind(is_default)
    .bind(moved)
    .bind(now)
    .execute(tx.conn())
    .await
    .map_err(|error| store::taken(error, "mifos_partners_host", core_taken))?;
    let before = old.view();
    let after = fetch(tx.conn(), id).await?.view();
    let entry = AuditEntry::of(Some(partner), "core.update", id).change(Some(&before), Some(&after));
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit().await?;
    Ok(after)
}

/// From when approvals count (rule A16): from now when it is switched on or the host moves, else from when it was.
fn auto_since(old: &Row, auto: bool, moved: bool, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    match (auto, old.mifos_auto_disbursement_enabled && !moved, old.auto_since) {
        (false, _, _) => None,
        (true, true, Some(since)) => Some(since),
        (true, _, _) => Some(now),
    }
}

/// Gives a connection up for good: no sweep, no hook, no automatic payment. Refused while loans of it are under way or paid and
/// not booked: they are booked over this very connection.
pub async fn retire(engine: &Engine, actor: &Actor, id: CoreId, reason: &str) -> Result<CoreView, VaultError> {
    actor.require(Permission::ConnectionsWrite)?;
    let reason = super::checked_reason(reason)?;
    let now = engine.now();
    let mut tx = actor.begin(engine).await?;
    let old = lock(tx.conn(), id).await?;
    not_retired(&old)?;
    let partner = PartnerId(old.partner_id);
    // Indexes: disbursements_open, bookings_open.
    let open: i64 = sqlx::query_scalar(
        "select (select count(*) from disbursements
                 where partner_id = $1 and core_id = $2 and state not in ('paid', 'not_paid', 'cancelled', 'refused'))
              + (select count(*) from bookings where partner_id = $1 and core_id = $2 and state not in ('booked', 'adopted'))",
    )
    .bind(partner.uuid())
    .bind(id.uuid())
    .fetch_one(tx.conn())
    .await?;
    if open > 0 {
        let detail = format!("{open} loans of this connection are under way or not booked yet.");
        return Err(Problem::refused("core_in_use", 409, detail, "Wait until they are settled, or switch the connection off meanwhile.").into());
    }
    sqlx::query(
        "update mifos_partners set retired_at = $3, is_active = false, is_default = false, mifos_auto_disbursement_enabled = false,
                auto_since = null, webhook_secret_token = null, webhook_previous_token = null, webhook_previous_until = null, updated_at = $3
         where partner_id = $1 and id = $2",
    )
    .bind(partner.uuid())
    .bind(id.uuid())
    .bind(now)
    .execute(tx.conn())
    .await?;
    let after = fetch(tx.conn(), id).await?.view();
    let entry = AuditEntry::of(Some(partner), "core.retire", id).because(reason).change(Some(&old.view()), Some(&after));
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit().await?;
    Ok(after)
}

/// Keeps what detection found; `business_date`: whether the tenant keeps one, where it was asked.
pub async fn store_profile_in_tx(
    conn: &mut PgConnection,
    id: CoreId,
    profile: &CoreProfile,
    business_date: Option<bool>,
    now: DateTime<Utc>,
) -> Result<(), VaultError> {
    sqlx::query("update mifos_partners set profile = $2, business_date = coalesce($3, business_date), updated_at = $4 where id = $1")
        .bind(id.uuid())
        .bind(Json(profile))
        .bind(business_date)
        .bind(now)
        .execute(conn)
        .await?;
    Ok(())
}
