//! Partners and their connections to the outside.
//!
//! Here: creating, reading, changing and closing a partner. Beside it, a file per thing a partner has: [`shortcode`] and
//! [`credential`] (M-Pesa), [`core_link`] and [`webhook`] (Mifos X), [`product`], [`sms_settings`], [`api_key`]; what they allow
//! stands in [`policy`], which ledger accounts they have in [`accounts`].
//!
//! Commands take the [`Actor`] and refuse what he may not. Functions that end in `_in_tx` are for the steps: they run in the
//! caller's transaction, for many rows at once, and check nobody's permission. Not here: what is done with a connection.

pub mod accounts;
pub mod api_key;
pub mod core_link;
pub mod credential;
pub mod host_url;
pub mod policy;
pub mod product;
pub mod shortcode;
pub mod sms_settings;
mod store;
pub mod webhook;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
pub use policy::{CentsPolicy, DisbursementRules, PartnerPolicy, WorkingHours};
use pv_database::PgConnection;
use pv_kernel::{Msisdn, ids::PartnerId, problem::Problem};
use serde::{Deserialize, Serialize};

use crate::{
    audit::{Actor, AuditEntry, Permission, record_in_tx},
    engine::Engine,
    error::VaultError,
};

/// The life of a partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartnerStatus {
    /// Works.
    Active,
    /// Nothing new is sent; what is under way is resolved, booked and reported (rule A20).
    Suspended,
    /// On the way out: nothing new is taken in.
    Closing,
    /// Over. Needs that nothing is open (rule A20).
    Closed,
}

impl PartnerStatus {
    /// As in the column.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }

    /// From the column.
    pub fn from_column(text: &str) -> Result<Self, VaultError> {
        match text {
            "active" => Ok(Self::Active),
            "suspended" => Ok(Self::Suspended),
            "closing" => Ok(Self::Closing),
            "closed" => Ok(Self::Closed),
            other => Err(VaultError::Broken(format!("partner status {other:?}"))),
        }
    }

    /// New payouts may be sent.
    pub const fn sends(self) -> bool {
        matches!(self, Self::Active)
    }

    /// Whether the change is one of the house. Nothing comes back from `closed`.
    pub const fn can_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Active, Self::Suspended | Self::Closing)
                | (Self::Suspended, Self::Active | Self::Closing)
                | (Self::Closing, Self::Suspended | Self::Closed)
        )
    }
}

/// A partner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partner {
    /// Its id.
    pub id: PartnerId,
    /// Its whole name, 2 to 120 characters.
    pub name: String,
    /// As in texts and remarks, 2 to 30 characters.
    pub short_name: String,
    /// Where it stands.
    pub status: PartnerStatus,
    /// Its time zone.
    #[serde(serialize_with = "zone_name")]
    pub zone: Tz,
    /// Its limits and switches.
    pub policy: PartnerPolicy,
    /// Who is told about wallet and failures.
    pub notification_phones: Vec<Msisdn>,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn zone_name<S: serde::Serializer>(zone: &Tz, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(zone.name())
}

/// A partner to be made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPartner {
    /// Whole name.
    pub name: String,
    /// Short name.
    pub short_name: String,
    /// IANA name of the zone; `None`: Africa/Nairobi.
    #[serde(default)]
    pub zone: Option<String>,
    /// Limits and switches.
    #[serde(default)]
    pub policy: PartnerPolicy,
    /// Phones that are told.
    #[serde(default)]
    pub notification_phones: Vec<Msisdn>,
}

/// What is to be changed of a partner; `None` leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PartnerPatch {
    /// Whole name.
    pub name: Option<String>,
    /// Short name.
    pub short_name: Option<String>,
    /// IANA name of the zone.
    pub zone: Option<String>,
    /// Limits and switches, all of them.
    pub policy: Option<PartnerPolicy>,
    /// Phones, all of them.
    pub notification_phones: Option<Vec<Msisdn>>,
}

/// Makes a partner with its ledger accounts. The platform's staff only. In the worker's pool, because accounts are opened.
pub async fn create(engine: &Engine, actor: &Actor, new: NewPartner) -> Result<Partner, VaultError> {
    actor.require_platform(Permission::PartnersWrite)?;
    let now = engine.now();
    let partner = Partner {
        id: PartnerId(engine.id()),
        name: checked_name("/name", &new.name, 120)?,
        short_name: checked_name("/short_name", &new.short_name, 30)?,
        status: PartnerStatus::Active,
        zone: checked_zone(new.zone.as_deref().unwrap_or("Africa/Nairobi"))?,
        policy: new.policy,
        notification_phones: checked_phones("/notification_phones", new.notification_phones)?,
        created_at: now,
        updated_at: now,
    };
    partner.policy.check()?;
    let mut tx = engine.begin().await?;
    store::insert(tx.conn(), &partner).await?;
    // The platform's own accounts too: the first partner finds them there, whoever made the installation.
    accounts::open_accounts_in_tx(tx.conn(), engine, &accounts::platform_accounts()).await?;
    accounts::open_accounts_in_tx(tx.conn(), engine, &accounts::partner_accounts(partner.id)).await?;
    let entry = AuditEntry::of(Some(partner.id), "partner.create", partner.id).change(None::<&Partner>, Some(&partner));
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit().await?;
    Ok(partner)
}

/// Opens the ledger accounts of the platform itself; at every start, changes nothing the second time.
pub async fn open_platform_accounts(engine: &Engine) -> Result<(), VaultError> {
    let mut tx = engine.begin().await?;
    accounts::open_accounts_in_tx(tx.conn(), engine, &accounts::platform_accounts()).await?;
    tx.commit().await?;
    Ok(())
}

/// One partner. A partner's actor sees its own only.
pub async fn get(engine: &Engine, actor: &Actor, id: PartnerId) -> Result<Partner, VaultError> {
    let id = readable(actor, id)?;
    let mut tx = actor.begin(engine).await?;
    let partner = store::get(tx.conn(), id).await?;
    tx.commit().await?;
    Ok(partner)
}

/// The partners that the actor may see, by name.
pub async fn list(engine: &Engine, actor: &Actor) -> Result<Vec<Partner>, VaultError> {
    if actor.is_platform() {
        actor.require(Permission::PartnersRead)?;
    }
    let mut tx = actor.begin(engine).await?;
    let partners = store::list(tx.conn()).await?;
    tx.commit().await?;
    Ok(partners)
}

/// Everybody of a partner may read what his partner is; all others need the permission.
fn readable(actor: &Actor, id: PartnerId) -> Result<PartnerId, Box<Problem>> {
    if actor.is_platform() {
        actor.require(Permission::PartnersRead)?;
    }
    actor.partner_for(Some(id))
}

/// Changes a partner.
pub async fn update(engine: &Engine, actor: &Actor, id: PartnerId, patch: PartnerPatch) -> Result<Partner, VaultError> {
    actor.require(Permission::PartnersWrite)?;
    let id = actor.partner_for(Some(id))?;
    let mut tx = actor.begin(engine).await?;
    let before = store::lock(tx.conn(), id).await?;
    if before.status == PartnerStatus::Closed {
        return Err(Problem::refused("partner_closed", 409, "This partner is closed.", "A closed partner is kept as it was.").into());
    }
    let after = patched(&before, patch, engine.now())?;
    store::save(tx.conn(), &after).await?;
    let entry = AuditEntry::of(Some(id), "partner.update", id).change(Some(&before), Some(&after));
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit().await?;
    Ok(after)
}

fn patched(before: &Partner, patch: PartnerPatch, now: DateTime<Utc>) -> Result<Partner, Box<Problem>> {
    let mut after = Partner { updated_at: now, ..before.clone() };
    if let Some(name) = patch.name {
        after.name = checked_name("/name", &name, 120)?;
    }
    if let Some(name) = patch.short_name {
        after.short_name = checked_name("/short_name", &name, 30)?;
    }
    if let Some(zone) = patch.zone {
        after.zone = checked_zone(&zone)?;
    }
    if let Some(policy) = patch.policy {
        policy.check()?;
        after.policy = policy;
    }
    if let Some(phones) = patch.notification_phones {
        after.notification_phones = checked_phones("/notification_phones", phones)?;
    }
    Ok(after)
}

/// Moves a partner along its life. `closed` needs that nothing is open: no disbursement, no booking, no item, no money in the
/// wallet or in suspense (rule A20).
pub async fn set_status(engine: &Engine, actor: &Actor, id: PartnerId, next: PartnerStatus, reason: &str) -> Result<Partner, VaultError> {
    actor.require_platform(Permission::PartnersWrite)?;
    let reason = checked_reason(reason)?;
    let mut tx = engine.begin_platform().await?;
    let before = store::lock(tx.conn(), id).await?;
    if before.status == next {
        tx.rollback().await?;
        return Ok(before);
    }
    if !before.status.can_become(next) {
        let detail = format!("A partner that is {} cannot become {}.", before.status.as_str(), next.as_str());
        return Err(Problem::refused("wrong_status", 409, detail, "The way is active, suspended, closing, closed.").into());
    }
    if next == PartnerStatus::Closed {
        nothing_open(&store::unfinished(tx.conn(), id).await?)?;
    }
    let after = Partner { status: next, updated_at: engine.now(), ..before.clone() };
    store::save(tx.conn(), &after).await?;
    let entry = AuditEntry::of(Some(id), "partner.status", id).because(reason).change(Some(&before.status), Some(&after.status));
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit().await?;
    Ok(after)
}

fn nothing_open(open: &store::Unfinished) -> Result<(), Box<Problem>> {
    let parts = [
        (open.disbursements, "disbursements that are not over"),
        (open.bookings, "paid loans that are not booked"),
        (open.items, "open items"),
        (open.balances, "accounts with money in them (wallet or suspense)"),
    ];
    let open: Vec<String> = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if open.is_empty() {
        return Ok(());
    }
    let detail = format!("The partner cannot be closed while it has {}.", open.join(", "));
    Err(Box::new(Problem::refused("partner_not_settled", 409, detail, "Settle them, then close the partner.")))
}

/// Partners by id, for the steps.
pub async fn load_in_tx(conn: &mut PgConnection, ids: &[PartnerId]) -> Result<BTreeMap<PartnerId, Partner>, VaultError> {
    let partners = store::many(conn, ids).await?;
    Ok(partners.into_iter().map(|partner| (partner.id, partner)).collect())
}

fn checked_name(pointer: &str, text: &str, most: usize) -> Result<String, Box<Problem>> {
    let text = text.trim();
    let length = text.chars().count();
    if length < 2 || length > most || text.chars().any(char::is_control) {
        return Err(Box::new(Problem::invalid(pointer, format!("A name has 2 to {most} characters, in one line."))));
    }
    Ok(text.to_owned())
}

fn checked_zone(text: &str) -> Result<Tz, Box<Problem>> {
    text.parse().map_err(|_| Box::new(Problem::invalid("/zone", "Not a time zone: write an IANA name, for example Africa/Nairobi.")))
}

fn checked_phones(pointer: &str, mut phones: Vec<Msisdn>) -> Result<Vec<Msisdn>, Box<Problem>> {
    if phones.len() > 20 {
        return Err(Box::new(Problem::invalid(pointer, "At most 20 phones.")));
    }
    let mut seen = std::collections::BTreeSet::new();
    phones.retain(|phone| seen.insert(*phone));
    Ok(phones)
}

/// A reason in somebody's words, 3 to 500 characters.
pub(crate) fn checked_reason(text: &str) -> Result<String, Box<Problem>> {
    let text = text.trim();
    let length = text.chars().count();
    if !(3..=500).contains(&length) {
        return Err(Box::new(Problem::invalid("/reason", "Give the reason, in 3 to 500 characters.")));
    }
    Ok(text.to_owned())
}

/// A text of a connection: not empty, within its length, no control characters.
fn checked_text(pointer: &str, text: &str, most: usize) -> Result<String, Box<Problem>> {
    let text = text.trim();
    let length = text.chars().count();
    if length == 0 || length > most || text.chars().any(char::is_control) {
        return Err(Box::new(Problem::invalid(pointer, format!("This has 1 to {most} characters, in one line."))));
    }
    Ok(text.to_owned())
}

/// A secret: not empty and bounded. It is not trimmed, and not shown in the refusal.
fn checked_secret(pointer: &str, secret: &secrecy::SecretString) -> Result<(), Box<Problem>> {
    use secrecy::ExposeSecret as _;
    let length = secret.expose_secret().len();
    if length == 0 || length > 4096 {
        return Err(Box::new(Problem::invalid(pointer, "This secret is empty or too long.")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_partner_stays_closed_and_closing_is_the_only_way_there() {
        use PartnerStatus::{Active, Closed, Closing, Suspended};
        let all = [Active, Suspended, Closing, Closed];
        let allowed: Vec<_> = all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))).filter(|(a, b)| a.can_become(*b)).collect();
        assert_eq!(
            allowed,
            [(Active, Suspended), (Active, Closing), (Suspended, Active), (Suspended, Closing), (Closing, Suspended), (Closing, Closed)]
        );
    }

    #[test]
    fn what_keeps_a_partner_open_is_named() {
        let clean = store::Unfinished { disbursements: 0, bookings: 0, items: 0, balances: 0 };
        assert!(nothing_open(&clean).is_ok());
        let problem = nothing_open(&store::Unfinished { bookings: 2, items: 1, ..clean }).unwrap_err();
        assert!(problem.detail.contains("2 paid loans") && problem.detail.contains("1 open items"), "{}", problem.detail);
    }

    #[test]
    fn names_are_trimmed_and_bounded() {
        assert_eq!(checked_name("/name", "  Umoja SACCO ", 120), Ok("Umoja SACCO".into()));
        for bad in ["", " x ", "a\nb", &"x".repeat(121)] {
            assert!(checked_name("/name", bad, 120).is_err(), "{bad:?}");
        }
    }
}
