//! What a partner and a product allow: limits, hours, and what happens with cents. Every member may be left out; the accessors give
//! the documented default. Unknown members are refused, so that a misspelt limit is not silently no limit.

use chrono::{DateTime, Datelike, Duration, NaiveTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use pv_kernel::{Money, problem::Problem};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What happens with the cents of an amount, since M-Pesa moves whole shillings (rule A17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CentsPolicy {
    /// An amount with cents waits for a person.
    #[default]
    Refuse,
    /// The whole shillings are paid and the difference is listed.
    Floor,
}

/// A day of the week, as in JSON: `mon` … `sun`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    const ALL: [Self; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];

    fn of(date: chrono::NaiveDate) -> Self {
        let index = usize::try_from(date.weekday().num_days_from_monday()).unwrap_or_default();
        Self::ALL.get(index).copied().unwrap_or(Self::Mon)
    }
}

/// Hours in which payouts start by themselves, in the partner's zone. Outside them they wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkingHours {
    /// First minute, `08:00`.
    #[serde(with = "clock_time")]
    pub from: NaiveTime,
    /// First minute after, `17:30`. Later than `from`.
    #[serde(with = "clock_time")]
    pub to: NaiveTime,
    /// Days on which it is open.
    pub days: Vec<Day>,
}

impl WorkingHours {
    /// Open at this moment.
    pub fn open_at(&self, at: DateTime<Utc>, zone: Tz) -> bool {
        let local = at.with_timezone(&zone).naive_local();
        self.days.contains(&Day::of(local.date())) && self.from <= local.time() && local.time() < self.to
    }

    /// When it opens next; the moment itself while it is open. `None` only for hours that are never open.
    pub fn opens_at(&self, at: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        if self.open_at(at, zone) {
            return Some(at);
        }
        let today = at.with_timezone(&zone).date_naive();
        (0..=7).filter_map(|ahead| today.checked_add_signed(Duration::days(ahead))).filter(|day| self.days.contains(&Day::of(*day))).find_map(|day| {
            let opening = zone.from_local_datetime(&day.and_time(self.from)).earliest()?.with_timezone(&Utc);
            (opening > at).then_some(opening)
        })
    }

    fn check(&self, pointer: &str) -> Result<(), Box<Problem>> {
        if self.from >= self.to {
            return Err(Box::new(Problem::invalid(format!("{pointer}/to"), "Working hours end after they begin, on the same day.")));
        }
        let mut days = self.days.clone();
        days.sort_unstable();
        days.dedup();
        if days.is_empty() || days.len() != self.days.len() {
            return Err(Box::new(Problem::invalid(
                format!("{pointer}/days"),
                "Name at least one day, each once: mon, tue, wed, thu, fri, sat, sun.",
            )));
        }
        Ok(())
    }
}

mod clock_time {
    use super::{Deserialize, Deserializer, NaiveTime, Serializer};
    use serde::de::Error as _;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
    pub(super) fn serialize<S: Serializer>(time: &NaiveTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&time.format("%H:%M"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NaiveTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        NaiveTime::parse_from_str(&text, "%H:%M").map_err(|_| D::Error::custom("write a time as 08:00"))
    }
}

/// Limits and switches of a partner (`partners.policy`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PartnerPolicy {
    /// Payouts above this wait for a second person. Default: KES 50,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_ceiling: Option<Money>,
    /// A success above this is confirmed by a status query before it is booked (rule A6). Default: never asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_above: Option<Money>,
    /// Most that goes out in a Nairobi day. Default: no cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_cap: Option<Money>,
    /// Most that goes to one phone in a Nairobi day. Default: no cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_client_daily_cap: Option<Money>,
    /// Most payouts in a Nairobi day. Default: no cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_count: Option<u32>,
    /// A phone changed in the core within this many hours holds the payout (rule A15). Default: 72; 0 switches it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_change_hold_hours: Option<u32>,
    /// When payouts start by themselves. Default: always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_hours: Option<WorkingHours>,
    /// What happens with cents. Default: refuse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cents_policy: Option<CentsPolicy>,
    /// Whether the receiver's name is compared with the client's (rule A18). Default: yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_check: Option<bool>,
}

/// The default of [`PartnerPolicy::approval_ceiling`]: KES 50,000 (requirement S1).
pub const DEFAULT_APPROVAL_CEILING: Money = Money::from_minor(5_000_000);

/// The default of [`PartnerPolicy::phone_change_hold_hours`] (rule A15).
pub const DEFAULT_PHONE_CHANGE_HOLD_HOURS: u32 = 72;

impl PartnerPolicy {
    /// Payouts above this wait for a second person.
    pub fn approval_ceiling(&self) -> Money {
        self.approval_ceiling.unwrap_or(DEFAULT_APPROVAL_CEILING)
    }

    /// How long a changed phone holds a payout.
    pub fn phone_change_hold(&self) -> Duration {
        Duration::hours(i64::from(self.phone_change_hold_hours.unwrap_or(DEFAULT_PHONE_CHANGE_HOLD_HOURS)))
    }

    /// What happens with cents.
    pub fn cents(&self) -> CentsPolicy {
        self.cents_policy.unwrap_or_default()
    }

    /// Whether names are compared.
    pub fn name_check(&self) -> bool {
        self.name_check.unwrap_or(true)
    }

    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), Box<Problem>> {
        let amounts = [
            ("approval_ceiling", self.approval_ceiling),
            ("confirm_above", self.confirm_above),
            ("daily_cap", self.daily_cap),
            ("per_client_daily_cap", self.per_client_daily_cap),
        ];
        check_amounts("/policy", &amounts)?;
        if self.phone_change_hold_hours.is_some_and(|hours| hours > 24 * 90) {
            return Err(Box::new(Problem::invalid("/policy/phone_change_hold_hours", "At most 2160 hours (90 days).")));
        }
        self.working_hours.as_ref().map_or(Ok(()), |hours| hours.check("/policy/working_hours"))
    }
}

/// Rules of one loan product (`loan_products.disbursement_rules`). They stand beside the partner's: both must be met, except
/// for cents and the name check, where the product's word replaces the partner's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DisbursementRules {
    /// When loans of this product are paid by themselves. Default: the partner's hours alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hours: Option<WorkingHours>,
    /// Most payouts of this product in a Nairobi day. Default: no cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_count: Option<u32>,
    /// Most that goes out for this product in a Nairobi day. Default: no cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_amount: Option<Money>,
    /// Most that goes to one phone for this product in a Nairobi day. Default: no cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_client_cap: Option<Money>,
    /// Above this a person decides. Default: the partner's ceiling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person_above: Option<Money>,
    /// Whether the receiver's name is compared (rule A18). Default: as the partner says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_check: Option<bool>,
    /// What happens with cents (rule A17). Default: as the partner says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cents: Option<CentsPolicy>,
}

impl DisbursementRules {
    /// Above this a person decides: the lower of the partner's ceiling and the product's.
    pub fn person_above(&self, policy: &PartnerPolicy) -> Money {
        self.person_above.map_or(policy.approval_ceiling(), |own| own.min(policy.approval_ceiling()))
    }

    /// What happens with cents.
    pub fn cents(&self, policy: &PartnerPolicy) -> CentsPolicy {
        self.cents.unwrap_or(policy.cents())
    }

    /// Whether names are compared.
    pub fn name_check(&self, policy: &PartnerPolicy) -> bool {
        self.name_check.unwrap_or(policy.name_check())
    }

    /// When the payout may start: now, or the next moment at which partner and product are both open; `None` when they never are.
    pub fn starts_at(&self, policy: &PartnerPolicy, now: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let both = [policy.working_hours.as_ref(), self.hours.as_ref()];
        let mut at = now;
        // Each turn goes to the next opening of one of the two; two weeks of openings are more than enough.
        for _ in 0..16 {
            let next = both.iter().flatten().try_fold(at, |latest, hours| hours.opens_at(at, zone).map(|opening| opening.max(latest)))?;
            if next == at {
                return Some(at);
            }
            at = next;
        }
        None
    }

    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), Box<Problem>> {
        let amounts = [("daily_amount", self.daily_amount), ("per_client_cap", self.per_client_cap), ("person_above", self.person_above)];
        check_amounts("/disbursement_rules", &amounts)?;
        self.hours.as_ref().map_or(Ok(()), |hours| hours.check("/disbursement_rules/hours"))
    }
}

fn check_amounts(parent: &str, amounts: &[(&str, Option<Money>)]) -> Result<(), Box<Problem>> {
    for (name, amount) in amounts {
        if amount.is_some_and(|a| a.minor() < 0) {
            return Err(Box::new(Problem::invalid(format!("{parent}/{name}"), "An amount here is not negative.")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAIROBI: Tz = chrono_tz::Africa::Nairobi;

    fn hours(json: &str) -> WorkingHours {
        serde_json::from_str(json).unwrap()
    }

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
    }

    #[test]
    fn an_empty_policy_has_the_documented_defaults() {
        let policy: PartnerPolicy = serde_json::from_str("{}").unwrap();
        assert_eq!(policy.approval_ceiling(), Money::from_shillings(50_000).unwrap());
        assert_eq!(policy.phone_change_hold(), Duration::hours(72));
        assert_eq!(policy.cents(), CentsPolicy::Refuse);
        assert!(policy.name_check());
        assert_eq!(serde_json::to_string(&policy).unwrap(), "{}");
    }

    #[test]
    fn a_misspelt_limit_is_refused() {
        assert!(serde_json::from_str::<PartnerPolicy>(r#"{"dayly_cap": 5}"#).is_err());
        assert!(serde_json::from_str::<DisbursementRules>(r#"{"ours": null}"#).is_err());
        assert!(serde_json::from_str::<WorkingHours>(r#"{"from":"08:00","to":"17:00","days":["mon"],"zone":"x"}"#).is_err());
    }

    #[test]
    fn amounts_are_read_exactly_also_out_of_a_json_value() {
        let value: serde_json::Value = serde_json::from_str(r#"{"daily_cap": "1000000.05"}"#).unwrap();
        let policy: PartnerPolicy = serde_json::from_value(value).unwrap();
        assert_eq!(policy.daily_cap, Some(Money::from_minor(100_000_005)));
    }

    #[test]
    fn negative_amounts_and_impossible_hours_are_refused_by_name() {
        let policy = PartnerPolicy { daily_cap: Some(Money::from_minor(-1)), ..PartnerPolicy::default() };
        assert_eq!(policy.check().unwrap_err().pointer.as_deref(), Some("/policy/daily_cap"));
        for bad in [
            r#"{"from":"17:00","to":"08:00","days":["mon"]}"#,
            r#"{"from":"08:00","to":"08:00","days":["mon"]}"#,
            r#"{"from":"08:00","to":"17:00","days":[]}"#,
            r#"{"from":"08:00","to":"17:00","days":["mon","mon"]}"#,
        ] {
            let rules = DisbursementRules { hours: Some(hours(bad)), ..DisbursementRules::default() };
            assert!(rules.check().is_err(), "{bad}");
        }
    }

    #[test]
    fn hours_are_those_of_the_partners_zone() {
        let hours = hours(r#"{"from":"08:00","to":"17:00","days":["fri"]}"#);
        // 2026-11-20 is a Friday; Nairobi is three hours ahead.
        assert!(!hours.open_at(at("2026-11-20T04:59:59Z"), NAIROBI));
        assert!(hours.open_at(at("2026-11-20T05:00:00Z"), NAIROBI));
        assert!(hours.open_at(at("2026-11-20T13:59:59Z"), NAIROBI));
        assert!(!hours.open_at(at("2026-11-20T14:00:00Z"), NAIROBI));
        assert_eq!(hours.opens_at(at("2026-11-20T14:00:00Z"), NAIROBI), Some(at("2026-11-27T05:00:00Z")));
    }

    #[test]
    fn partner_and_product_must_both_be_open() {
        let policy =
            PartnerPolicy { working_hours: Some(hours(r#"{"from":"08:00","to":"17:00","days":["mon","fri"]}"#)), ..PartnerPolicy::default() };
        let rules = |json: &str| DisbursementRules { hours: Some(hours(json)), ..DisbursementRules::default() };
        let afternoons = rules(r#"{"from":"14:00","to":"20:00","days":["sat","sun","mon"]}"#);
        assert_eq!(afternoons.starts_at(&policy, at("2026-11-20T06:00:00Z"), NAIROBI), Some(at("2026-11-23T11:00:00Z")));
        let never = rules(r#"{"from":"18:00","to":"20:00","days":["mon"]}"#);
        assert_eq!(never.starts_at(&policy, at("2026-11-20T06:00:00Z"), NAIROBI), None);
        assert_eq!(DisbursementRules::default().starts_at(&policy, at("2026-11-20T06:00:00Z"), NAIROBI), Some(at("2026-11-20T06:00:00Z")));
    }

    #[test]
    fn the_lower_ceiling_counts() {
        let policy = PartnerPolicy { approval_ceiling: Money::from_shillings(10_000), ..PartnerPolicy::default() };
        let rules = |shillings| DisbursementRules { person_above: Money::from_shillings(shillings), ..DisbursementRules::default() };
        assert_eq!(rules(5_000).person_above(&policy), Money::from_shillings(5_000).unwrap());
        assert_eq!(rules(20_000).person_above(&policy), Money::from_shillings(10_000).unwrap());
    }
}
