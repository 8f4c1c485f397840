//! The load: loans are approved at the hosts, and their webhooks are posted, either as fast as so many may be on their way, or at a
//! steady rate that does not wait for anybody (open loop).

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream::FuturesUnordered};
use hdrhistogram::Histogram;
use pv_sandbox::{
    mifos::{ClientSpec, LoanSpec},
    random::Chance,
};
use reqwest::Method;
use serde_json::json;

use super::town::Town;
use crate::failure::{Failure, Result};

/// Webhooks on the wire at once.
const AT_ONCE: usize = 64;
/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A measurement.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    /// Webhooks per second.
    pub rate: f64,
    /// Not measured at first.
    pub warm_up: Duration,
    /// Measured.
    pub length: Duration,
}

/// From webhook to acceptance, milliseconds.
#[derive(Debug, Clone)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// Ninety-nine of a hundred.
    pub p99: f64,
    /// The worst.
    pub most: f64,
    /// How many.
    pub count: u64,
    /// Where the time goes.
    pub stages: Vec<Stage>,
}

/// A part of the way: its name, median and ninety-ninth hundredth, milliseconds.
pub type Stage = (&'static str, f64, f64);
/// When a webhook was sent, and when M-Pesa accepted the payment.
type Ends = (DateTime<Utc>, DateTime<Utc>);
/// Whose payment: first sighted, read, written.
type Moments = (String, DateTime<Utc>, DateTime<Utc>, DateTime<Utc>);

/// The generator.
pub struct Load<'a> {
    town: &'a Town,
    next: AtomicU64,
    sent_at: Mutex<HashMap<String, DateTime<Utc>>>,
}

/// A loan that is approved and of which nobody has heard.
struct Loan {
    partner: usize,
    id: u64,
    msisdn: String,
}

impl<'a> Load<'a> {
    /// For this town.
    pub fn new(town: &'a Town) -> Self {
        Self { town, next: AtomicU64::new(0), sent_at: Mutex::default() }
    }

    /// Loans approved so far.
    pub fn sent(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// One payment per partner, so that every credential has proven itself and every token is there.
    pub async fn first_payments(&self) -> Result<()> {
        let mut wire = FuturesUnordered::new();
        for _ in 0..self.town.partners.len() {
            wire.push(self.one(false));
        }
        while let Some(sent) = wire.next().await {
            sent?;
        }
        self.drain(Duration::from_mins(1)).await?;
        Ok(())
    }

    /// Keeps so many disbursements on their way until `measuring` ends, and returns what it measured. Webhooks on the wire by then are
    /// carried to their end: a request that is dropped half-way was perhaps never heard, and its loan would wait for the next poll.
    pub async fn keep_outstanding_while<T>(&self, wanted: u64, measuring: impl Future<Output = Result<T>>) -> Result<T> {
        let mut measuring = std::pin::pin!(measuring);
        let mut wire = FuturesUnordered::new();
        let mut booked = u64::try_from(self.town.booked().await?)?;
        let mut look = tokio::time::interval(LOOK);
        let measured = loop {
            while wire.len() < AT_ONCE && self.sent().saturating_sub(booked) < wanted {
                wire.push(self.one(false));
            }
            tokio::select! {
                measured = &mut measuring => break measured?,
                Some(sent) = wire.next(), if !wire.is_empty() => sent?,
                _ = look.tick() => booked = u64::try_from(self.town.booked().await?)?,
            }
        };
        while let Some(sent) = wire.next().await {
            sent?;
        }
        Ok(measured)
    }

    /// Waits until every loan is paid and booked; how long that took.
    pub async fn drain(&self, patience: Duration) -> Result<Duration> {
        let started = self.town.world.now();
        loop {
            let booked = u64::try_from(self.town.booked().await?)?;
            let waited = (self.town.world.now() - started).to_std().unwrap_or_default();
            if booked >= self.sent() {
                return Ok(waited);
            }
            if waited > patience {
                return Err(Failure::new(format!(
                    "{} of {} disbursements are not booked after {} s: {}",
                    self.sent() - booked,
                    self.sent(),
                    patience.as_secs(),
                    self.what_is_open().await?
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn what_is_open(&self) -> Result<String> {
        let rows: Vec<(String, Option<String>, Option<String>, i64)> = sqlx::query_as(
            "select 'disbursement ' || d.state, d.reason, b.state, count(*) from disbursements d left join bookings b on b.disbursement_id = d.id
             where b.state is distinct from 'booked' group by 1, 2, 3
             union all select 'sighted, and no disbursement', last_error, null, count(*) from loan_sightings where disbursement_id is null group by 1, 2
             union all select 'message ' || state, outcome, kind, count(*) from messages where due_at is not null group by 1, 2, 3
             order by 4 desc limit 8",
        )
        .fetch_all(self.town.product.engine.db.worker())
        .await?;
        let words = |(what, why, more, n): (String, Option<String>, Option<String>, i64)| {
            format!("{n} {what} {} {}", why.unwrap_or_default(), more.unwrap_or_default())
        };
        Ok(rows.into_iter().map(words).collect::<Vec<_>>().join("; "))
    }

    /// Webhooks at a steady rate, with the gaps of independent borrowers; nobody waits for an answer.
    pub async fn open_loop(&self, phase: Phase) -> Result<Latency> {
        self.sent_at.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut chance = Chance::new(7);
        let started = tokio::time::Instant::now();
        let (measured_from, end) = (started + phase.warm_up, started + phase.warm_up + phase.length);
        let mut at = started;
        let mut wire = FuturesUnordered::new();
        loop {
            // An exponential gap: -ln(u) / rate, with u in (0, 1].
            at += Duration::from_secs_f64(-uniform(&mut chance).ln() / phase.rate);
            if at >= end {
                break;
            }
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(at) => break,
                    Some(sent) = wire.next(), if !wire.is_empty() => { let () = sent?; }
                }
            }
            wire.push(self.one(at >= measured_from));
        }
        while let Some(sent) = wire.next().await {
            sent?;
        }
        // The last ones are accepted within moments; whoever is not counts with what he has waited.
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.latency().await
    }

    async fn latency(&self) -> Result<Latency> {
        let mut times = histogram()?;
        let mut sent_at = std::mem::take(&mut *self.sent_at.lock().unwrap_or_else(PoisonError::into_inner));
        let mut ways = HashMap::new();
        for payment in self.town.world.mpesa.lock().payments() {
            if let Some(sent) = sent_at.remove(&payment.msisdn) {
                record(&mut times, sent, payment.accepted_at)?;
                ways.insert(payment.msisdn.clone(), (sent, payment.accepted_at));
            }
        }
        let now = self.town.world.now();
        for sent in sent_at.values() {
            record(&mut times, *sent, now)?;
        }
        Ok(Latency {
            p50: at(&times, 0.5),
            p90: at(&times, 0.9),
            p99: at(&times, 0.99),
            most: at(&times, 1.0),
            count: times.len(),
            stages: self.stages(&ways).await?,
        })
    }

    /// The moments that the product has written down, between the webhook and the acceptance.
    async fn stages(&self, ways: &HashMap<String, Ends>) -> Result<Vec<Stage>> {
        let phones: Vec<&String> = ways.keys().collect();
        let moments: Vec<Moments> = sqlx::query_as(
            "select d.msisdn, s.first_seen_at, d.created_at, p.prepared_at from payouts p join disbursements d on d.id = p.disbursement_id
             join loan_sightings s on s.core_id = d.core_id and s.loan_id = d.loan_id where p.msisdn = any($1) and p.attempt = 1",
        )
        .bind(&phones)
        .fetch_all(self.town.product.engine.db.worker())
        .await?;
        let names = ["stored and weighed", "loan read", "read again, checked, written", "sent and accepted"];
        let mut stages = [histogram()?, histogram()?, histogram()?, histogram()?];
        for (msisdn, seen, read, written) in moments {
            let Some((sent, accepted)) = ways.get(&msisdn) else { continue };
            let steps = [*sent, seen, read, written, *accepted];
            for (times, pair) in stages.iter_mut().zip(steps.windows(2)) {
                if let [from, to] = pair {
                    record(times, *from, *to)?;
                }
            }
        }
        Ok(names.into_iter().zip(&stages).map(|(name, times)| (name, at(times, 0.5), at(times, 0.99))).collect())
    }

    /// A loan is approved, and its webhook is posted.
    async fn one(&self, timed: bool) -> Result<()> {
        let loan = self.loan()?;
        let (_, partner) = self.town.partners.get(loan.partner).ok_or_else(|| Failure::new("no such partner"))?;
        let body = json!({ "eventType": "loan_approved", "partnerId": partner.id, "loanId": loan.id, "webhookToken": partner.webhook_token });
        if timed {
            self.sent_at.lock().unwrap_or_else(PoisonError::into_inner).insert(loan.msisdn, self.town.world.now());
        }
        let (status, answer) = partner.api.send(Method::POST, "/api/mifos/webhook/loan-approval", Some(&body), None).await?;
        if status != 200 {
            return Err(Failure::new(format!("a webhook was answered with {status}: {answer}")));
        }
        Ok(())
    }

    /// The next borrower: partners take turns, every phone is another.
    fn loan(&self) -> Result<Loan> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let partner = usize::try_from(n % u64::try_from(self.town.partners.len())?)?;
        let (place, settled) = self.town.partners.get(partner).ok_or_else(|| Failure::new("no such partner"))?;
        let msisdn = format!("2547{:08}", 10_000_000 + n);
        let name = format!("BORROWER {n}");
        self.town.world.phones.register(&msisdn, &name);
        let now = self.town.world.now();
        let mut host = self.town.world.host(place.host)?.lock();
        let bank = host.bank_of_mut(&place.tenant).ok_or_else(|| Failure::new("no such tenant"))?;
        let day = bank.today(now);
        let client = bank.add_client(ClientSpec::new("BORROWER", &n.to_string(), &msisdn, day));
        let product = settled.core_products.first().copied().ok_or_else(|| Failure::new("no product"))?;
        let shillings = 1_000 + i64::try_from(n % 300)? * 50;
        let refused = |why| Failure::new(format!("a host refused: {why:?}"));
        let id = bank.add_loan(LoanSpec::simple(client, product, shillings * 100, day)).map_err(refused)?;
        bank.approve(id, now).map_err(refused)?;
        Ok(Loan { partner, id, msisdn })
    }
}

fn histogram() -> Result<Histogram<u64>> {
    Histogram::new(3).map_err(|error| Failure::new(error.to_string()))
}

fn record(times: &mut Histogram<u64>, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<()> {
    let micros = (to - from).num_microseconds().unwrap_or(0).max(1);
    times.record(u64::try_from(micros)?).map_err(|error| Failure::new(error.to_string()))
}

/// Milliseconds with one place.
fn at(times: &Histogram<u64>, quantile: f64) -> f64 {
    (to_f64(times.value_at_quantile(quantile)) / 100.0).round() / 10.0
}

/// In (0, 1].
fn uniform(chance: &mut Chance) -> f64 {
    (to_f64(chance.below(1 << 52)) + 1.0) / to_f64(1 << 52)
}

#[expect(clippy::cast_precision_loss, reason = "figures of a benchmark, at most 2^52")]
fn to_f64(n: u64) -> f64 {
    n as f64
}
