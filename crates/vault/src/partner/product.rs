//! Loan products of a connection (table `loan_products`): what the core says about them, and whether and within what limits their
//! loans are paid by themselves.

mod limits;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
pub use limits::{Limit, LimitOwner, Limits, Range, effective_limits};
use pv_database::PgConnection;
use pv_kernel::{
    Money,
    core_banking::CoreProduct,
    ids::{CoreId, PartnerId},
    problem::Problem,
};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use uuid::Uuid;

use super::{core_link, policy::DisbursementRules};
use crate::{
    audit::{Actor, AuditEntry, Permission, record_in_tx},
    engine::Engine,
    error::VaultError,
};

/// A product, as shown and as the steps use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProductSettings {
    /// Our id of the row.
    pub id: Uuid,
    /// Whose.
    pub partner_id: PartnerId,
    /// Of which connection.
    pub mifos_partner_id: CoreId,
    /// The core's id.
    pub mifos_product_id: String,
    /// Its name.
    pub product_name: String,
    /// Its loans are paid by themselves.
    pub is_auto_disbursement_enabled: bool,
    /// Only those approved after this moment (rule A16).
    pub auto_since: Option<DateTime<Utc>>,
    /// Largest amount paid by itself.
    pub max_disbursement_amount: Option<Money>,
    /// Smallest amount paid by itself.
    pub min_disbursement_amount: Option<Money>,
    /// Smallest principal, as the core says.
    pub core_min: Option<Money>,
    /// Largest principal, as the core says.
    pub core_max: Option<Money>,
    /// Active in the core, when last fetched.
    pub core_active: bool,
    /// ISO currency code.
    pub currency: String,
    /// May be disbursed more than once: never paid by itself (rule A15).
    pub several_disbursements: bool,
    /// The disbursement date must equal the expected one.
    pub date_must_match: bool,
    /// Its rules.
    pub disbursement_rules: DisbursementRules,
    /// Texts about its loans.
    pub sms_notifications_enabled: bool,
    /// When the core was last asked.
    pub fetched_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
}

/// What is to be changed of a product; `None` leaves it, `Some(None)` empties it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProductPatch {
    /// Loans are paid by themselves. Switching it on counts from this moment (rule A16).
    pub is_auto_disbursement_enabled: Option<bool>,
    /// Largest amount paid by itself.
    #[serde(deserialize_with = "given")]
    pub max_disbursement_amount: Option<Option<Money>>,
    /// Smallest amount paid by itself.
    #[serde(deserialize_with = "given")]
    pub min_disbursement_amount: Option<Option<Money>>,
    /// Its rules, all of them.
    pub disbursement_rules: Option<DisbursementRules>,
    /// Texts about its loans.
    pub sms_notifications_enabled: Option<bool>,
}

/// A member that stands there, be it `null`: left out is left alone, `null` empties.
#[expect(clippy::option_option, reason = "left alone, emptied and set are three different wishes")]
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Money>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    partner_id: Uuid,
    mifos_partner_id: Uuid,
    mifos_product_id: String,
    product_name: String,
    is_auto_disbursement_enabled: bool,
    auto_since: Option<DateTime<Utc>>,
    max_minor: Option<i64>,
    min_minor: Option<i64>,
    core_min_minor: Option<i64>,
    core_max_minor: Option<i64>,
    core_active: bool,
    currency: String,
    several_disbursements: bool,
    date_must_match: bool,
    disbursement_rules: Json<DisbursementRules>,
    sms_notifications_enabled: bool,
    fetched_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Row> for ProductSettings {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            partner_id: PartnerId(row.partner_id),
            mifos_partner_id: CoreId(row.mifos_partner_id),
            mifos_product_id: row.mifos_product_id,
            product_name: row.product_name,
            is_auto_disbursement_enabled: row.is_auto_disbursement_enabled,
            auto_since: row.auto_since,
            max_disbursement_amount: row.max_minor.map(Money::from_minor),
            min_disbursement_amount: row.min_minor.map(Money::from_minor),
            core_min: row.core_min_minor.map(Money::from_minor),
            core_max: row.core_max_minor.map(Money::from_minor),
            core_active: row.core_active,
            currency: row.currency,
            several_disbursements: row.several_disbursements,
            date_must_match: row.date_must_match,
            disbursement_rules: row.disbursement_rules.0,
            sms_notifications_enabled: row.sms_notifications_enabled,
            fetched_at: row.fetched_at,
            updated_at: row.updated_at,
        }
    }
}

macro_rules! select_product {
    ($rest:literal) => {
        concat!(
            "select l.id, l.partner_id, l.mifos_partner_id, l.mifos_product_id, l.product_name, l.is_auto_disbursement_enabled, l.auto_since,
                    (l.max_disbursement_amount * 100)::bigint as max_minor, (l.min_disbursement_amount * 100)::bigint as min_minor,
                    (l.core_min * 100)::bigint as core_min_minor, (l.core_max * 100)::bigint as core_max_minor, l.core_active, l.currency,
                    l.several_disbursements, l.date_must_match, l.disbursement_rules, l.sms_notifications_enabled, l.fetched_at, l.updated_at
             from loan_products l ",
            $rest
        )
    };
}

/// Keeps what a fetch of all products found, for a person; see [`upsert_in_tx`].
pub async fn store_fetched(engine: &Engine, actor: &Actor, core: CoreId, products: &[CoreProduct]) -> Result<Vec<ProductSettings>, VaultError> {
    actor.require(Permission::ConnectionsWrite)?;
    let mut tx = actor.begin(engine).await?;
    let partner = core_link::lock_owner(tx.conn(), core).await?;
    upsert_in_tx(tx.conn(), engine, partner, core, products).await?;
    let entry = AuditEntry::of(Some(partner), "products.fetch", core);
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    let all = of_core(tx.conn(), core).await?;
    tx.commit().await?;
    Ok(all)
}

/// Keeps what a fetch of **all** products of a core found, in one statement. What the core no longer lists is marked as not
/// active there. Switches, limits and rules of ours are not touched.
pub async fn upsert_in_tx(
    conn: &mut PgConnection,
    engine: &Engine,
    partner: PartnerId,
    core: CoreId,
    products: &[CoreProduct],
) -> Result<(), VaultError> {
    let now = engine.now();
    // One row per id, in the order of ids: two fetches at once cannot wait for each other.
    let listed: BTreeMap<&str, &CoreProduct> =
        products.iter().filter(|p| !p.product_id.is_empty() && p.product_id.len() <= 100).map(|p| (p.product_id.as_str(), p)).collect();
    let ids: Vec<Uuid> = listed.values().map(|_| engine.id()).collect();
    let product_ids: Vec<&str> = listed.keys().copied().collect();
    let names: Vec<String> = listed.values().map(|p| p.name.chars().filter(|c| !c.is_control()).take(255).collect()).collect();
    let mins: Vec<Option<i64>> = listed.values().map(|p| p.min.map(Money::minor)).collect();
    let maxs: Vec<Option<i64>> = listed.values().map(|p| p.max.map(Money::minor)).collect();
    let active: Vec<bool> = listed.values().map(|p| p.active).collect();
    let currencies: Vec<String> = listed.values().map(|p| p.currency.chars().take(3).collect()).collect();
    let several: Vec<bool> = listed.values().map(|p| p.several_disbursements).collect();
    let must_match: Vec<bool> = listed.values().map(|p| p.date_must_match).collect();
    sqlx::query(
        "insert into loan_products (id, partner_id, mifos_partner_id, mifos_product_id, product_name, core_min, core_max, core_active, currency,
                                    several_disbursements, date_must_match, fetched_at, created_at, updated_at)
         select f.id, $1, $2, f.product_id, f.name, f.core_min::numeric / 100, f.core_max::numeric / 100, f.active, f.currency, f.several,
                f.must_match, $12, $12, $12
         from unnest($3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::boolean[], $9::text[], $10::boolean[], $11::boolean[])
              as f(id, product_id, name, core_min, core_max, active, currency, several, must_match)
         on conflict (mifos_partner_id, mifos_product_id) do update set
             product_name = excluded.product_name, core_min = excluded.core_min, core_max = excluded.core_max,
             core_active = excluded.core_active, currency = excluded.currency, several_disbursements = excluded.several_disbursements,
             date_must_match = excluded.date_must_match, fetched_at = excluded.fetched_at, updated_at = excluded.updated_at",
    )
    .bind(partner.uuid())
    .bind(core.uuid())
    .bind(ids)
    .bind(&product_ids)
    .bind(names)
    .bind(mins)
    .bind(maxs)
    .bind(active)
    .bind(currencies)
    .bind(several)
    .bind(must_match)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "update loan_products set core_active = false, updated_at = $4
         where partner_id = $1 and mifos_partner_id = $2 and core_active and not (mifos_product_id = any($3))",
    )
    .bind(partner.uuid())
    .bind(core.uuid())
    .bind(&product_ids)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

async fn of_core(conn: &mut PgConnection, core: CoreId) -> Result<Vec<ProductSettings>, VaultError> {
    let rows: Vec<Row> =
        sqlx::query_as(select_product!("where l.mifos_partner_id = $1 order by l.product_name, l.id")).bind(core.uuid()).fetch_all(conn).await?;
    Ok(rows.into_iter().map(ProductSettings::from).collect())
}

/// The products of a connection.
pub async fn list(engine: &Engine, actor: &Actor, core: CoreId) -> Result<Vec<ProductSettings>, VaultError> {
    actor.require(Permission::ConnectionsRead)?;
    let mut tx = actor.begin(engine).await?;
    let products = of_core(tx.conn(), core).await?;
    tx.commit().await?;
    Ok(products)
}

/// Changes a product's switch, limits and rules.
pub async fn update(engine: &Engine, actor: &Actor, id: Uuid, patch: ProductPatch) -> Result<ProductSettings, VaultError> {
    actor.require(Permission::ConnectionsWrite)?;
    let now = engine.now();
    let mut tx = actor.begin(engine).await?;
    let row: Option<Row> = sqlx::query_as(select_product!("where l.id = $1 for update")).bind(id).fetch_optional(tx.conn()).await?;
    let before = ProductSettings::from(row.ok_or_else(|| Problem::not_found("loan product"))?);
    let after = patched(&before, patch, now)?;
    sqlx::query(
        "update loan_products set is_auto_disbursement_enabled = $3, auto_since = $4, max_disbursement_amount = $5::bigint::numeric / 100,
                min_disbursement_amount = $6::bigint::numeric / 100, disbursement_rules = $7, sms_notifications_enabled = $8, updated_at = $9
         where partner_id = $1 and id = $2",
    )
    .bind(before.partner_id.uuid())
    .bind(id)
    .bind(after.is_auto_disbursement_enabled)
    .bind(after.auto_since)
    .bind(after.max_disbursement_amount.map(Money::minor))
    .bind(after.min_disbursement_amount.map(Money::minor))
    .bind(Json(&after.disbursement_rules))
    .bind(after.sms_notifications_enabled)
    .bind(now)
    .execute(tx.conn())
    .await?;
    let entry = AuditEntry::of(Some(before.partner_id), "product.update", id).change(Some(&before), Some(&after));
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit().await?;
    Ok(after)
}

fn patched(before: &ProductSettings, patch: ProductPatch, now: DateTime<Utc>) -> Result<ProductSettings, Box<Problem>> {
    let mut after = ProductSettings { updated_at: now, ..before.clone() };
    if let Some(on) = patch.is_auto_disbursement_enabled {
        if on && !before.is_auto_disbursement_enabled {
            may_be_automatic(before)?;
            after.auto_since = Some(now);
        }
        if !on {
            after.auto_since = None;
        }
        after.is_auto_disbursement_enabled = on;
    }
    if let Some(max) = patch.max_disbursement_amount {
        after.max_disbursement_amount = max;
    }
    if let Some(min) = patch.min_disbursement_amount {
        after.min_disbursement_amount = min;
    }
    let limits = [("/max_disbursement_amount", after.max_disbursement_amount), ("/min_disbursement_amount", after.min_disbursement_amount)];
    for (pointer, amount) in limits {
        if amount.is_some_and(|a| a.minor() < 0) {
            return Err(Box::new(Problem::invalid(pointer, "A limit is not negative.")));
        }
    }
    if matches!((after.min_disbursement_amount, after.max_disbursement_amount), (Some(min), Some(max)) if min > max) {
        return Err(Box::new(Problem::invalid("/min_disbursement_amount", "The smallest amount is above the largest.")));
    }
    if let Some(rules) = patch.disbursement_rules {
        rules.check()?;
        after.disbursement_rules = rules;
    }
    if let Some(sms) = patch.sms_notifications_enabled {
        after.sms_notifications_enabled = sms;
    }
    Ok(after)
}

fn may_be_automatic(product: &ProductSettings) -> Result<(), Box<Problem>> {
    let why = if product.several_disbursements {
        "Loans of this product are paid out in several parts, which a person does."
    } else if product.currency != "KES" {
        "Loans of this product are not in Kenya shillings."
    } else if !product.core_active {
        "This product is not active in the core-banking system."
    } else {
        return Ok(());
    };
    Err(Box::new(Problem::refused("product_not_automatic", 422, why, "Pay its loans by hand, or change the product in Mifos X and fetch it again.")))
}

/// Products by connection and the core's product id; missing ones were never fetched.
pub async fn load_products_in_tx(
    conn: &mut PgConnection,
    wanted: &[(CoreId, String)],
) -> Result<BTreeMap<(CoreId, String), ProductSettings>, VaultError> {
    let cores: Vec<Uuid> = wanted.iter().map(|(core, _)| core.uuid()).collect();
    let products: Vec<&str> = wanted.iter().map(|(_, product)| product.as_str()).collect();
    // Index: the unique key (mifos_partner_id, mifos_product_id).
    let rows: Vec<Row> = sqlx::query_as(select_product!(
        "where (l.mifos_partner_id, l.mifos_product_id) in (select w.core, w.product from unnest($1::uuid[], $2::text[]) as w(core, product))"
    ))
    .bind(cores)
    .bind(products)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(ProductSettings::from).map(|p| ((p.mifos_partner_id, p.mifos_product_id.clone()), p)).collect())
}

impl ProductSettings {
    /// The narrowest limits for a loan of this product over this connection.
    pub fn limits(&self, connection: Range) -> Limits {
        effective_limits((self.core_min, self.core_max), connection, (self.min_disbursement_amount, self.max_disbursement_amount))
    }
}

/// From when approvals are paid by themselves (rule A16): when both the connection and the product are switched on, the later of
/// the two moments; else never.
pub fn automatic_since(core: &core_link::CoreSettings, product: &ProductSettings) -> Option<DateTime<Utc>> {
    let on = core.auto_enabled && product.is_auto_disbursement_enabled && core.active && !core.retired;
    if on { core.auto_since.zip(product.auto_since).map(|(a, b)| a.max(b)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kes(shillings: i64) -> Option<Money> {
        Money::from_shillings(shillings)
    }

    fn product() -> ProductSettings {
        let at = DateTime::UNIX_EPOCH;
        ProductSettings {
            id: Uuid::from_u128(1),
            partner_id: PartnerId(Uuid::from_u128(2)),
            mifos_partner_id: CoreId(Uuid::from_u128(3)),
            mifos_product_id: "4".into(),
            product_name: "Business".into(),
            is_auto_disbursement_enabled: false,
            auto_since: None,
            max_disbursement_amount: None,
            min_disbursement_amount: None,
            core_min: None,
            core_max: None,
            core_active: true,
            currency: "KES".into(),
            several_disbursements: false,
            date_must_match: false,
            disbursement_rules: DisbursementRules::default(),
            sms_notifications_enabled: true,
            fetched_at: at,
            updated_at: at,
        }
    }

    fn patch(json: &str) -> ProductPatch {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn switching_on_counts_from_now_and_switching_on_again_changes_nothing() {
        let first = DateTime::UNIX_EPOCH + chrono::Duration::hours(1);
        let on = patched(&product(), patch(r#"{"is_auto_disbursement_enabled": true}"#), first).unwrap();
        assert_eq!(on.auto_since, Some(first));
        let later = first + chrono::Duration::hours(1);
        let again = patched(&on, patch(r#"{"is_auto_disbursement_enabled": true}"#), later).unwrap();
        assert_eq!(again.auto_since, Some(first));
        let off = patched(&again, patch(r#"{"is_auto_disbursement_enabled": false}"#), later).unwrap();
        assert_eq!(off.auto_since, None);
    }

    #[test]
    fn a_product_that_is_not_the_simple_case_is_never_automatic() {
        let on = || patch(r#"{"is_auto_disbursement_enabled": true}"#);
        for product in [
            ProductSettings { several_disbursements: true, ..product() },
            ProductSettings { currency: "UGX".into(), ..product() },
            ProductSettings { core_active: false, ..product() },
        ] {
            assert_eq!(patched(&product, on(), DateTime::UNIX_EPOCH).unwrap_err().code, "product_not_automatic");
        }
    }

    #[test]
    fn null_empties_a_limit_and_a_missing_member_leaves_it() {
        let limited = ProductSettings { max_disbursement_amount: kes(5), ..product() };
        let left = patched(&limited, patch("{}"), DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(left.max_disbursement_amount, kes(5));
        let emptied = patched(&limited, patch(r#"{"max_disbursement_amount": null}"#), DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(emptied.max_disbursement_amount, None);
        let crossed = patched(&limited, patch(r#"{"min_disbursement_amount": "5.01"}"#), DateTime::UNIX_EPOCH);
        assert_eq!(crossed.unwrap_err().pointer.as_deref(), Some("/min_disbursement_amount"));
    }
}
