//! An engine on a database of its own, a clock in the hand, and nothing outside.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use pv_database::temp::{Template, TestDatabase};
use pv_kernel::{
    Clock, Ids, Money, SystemIds,
    core_banking::{
        BookingAnswer, BookingOrder, ConnectionReport, Core, CoreClient, CoreError, CoreLink, CoreLoan, CorePaymentType, CoreProduct, CoreProfile,
    },
    ids::{PartnerId, ShortcodeId},
    rail::{
        BalanceNotice, CodeClass, PayoutOrder, PayoutRail, QueryAnswer, RailAccount, RailLimits, ResultNotice, StatusNotice, StatusQuestion,
        SubmissionAnswer, TimeoutNotice, Unreadable,
    },
    sms::{DeliveryReport, OutboundSms, SendError, SendReceipt, SmsAccount, SmsGateway},
};
use pv_vault::{
    Engine, VaultError,
    audit::{Actor, ActorKind, Environment, Permission},
    engine::EngineLimits,
    partner::{
        self, Partner,
        core_link::{self, CoreView, NewCore},
        credential::{self, CredentialView, InitiatorSecret, NewCredential},
        host_url::HostRules,
        shortcode::{self, NewShortcode, ShortcodeView},
    },
    payout::rail_id::IdKey,
    secret::KeyRing,
    wallet::quote::TariffPayer,
};
use secrecy::SecretString;
use uuid::Uuid;

/// A clock that stands until it is moved.
pub struct HandClock(Mutex<DateTime<Utc>>);

impl HandClock {
    pub fn forward(&self, by: chrono::Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

pub struct House {
    pub engine: Arc<Engine>,
    pub clock: Arc<HandClock>,
    /// The platform's operator.
    pub root: Actor,
    /// Keeps the database alive.
    _database: TestDatabase,
}

pub async fn house() -> House {
    let database = TestDatabase::create(&Template::payvault()).await;
    let start = DateTime::parse_from_rfc3339("2026-11-20T08:00:00Z").unwrap().with_timezone(&Utc);
    let clock = Arc::new(HandClock(Mutex::new(start)));
    let engine = Engine {
        db: database.db(),
        clock: clock.clone(),
        ids: Arc::new(SystemIds),
        rail: Arc::new(NothingOutside),
        core: Arc::new(NothingOutside),
        sms: Arc::new(NothingOutside),
        keys: KeyRing::new([(1, zeroize::Zeroizing::new([7; 32]))]).unwrap(),
        id_key: IdKey::new([9; 32]),
        public_url: "https://vault.example.co.ke".into(),
        limits: EngineLimits::default(),
        only_partners: None,
    };
    House { engine: Arc::new(engine), clock, root: Actor::operator("root", Environment::Sandbox), _database: database }
}

/// A partner's actor with all the permissions of a partner's administrator.
pub fn admin_of(partner: PartnerId) -> Actor {
    let platform_only = [Permission::PartnersRead, Permission::PartnersWrite, Permission::QuarantineRelease, Permission::WalletAdjust];
    let permissions: BTreeSet<Permission> = Permission::ALL.iter().copied().filter(|p| !platform_only.contains(p)).collect();
    Actor {
        kind: ActorKind::User,
        id: SystemIds.uuid(DateTime::UNIX_EPOCH),
        partner: Some(partner),
        role: "partner_admin".into(),
        permissions,
        name: "admin".into(),
        environment: Environment::Sandbox,
        request_id: Some("r-1".into()),
        address: None,
    }
}

impl House {
    pub async fn partner(&self, name: &str) -> Partner {
        let json = serde_json::json!({ "name": name, "short_name": name });
        partner::create(&self.engine, &self.root, serde_json::from_value(json).unwrap()).await.unwrap()
    }

    pub async fn shortcode(&self, partner: PartnerId, number: &str) -> ShortcodeView {
        let new = NewShortcode {
            shortcode: number.into(),
            environment: Environment::Sandbox,
            base_url: "https://sandbox.safaricom.co.ke".into(),
            tariff_payer: TariffPayer::Rail,
            requests_per_second: 5,
            is_default: false,
        };
        shortcode::create(&self.engine, &self.root, Some(partner), new, HostRules::STRICT).await.unwrap()
    }

    pub async fn credential(&self, shortcode: ShortcodeId, mark: &str, activate: bool) -> CredentialView {
        let new = NewCredential {
            consumer_key: secret(&format!("key-{mark}")),
            consumer_secret: secret(&format!("secret-{mark}")),
            initiator: "vaultapi".into(),
            initiator_secret: InitiatorSecret::Password(secret(&format!("password-{mark}"))),
            passkey: Some(secret(&format!("passkey-{mark}"))),
            certificate: Some("PEM".into()),
            password_set_on: NaiveDate::from_ymd_opt(2026, 11, 1),
            activate,
        };
        credential::create(&self.engine, &self.root, shortcode, new, &|certificate, password| Ok(format!("{certificate}+{password}"))).await.unwrap()
    }

    pub async fn core(&self, partner: PartnerId, host: &str) -> CoreView {
        let new = NewCore::new(host, "default", "payvault", secret("mifos-password"));
        core_link::create(&self.engine, &self.root, Some(partner), new, HostRules::STRICT).await.unwrap()
    }

    /// Every row of a table as text, as the worker sees it: to look for what must not stand there.
    pub async fn whole_table(&self, table: &str) -> String {
        let sql = format!("select coalesce(string_agg(t::text, E'\\n'), '') from {table} t");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(self.engine.db.worker()).await.unwrap()
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.engine.db.worker()).await.unwrap()
    }
}

pub fn secret(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

/// The code of the problem that the result was refused with.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, VaultError>) -> &'static str {
    match result.unwrap_err() {
        VaultError::Refused(problem) => problem.code,
        other => panic!("not a refusal: {other}"),
    }
}

pub fn kes(shillings: i64) -> Money {
    Money::from_shillings(shillings).unwrap()
}

pub fn new_id() -> Uuid {
    SystemIds.uuid(DateTime::UNIX_EPOCH)
}

/// These tests never call outside: who does is found out.
pub struct NothingOutside;

#[async_trait]
impl PayoutRail for NothingOutside {
    fn name(&self) -> &'static str {
        "mpesa"
    }
    fn limits(&self) -> RailLimits {
        unreachable!("nothing outside")
    }
    async fn submit(&self, _: &RailAccount, _: &PayoutOrder, _: Duration) -> SubmissionAnswer {
        unreachable!("nothing outside")
    }
    fn body_hash(&self, _: &RailAccount, _: &PayoutOrder) -> [u8; 32] {
        unreachable!("nothing outside")
    }
    async fn ask_status(&self, _: &RailAccount, _: &StatusQuestion) -> QueryAnswer {
        unreachable!("nothing outside")
    }
    async fn ask_balance(&self, _: &RailAccount, _: &str, _: &str) -> QueryAnswer {
        unreachable!("nothing outside")
    }
    fn read_result(&self, _: &[u8]) -> Result<ResultNotice, Unreadable> {
        unreachable!("nothing outside")
    }
    fn read_status(&self, _: &[u8]) -> Result<StatusNotice, Unreadable> {
        unreachable!("nothing outside")
    }
    fn read_balance(&self, _: &[u8]) -> Result<BalanceNotice, Unreadable> {
        unreachable!("nothing outside")
    }
    fn read_timeout(&self, _: &[u8]) -> Result<TimeoutNotice, Unreadable> {
        unreachable!("nothing outside")
    }
    fn classify(&self, _: &str) -> CodeClass {
        unreachable!("nothing outside")
    }
    fn redact(&self, _: &[u8]) -> Vec<u8> {
        unreachable!("nothing outside")
    }
}

#[async_trait]
impl Core for NothingOutside {
    async fn detect(&self, _: &CoreLink) -> Result<CoreProfile, CoreError> {
        unreachable!("nothing outside")
    }
    async fn test(&self, _: &CoreLink, _: DateTime<Utc>) -> ConnectionReport {
        unreachable!("nothing outside")
    }
    async fn loan(&self, _: &CoreLink, _: &str, _: bool) -> Result<CoreLoan, CoreError> {
        unreachable!("nothing outside")
    }
    async fn client(&self, _: &CoreLink, _: &str) -> Result<CoreClient, CoreError> {
        unreachable!("nothing outside")
    }
    async fn product(&self, _: &CoreLink, _: &str) -> Result<CoreProduct, CoreError> {
        unreachable!("nothing outside")
    }
    async fn products(&self, _: &CoreLink) -> Result<Vec<CoreProduct>, CoreError> {
        unreachable!("nothing outside")
    }
    async fn payment_types(&self, _: &CoreLink) -> Result<Vec<CorePaymentType>, CoreError> {
        unreachable!("nothing outside")
    }
    async fn approved_loans(&self, _: &CoreLink) -> Result<Vec<CoreLoan>, CoreError> {
        unreachable!("nothing outside")
    }
    async fn business_date(&self, _: &CoreLink) -> Result<Option<NaiveDate>, CoreError> {
        unreachable!("nothing outside")
    }
    async fn disburse(&self, _: &CoreLink, _: &BookingOrder) -> BookingAnswer {
        unreachable!("nothing outside")
    }
}

#[async_trait]
impl SmsGateway for NothingOutside {
    fn name(&self) -> &'static str {
        "damza"
    }
    async fn send(&self, _: &SmsAccount, _: &OutboundSms) -> Result<SendReceipt, SendError> {
        unreachable!("nothing outside")
    }
    fn read_report(&self, _: &[u8]) -> Result<Vec<DeliveryReport>, Unreadable> {
        unreachable!("nothing outside")
    }
    fn report_is_genuine(&self, _: &SmsAccount, _: Option<&str>, _: &[u8]) -> bool {
        unreachable!("nothing outside")
    }
}
