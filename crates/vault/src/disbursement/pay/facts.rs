//! Loads everything that is weighed before a send, set-based, for a whole batch; and keeps count of what the batch itself plans.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveTime, Utc};
use pv_database::PgConnection;
use pv_kernel::{
    Money, Msisdn,
    clock::{nairobi, nairobi_day},
    crypto,
    ids::{CoreId, CredentialId, PartnerId, ShortcodeId},
    rail::RailAccount,
};
use serde::Serialize;
use sqlx::types::Json;
use uuid::Uuid;

use super::{CoreRead, Fresh, sum};
use crate::{
    Engine, VaultError,
    disbursement::{
        checks::{Cap, Claimed, Facts, FromCore, Order, Ordered, Rules, Sender, Source},
        store::Row,
    },
    partner::{
        self, Partner, PartnerPolicy,
        core_link::{self, CoreSettings},
        credential::{self, CredentialState},
        product::{self, ProductSettings},
        shortcode::{self, PayingShortcode},
        sms_settings,
    },
    payout::{apply::Work, store as payout_store},
    stop::{self, Stops},
    wallet::quote::QuoteFor,
};

static DEFAULT_POLICY: std::sync::LazyLock<PartnerPolicy> = std::sync::LazyLock::new(PartnerPolicy::default);

/// Who receives how much: the key of the guard against duplicates (rule A23).
type Target = (Uuid, String, i64);

/// Everything that is known about a batch.
pub(super) struct Loaded {
    partners: BTreeMap<PartnerId, Partner>,
    cores: BTreeMap<CoreId, CoreSettings>,
    products: BTreeMap<(CoreId, String), ProductSettings>,
    shortcodes: BTreeMap<ShortcodeId, PayingShortcode>,
    defaults: BTreeMap<PartnerId, ShortcodeId>,
    numbers: BTreeMap<Uuid, String>,
    active: BTreeMap<ShortcodeId, CredentialId>,
    accounts: BTreeMap<CredentialId, (RailAccount, CredentialState)>,
    stops: Stops,
    hints: BTreeMap<(Uuid, String), Hint>,
    phones: BTreeMap<(Uuid, String), Phone>,
    duplicates: BTreeMap<Uuid, String>,
    unbooked: BTreeMap<Uuid, String>,
    name_items: BTreeSet<Uuid>,
    /// Live payouts per shortcode: count of recent ones, sum of all; and paid since the last balances.
    in_flight: BTreeMap<Uuid, (i64, i64)>,
    paid_since: BTreeMap<Uuid, i64>,
    today: Vec<Today>,
    planned: BTreeSet<Target>,
    planned_on: BTreeMap<Uuid, (i64, i64)>,
    learnt: BTreeMap<(Uuid, String), LearntPhone>,
    sms_billed: BTreeSet<PartnerId>,
}

#[derive(Debug, Clone, sqlx::FromRow)]
struct Hint {
    core_id: Uuid,
    loan_id: String,
    claimed: Option<Json<Claimed>>,
    asked_by: Option<String>,
}

#[derive(Debug, Clone, sqlx::FromRow)]
struct Phone {
    core_id: Uuid,
    client_id: String,
    msisdn: String,
    changed_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Serialize)]
struct LearntPhone {
    partner_id: Uuid,
    core_id: Uuid,
    client_id: String,
    msisdn: String,
    previous: Option<String>,
    changed_at: Option<DateTime<Utc>>,
}

/// Payments of the day, per product and receiver.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Today {
    partner_id: Uuid,
    product_id: Option<String>,
    msisdn: String,
    sum_minor: i64,
    count: i64,
}

/// The item of a name mismatch is about a phone of a partner: this is its subject (rule A18).
pub(crate) fn phone_subject(partner: Uuid, msisdn: &str) -> Uuid {
    let hash = crypto::sha256(format!("phone|{partner}|{msisdn}").as_bytes());
    Uuid::from_bytes(*hash.first_chunk::<16>().unwrap_or(&[0; 16]))
}

impl Loaded {
    /// Loads. Takes an advisory lock per receiver and amount first, in one order, so that two senders cannot both find "no duplicate" (rule A23),
    /// and one per partner that has a daily cap.
    pub async fn load_in_tx(
        conn: &mut PgConnection,
        engine: &Engine,
        work: &Work,
        mine: &[Uuid],
        reads: &BTreeMap<Uuid, CoreRead>,
        now: DateTime<Utc>,
    ) -> Result<Self, VaultError> {
        let rows: Vec<&Row> = mine.iter().filter_map(|id| work.disbursements.get(id)).collect();
        let partner_ids: BTreeSet<PartnerId> = rows.iter().map(|r| r.partner()).collect();
        let partner_ids: Vec<PartnerId> = partner_ids.into_iter().collect();
        let partners = partner::load_in_tx(conn, &partner_ids).await?;
        let core_ids: Vec<CoreId> = rows.iter().filter_map(|r| r.core_id).map(CoreId).collect::<BTreeSet<_>>().into_iter().collect();
        let cores = core_link::load_links_in_tx(conn, &engine.keys, &core_ids).await?;
        let wanted: Vec<(CoreId, String)> = rows
            .iter()
            .filter_map(|r| match reads.get(&r.id) {
                Some(CoreRead::Fresh(f)) => r.core_id.map(|c| (CoreId(c), f.loan.product_id.clone())),
                _ => None,
            })
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let products = product::load_products_in_tx(conn, &wanted).await?;
        let targets: Vec<(Uuid, Target)> = rows.iter().filter_map(|r| target(r, reads.get(&r.id)).map(|t| (r.id, t))).collect();
        lock_in_tx(conn, &targets, &partners, &products).await?;
        let defaults = shortcode::defaults_in_tx(conn, &partner_ids).await?;
        let mut shortcode_ids: BTreeSet<ShortcodeId> = defaults.values().map(|s| s.id).collect();
        shortcode_ids.extend(rows.iter().filter_map(|r| r.shortcode_id).map(ShortcodeId));
        shortcode_ids.extend(mine.iter().filter_map(|id| work.live_of(*id)).map(|p| ShortcodeId(p.shortcode_id)));
        let shortcode_ids: Vec<ShortcodeId> = shortcode_ids.into_iter().collect();
        let shortcodes = shortcode::load_in_tx(conn, &shortcode_ids).await?;
        let active = credential::active_for_shortcodes_in_tx(conn, &shortcode_ids).await?;
        let mut credentials: BTreeSet<CredentialId> = active.values().copied().collect();
        credentials.extend(mine.iter().filter_map(|id| work.live_of(*id)).map(|p| CredentialId(p.credential_id)));
        let accounts = credential::load_accounts_in_tx(conn, &engine.keys, &credentials.into_iter().collect::<Vec<_>>()).await?;
        let numbers = accounts.values().map(|(a, s)| (s.shortcode_id.uuid(), a.shortcode.clone())).collect();
        let (in_flight, paid_since) =
            flights_in_tx(conn, &shortcode_ids, now - chrono::Duration::from_std(engine.limits.unknown_owner).unwrap_or_default()).await?;
        let sms = sms_settings::load_accounts_in_tx(conn, &engine.keys, &partner_ids).await?;
        Ok(Self {
            hints: hints_in_tx(conn, &rows).await?,
            phones: phones_in_tx(conn, reads, &rows).await?,
            duplicates: duplicates_in_tx(conn, &targets, now).await?,
            unbooked: unbooked_in_tx(conn, &rows, &targets).await?,
            name_items: name_items_in_tx(conn, &targets).await?,
            today: today_in_tx(conn, &capped(&partners, &products), now).await?,
            stops: stop::active_in_tx(conn).await?,
            defaults: defaults.iter().map(|(p, s)| (*p, s.id)).collect(),
            sms_billed: partner_ids.iter().filter(|p| sms.get(p).is_some_and(|s| s.enabled)).copied().collect(),
            partners,
            cores,
            products,
            shortcodes,
            numbers,
            active,
            accounts,
            in_flight,
            paid_since,
            planned: BTreeSet::new(),
            planned_on: BTreeMap::new(),
            learnt: BTreeMap::new(),
        })
    }

    /// The shortcode and credential that would pay a new payout of this disbursement.
    pub fn sender_of(&self, d: &Row) -> Option<(Uuid, Uuid)> {
        let shortcode = d.shortcode_id.map(ShortcodeId).or_else(|| self.defaults.get(&d.partner()).copied())?;
        let credential = self.active.get(&shortcode)?;
        Some((shortcode.uuid(), credential.uuid()))
    }

    /// The credential that pays for a shortcode now.
    pub fn active_credential(&self, shortcode: Uuid) -> Option<Uuid> {
        self.active.get(&ShortcodeId(shortcode)).map(|c| c.uuid())
    }

    /// The account behind a credential.
    pub fn account(&self, credential: Uuid) -> Option<RailAccount> {
        self.accounts.get(&CredentialId(credential)).map(|(a, _)| a.clone())
    }

    /// The number of a shortcode.
    pub fn shortcode_number(&self, shortcode: Uuid) -> Result<String, VaultError> {
        self.numbers.get(&shortcode).cloned().ok_or_else(|| VaultError::Broken(format!("shortcode {shortcode} has no number")))
    }

    /// The partner's policy.
    pub fn policy(&self, d: &Row) -> &PartnerPolicy {
        self.partners.get(&d.partner()).map_or(&DEFAULT_POLICY, |p| &p.policy)
    }

    /// What is asked of the tariff for a disbursement that goes.
    pub fn quote_for(&self, d: &Row, now: DateTime<Utc>) -> Option<QuoteFor> {
        let (shortcode, _) = self.sender_of(d)?;
        let payer = self.shortcodes.get(&ShortcodeId(shortcode))?.tariff_payer;
        Some(QuoteFor {
            partner: d.partner(),
            rail: "mpesa".to_owned(),
            amount: d.amount()?,
            day: nairobi_day(now),
            tariff_payer: payer,
            sms_billed: self.sms_billed.contains(&d.partner()),
        })
    }

    /// Counts a payment that goes with this batch.
    pub fn plan(&mut self, d: &Row, order: &Order) {
        self.planned.insert((d.partner_id, order.msisdn.to_string(), order.pay.minor()));
        if let Some((shortcode, _)) = self.sender_of(d) {
            let slot = self.planned_on.entry(shortcode).or_default();
            slot.0 += 1;
            slot.1 += order.pay.minor();
        }
        self.today.push(Today {
            partner_id: d.partner_id,
            product_id: d.product_id.clone(),
            msisdn: order.msisdn.to_string(),
            sum_minor: order.pay.minor(),
            count: 1,
        });
    }

    /// Takes over what the fresh read says about the loan.
    pub fn learn(d: &mut Row, fresh: &Fresh) {
        d.client_id.clone_from(&fresh.loan.client_id);
        d.client_name = fresh.client.as_ref().map(|c| c.name.clone()).or_else(|| fresh.loan.client_name.clone());
        d.product_id = Some(fresh.loan.product_id.clone());
        d.product_name = Some(fresh.loan.product_name.clone());
        d.approved_on = fresh.loan.approved_on;
        d.expected_on = fresh.loan.expected_on;
        d.approval = Some(fresh.loan.approval_fingerprint());
    }

    /// Everything about one disbursement, for the checks.
    pub fn of<'a>(
        &'a mut self,
        engine: &Engine,
        d: &'a Row,
        read: &'a CoreRead,
        live: Option<&'a payout_store::Row>,
        now: DateTime<Utc>,
    ) -> Result<Facts<'a>, VaultError> {
        if let CoreRead::Fresh(fresh) = read {
            self.see_phone(d, fresh, now);
        }
        let this = &*self;
        let partner = this.partners.get(&d.partner()).ok_or_else(|| VaultError::Broken(format!("partner {} cannot be read", d.partner_id)))?;
        let product = match read {
            CoreRead::Fresh(f) => d.core_id.and_then(|c| this.products.get(&(CoreId(c), f.loan.product_id.clone()))),
            _ => None,
        };
        let core = d.core_id.and_then(|c| this.cores.get(&CoreId(c)));
        let target = target(d, Some(read));
        let source = this.source(d, read, core, product)?;
        let (sender, float) = this.sender_facts(engine, d, live, now);
        let shortcode = this.sender_of(d).map(|(s, _)| ShortcodeId(s)).or(live.map(|p| ShortcodeId(p.shortcode_id)));
        let stopped = shortcode
            .and_then(|s| this.stops.blocks(engine.rail.name(), s, d.partner(), product.map(|p| p.id)))
            .map(|s| format!("Stopped by {}: {}", s.set_by, s.reason));
        let planned = target.as_ref().filter(|t| this.planned.contains(*t)).map(|_| "another payment of this minute".to_owned());
        let mut rules = rules(partner, core, product);
        let phone = target.as_ref().map(|t| t.1.as_str());
        rules.caps = vec![
            this.cap(d, None, phone, (partner.policy.daily_cap, partner.policy.daily_count, partner.policy.per_client_daily_cap)),
            product.map_or_else(Cap::default, |p| {
                let r = &p.disbursement_rules;
                this.cap(d, Some(&p.mifos_product_id), phone, (r.daily_amount, r.daily_count, r.per_client_cap))
            }),
        ];
        Ok(Facts {
            now,
            partner_status: partner.status.as_str(),
            rules,
            limits: engine.rail.limits(),
            source,
            stopped,
            sender,
            float,
            duplicate_of: if live.is_some() { None } else { this.duplicates.get(&d.id).cloned().or(planned) },
            unbooked: if d.core_id.is_some() && live.is_none() { this.unbooked.get(&d.id).cloned() } else { None },
            name_item: d.core_id.is_some() && target.as_ref().is_some_and(|t| this.name_items.contains(&phone_subject(t.0, &t.1))),
            blocked_receiver: false,
            overrides: &d.overrides,
            tries: d.tries,
        })
    }

    fn source<'a>(
        &'a self,
        d: &'a Row,
        read: &'a CoreRead,
        core: Option<&'a CoreSettings>,
        product: Option<&'a ProductSettings>,
    ) -> Result<Source<'a>, VaultError> {
        let CoreRead::Fresh(fresh) = read else {
            let (Some(msisdn), Some(amount)) = (d.receiver(), d.amount()) else {
                return Err(VaultError::Broken(format!("disbursement {} has no receiver or amount", d.id)));
            };
            return Ok(Source::Direct(Ordered { msisdn, amount }));
        };
        let hint = d.core_id.zip(d.loan_id.clone()).and_then(|key| self.hints.get(&key));
        let since = core.zip(product).and_then(|(c, p)| product::automatic_since(c, p));
        Ok(Source::Core(FromCore {
            loan: &fresh.loan,
            client: fresh.client.as_ref(),
            product: fresh.product.as_ref(),
            auto: since.is_some(),
            auto_since: since,
            asked_for: hint.is_some_and(|h| h.asked_by.is_some()),
            tenant_day: fresh.tenant_day,
            claimed: hint.and_then(|h| h.claimed.as_ref()).map(|c| &c.0),
            phone_changed_at: d.core_id.zip(fresh.loan.client_id.clone()).and_then(|key| self.phones.get(&key)).and_then(|p| p.changed_at),
        }))
    }

    fn sender_facts(&self, engine: &Engine, d: &Row, live: Option<&payout_store::Row>, now: DateTime<Utc>) -> (Sender, Option<Money>) {
        let (shortcode, credential) = match live {
            Some(p) => (p.shortcode_id, p.credential_id),
            None => match self.sender_of(d) {
                Some(pair) => pair,
                None => return (Sender::Missing, None),
            },
        };
        let Some((_, state)) = self.accounts.get(&CredentialId(credential)) else { return (Sender::Missing, None) };
        let (count, held) = self.in_flight.get(&shortcode).copied().unwrap_or_default();
        let (planned_count, planned_sum) = self.planned_on.get(&shortcode).copied().unwrap_or_default();
        let own = i64::from(live.is_some());
        let sender = match state.why_not() {
            Some("credential_halted") => Sender::Halted,
            Some("quarantined") => Sender::Quarantined,
            Some(_) => Sender::Missing,
            None if state.careful && count + planned_count - own > 0 => Sender::Busy,
            None => Sender::Ready,
        };
        // Float is only known as well as the last reading: a stale one says nothing, and the rail decides.
        let fresh_for = chrono::Duration::from_std(engine.limits.balance_every).unwrap_or(chrono::Duration::minutes(5)) * 2;
        let float = self
            .shortcodes
            .get(&ShortcodeId(shortcode))
            .filter(|s| live.is_none() && s.balances_at.is_some_and(|at| now - at < fresh_for))
            .and_then(|s| s.utility)
            .map(|u| {
                let paid = self.paid_since.get(&shortcode).copied().unwrap_or(0);
                Money::from_minor(u.minor() - held - planned_sum - paid)
            });
        (sender, float)
    }

    /// What counts against the caps of the partner, or of one of its products.
    fn cap(&self, d: &Row, product: Option<&str>, phone: Option<&str>, caps: (Option<Money>, Option<u32>, Option<Money>)) -> Cap {
        let mine = || self.today.iter().filter(|t| t.partner_id == d.partner_id && product.is_none_or(|p| t.product_id.as_deref() == Some(p)));
        Cap {
            amount: caps.0,
            count: caps.1,
            per_client: caps.2,
            paid: sum(mine().map(|t| t.sum_minor)),
            payments: u32::try_from(mine().map(|t| t.count).sum::<i64>()).unwrap_or(u32::MAX),
            to_client: sum(mine().filter(|t| phone == Some(t.msisdn.as_str())).map(|t| t.sum_minor)),
        }
    }

    /// Remembers how the client's phone reads, and since when it reads differently (rule A15).
    fn see_phone(&mut self, d: &Row, fresh: &Fresh, now: DateTime<Utc>) {
        let (Some(core_id), Some(client_id)) = (d.core_id, fresh.loan.client_id.clone()) else { return };
        let Some(msisdn) = fresh.client.as_ref().and_then(|c| c.mobile.as_deref()).and_then(|m| Msisdn::parse(m).ok()).map(|m| m.to_string()) else {
            return;
        };
        let key = (core_id, client_id.clone());
        let known = self.phones.get(&key);
        let (previous, changed_at) = match known {
            Some(p) if p.msisdn == msisdn => (None, p.changed_at),
            Some(p) => (Some(p.msisdn.clone()), Some(now)),
            None => (None, None),
        };
        let changed = known.is_none_or(|p| p.msisdn != msisdn);
        self.phones.insert(key.clone(), Phone { core_id, client_id: client_id.clone(), msisdn: msisdn.clone(), changed_at });
        if changed {
            self.learnt.insert(key, LearntPhone { partner_id: d.partner_id, core_id, client_id, msisdn, previous, changed_at });
        }
    }

    /// Writes what was learnt about phones.
    pub async fn write_phones_in_tx(&self, conn: &mut PgConnection, now: DateTime<Utc>) -> Result<(), VaultError> {
        if self.learnt.is_empty() {
            return Ok(());
        }
        let rows: Vec<&LearntPhone> = self.learnt.values().collect();
        sqlx::query(
            "insert into client_phones as c (partner_id, core_id, client_id, msisdn, previous, changed_at, seen_at)
             select partner_id, core_id, client_id, msisdn, previous, changed_at, $2 from jsonb_populate_recordset(null::client_phones, $1) order by core_id, client_id
             on conflict (core_id, client_id) do update set msisdn = excluded.msisdn, previous = excluded.previous, changed_at = excluded.changed_at, seen_at = excluded.seen_at
             where c.msisdn <> excluded.msisdn",
        )
        .bind(Json(&rows))
        .bind(now)
        .execute(conn)
        .await?;
        Ok(())
    }
}

fn rules(partner: &Partner, core: Option<&CoreSettings>, product: Option<&ProductSettings>) -> Rules {
    let policy = &partner.policy;
    let limits = product.map(|p| p.limits((core.and_then(|c| c.min), core.and_then(|c| c.max))));
    let own = product.map(|p| &p.disbursement_rules);
    Rules {
        min: limits.as_ref().and_then(|l| l.min.as_ref()).map(|l| l.amount).or(core.and_then(|c| c.min)),
        max: limits.as_ref().and_then(|l| l.max.as_ref()).map(|l| l.amount).or(core.and_then(|c| c.max)),
        person_above: Some(own.map_or_else(|| policy.approval_ceiling(), |r| r.person_above(policy))),
        hours: policy.working_hours.iter().chain(own.and_then(|r| r.hours.as_ref())).cloned().collect(),
        zone: partner.zone,
        caps: Vec::new(),
        name_check: own.map_or_else(|| policy.name_check(), |r| r.name_check(policy)),
        cents: own.map_or_else(|| policy.cents(), |r| r.cents(policy)),
        phone_change_hold_hours: u32::try_from(policy.phone_change_hold().num_hours()).unwrap_or(72),
    }
}

fn target(d: &Row, read: Option<&CoreRead>) -> Option<Target> {
    let (msisdn, amount) = match read {
        Some(CoreRead::Fresh(f)) => {
            let msisdn = f.client.as_ref().and_then(|c| c.mobile.as_deref()).and_then(|m| Msisdn::parse(m).ok())?;
            (msisdn.to_string(), f.loan.net.split_cents().0.minor())
        }
        _ => (d.msisdn.clone()?, d.amount_minor?),
    };
    Some((d.partner_id, msisdn, amount))
}

fn lock_key(parts: &[&[u8]]) -> i64 {
    let hash = crypto::hmac_sha256(b"payvault advisory lock", parts);
    i64::from_be_bytes(*hash.first_chunk::<8>().unwrap_or(&[0; 8]))
}

async fn lock_in_tx(
    conn: &mut PgConnection,
    targets: &[(Uuid, Target)],
    partners: &BTreeMap<PartnerId, Partner>,
    products: &BTreeMap<(CoreId, String), ProductSettings>,
) -> Result<(), VaultError> {
    let mut keys: BTreeSet<i64> = targets.iter().map(|(_, (p, m, a))| lock_key(&[b"target", p.as_bytes(), m.as_bytes(), &a.to_be_bytes()])).collect();
    keys.extend(capped(partners, products).iter().map(|p| lock_key(&[b"cap", p.uuid().as_bytes()])));
    let keys: Vec<i64> = keys.into_iter().collect();
    sqlx::query("select pg_advisory_xact_lock(k) from unnest($1::bigint[]) with ordinality as x(k, n) order by n").bind(&keys).execute(conn).await?;
    Ok(())
}

/// Partners of the batch whose payments of the day are counted: by a cap of their own, or of a product.
fn capped(partners: &BTreeMap<PartnerId, Partner>, products: &BTreeMap<(CoreId, String), ProductSettings>) -> Vec<PartnerId> {
    let own = partners.values().filter(|p| p.policy.daily_cap.is_some() || p.policy.daily_count.is_some() || p.policy.per_client_daily_cap.is_some());
    let of_products = products.values().filter(|p| {
        let r = &p.disbursement_rules;
        r.daily_amount.is_some() || r.daily_count.is_some() || r.per_client_cap.is_some()
    });
    own.map(|p| p.id).chain(of_products.map(|p| p.partner_id)).collect::<BTreeSet<_>>().into_iter().collect()
}

async fn hints_in_tx(conn: &mut PgConnection, rows: &[&Row]) -> Result<BTreeMap<(Uuid, String), Hint>, VaultError> {
    let cores: Vec<Uuid> = rows.iter().filter(|r| r.loan_id.is_some()).filter_map(|r| r.core_id).collect();
    let loans: Vec<&str> = rows.iter().filter_map(|r| r.loan_id.as_deref()).collect();
    if cores.is_empty() {
        return Ok(BTreeMap::new());
    }
    let hints: Vec<Hint> = sqlx::query_as(
        "select s.core_id, s.loan_id, s.claimed, s.asked_by from loan_sightings s join unnest($1::uuid[], $2::text[]) as x(core, loan) on s.core_id = x.core and s.loan_id = x.loan",
    )
    .bind(&cores)
    .bind(&loans)
    .fetch_all(conn)
    .await?;
    Ok(hints.into_iter().map(|h| ((h.core_id, h.loan_id.clone()), h)).collect())
}

async fn phones_in_tx(
    conn: &mut PgConnection,
    reads: &BTreeMap<Uuid, CoreRead>,
    rows: &[&Row],
) -> Result<BTreeMap<(Uuid, String), Phone>, VaultError> {
    let (mut cores, mut clients) = (Vec::new(), Vec::new());
    for row in rows {
        if let (Some(core), Some(CoreRead::Fresh(f))) = (row.core_id, reads.get(&row.id))
            && let Some(client) = &f.loan.client_id
        {
            cores.push(core);
            clients.push(client.as_str());
        }
    }
    if cores.is_empty() {
        return Ok(BTreeMap::new());
    }
    let phones: Vec<Phone> = sqlx::query_as(
        "select p.core_id, p.client_id, p.msisdn, p.changed_at from client_phones p join unnest($1::uuid[], $2::text[]) as x(core, client) on p.core_id = x.core and p.client_id = x.client",
    )
    .bind(&cores)
    .bind(&clients)
    .fetch_all(conn)
    .await?;
    Ok(phones.into_iter().map(|p| ((p.core_id, p.client_id.clone()), p)).collect())
}

/// Paid within the hour, on its way, or not yet known without limit (rule A23). Index: `payouts_by_receiver`.
async fn duplicates_in_tx(conn: &mut PgConnection, targets: &[(Uuid, Target)], now: DateTime<Utc>) -> Result<BTreeMap<Uuid, String>, VaultError> {
    let (ids, partners, phones, amounts) = columns(targets);
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "select distinct on (x.id) x.id, p.rail_id from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[]) as x(id, partner, msisdn, amount)
         join payouts p on p.partner_id = x.partner and p.msisdn = x.msisdn and p.amount_minor = x.amount and p.disbursement_id <> x.id
         where p.state in ('prepared', 'sending', 'accepted', 'unknown') or (p.state = 'paid' and p.ended_at > $5)
         order by x.id, p.prepared_at desc",
    )
    .bind(&ids)
    .bind(&partners)
    .bind(&phones)
    .bind(&amounts)
    .bind(now - chrono::Duration::hours(1))
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().collect())
}

type Columns<'a> = (Vec<Uuid>, Vec<Uuid>, Vec<&'a str>, Vec<i64>);

fn columns(targets: &[(Uuid, Target)]) -> Columns<'_> {
    let ids = targets.iter().map(|(id, _)| *id).collect();
    let partners = targets.iter().map(|(_, t)| t.0).collect();
    let phones = targets.iter().map(|(_, t)| t.1.as_str()).collect();
    let amounts = targets.iter().map(|(_, t)| t.2).collect();
    (ids, partners, phones, amounts)
}

/// Paid but unbooked for the same client or phone (rule A15). Index: `bookings_open`.
async fn unbooked_in_tx(conn: &mut PgConnection, rows: &[&Row], targets: &[(Uuid, Target)]) -> Result<BTreeMap<Uuid, String>, VaultError> {
    let (ids, partners, phones, _) = columns(targets);
    let by_id: BTreeMap<Uuid, &Row> = rows.iter().map(|r| (r.id, *r)).collect();
    let clients: Vec<Option<&str>> = ids.iter().map(|id| by_id.get(id).and_then(|r| r.client_id.as_deref())).collect();
    let cores: Vec<Option<Uuid>> = ids.iter().map(|id| by_id.get(id).and_then(|r| r.core_id)).collect();
    let found: Vec<(Uuid, String)> = sqlx::query_as(
        "select distinct on (x.id) x.id, b.receipt from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::uuid[]) as x(id, partner, msisdn, client, core)
         join bookings b on b.partner_id = x.partner and b.disbursement_id <> x.id and b.state not in ('booked', 'adopted')
         join disbursements d on d.id = b.disbursement_id
         where b.msisdn = x.msisdn or (d.core_id = x.core and d.client_id = x.client)
         order by x.id, b.created_at",
    )
    .bind(&ids)
    .bind(&partners)
    .bind(&phones)
    .bind(&clients)
    .bind(&cores)
    .fetch_all(conn)
    .await?;
    Ok(found.into_iter().map(|(id, receipt)| (id, format!("receipt {receipt}"))).collect())
}

async fn name_items_in_tx(conn: &mut PgConnection, targets: &[(Uuid, Target)]) -> Result<BTreeSet<Uuid>, VaultError> {
    let subjects: Vec<Uuid> = targets.iter().map(|(_, t)| phone_subject(t.0, &t.1)).collect();
    let open: Vec<Uuid> = sqlx::query_scalar("select subject from items where kind = 'name_mismatch' and subject = any($1) and closed_at is null")
        .bind(&subjects)
        .fetch_all(conn)
        .await?;
    Ok(open.into_iter().collect())
}

/// Live payouts per shortcode (index: `payouts_live`), and what was paid since its last balances.
async fn flights_in_tx(
    conn: &mut PgConnection,
    shortcodes: &[ShortcodeId],
    recent: DateTime<Utc>,
) -> Result<(BTreeMap<Uuid, (i64, i64)>, BTreeMap<Uuid, i64>), VaultError> {
    let ids: Vec<Uuid> = shortcodes.iter().map(|s| s.uuid()).collect();
    // An old unknown has an owner by then (rule A12); it does not hold up a credential that has to prove itself.
    let live: Vec<(Uuid, i64, i64)> = sqlx::query_as(
        "select shortcode_id, count(*) filter (where first_sent_at is null or first_sent_at > $2), sum(amount_minor)::bigint
         from payouts where shortcode_id = any($1) and state in ('prepared', 'sending', 'accepted', 'unknown') group by 1",
    )
    .bind(&ids)
    .bind(recent)
    .fetch_all(&mut *conn)
    .await?;
    let paid: Vec<(Uuid, i64)> = sqlx::query_as(
        "select s.id, coalesce(sum(p.amount_minor), 0)::bigint from mpesa_shortcodes s
         join payouts p on p.partner_id = s.partner_id and p.shortcode_id = s.id and p.state = 'paid' and p.prepared_at > s.balances_at - interval '1 day' and p.ended_at > s.balances_at
         where s.id = any($1) group by 1",
    )
    .bind(&ids)
    .fetch_all(conn)
    .await?;
    Ok((live.into_iter().map(|(id, n, sum)| (id, (n, sum))).collect(), paid.into_iter().collect()))
}

/// Payments of today in Nairobi, for partners with a cap. Index: `payouts_by_day`.
async fn today_in_tx(conn: &mut PgConnection, partners: &[PartnerId], now: DateTime<Utc>) -> Result<Vec<Today>, VaultError> {
    if partners.is_empty() {
        return Ok(Vec::new());
    }
    let midnight = nairobi_day(now).and_time(NaiveTime::MIN).and_local_timezone(nairobi()).single().map_or(now, |t| t.with_timezone(&Utc));
    let ids: Vec<Uuid> = partners.iter().map(|p| p.uuid()).collect();
    Ok(sqlx::query_as(
        "select p.partner_id, d.product_id, p.msisdn, sum(p.amount_minor)::bigint as sum_minor, count(*) as count
         from payouts p join disbursements d on d.id = p.disbursement_id
         where p.partner_id = any($1) and p.prepared_at >= $2 and p.state <> 'not_paid' group by 1, 2, 3",
    )
    .bind(&ids)
    .bind(midnight)
    .fetch_all(conn)
    .await?)
}
