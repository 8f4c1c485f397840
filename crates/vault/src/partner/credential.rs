//! Versions of the M-Pesa credentials of a shortcode. A payout keeps the version it was made with, so that a repeat is byte for
//! byte the same (rule A5); a new version goes carefully first (rule A19). Nothing secret comes out of here but into a
//! [`RailAccount`].

use std::collections::BTreeMap;

use base64::Engine as _;
use chrono::{DateTime, NaiveDate, Utc};
use pv_database::PgConnection;
use pv_kernel::{
    ids::{CredentialId, PartnerId, ShortcodeId},
    problem::Problem,
    rail::RailAccount,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use uuid::Uuid;

use super::{checked_secret, checked_text, shortcode};
use crate::{
    audit::{Actor, AuditEntry, Permission, record_in_tx},
    engine::Engine,
    error::VaultError,
    secret::{KeyRing, Place},
    wallet::quote::TariffPayer,
};

/// Encrypts an initiator password with a certificate (PEM); gives what goes on the wire, base64 (M-Pesa contract 3).
pub type Encrypt<'a> = &'a (dyn Fn(&str, &str) -> Result<String, Box<Problem>> + Send + Sync);

/// The initiator's secret, in one of the two forms that people have.
#[derive(Debug, Clone)]
pub enum InitiatorSecret {
    /// The password; encrypted here, once, and not kept.
    Password(SecretString),
    /// Already encrypted at Safaricom's portal.
    SecurityCredential(SecretString),
}

/// A new version of credentials.
#[derive(Debug, Clone)]
pub struct NewCredential {
    /// Consumer key of the portal app.
    pub consumer_key: SecretString,
    /// Consumer secret of the portal app.
    pub consumer_secret: SecretString,
    /// Name of the API operator.
    pub initiator: String,
    /// Its secret.
    pub initiator_secret: InitiatorSecret,
    /// STK passkey, when there is one.
    pub passkey: Option<SecretString>,
    /// The certificate (PEM) that the password is encrypted with; required with a password.
    pub certificate: Option<String>,
    /// When the initiator's password was set: the reminder counts from it.
    pub password_set_on: Option<NaiveDate>,
    /// Takes over at once.
    pub activate: bool,
}

/// A version as shown: nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct CredentialView {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub partner_id: Uuid,
    /// Of which shortcode.
    pub shortcode_id: Uuid,
    /// 1, 2, …
    pub version: i32,
    /// Name of the API operator.
    pub initiator: String,
    /// Whether a passkey is kept.
    pub has_passkey: bool,
    /// When the initiator's password was set.
    pub password_set_on: Option<NaiveDate>,
    /// New payouts use it.
    pub is_active: bool,
    /// Stopped since then by a code that means this credential (rule A19).
    pub halted_at: Option<DateTime<Utc>>,
    /// The code.
    pub halt_code: Option<String>,
    /// One send at a time until one succeeds.
    pub careful: bool,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
    /// Given up for good.
    pub retired_at: Option<DateTime<Utc>>,
}

const KEY: &str = "mpesa_credentials.consumer_key_enc";
const SECRET: &str = "mpesa_credentials.consumer_secret_enc";
const WIRE: &str = "mpesa_credentials.security_credential_enc";
const PASSKEY: &str = "mpesa_credentials.passkey_enc";

/// Adds a version. The initiator password is encrypted with its certificate here and thrown away.
pub async fn create(
    engine: &Engine,
    actor: &Actor,
    shortcode: ShortcodeId,
    new: NewCredential,
    encrypt: Encrypt<'_>,
) -> Result<CredentialView, VaultError> {
    actor.require(Permission::ConnectionsWrite)?;
    let initiator = checked_text("/initiator", &new.initiator, 100)?;
    checked_secret("/consumer_key", &new.consumer_key)?;
    checked_secret("/consumer_secret", &new.consumer_secret)?;
    if let Some(passkey) = &new.passkey {
        checked_secret("/passkey", passkey)?;
    }
    let wire = on_the_wire(&new, encrypt)?;
    let now = engine.now();
    let id = CredentialId(engine.id());
    let place = |column| Place { column, row: id.uuid() };
    let mut tx = actor.begin(engine).await?;
    // Locks the shortcode: two new versions at once get two numbers.
    let partner = shortcode::lock_owner(tx.conn(), shortcode).await?;
    if new.activate {
        deactivate(tx.conn(), partner, shortcode).await?;
    }
    sqlx::query(
        "insert into mpesa_credentials
             (id, partner_id, shortcode_id, version, consumer_key_enc, consumer_secret_enc, initiator, security_credential_enc,
              passkey_enc, certificate, password_set_on, is_active, careful, created_at, created_by)
         select $1, $2, $3, coalesce(max(version), 0) + 1, $4, $5, $6, $7, $8, $9, $10, $11, true, $12, $13
         from mpesa_credentials where shortcode_id = $3",
    )
    .bind(id.uuid())
    .bind(partner.uuid())
    .bind(shortcode.uuid())
    .bind(engine.keys.seal(place(KEY), new.consumer_key.expose_secret())?)
    .bind(engine.keys.seal(place(SECRET), new.consumer_secret.expose_secret())?)
    .bind(initiator)
    .bind(engine.keys.seal(place(WIRE), wire.expose_secret())?)
    .bind(new.passkey.as_ref().map(|p| engine.keys.seal(place(PASSKEY), p.expose_secret())).transpose()?)
    .bind(&new.certificate)
    .bind(new.password_set_on)
    .bind(new.activate)
    .bind(now)
    .bind(actor.label())
    .execute(tx.conn())
    .await?;
    let view = fetch(tx.conn(), id).await?;
    let entry = AuditEntry::of(Some(partner), "credential.create", id).change(None::<&CredentialView>, Some(&view));
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit().await?;
    Ok(view)
}

fn on_the_wire(new: &NewCredential, encrypt: Encrypt<'_>) -> Result<SecretString, VaultError> {
    match &new.initiator_secret {
        InitiatorSecret::SecurityCredential(ready) => {
            checked_secret("/security_credential", ready)?;
            if base64::engine::general_purpose::STANDARD.decode(ready.expose_secret()).is_err() {
                return Err(Problem::invalid("/security_credential", "A security credential is base64, as the portal shows it.").into());
            }
            Ok(ready.clone())
        }
        InitiatorSecret::Password(password) => {
            checked_secret("/initiator_password", password)?;
            let certificate = new.certificate.as_deref().filter(|c| !c.trim().is_empty() && c.len() <= 20_000).ok_or_else(|| {
                Problem::invalid("/certificate", "The password is encrypted with Safaricom's certificate for this environment, as PEM.")
            })?;
            Ok(SecretString::from(encrypt(certificate, password.expose_secret())?))
        }
    }
}

async fn deactivate(conn: &mut PgConnection, partner: PartnerId, shortcode: ShortcodeId) -> Result<(), VaultError> {
    sqlx::query("update mpesa_credentials set is_active = false where partner_id = $1 and shortcode_id = $2 and is_active")
        .bind(partner.uuid())
        .bind(shortcode.uuid())
        .execute(conn)
        .await?;
    Ok(())
}

async fn fetch(conn: &mut PgConnection, id: CredentialId) -> Result<CredentialView, VaultError> {
    let view: Option<CredentialView> = sqlx::query_as(
        "select id, partner_id, shortcode_id, version, initiator, passkey_enc is not null as has_passkey, password_set_on, is_active,
                halted_at, halt_code, careful, created_at, created_by, retired_at
         from mpesa_credentials where id = $1",
    )
    .bind(id.uuid())
    .fetch_optional(conn)
    .await?;
    view.ok_or_else(|| Problem::not_found("credential").into())
}

/// The versions of a shortcode, newest first.
pub async fn list(engine: &Engine, actor: &Actor, shortcode: ShortcodeId) -> Result<Vec<CredentialView>, VaultError> {
    actor.require(Permission::ConnectionsRead)?;
    let mut tx = actor.begin(engine).await?;
    shortcode::owner(tx.conn(), shortcode).await?;
    let views = sqlx::query_as(
        "select id, partner_id, shortcode_id, version, initiator, passkey_enc is not null as has_passkey, password_set_on, is_active,
                halted_at, halt_code, careful, created_at, created_by, retired_at
         from mpesa_credentials where shortcode_id = $1 order by version desc",
    )
    .bind(shortcode.uuid())
    .fetch_all(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(views)
}

/// What is done to a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Activate,
    Retire,
    LiftHalt,
}

/// Makes a version the one that new payouts use; the one before stays for what was made with it. One send at a time until one
/// succeeds (rule A19).
pub async fn activate(engine: &Engine, actor: &Actor, id: CredentialId, reason: &str) -> Result<CredentialView, VaultError> {
    change(engine, actor, id, Change::Activate, reason).await
}

/// Gives a version up for good: no new payout uses it. What was sent with it is still asked about with it.
pub async fn retire(engine: &Engine, actor: &Actor, id: CredentialId, reason: &str) -> Result<CredentialView, VaultError> {
    change(engine, actor, id, Change::Retire, reason).await
}

/// Lets a halted version try again, one send at a time (rule A19).
pub async fn lift_halt(engine: &Engine, actor: &Actor, id: CredentialId, reason: &str) -> Result<CredentialView, VaultError> {
    change(engine, actor, id, Change::LiftHalt, reason).await
}

async fn change(engine: &Engine, actor: &Actor, id: CredentialId, change: Change, reason: &str) -> Result<CredentialView, VaultError> {
    actor.require(Permission::ConnectionsWrite)?;
    let reason = super::checked_reason(reason)?;
    let mut tx = actor.begin(engine).await?;
    let shortcode = ShortcodeId(fetch(tx.conn(), id).await?.shortcode_id);
    // The shortcode is the lock; what was read before it may be old.
    let partner = shortcode::lock_owner(tx.conn(), shortcode).await?;
    let before = fetch(tx.conn(), id).await?;
    if before.retired_at.is_some() {
        let detail = "This version of the credentials is retired.";
        return Err(Problem::refused("credential_retired", 409, detail, "Add a new version.").into());
    }
    let action = match change {
        Change::Activate => {
            deactivate(tx.conn(), partner, shortcode).await?;
            sqlx::query("update mpesa_credentials set is_active = true, careful = true where partner_id = $1 and id = $2 and retired_at is null")
                .bind(partner.uuid())
                .bind(id.uuid())
                .execute(tx.conn())
                .await?;
            "credential.activate"
        }
        Change::Retire => {
            sqlx::query("update mpesa_credentials set is_active = false, retired_at = $3 where partner_id = $1 and id = $2")
                .bind(partner.uuid())
                .bind(id.uuid())
                .bind(engine.now())
                .execute(tx.conn())
                .await?;
            "credential.retire"
        }
        Change::LiftHalt => {
            sqlx::query("update mpesa_credentials set halted_at = null, halt_code = null, careful = true where partner_id = $1 and id = $2")
                .bind(partner.uuid())
                .bind(id.uuid())
                .execute(tx.conn())
                .await?;
            "credential.lift_halt"
        }
    };
    let after = fetch(tx.conn(), id).await?;
    let entry = AuditEntry::of(Some(partner), action, id).because(reason).change(Some(&before), Some(&after));
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit().await?;
    Ok(after)
}

/// Stops all sends on these credentials, with the code that means it (rule A19), in the transaction that learnt it. The first
/// code is kept. Credentials already halted are left as they are; those newly halted are returned.
pub async fn halt_in_tx(conn: &mut PgConnection, halts: &[(CredentialId, String)], now: DateTime<Utc>) -> Result<Vec<CredentialId>, VaultError> {
    // Two codes for one credential in one batch: the first is kept, and ids go in their order (lock order).
    let mut first: BTreeMap<Uuid, &str> = BTreeMap::new();
    for (id, code) in halts {
        first.entry(id.uuid()).or_insert(code);
    }
    let (ids, codes): (Vec<Uuid>, Vec<&str>) = first.into_iter().unzip();
    let halted: Vec<Uuid> = sqlx::query_scalar(
        "update mpesa_credentials c set halted_at = $3, halt_code = h.code, careful = true
         from unnest($1::uuid[], $2::text[]) as h(id, code) where c.id = h.id and c.halted_at is null returning c.id",
    )
    .bind(ids)
    .bind(codes)
    .bind(now)
    .fetch_all(conn)
    .await?;
    Ok(halted.into_iter().map(CredentialId).collect())
}

/// A send with these credentials succeeded: they need no care any more, unless they are halted (rule A19).
pub async fn proven_in_tx(conn: &mut PgConnection, ids: &[CredentialId]) -> Result<(), VaultError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    sqlx::query("update mpesa_credentials set careful = false where id = any($1) and careful and halted_at is null").bind(ids).execute(conn).await?;
    Ok(())
}

/// What decides whether a credential may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialState {
    /// Of which shortcode.
    pub shortcode_id: ShortcodeId,
    /// Whose.
    pub partner_id: PartnerId,
    /// Its version.
    pub version: i32,
    /// New payouts use it.
    pub active: bool,
    /// Given up for good.
    pub retired: bool,
    /// No send at all (rule A19).
    pub halted: bool,
    /// The code that halted it.
    pub halt_code: Option<String>,
    /// One send at a time until one succeeds (rule A19).
    pub careful: bool,
    /// The shortcode's sending is off until a person releases it (rule A21).
    pub quarantined: bool,
    /// The shortcode is in use.
    pub shortcode_active: bool,
    /// Who pays the tariff (rule B4).
    pub tariff_payer: TariffPayer,
}

impl CredentialState {
    /// Why nothing may be sent with it now; `None`: it may.
    pub fn why_not(&self) -> Option<&'static str> {
        if self.halted {
            Some("credential_halted")
        } else if self.quarantined {
            Some("quarantined")
        } else if !self.shortcode_active {
            Some("shortcode_off")
        } else {
            None
        }
    }
}

#[derive(sqlx::FromRow)]
struct AccountRow {
    id: Uuid,
    partner_id: Uuid,
    shortcode_id: Uuid,
    version: i32,
    consumer_key_enc: String,
    consumer_secret_enc: String,
    initiator: String,
    security_credential_enc: String,
    is_active: bool,
    retired: bool,
    halted: bool,
    halt_code: Option<String>,
    careful: bool,
    shortcode: String,
    environment: String,
    base_url: String,
    tariff_payer: String,
    requests_per_second: i32,
    shortcode_active: bool,
    quarantined: bool,
}

/// The rail accounts of these credentials, retired ones included: what was sent with them is resolved with them. A row whose
/// secrets cannot be opened is left out and logged, so that it stops nobody else (rule D6).
pub async fn load_accounts_in_tx(
    conn: &mut PgConnection,
    keys: &KeyRing,
    ids: &[CredentialId],
) -> Result<BTreeMap<CredentialId, (RailAccount, CredentialState)>, VaultError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows: Vec<AccountRow> = sqlx::query_as(
        "select c.id, c.partner_id, c.shortcode_id, c.version, c.consumer_key_enc, c.consumer_secret_enc, c.initiator, c.security_credential_enc,
                c.is_active, c.retired_at is not null as retired, c.halted_at is not null as halted, c.halt_code, c.careful,
                s.shortcode, s.environment, s.base_url, s.tariff_payer, s.requests_per_second, s.is_active as shortcode_active,
                s.quarantined_at is not null as quarantined
         from mpesa_credentials c join mpesa_shortcodes s on s.partner_id = c.partner_id and s.id = c.shortcode_id
         where c.id = any($1)",
    )
    .bind(ids)
    .fetch_all(conn)
    .await?;
    let mut accounts = BTreeMap::new();
    for row in rows {
        match opened(keys, &row) {
            Ok(account) => {
                accounts.insert(CredentialId(row.id), account);
            }
            Err(error) => {
                tracing::error!(credential = %row.id, partner = %row.partner_id, %error, "a credential cannot be used");
            }
        }
    }
    Ok(accounts)
}

fn opened(keys: &KeyRing, row: &AccountRow) -> Result<(RailAccount, CredentialState), VaultError> {
    let place = |column| Place { column, row: row.id };
    let account = RailAccount {
        base_url: row.base_url.clone(),
        environment: row.environment.clone(),
        shortcode: row.shortcode.clone(),
        consumer_key: keys.open(place(KEY), &row.consumer_key_enc)?.expose_secret().to_owned(),
        consumer_secret: keys.open(place(SECRET), &row.consumer_secret_enc)?,
        initiator: row.initiator.clone(),
        security_credential: keys.open(place(WIRE), &row.security_credential_enc)?,
        rate: u32::try_from(row.requests_per_second).unwrap_or(1),
    };
    let state = CredentialState {
        shortcode_id: ShortcodeId(row.shortcode_id),
        partner_id: PartnerId(row.partner_id),
        version: row.version,
        active: row.is_active,
        retired: row.retired,
        halted: row.halted,
        halt_code: row.halt_code.clone(),
        careful: row.careful,
        quarantined: row.quarantined,
        shortcode_active: row.shortcode_active,
        tariff_payer: TariffPayer::from_column(&row.tariff_payer)?,
    };
    Ok((account, state))
}

/// The version that new payouts use, for each shortcode that has one.
pub async fn active_for_shortcodes_in_tx(conn: &mut PgConnection, ids: &[ShortcodeId]) -> Result<BTreeMap<ShortcodeId, CredentialId>, VaultError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    // Index: mpesa_credentials_active.
    let rows: Vec<(Uuid, Uuid)> =
        sqlx::query_as("select shortcode_id, id from mpesa_credentials where shortcode_id = any($1) and is_active").bind(ids).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|(shortcode, id)| (ShortcodeId(shortcode), CredentialId(id))).collect())
}
