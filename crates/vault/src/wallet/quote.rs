//! What one payout costs the partner: rail tariff, system fee, SMS, tax, and who takes each part (rules B4, B7, B8). Tariffs
//! and charge rules are data with validity dates; a partner's own beat the general ones, and the latest beats the earlier.

use chrono::NaiveDate;
use pv_database::PgConnection;
use pv_kernel::{Money, ids::PartnerId, problem::Problem};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::VaultError;

/// Who pays the rail's tariff (rule B4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TariffPayer {
    /// The rail takes it from the partner's own account there: quoted and recorded, not taken again.
    Rail,
    /// The rail takes it from us: taken from the wallet.
    Platform,
}

impl TariffPayer {
    /// As in `mpesa_shortcodes.tariff_payer`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rail => "rail",
            Self::Platform => "platform",
        }
    }

    /// From the column.
    pub fn from_column(text: &str) -> Result<Self, VaultError> {
        match text {
            "rail" => Ok(Self::Rail),
            "platform" => Ok(Self::Platform),
            other => Err(VaultError::Broken(format!("tariff_payer {other:?}"))),
        }
    }
}

/// The charges of one payout, locked when they are reserved (rule B7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quote {
    /// The rail's tariff for the amount.
    pub tariff: Money,
    /// The system fee.
    pub fee: Money,
    /// The texts, when they are sent on our account; else zero.
    pub sms: Money,
    /// Tax on the fee.
    pub tax: Money,
    /// Who pays the tariff.
    pub tariff_payer: TariffPayer,
    /// What is taken from the wallet: fee, SMS and tax, and the tariff when we pay it.
    pub from_wallet: Money,
    /// The tariff it was read from.
    pub tariff_id: Uuid,
    /// The charge rule it was read from.
    pub rule_id: Uuid,
}

/// What a quote is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteFor {
    /// Who pays.
    pub partner: PartnerId,
    /// By which rail.
    pub rail: String,
    /// What is paid out.
    pub amount: Money,
    /// The Nairobi day whose tariff counts (rule D7).
    pub day: NaiveDate,
    /// Who pays the rail's tariff.
    pub tariff_payer: TariffPayer,
    /// The texts are sent on our account (rule B4).
    pub sms_billed: bool,
}

/// A part of an amount in basis points, rounded half up to the cent (rule B8). `None` beyond the range of money.
pub fn basis_points(amount: Money, points: i32) -> Option<Money> {
    let scaled = i128::from(amount.minor()) * i128::from(points) + 5_000;
    i64::try_from(scaled.div_euclid(10_000)).ok().map(Money::from_minor)
}

/// The quote for one payout.
pub async fn quote_in_tx(conn: &mut PgConnection, wanted: &QuoteFor) -> Result<Quote, VaultError> {
    let mut quotes = quotes_in_tx(conn, std::slice::from_ref(wanted)).await?;
    match quotes.pop() {
        Some(quote) => Ok(quote?),
        None => Err(VaultError::Broken("a quote was asked for and none came back".into())),
    }
}

#[derive(sqlx::FromRow)]
struct Found {
    tariff_id: Option<Uuid>,
    charge_minor: Option<i64>,
    rule_id: Option<Uuid>,
    fee_minor: Option<i64>,
    sms_minor: Option<i64>,
    tax_basis_points: Option<i32>,
}

/// The quotes for many payouts, in their order, each with its own refusal: `no_tariff`, `no_tariff_band`, `no_charge_rule`.
pub async fn quotes_in_tx(conn: &mut PgConnection, wanted: &[QuoteFor]) -> Result<Vec<Result<Quote, Box<Problem>>>, VaultError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let partners: Vec<Uuid> = wanted.iter().map(|w| w.partner.uuid()).collect();
    let rails: Vec<&str> = wanted.iter().map(|w| w.rail.as_str()).collect();
    let amounts: Vec<i64> = wanted.iter().map(|w| w.amount.minor()).collect();
    let days: Vec<NaiveDate> = wanted.iter().map(|w| w.day).collect();
    // tariffs and charge_rules hold a few rows per partner and are read whole; a band is found by its primary key.
    let found: Vec<Found> = sqlx::query_as(
        "select t.id as tariff_id, b.charge_minor, r.id as rule_id, r.fee_minor, r.sms_minor, r.tax_basis_points
         from unnest($1::uuid[], $2::text[], $3::bigint[], $4::date[]) with ordinality as q(partner_id, rail, amount, day, n)
         left join lateral (
             select t.id from tariffs t
             where (t.partner_id = q.partner_id or t.partner_id is null) and t.rail = q.rail and t.kind = 'b2c'
               and t.valid_from <= q.day and (t.valid_to is null or t.valid_to >= q.day)
             order by (t.partner_id is null), t.valid_from desc, t.created_at desc, t.id desc limit 1) t on true
         left join lateral (
             select b.charge_minor from tariff_bands b
             where b.tariff_id = t.id and b.from_minor <= q.amount and b.to_minor >= q.amount
             order by b.from_minor desc limit 1) b on true
         left join lateral (
             select r.id, r.fee_minor, r.sms_minor, r.tax_basis_points from charge_rules r
             where (r.partner_id = q.partner_id or r.partner_id is null) and r.valid_from <= q.day
             order by (r.partner_id is null), r.valid_from desc, r.created_at desc, r.id desc limit 1) r on true
         order by q.n",
    )
    .bind(partners)
    .bind(rails)
    .bind(amounts)
    .bind(days)
    .fetch_all(conn)
    .await?;
    if found.len() != wanted.len() {
        return Err(VaultError::Broken("not every quote came back".into()));
    }
    Ok(wanted.iter().zip(found).map(|(wanted, found)| put_together(wanted, &found)).collect())
}

fn put_together(wanted: &QuoteFor, found: &Found) -> Result<Quote, Box<Problem>> {
    let Some(tariff_id) = found.tariff_id else {
        let detail = format!("There is no tariff of the rail {} for {}.", wanted.rail, wanted.day);
        return Err(Box::new(Problem::refused("no_tariff", 422, detail, ASK_FOR_TARIFF)));
    };
    let Some(tariff) = found.charge_minor else {
        let detail = format!("The tariff of the rail {} has no band for {}.", wanted.rail, wanted.amount);
        return Err(Box::new(Problem::refused("no_tariff_band", 422, detail, ASK_FOR_TARIFF)));
    };
    let (Some(rule_id), Some(fee), Some(sms), Some(points)) = (found.rule_id, found.fee_minor, found.sms_minor, found.tax_basis_points) else {
        let detail = format!("There is no charge rule for {}.", wanted.day);
        return Err(Box::new(Problem::refused("no_charge_rule", 422, detail, ASK_FOR_TARIFF)));
    };
    let tariff = Money::from_minor(tariff);
    let fee = Money::from_minor(fee);
    let sms = if wanted.sms_billed { Money::from_minor(sms) } else { Money::ZERO };
    let ours = match wanted.tariff_payer {
        TariffPayer::Rail => Money::ZERO,
        TariffPayer::Platform => tariff,
    };
    let tax = basis_points(fee, points);
    let Some((tax, from_wallet)) = tax.and_then(|tax| Money::sum([fee, sms, tax, ours]).map(|sum| (tax, sum))) else {
        return Err(Box::new(Problem::refused("charges_out_of_range", 422, "The charges are out of range.", ASK_FOR_TARIFF)));
    };
    Ok(Quote { tariff, fee, sms, tax, tariff_payer: wanted.tariff_payer, from_wallet, tariff_id, rule_id })
}

const ASK_FOR_TARIFF: &str = "Ask the operator of the platform to enter the tariff.";

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(tariff_payer: TariffPayer, sms_billed: bool) -> QuoteFor {
        QuoteFor {
            partner: PartnerId(Uuid::from_u128(1)),
            rail: "mpesa".into(),
            amount: Money::from_minor(150_000),
            day: NaiveDate::from_ymd_opt(2026, 11, 20).unwrap(),
            tariff_payer,
            sms_billed,
        }
    }

    fn found() -> Found {
        Found {
            tariff_id: Some(Uuid::from_u128(2)),
            charge_minor: Some(500),
            rule_id: Some(Uuid::from_u128(3)),
            fee_minor: Some(503),
            sms_minor: Some(160),
            tax_basis_points: Some(1_600),
        }
    }

    #[test]
    fn a_tariff_that_the_rail_takes_is_quoted_and_not_taken_again() {
        let quote = put_together(&wanted(TariffPayer::Rail, true), &found()).unwrap();
        assert_eq!(quote.tariff, Money::from_minor(500));
        assert_eq!(quote.from_wallet, Money::from_minor(503 + 160 + 80));
    }

    #[test]
    fn a_tariff_that_we_pay_is_taken_from_the_wallet() {
        let quote = put_together(&wanted(TariffPayer::Platform, true), &found()).unwrap();
        assert_eq!(quote.from_wallet, Money::from_minor(500 + 503 + 160 + 80));
    }

    #[test]
    fn texts_on_the_partners_own_account_cost_nothing_here() {
        let quote = put_together(&wanted(TariffPayer::Rail, false), &found()).unwrap();
        assert_eq!((quote.sms, quote.from_wallet), (Money::ZERO, Money::from_minor(583)));
    }

    #[test]
    fn each_part_is_rounded_half_up_to_the_cent() {
        for (minor, points, tax) in [(503, 1_600, 80), (100, 50, 1), (99, 50, 0), (0, 1_600, 0), (1, 10_000, 1), (3, 5_000, 2)] {
            assert_eq!(basis_points(Money::from_minor(minor), points), Some(Money::from_minor(tax)), "{minor} at {points}");
        }
        assert_eq!(basis_points(Money::from_minor(i64::MAX), 20_000), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (found, code) in [
            (Found { tariff_id: None, charge_minor: None, ..found() }, "no_tariff"),
            (Found { charge_minor: None, ..found() }, "no_tariff_band"),
            (Found { rule_id: None, ..found() }, "no_charge_rule"),
            (Found { fee_minor: Some(i64::MAX), ..found() }, "charges_out_of_range"),
        ] {
            assert_eq!(put_together(&wanted(TariffPayer::Rail, true), &found).unwrap_err().code, code);
        }
    }

    #[test]
    fn a_stored_quote_is_read_back_as_it_was() {
        let quote = put_together(&wanted(TariffPayer::Platform, true), &found()).unwrap();
        let stored = serde_json::to_value(&quote).unwrap();
        assert_eq!(stored["from_wallet"], "12.43");
        assert_eq!(serde_json::from_value::<Quote>(stored).unwrap(), quote);
    }
}
