//! The band, by itself and against a true ledger.

use std::sync::{Arc, Mutex};

use pv_database::{
    cluster::ADMIN,
    temp::{Template, TestDatabase},
};
use pv_kernel::{
    Clock, SystemIds,
    ids::{PayoutId, ShortcodeId},
};
use sqlx::Connection as _;

use self::outside::{Loans, Quiet};
use super::*;
use crate::{
    audit::Environment,
    engine::EngineLimits,
    partner::{
        self,
        host_url::HostRules,
        shortcode::{self, NewShortcode},
    },
    payout::{
        balance,
        movements::{late_success, not_paid, paid, prepared},
        rail_id::IdKey,
        store,
    },
    reconciliation::{
        sentence::{Kind, sentence},
        verify::verify,
    },
    secret::KeyRing,
    wallet::quote::TariffPayer,
};

#[path = "../../../tests/verify/outside.rs"]
mod outside;

fn figures(posted: i64, in_flight: i64) -> Utility {
    Utility { posted, in_flight, came_in: 0, went_out: 0, opened: 0, differences: 0 }
}

fn query(ledger_minor: Option<i64>) -> QueryRow {
    let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    QueryRow {
        id: Uuid::from_u128(1),
        partner_id: Uuid::from_u128(2),
        shortcode_id: Uuid::from_u128(3),
        credential_id: None,
        kind: "balance".into(),
        payout_id: None,
        receipt: None,
        purpose: "balance".into(),
        token: "00".repeat(16),
        state: "taken".into(),
        conversation_id: None,
        asked_at: at,
        acknowledged_at: None,
        answered_at: None,
        code: None,
        answer: None,
        message: None,
        ledger_minor,
    }
}

#[test]
fn a_balance_lies_between_posted_less_in_flight_and_posted() {
    let band = Band::of(&query(Some(1_000)), &figures(1_000, 300), 0, 0);
    assert_eq!((band.lower, band.upper), (700, 1_000));
    assert_eq!([699, 700, 1_000, 1_001].map(|figure| outside(figure, band.lower, band.upper)), [-1, 0, 0, 1]);
}

#[test]
fn a_payout_that_was_posted_between_question_and_answer_is_on_both_sides_of_the_band() {
    let moved = Utility { went_out: 200, ..figures(800, 0) };
    for noted in [Some(1_000), None] {
        let band = Band::of(&query(noted), &moved, 0, 0);
        assert_eq!((band.lower, band.upper), (800, 1_000), "{noted:?}");
    }
}

#[test]
fn what_came_in_between_widens_the_band_both_ways() {
    let moved = Utility { came_in: 500, ..figures(1_500, 0) };
    for noted in [Some(1_000), None] {
        let band = Band::of(&query(noted), &moved, 0, 0);
        assert_eq!((band.lower, band.upper), (1_000, 1_500), "{noted:?}");
    }
}

#[test]
fn a_difference_that_stands_does_not_move_the_band() {
    // 300 too much were posted as a difference before the question.
    let band = Band::of(&query(Some(1_300)), &figures(1_300, 0), 300, 0);
    assert_eq!((band.lower, band.upper), (1_000, 1_000));
    // And so it is when they were posted after it.
    let after = Utility { differences: 300, ..figures(1_300, 0) };
    assert_eq!(Band::of(&query(Some(1_000)), &after, 300, 0), band);
}

#[test]
fn the_same_reference_is_the_same_funding() {
    let shortcode = Uuid::from_u128(5);
    assert_eq!(funding_subject(shortcode, "FT1"), funding_subject(shortcode, "FT1"));
    assert_ne!(funding_subject(shortcode, "FT1"), funding_subject(shortcode, "FT2"));
    assert_ne!(funding_subject(shortcode, "FT1"), funding_subject(Uuid::from_u128(6), "FT1"));
}

struct HandClock(Mutex<DateTime<Utc>>);

impl Clock for HandClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
    fn monotonic(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

/// A partner with a shortcode; payouts are their movements alone.
struct World {
    engine: Engine,
    clock: Arc<HandClock>,
    root: Actor,
    partner: PartnerId,
    shortcode: ShortcodeId,
    database: TestDatabase,
}

fn kes(shillings: i64) -> Money {
    Money::from_shillings(shillings).unwrap()
}

impl World {
    async fn new() -> Self {
        let database = TestDatabase::create(&Template::payvault()).await;
        let clock = Arc::new(HandClock(Mutex::new("2026-03-04T07:00:00Z".parse().unwrap())));
        let engine = Engine {
            db: database.db(),
            clock: clock.clone(),
            ids: Arc::new(SystemIds),
            rail: Arc::new(Quiet),
            core: Arc::new(Loans::default()),
            sms: Arc::new(Quiet),
            keys: KeyRing::new([(1, zeroize::Zeroizing::new([7; 32]))]).unwrap(),
            id_key: IdKey::new([9; 32]),
            public_url: "https://vault.example.co.ke".into(),
            limits: EngineLimits::default(),
            only_partners: None,
        };
        let root = Actor::operator("root", Environment::Sandbox);
        let new = serde_json::from_value(serde_json::json!({ "name": "Umoja", "short_name": "Umoja" })).unwrap();
        let partner = partner::create(&engine, &root, new).await.unwrap().id;
        let new = NewShortcode {
            shortcode: "600111".into(),
            environment: Environment::Sandbox,
            base_url: "https://sandbox.safaricom.co.ke".into(),
            tariff_payer: TariffPayer::Rail,
            requests_per_second: 5,
            is_default: true,
        };
        let shortcode = shortcode::create(&engine, &root, Some(partner), new, HostRules::OPEN).await.unwrap().id;
        Self { engine, clock, root, partner, shortcode, database }
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    async fn post(&self, command: Command) {
        *self.clock.0.lock().unwrap() += chrono::Duration::seconds(1);
        let mut tx = self.engine.begin().await.unwrap();
        post_in_tx(tx.conn(), &self.engine, &[command]).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn prepare(&self, shillings: i64) -> PayoutId {
        let payout = PayoutId(self.engine.id());
        self.post(prepared::command(payout, self.partner, "600111", kes(shillings), self.now())).await;
        payout
    }

    async fn paid(&self, payout: PayoutId) {
        self.post(paid::command(payout, self.engine.id(), self.now())).await;
    }

    /// The question is put, with what the ledger says then.
    async fn ask(&self) -> QueryRow {
        *self.clock.0.lock().unwrap() += chrono::Duration::seconds(1);
        let row = balance::question(&self.engine, self.partner.uuid(), self.shortcode.uuid(), self.now());
        let mut tx = self.engine.begin().await.unwrap();
        store::want_queries_in_tx(tx.conn(), std::slice::from_ref(&row)).await.unwrap();
        note_ledger_in_tx(tx.conn(), std::slice::from_ref(&row)).await.unwrap();
        let row = sqlx::query_as("select * from rail_queries where id = $1").bind(row.id).fetch_one(tx.conn()).await.unwrap();
        tx.commit().await.unwrap();
        row
    }

    async fn answer(&self, query: &QueryRow, shillings: i64) -> String {
        let mut tx = self.engine.begin().await.unwrap();
        let words = weigh_reading_in_tx(tx.conn(), &self.engine, query, kes(shillings), Some(kes(500))).await.unwrap();
        tx.commit().await.unwrap();
        words
    }

    async fn read(&self, shillings: i64) -> String {
        let query = self.ask().await;
        self.answer(&query, shillings).await
    }

    async fn fold(&self) {
        let mut tx = self.engine.begin().await.unwrap();
        pv_ledger::fold_in_tx(tx.conn(), 1_000, self.now()).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Posted in the utility account, in shillings.
    async fn posted(&self) -> i64 {
        let mut tx = self.engine.begin().await.unwrap();
        books::posted_asset_in_tx(tx.conn(), &utility(self.partner, "600111")).await.unwrap() / 100
    }

    async fn drift(&self) -> Option<i64> {
        let amount: Option<i64> = sqlx::query_scalar("select amount_minor from items where kind = 'rail_drift' and closed_at is null")
            .fetch_optional(self.engine.db.worker())
            .await
            .unwrap();
        amount.map(|minor| minor / 100)
    }

    fn funding(&self, shillings: i64, reference: &str) -> NewFunding {
        NewFunding { shortcode: self.shortcode, amount: kes(shillings), reference: reference.into(), reason: "float bought at the bank".into() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_balance_opens_the_account_and_every_later_one_is_weighed() {
    let world = World::new().await;
    assert_eq!(world.read(10_000).await, "opened with KES 10,000.00");
    assert_eq!(world.posted().await, 10_000);
    let payout = world.prepare(3_000).await;
    // On its way: paid or not, the balance is explained.
    assert!(world.read(10_000).await.contains("inside the band"));
    assert!(world.read(7_000).await.contains("inside the band"));
    // Posted between question and answer: either figure may have been read.
    let query = world.ask().await;
    world.paid(payout).await;
    world.fold().await;
    assert!(world.answer(&query, 10_000).await.contains("inside the band"));
    assert!(world.read(7_000).await.contains("inside the band"));
    assert!(world.read(10_000).await.contains("for the first time"), "it was paid, so it cannot be there any more");
    assert_eq!(world.drift().await, None);
    assert!(world.read(7_000).await.contains("inside the band"));
    let mut tx = world.engine.begin().await.unwrap();
    assert_eq!(books::posted_asset_in_tx(tx.conn(), &charges(world.partner, "600111")).await.unwrap(), 50_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_answer_and_the_same_answer_twice_change_nothing() {
    let world = World::new().await;
    let early = world.ask().await;
    let late = world.ask().await;
    assert!(world.answer(&late, 10_000).await.contains("opened"));
    assert_eq!(world.answer(&early, 5_000).await, "older than the last balance");
    assert_eq!(world.answer(&late, 10_000).await, "older than the last balance");
    assert_eq!(world.posted().await, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_opened_once_even_when_its_last_balance_was_forgotten() {
    let world = World::new().await;
    world.read(10_000).await;
    let mut admin = sqlx::PgConnection::connect(&world.database.url(ADMIN)).await.unwrap();
    sqlx::query("delete from settings where name like 'rail_reading:%'").execute(&mut admin).await.unwrap();
    assert!(world.read(10_200).await.contains("outside the band by KES 200.00, for the first time"));
    assert_eq!(world.posted().await, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_outside_twice_is_a_difference_until_a_person_says_where_it_came_from() {
    let world = World::new().await;
    world.read(10_000).await;
    assert!(world.read(10_300).await.contains("for the first time"));
    assert_eq!(world.drift().await, None);
    let seen = sentence(&world.engine, Some(world.partner)).await.unwrap();
    assert_eq!((seen.text.as_str(), seen.all_explained), ("M-Pesa shows KES 300 that we cannot explain on 600111", false));
    assert!(world.read(10_300).await.contains("twice in a row"));
    assert_eq!((world.drift().await, world.posted().await), (Some(300), 10_300));
    let seen = sentence(&world.engine, None).await.unwrap();
    assert_eq!(seen.text, "M-Pesa shows KES 300 that we cannot explain on 600111 · 1 item on the list");
    // Payments go on beside it.
    let payout = world.prepare(1_000).await;
    world.paid(payout).await;
    assert!(world.read(9_300).await.contains("KES 300.00 still not explained"));
    world.fold().await;
    // A part is explained, then all of it.
    let funding = record_funding(&world.engine, &world.root, &world.funding(100, "FT1")).await.unwrap();
    assert_eq!((funding.recorded, funding.unexplained), (true, kes(200)));
    assert_eq!((world.drift().await, world.posted().await), (Some(200), 9_300));
    let funding = record_funding(&world.engine, &world.root, &world.funding(200, "FT2")).await.unwrap();
    assert_eq!(funding.unexplained, Money::ZERO);
    assert_eq!((world.drift().await, world.posted().await), (None, 9_300));
    assert!(world.read(9_300).await.contains("inside the band"));
    let seen = sentence(&world.engine, None).await.unwrap();
    assert!(seen.open.iter().all(|o| o.kind != Kind::RailDrift), "{}", seen.text);
    assert_eq!((seen.rail[0].inside_band, seen.rail[0].unexplained), (Some(true), Money::ZERO));
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_is_missing_is_explained_by_a_late_success() {
    let world = World::new().await;
    world.read(10_000).await;
    let payout = world.prepare(400).await;
    world.post(not_paid::command(payout, world.engine.id(), world.now())).await;
    for _ in 0..3 {
        world.read(9_600).await;
    }
    assert_eq!(world.drift().await, Some(400));
    assert!(sentence(&world.engine, None).await.unwrap().text.starts_with("M-Pesa misses KES 400"));
    world.post(late_success::command(payout, world.partner, "600111", kes(400), world.engine.id(), world.now())).await;
    assert!(world.read(9_600).await.contains("explained again"));
    assert_eq!((world.drift().await, world.posted().await), (None, 9_600));
    assert!(world.read(9_600).await.contains("inside the band"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_that_grows_is_posted_anew_and_its_item_keeps_its_age() {
    let world = World::new().await;
    world.read(10_000).await;
    for shillings in [10_300, 10_300, 10_500] {
        world.read(shillings).await;
    }
    assert_eq!((world.drift().await, world.posted().await), (Some(500), 10_500));
    let opened: i64 = sqlx::query_scalar("select count(*) from items where kind = 'rail_drift'").fetch_one(world.engine.db.worker()).await.unwrap();
    assert_eq!(opened, 1);
    let report = verify(&world.engine).await.unwrap();
    assert!(report.is_clean(), "{}", report.render());
    sqlx::query("update items set closed_at = opened_at").execute(world.engine.db.worker()).await.unwrap();
    let codes: Vec<String> = verify(&world.engine).await.unwrap().findings.into_iter().map(|f| f.code).collect();
    assert_eq!(codes, ["account_without_item", "difference_without_item"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opening_in_the_middle_of_payments_settles_in_the_first_quiet_moment() {
    for paid_before in [false, true] {
        let world = World::new().await;
        let payout = world.prepare(2_000).await;
        // The balance was read before or after M-Pesa paid what was on its way: nobody knows.
        world.read(10_000).await;
        let rest = if paid_before { 10_000 } else { 8_000 };
        assert!(world.read(10_000).await.contains("inside the band"));
        world.paid(payout).await;
        let words = world.read(rest).await;
        assert!(words.contains("inside the band"), "{words}");
        assert_eq!(words.contains("opening settled by KES 2,000.00"), paid_before, "{words}");
        assert_eq!(world.posted().await, rest);
        assert!(world.read(rest).await.contains("inside the band"));
        assert!(world.read(rest + 100).await.contains("outside the band"), "the slack is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_funding_is_recorded_once_by_who_may_and_refused_otherwise() {
    let world = World::new().await;
    world.read(10_000).await;
    let first = record_funding(&world.engine, &world.root, &world.funding(700, "FT1")).await.unwrap();
    let again = record_funding(&world.engine, &world.root, &world.funding(700, " FT1 ")).await.unwrap();
    assert_eq!((again.transfer, again.recorded, world.posted().await), (first.transfer, false, 10_700));
    let taken_out = record_funding(&world.engine, &world.root, &world.funding(-200, "FT2")).await.unwrap();
    assert!(taken_out.recorded);
    assert_eq!(world.posted().await, 10_500);
    let refused = |result: Result<Funding, VaultError>| match result.unwrap_err() {
        VaultError::Refused(problem) => problem.code,
        other => panic!("{other}"),
    };
    assert_eq!(refused(record_funding(&world.engine, &world.root, &world.funding(701, "FT1")).await), "reference_taken");
    assert_eq!(refused(record_funding(&world.engine, &world.root, &world.funding(0, "FT3")).await), "invalid_request");
    assert_eq!(refused(record_funding(&world.engine, &world.root, &world.funding(1, " ")).await), "invalid_request");
    let stranger = Actor { partner: Some(PartnerId(Uuid::from_u128(1))), ..world.root.clone() };
    assert_eq!(refused(record_funding(&world.engine, &stranger, &world.funding(1, "FT4")).await), "not_found");
    let viewer = Actor { permissions: [Permission::WalletRead].into(), ..world.root.clone() };
    assert_eq!(refused(record_funding(&world.engine, &viewer, &world.funding(1, "FT5")).await), "not_permitted");
    let audited: i64 =
        sqlx::query_scalar("select count(*) from audit_log where action = 'funding.record'").fetch_one(world.engine.db.worker()).await.unwrap();
    assert_eq!(audited, 2);
}
