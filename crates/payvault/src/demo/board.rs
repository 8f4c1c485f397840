//! What the product says about every payment, read through the API with the partners' keys like a partner's own screen would, and told
//! line by line as it happens.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use pv_kernel::{Clock as _, SystemClock};
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::stage::Api;
use crate::failure::{Failure, Result};

/// How often the screen is read again.
const EVERY: Duration = Duration::from_millis(400);

/// A disbursement as the API gives it; what the demo does not use is left out.
#[derive(Debug, Clone, Deserialize)]
pub struct Payment {
    /// Its id.
    pub id: String,
    /// The loan.
    pub loan_id: Option<String>,
    /// The partner's reference.
    pub reference: Option<String>,
    /// The first way in.
    pub origin: String,
    /// Shillings.
    pub amount: Option<String>,
    /// One of the five words.
    pub status: String,
    /// The finer state.
    pub state: String,
    /// Why.
    pub reason: Option<String>,
    /// The receipt.
    pub receipt: Option<String>,
    /// The booking.
    pub booking: Option<String>,
    /// Attempts.
    pub attempts: i32,
    /// Requests on the wire, over all attempts; only in the detail.
    #[serde(default)]
    pub payouts: Vec<PayoutLine>,
    /// What happened; only in the detail.
    #[serde(default)]
    pub timeline: Vec<Line>,
    /// The booking; only in the detail.
    #[serde(default)]
    pub booking_detail: Option<BookingLine>,
    /// Texts; only in the detail.
    #[serde(default)]
    pub texts: Vec<TextLine>,
}

/// An attempt.
#[derive(Debug, Clone, Deserialize)]
pub struct PayoutLine {
    /// The rail's id.
    pub rail_id: String,
    /// Requests on the wire.
    pub submissions: i64,
}

/// The booking.
#[derive(Debug, Clone, Deserialize)]
pub struct BookingLine {
    /// The core's transaction.
    pub transaction_id: Option<String>,
}

/// A text.
#[derive(Debug, Clone, Deserialize)]
pub struct TextLine {
    /// `payment_receipt`, `disbursement_failure`, …
    pub message_type: String,
    /// `pending`, `sent`, `delivered`, `failed`.
    pub status: String,
}

/// A line of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Line {
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub lane: String,
    /// What.
    pub what: String,
    /// More.
    pub detail: Option<String>,
}

impl Payment {
    /// Nothing more is expected to happen: over, booked, and the texts handed over.
    pub fn at_rest(&self) -> bool {
        let (over, text) = match self.state.as_str() {
            "paid" => (self.loan_id.is_none() || matches!(self.booking.as_deref(), Some("booked" | "adopted")), "payment_receipt"),
            "not_paid" => (true, "disbursement_failure"),
            "refused" => (true, "disbursement_attention"),
            _ => (false, ""),
        };
        over && self.texts.iter().any(|t| t.message_type == text) && self.texts.iter().all(|t| t.status != "pending")
    }
}

/// Lines with their moments.
type Held = Vec<(Duration, String)>;

/// The clock on the wall of the demo, and its voice.
#[derive(Clone)]
pub struct Voice {
    clock: Arc<SystemClock>,
    /// Lines that wait for earlier ones; `None`: every line is said at once.
    held: Arc<Mutex<Option<Held>>>,
}

impl Voice {
    /// Starts the clock.
    pub fn new() -> Self {
        Self { clock: Arc::new(SystemClock::new()), held: Arc::default() }
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic()
    }

    /// One line: when, about what, who, what.
    pub fn say(&self, about: &str, lane: &str, what: &str) {
        self.say_at(self.elapsed(), about, lane, what);
    }

    fn say_at(&self, at: Duration, about: &str, lane: &str, what: &str) {
        self.line(at, format!("{:6.1} s  {about:<15} {lane:<9} {what}", at.as_secs_f64()));
    }

    /// A line that stands alone.
    pub fn head(&self, text: &str) {
        self.line(self.elapsed(), format!("\n{text}"));
    }

    fn line(&self, at: Duration, text: String) {
        match self.held.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(held) => held.push((at, text)),
            None => println!("{text}"),
        }
    }

    /// From now on lines are said in the order in which they happened: what the screens show comes a little late.
    fn hold(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
    }

    /// Says what happened until this moment.
    fn tell_until(&self, moment: Duration) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lines) = held.as_mut() else { return };
        let (mut past, future): (Vec<_>, Vec<_>) = std::mem::take(lines).into_iter().partition(|(at, _)| *at <= moment);
        *lines = future;
        drop(held);
        past.sort_by_key(|(at, _)| *at);
        for (_, text) in past {
            println!("{text}");
        }
    }

    /// Says everything, and holds nothing back any more.
    pub fn release(&self) {
        self.tell_until(Duration::MAX);
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The time on our wall of a moment that the product has written down.
    fn since_start(&self, at: DateTime<Utc>) -> Duration {
        self.elapsed().saturating_sub((self.clock.now() - at).to_std().unwrap_or_default())
    }
}

/// A payment's place: house and loan number, or house and reference.
pub type Place = (usize, String);

/// Everything that is known so far.
#[derive(Clone)]
pub struct Board {
    payments: Arc<Mutex<BTreeMap<Place, Payment>>>,
    changed: watch::Receiver<u64>,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Payment>> {
        self.payments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One payment, as last read.
    pub fn get(&self, place: &Place) -> Option<Payment> {
        self.lock().get(place).cloned()
    }

    /// All payments.
    pub fn all(&self) -> BTreeMap<Place, Payment> {
        self.lock().clone()
    }

    /// Waits until a payment is as wanted.
    pub async fn until(&self, place: &Place, what: &str, patience: Duration, wanted: impl Fn(&Payment) -> bool) -> Result<Payment> {
        let mut changed = self.changed.clone();
        let look = async {
            loop {
                if let Some(payment) = self.get(place).filter(|p| wanted(p)) {
                    return payment;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        if let Ok(payment) = tokio::time::timeout(patience, look).await {
            return Ok(payment);
        }
        let now = self
            .get(place)
            .map_or_else(|| "nothing is known of it".to_owned(), |p| format!("it is {} ({:?}), booking {:?}", p.state, p.reason, p.booking));
        Err(Failure::new(format!("waited {} s in vain for {} to be {what}: {now}", patience.as_secs(), title(place))))
    }
}

/// Reads the screens of all partners again and again until it is dropped or aborted.
pub fn watch(keys: Vec<Api>, voice: Voice) -> (Board, AbortOnDropHandle<()>) {
    let (tell, changed) = watch::channel(0);
    let board = Board { payments: Arc::default(), changed };
    let mine = board.clone();
    voice.hold();
    let task = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut told = Told::default();
        let mut failures = 0u32;
        loop {
            let began = voice.elapsed();
            let mut news = Vec::new();
            for (house, api) in keys.iter().enumerate() {
                match read(&mine, &mut told, &mut news, house, api).await {
                    Ok(()) => failures = 0,
                    Err(failure) => {
                        failures += 1;
                        if failures.is_multiple_of(10) {
                            voice.say("", "screen", &format!("cannot be read: {failure}"));
                        }
                    }
                }
            }
            for (line, place) in news {
                if let Some((lane, words)) = worth_telling(&line) {
                    voice.say_at(voice.since_start(line.at), &title(&place), lane, &words);
                }
            }
            voice.tell_until(began);
            tell.send_modify(|n| *n += 1);
            tokio::time::sleep(EVERY).await;
        }
    }));
    (board, task)
}

/// Lines that were told already.
#[derive(Default)]
struct Told(BTreeSet<(String, Line)>);

async fn read(board: &Board, told: &mut Told, news: &mut Vec<(Line, Place)>, house: usize, api: &Api) -> Result<()> {
    let page = api.get("/api/loans/disbursements?limit=200").await?;
    let rows: Vec<Payment> = serde_json::from_value(page.get("items").cloned().unwrap_or_default())?;
    for row in rows {
        let Some(name) = row.loan_id.clone().or_else(|| row.reference.clone()) else { continue };
        let place = (house, name);
        if board.get(&place).is_some_and(|known| known.at_rest()) {
            continue;
        }
        let detail: Payment = serde_json::from_value(api.get(&format!("/api/loans/disbursements/{}", row.id)).await?)?;
        news.extend(
            detail.timeline.iter().filter(|line| told.0.insert((detail.id.clone(), (*line).clone()))).map(|line| (line.clone(), place.clone())),
        );
        board.lock().insert(place, detail);
    }
    Ok(())
}

/// `UMOJA loan 7`, `PWANI REFUND-2`.
pub fn title(place: &Place) -> String {
    let house = super::cases::HOUSES.get(place.0).map_or("", |h| h.short_name);
    if place.1.bytes().all(|b| b.is_ascii_digit()) { format!("{house} loan {}", place.1) } else { format!("{house} {}", place.1) }
}

/// The lines that a person wants to see; the whole timeline stands in `explain`.
fn worth_telling(line: &Line) -> Option<(&str, String)> {
    let dull =
        ["accepted as", "loan ", "payment receipt", "disbursement ", "balance alert", "float alert", "ordered", "booking sent: the core says done"];
    if dull.iter().any(|start| line.what.starts_with(start)) || line.what.starts_with("payout ") && line.what.ends_with(" sent") {
        return None;
    }
    if let Some(booked) = line.what.strip_prefix("booking booked") {
        return Some((&line.lane, format!("booked{booked}")));
    }
    let words = match (line.what.as_str(), line.detail.as_deref().map(|d| d.trim_end_matches('.')).filter(|d| !d.is_empty())) {
        (what, None) if what.starts_with("result 0:") => "says paid before it said accepted: kept, weighed again in a moment".to_owned(),
        (what, Some(detail)) if what.starts_with("no usable answer") => format!("{what} ({detail}): not yet known, it is asked"),
        (what, Some(detail)) if what.contains("sent again under the same id") => format!("sent again under the same id ({detail})"),
        (what, None) if what.contains("sent again under the same id") => "nobody knows of it: sent again under the same id".to_owned(),
        (what, Some(detail)) => format!("{what} ({detail})"),
        (what, None) => what.to_owned(),
    };
    let short = if words.chars().count() > 130 { format!("{}…", words.chars().take(129).collect::<String>()) } else { words };
    Some((if line.lane == "us→M-Pesa" { "us" } else { &line.lane }, short))
}
