//! An engine on a database of its own with nothing outside, and the doors in front of it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, body::Body, extract::ConnectInfo};
use chrono::{DateTime, NaiveDate, Utc};
use http::{Request, StatusCode};
use pv_database::temp::{Template, TestDatabase};
use pv_hooks::{HookCounts, HookState, source};
use pv_kernel::{
    Clock, Ids, SystemIds,
    core_banking::{
        BookingAnswer, BookingOrder, ConnectionReport, Core, CoreClient, CoreError, CoreLink, CoreLoan, CorePaymentType, CoreProduct, CoreProfile,
    },
    ids::{CoreId, PartnerId},
    rail::{
        BalanceNotice, CodeClass, PayoutOrder, PayoutRail, QueryAnswer, RailAccount, RailLimits, ResultNotice, StatusNotice, StatusQuestion,
        SubmissionAnswer, TimeoutNotice, Unreadable,
    },
    sms::{DeliveryReport, OutboundSms, SendError, SendReceipt, SmsAccount, SmsGateway},
};
use pv_vault::{
    Engine,
    audit::{Actor, Environment},
    engine::{EngineLimits, Step},
    partner::{
        self,
        core_link::{self, NewCore},
        host_url::HostRules,
        shortcode,
        sms_settings::{self, SmsPatch},
        webhook,
    },
    payout::rail_id::IdKey,
    secret::KeyRing,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use uuid::Uuid;

/// A clock that stands until it is moved.
pub struct HandClock(Mutex<(DateTime<Utc>, Duration)>);

impl HandClock {
    pub fn forward(&self, seconds: u64) {
        let mut now = self.0.lock().unwrap();
        now.0 += Duration::from_secs(seconds);
        now.1 += Duration::from_secs(seconds);
    }
}

impl Clock for HandClock {
    fn now(&self) -> DateTime<Utc> {
        self.0.lock().unwrap().0
    }

    fn monotonic(&self) -> Duration {
        self.0.lock().unwrap().1
    }
}

/// An answer, read.
pub struct Seen {
    pub status: StatusCode,
    pub json: Value,
    pub headers: http::HeaderMap,
}

/// A stored message.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Kept {
    pub kind: String,
    pub state: String,
    pub trusted: bool,
    pub peer: String,
    pub partner_id: Option<Uuid>,
    pub token: Option<String>,
    pub headers: Value,
}

pub struct World {
    pub engine: Arc<Engine>,
    pub clock: Arc<HandClock>,
    pub woken: Arc<Mutex<Vec<Step>>>,
    pub counts: Arc<HookCounts>,
    pub app: Router,
    root: Actor,
    _database: TestDatabase,
}

/// M-Pesa's address, as these worlds know it.
pub const MPESA: &str = "196.201.214.200:40000";
/// Somebody else's.
pub const STRANGER: &str = "41.90.1.1:40000";

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut HookState)) -> Self {
        let database = TestDatabase::create(&Template::payvault()).await;
        let start: DateTime<Utc> = "2026-11-20T08:00:00Z".parse().unwrap();
        let clock = Arc::new(HandClock(Mutex::new((start, Duration::ZERO))));
        let engine = Arc::new(Engine {
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
        });
        let woken: Arc<Mutex<Vec<Step>>> = Arc::default();
        let bell = Arc::clone(&woken);
        let mut state = HookState::new(Arc::clone(&engine), Arc::new(move |step| bell.lock().unwrap().push(step)), source::safaricom());
        change(&mut state);
        let counts = Arc::clone(&state.counts);
        Self { engine, clock, woken, counts, app: pv_hooks::router(state), root: Actor::operator("root", Environment::Sandbox), _database: database }
    }

    pub async fn send(&self, method: &str, path: &str, from: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Seen {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body.into()).unwrap();
        request.extensions_mut().insert(ConnectInfo(from.parse::<SocketAddr>().unwrap()));
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        Seen { status: parts.status, json: serde_json::from_slice(&body).unwrap_or(Value::Null), headers: parts.headers }
    }

    pub async fn post(&self, path: &str, from: &str, body: &str) -> Seen {
        self.send("POST", path, from, &[("content-type", "application/json")], body.to_owned()).await
    }

    /// All stored messages, oldest first.
    pub async fn kept(&self) -> Vec<Kept> {
        sqlx::query_as("select kind, state, trusted, peer, partner_id, token, headers from messages order by ctid")
            .fetch_all(self.engine.db.worker())
            .await
            .unwrap()
    }

    /// The bodies of all stored messages, opened.
    pub async fn bodies(&self) -> Vec<String> {
        let rows: Vec<(Uuid, Vec<u8>)> =
            sqlx::query_as("select id, body_enc from messages order by ctid").fetch_all(self.engine.db.worker()).await.unwrap();
        rows.into_iter()
            .map(|(row, sealed)| {
                let place = pv_vault::secret::Place { column: "messages.body_enc", row };
                let open = self.engine.keys.open_bytes(place, std::str::from_utf8(&sealed).unwrap()).unwrap();
                String::from_utf8_lossy(&open).into_owned()
            })
            .collect()
    }

    pub fn woken(&self) -> Vec<Step> {
        self.woken.lock().unwrap().clone()
    }

    pub async fn partner(&self, name: &str) -> PartnerId {
        let new = serde_json::from_value(json!({ "name": name, "short_name": name })).unwrap();
        partner::create(&self.engine, &self.root, new).await.unwrap().id
    }

    /// The callback token of a balance question that waits for its answer.
    pub async fn question(&self, partner: PartnerId) -> String {
        let new = serde_json::from_value(json!({ "shortcode": "600111", "environment": "sandbox", "base_url": "https://sandbox.safaricom.co.ke" }))
            .unwrap();
        let place = shortcode::create(&self.engine, &self.root, Some(partner), new, HostRules::STRICT).await.unwrap();
        let token = SystemIds.hex_token();
        sqlx::query("insert into rail_queries (id, partner_id, shortcode_id, kind, purpose, token, state, asked_at) values ($1, $2, $3, 'balance', 'balance', $4, 'taken', $5)")
            .bind(self.engine.id())
            .bind(partner.uuid())
            .bind(place.id.uuid())
            .bind(&token)
            .bind(self.engine.now())
            .execute(self.engine.db.worker())
            .await
            .unwrap();
        token
    }

    /// A connection to Mifos X and its webhook token.
    pub async fn connection(&self, partner: PartnerId) -> (CoreId, String) {
        let new = NewCore::new("https://mifos.example.co.ke", "default", "payvault", SecretString::from("mifos-password".to_owned()));
        let core = core_link::create(&self.engine, &self.root, Some(partner), new, HostRules::STRICT).await.unwrap();
        (core.id, self.token(core.id).await)
    }

    /// A new token of a connection; the one before stays good for a day.
    pub async fn token(&self, core: CoreId) -> String {
        webhook::make_token(&self.engine, &self.root, core).await.unwrap().token.expose_secret().to_owned()
    }

    pub async fn hmac_key(&self, core: CoreId) -> String {
        webhook::make_hmac_key(&self.engine, &self.root, core).await.unwrap().expose_secret().to_owned()
    }

    /// The report token of an SMS account.
    pub async fn sms_account(&self, partner: PartnerId) -> String {
        let secret = |text: &str| Some(SecretString::from(text.to_owned()));
        let patch = SmsPatch {
            damza_base_url: Some("https://sms.example.co.ke".into()),
            damza_api_key: secret("sim-damza-key"),
            damza_username: Some("abcsacco".into()),
            damza_password: secret("sim-password"),
            damza_sender_id: Some("UMOJA".into()),
            ..SmsPatch::default()
        };
        sms_settings::upsert(&self.engine, &self.root, Some(partner), patch, HostRules::STRICT).await.unwrap();
        sqlx::query_scalar("select report_token from partner_sms_settings where partner_id = $1")
            .bind(partner.uuid())
            .fetch_one(self.engine.db.worker())
            .await
            .unwrap()
    }
}

/// Doors never call outside: who does is found out.
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
        unreachable!("doors do not read")
    }
    fn read_status(&self, _: &[u8]) -> Result<StatusNotice, Unreadable> {
        unreachable!("doors do not read")
    }
    fn read_balance(&self, _: &[u8]) -> Result<BalanceNotice, Unreadable> {
        unreachable!("doors do not read")
    }
    fn read_timeout(&self, _: &[u8]) -> Result<TimeoutNotice, Unreadable> {
        unreachable!("doors do not read")
    }
    fn classify(&self, _: &str) -> CodeClass {
        unreachable!("doors do not read")
    }
    fn redact(&self, body: &[u8]) -> Vec<u8> {
        body.to_vec()
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
        unreachable!("doors do not read")
    }
    fn report_is_genuine(&self, _: &SmsAccount, _: Option<&str>, _: &[u8]) -> bool {
        unreachable!("doors do not read")
    }
}
