//! A partner with loans in every state. Rows that the sender writes are inserted as it writes them; every verdict, posting, booking,
//! event and fold is made by the real code.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, Duration, Utc};
use pv_database::temp::{Template, TestDatabase};
use pv_kernel::{
    Clock, Money, Msisdn, SystemIds,
    core_banking::{CoreLoan, LoanStatus},
    ids::{CoreId, DisbursementId, PartnerId, PayoutId, ShortcodeId},
    rail::{CodeClass, ResultNotice, RetryWhen, SubmissionMeaning, WireTrace},
};
use pv_ledger::Command;
use pv_vault::{
    Engine,
    audit::{Actor, Environment},
    engine::{EngineLimits, Step},
    partner::{
        self,
        core_link::{self, NewCore},
        credential::{self, InitiatorSecret, NewCredential},
        host_url::HostRules,
        shortcode::{self, NewShortcode},
    },
    payout::{
        apply::{self, News},
        machine::Event,
        movements::prepared,
        rail_id::{IdKey, Subject},
    },
    secret::KeyRing,
    wallet::{
        movements::{adjusted, charges_reserved},
        quote::TariffPayer,
    },
};
use secrecy::SecretString;
use uuid::Uuid;

use super::outside::{Loans, Quiet};

pub const PHONE: &str = "254712345678";

pub struct HandClock(Mutex<DateTime<Utc>>);

impl Clock for HandClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
    fn monotonic(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

pub struct World {
    pub engine: Engine,
    pub clock: Arc<HandClock>,
    pub loans: Arc<Loans>,
    pub partner: PartnerId,
    pub shortcode: ShortcodeId,
    pub core: CoreId,
    credential: Uuid,
    pub database: TestDatabase,
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

/// A second of a conversation name and a receipt per payout.
fn conversation(payout: Uuid) -> String {
    format!("AG_{}", payout.simple())
}

pub fn receipt_of(payout: Uuid) -> String {
    let text = payout.simple().to_string().to_uppercase();
    format!("T{}", &text[text.len() - 9..])
}

impl World {
    /// A partner with a funded wallet, a shortcode, a credential and a core; no loans.
    pub async fn empty() -> Self {
        let database = TestDatabase::create(&Template::payvault()).await;
        let clock = Arc::new(HandClock(Mutex::new("2026-03-04T07:00:00Z".parse().unwrap())));
        let loans = Arc::new(Loans::default());
        let engine = Engine {
            db: database.db(),
            clock: clock.clone(),
            ids: Arc::new(SystemIds),
            rail: Arc::new(Quiet),
            core: loans.clone(),
            sms: Arc::new(Quiet),
            keys: KeyRing::new([(1, zeroize::Zeroizing::new([7; 32]))]).unwrap(),
            id_key: IdKey::new([9; 32]),
            public_url: "https://vault.example.co.ke".into(),
            limits: EngineLimits::default(),
            only_partners: None,
        };
        let root = Actor::operator("root", Environment::Sandbox);
        partner::open_platform_accounts(&engine).await.unwrap();
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
        let new = NewCredential {
            consumer_key: secret("key"),
            consumer_secret: secret("secret"),
            initiator: "vaultapi".into(),
            initiator_secret: InitiatorSecret::SecurityCredential(secret("c2VjcmV0")),
            passkey: None,
            certificate: None,
            password_set_on: None,
            activate: true,
        };
        let credential = credential::create(&engine, &root, shortcode, new, &|_, _| Ok(String::new())).await.unwrap().id;
        let new = NewCore::new("https://mifos.example.co.ke", "default", "payvault", secret("password"));
        let core = core_link::create(&engine, &root, Some(partner), new, HostRules::OPEN).await.unwrap().id;
        let world = Self { engine, clock, loans, partner, shortcode, core, credential, database };
        let top_up = adjusted::command(world.engine.id(), partner, Money::from_minor(1_000_000), serde_json::json!({}), world.now());
        world.post(&[top_up]).await;
        world
    }

    /// Loans in every state: 101 paid and booked with cents; 102 not known in its second attempt; 103 paid and not booked, its core
    /// being down; 104 paid late after it was not paid; 105 held; 106 paid twice; 107 not paid; a payment without a loan, paid.
    pub async fn full() -> Self {
        let world = Self::empty().await;
        world.paid("101", 100_000, 120_050, 50).await;
        let (d, p) = world.sent("102", 30_000, 30_000, 0).await;
        world.not_paid(p, CodeClass::Retry(RetryWhen::Minutes)).await;
        let second = world.again(d, p, "102", 2).await;
        world.hear(second, Event::Answered { number: 1, meaning: SubmissionMeaning::Ambiguous, detail: String::new(), class: None }).await;
        let (_, late) = world.sent("104", 40_000, 40_000, 0).await;
        world.not_paid(late, CodeClass::Final).await;
        world.success(late, 40_000).await;
        let (d, first) = world.sent("106", 60_000, 60_000, 0).await;
        world.not_paid(first, CodeClass::Retry(RetryWhen::Minutes)).await;
        let second = world.again(d, first, "106", 2).await;
        world.accepted(second).await;
        world.success(second, 60_000).await;
        world.success(first, 60_000).await;
        let (_, p) = world.sent("107", 70_000, 70_000, 0).await;
        world.not_paid(p, CodeClass::Final).await;
        let (_, p) = world.order(None, 80_000, 80_000, 0).await;
        world.accepted(p).await;
        world.success(p, 80_000).await;
        world.steps(&[Step::Book, Step::Book, Step::Sequence, Step::Fold]).await;
        *world.loans.down.lock().unwrap() = true;
        world.paid("103", 50_000, 50_000, 0).await;
        world.held("105").await;
        world.steps(&[Step::Book, Step::Sequence, Step::Fold]).await;
        *world.loans.down.lock().unwrap() = false;
        world.beside().await;
        world
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub fn forward(&self, by: Duration) {
        *self.clock.0.lock().unwrap() += by;
    }

    pub async fn post(&self, commands: &[Command]) {
        let mut tx = self.engine.begin().await.unwrap();
        let answers = pv_ledger::post_in_tx(tx.conn(), &*self.engine.ids, self.now(), commands).await.unwrap();
        assert!(answers.iter().all(|a| a.transfer().is_some()), "{answers:?}");
        tx.commit().await.unwrap();
    }

    pub async fn steps(&self, steps: &[Step]) {
        for step in steps {
            self.engine.run(*step).await.unwrap();
        }
    }

    fn approve(&self, id: &str, gross: i64, net: i64) {
        let loan = CoreLoan {
            loan_id: id.to_owned(),
            account_no: format!("{id:0>9}"),
            status: LoanStatus::Approved,
            client_id: Some("7".into()),
            client_name: Some("Jane Wanjiku".into()),
            product_id: "1".into(),
            product_name: "Loan".into(),
            currency: "KES".into(),
            principal: Money::from_minor(gross),
            net: Money::from_minor(net),
            approved_on: None,
            approved_by: None,
            expected_on: None,
            not_simple: None,
            disbursements: Vec::new(),
        };
        self.loans.loans.lock().unwrap().insert(id.to_owned(), loan);
    }

    /// A disbursement that is paying, with its charges reserved, and its first payout prepared.
    pub async fn order(&self, loan: Option<&str>, amount: i64, gross: i64, floored: i64) -> (Uuid, Uuid) {
        let id = self.engine.id();
        let quote = serde_json::json!({
            "tariff": "13.00", "fee": "5.00", "sms": "1.60", "tax": "0.80", "tariff_payer": "rail", "from_wallet": "7.40",
            "tariff_id": Uuid::nil(), "rule_id": Uuid::nil(),
        });
        if let Some(loan) = loan {
            self.approve(loan, gross, amount + floored);
        }
        let mut tx = self.engine.begin().await.unwrap();
        sqlx::query(
            "insert into disbursements (id, partner_id, core_id, loan_id, origin, reference, client_id, client_name, msisdn, amount_minor, gross_minor,
                 floored_minor, shortcode_id, state, status, quote, charges, charges_generation, attempts, created_at, updated_at, created_by)
             values ($1, $2, $3, $4, 'mifos_hook', $5, '7', 'Jane Wanjiku', $6, $7, $8, $9, $10, 'paying', 'on_its_way', $11, 'reserved', 1, 1, $12, $12, 'hook')",
        )
        .bind(id)
        .bind(self.partner.uuid())
        .bind(loan.map(|_| self.core.uuid()))
        .bind(loan)
        .bind(loan.is_none().then_some("REF-1"))
        .bind(PHONE)
        .bind(amount)
        .bind(gross)
        .bind(floored)
        .bind(self.shortcode.uuid())
        .bind(&quote)
        .bind(self.now())
        .execute(tx.conn())
        .await
        .unwrap();
        tx.commit().await.unwrap();
        self.post(&[charges_reserved::command(DisbursementId(id), 1, self.partner, Money::from_minor(740), quote, self.now())]).await;
        let payout = self.prepare(id, loan, amount, 1, None).await;
        (id, payout)
    }

    async fn prepare(&self, disbursement: Uuid, loan: Option<&str>, amount: i64, attempt: i32, prior: Option<Uuid>) -> Uuid {
        let id = self.engine.id();
        let subject = match loan {
            Some(loan) => Subject::Loan { core: self.core, loan, tranche: 0, generation: 1 },
            None => Subject::Reference { partner: self.partner, reference: "REF-1" },
        };
        let rail_id = self.engine.id_key.rail_id(subject, attempt);
        let mut tx = self.engine.begin().await.unwrap();
        sqlx::query(
            "insert into payouts (id, partner_id, disbursement_id, attempt, prior_proof_id, rail, rail_id, token, shortcode_id, credential_id, msisdn, amount_minor,
                 remarks, state, prepared_at, updated_at)
             values ($1, $2, $3, $4, $5, 'mpesa', $6, $7, $8, $9, $10, $11, 'Loan', 'prepared', $12, $12)",
        )
        .bind(id)
        .bind(self.partner.uuid())
        .bind(disbursement)
        .bind(attempt)
        .bind(prior)
        .bind(&rail_id)
        .bind(self.engine.id_key.token(&rail_id))
        .bind(self.shortcode.uuid())
        .bind(self.credential)
        .bind(PHONE)
        .bind(amount)
        .bind(self.now())
        .execute(tx.conn())
        .await
        .unwrap();
        tx.commit().await.unwrap();
        self.post(&[prepared::command(PayoutId(id), self.partner, "600111", Money::from_minor(amount), self.now())]).await;
        self.hear(id, Event::Claimed { fence: 1, lease_until: self.now() + Duration::seconds(90) }).await;
        id
    }

    /// A second attempt that stands on the proof of the first; sent, not answered.
    async fn again(&self, disbursement: Uuid, first: Uuid, loan: &str, attempt: i32) -> Uuid {
        let (proof, amount): (Uuid, i64) =
            sqlx::query_as("select f.id, p.amount_minor from payout_proofs f join payouts p on p.id = f.payout_id where p.id = $1")
                .bind(first)
                .fetch_one(self.engine.db.worker())
                .await
                .unwrap();
        sqlx::query("update disbursements set state = 'paying', status = 'on_its_way', reason = null, retry_at = null, attempts = $2 where id = $1")
            .bind(disbursement)
            .bind(attempt)
            .execute(self.engine.db.worker())
            .await
            .unwrap();
        self.prepare(disbursement, Some(loan), amount, attempt, Some(proof)).await
    }

    pub async fn hear(&self, payout: Uuid, event: Event) {
        let trace = matches!(event, Event::Answered { .. }).then(WireTrace::default);
        let news = News { payout, event, evidence: self.engine.id(), trace };
        let mut tx = self.engine.begin().await.unwrap();
        apply::apply_in_tx(tx.conn(), &self.engine, &[news]).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn accepted(&self, payout: Uuid) {
        let meaning = SubmissionMeaning::Accepted { conversation_id: conversation(payout) };
        self.hear(payout, Event::Answered { number: 1, meaning, detail: String::new(), class: None }).await;
    }

    fn notice(payout: Uuid, code: &str, amount: Option<i64>) -> ResultNotice {
        ResultNotice {
            completed: true,
            code: code.to_owned(),
            description: "as the rail says".into(),
            rail_id: None,
            conversation_id: Some(conversation(payout)),
            receipt: amount.map(|_| receipt_of(payout)),
            amount: amount.map(Money::from_minor),
            msisdn: amount.map(|_| Msisdn::parse(PHONE).unwrap()),
            party_name: amount.map(|_| "JANE WANJIKU".into()),
            completed_at: None,
            utility_after: None,
            charges_after: None,
        }
    }

    pub async fn success(&self, payout: Uuid, amount: i64) {
        self.hear(payout, Event::Result { notice: Self::notice(payout, "0", Some(amount)), trusted: true, class: CodeClass::Success }).await;
    }

    async fn not_paid(&self, payout: Uuid, class: CodeClass) {
        self.hear(payout, Event::Result { notice: Self::notice(payout, "2040", None), trusted: true, class }).await;
    }

    /// Sent and accepted.
    pub async fn sent(&self, loan: &str, amount: i64, gross: i64, floored: i64) -> (Uuid, Uuid) {
        let (disbursement, payout) = self.order(Some(loan), amount, gross, floored).await;
        self.accepted(payout).await;
        (disbursement, payout)
    }

    /// Paid; booked by the next run of that step.
    pub async fn paid(&self, loan: &str, amount: i64, gross: i64, floored: i64) -> (Uuid, Uuid) {
        let (disbursement, payout) = self.sent(loan, amount, gross, floored).await;
        self.success(payout, amount).await;
        (disbursement, payout)
    }

    async fn held(&self, loan: &str) {
        let id = self.engine.id();
        sqlx::query(
            "with d as (
                 insert into disbursements (id, partner_id, core_id, loan_id, origin, state, status, reason, created_at, updated_at, created_by)
                 values ($1, $2, $3, $4, 'mifos_hook', 'held', 'to_do', 'no_phone', $5, $5, 'hook'))
             insert into items (id, partner_id, kind, subject, title, detail, suggested_action, link, opened_at)
             values ($6, $2, 'held', $1, 'A payment waits for a person', 'No phone.', 'Look at the reason.', '/', $5)",
        )
        .bind(id)
        .bind(self.partner.uuid())
        .bind(self.core.uuid())
        .bind(loan)
        .bind(self.now())
        .bind(self.engine.id())
        .execute(self.engine.db.worker())
        .await
        .unwrap();
    }

    /// What stands beside the money of loan 101: its sighting, the message of its result, a text.
    async fn beside(&self) {
        sqlx::query(
            "with d as (select * from disbursements where loan_id = '101'), p as (select p.* from payouts p join d on d.id = p.disbursement_id),
                  s as (insert into loan_sightings (id, partner_id, core_id, loan_id, ways, first_seen_at, last_seen_at, disbursement_id)
                        select $1, d.partner_id, d.core_id, d.loan_id, array['hook', 'poll'], $4, $4, d.id from d),
                  m as (insert into messages (id, partner_id, direction, party, kind, disbursement_id, payout_id, at, state, outcome, body_enc)
                        select $2, d.partner_id, 'in', 'mpesa', 'b2c_result', d.id, p.id, $4, 'weighed', 'paid', 'never to be shown'::bytea from d, p)
             insert into sms_notifications (id, partner_id, recipient_phone, message_type, message_content, status, state, event_id, disbursement_id, created_at, updated_at)
             select $3, d.partner_id, d.msisdn, 'disbursement_paid', 'never to be shown', 'delivered', 'delivered', o.id, d.id, $4, $4
             from d, (select id from outbox order by xid, id limit 1) o",
        )
        .bind(self.engine.id())
        .bind(self.engine.id())
        .bind(self.engine.id())
        .bind(self.now())
        .execute(self.engine.db.worker())
        .await
        .unwrap();
    }

    pub async fn id(&self, sql: &'static str) -> Uuid {
        sqlx::query_scalar(sql).fetch_one(self.engine.db.worker()).await.unwrap()
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.engine.db.worker()).await.unwrap()
    }

    pub async fn change(&self, sql: &'static str) {
        let done = sqlx::query(sql).execute(self.engine.db.worker()).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "{sql}");
    }
}
