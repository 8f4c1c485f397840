//! A house behind its door: an engine with fakes outside, the router, two partners with their keys, and a client that checks every
//! answer against the OpenAPI document.

use std::{
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, body::Body};
use chrono::{DateTime, NaiveDate, Utc};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use pv_api::{ApiState, router};
use pv_database::temp::{Template, TestDatabase};
use pv_kernel::{
    Clock, Money, SystemIds,
    core_banking::{
        BookingAnswer, BookingOrder, ConnectionCheck, ConnectionReport, Core, CoreClient, CoreError, CoreLink, CoreLoan, CorePaymentType,
        CoreProduct, CoreProfile, LoanStatus,
    },
    ids::PartnerId,
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
        self, api_key,
        core_link::{self, NewCore},
        host_url::HostRules,
        shortcode::{self, NewShortcode},
    },
    payout::rail_id::IdKey,
    secret::KeyRing,
    wallet::quote::TariffPayer,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::shapes;

/// A clock that stands until it is moved.
pub struct HandClock(Mutex<(DateTime<Utc>, Duration)>);

impl HandClock {
    pub fn forward(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        now.0 += by;
        now.1 += by;
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

/// A partner with its keys, its shortcode and its connection.
pub struct Shop {
    pub id: PartnerId,
    pub admin: String,
    pub maker: String,
    pub viewer: String,
    pub shortcode: Uuid,
    pub core: Uuid,
}

pub struct House {
    pub engine: Arc<Engine>,
    pub clock: Arc<HandClock>,
    pub app: Router,
    /// The platform's first key.
    pub platform: String,
    pub a: Shop,
    pub b: Shop,
    /// The steps that were poked.
    pub woken: Arc<Mutex<Vec<Step>>>,
    _database: TestDatabase,
}

/// What came back.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Reply {
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub fn pointer(&self) -> &str {
        self.body["errors"][0]["pointer"].as_str().unwrap_or_default()
    }

    pub fn id(&self) -> String {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id in {}", self.body)).to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

/// A request under construction.
pub struct Call {
    method: Method,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Call {
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        Self { method: method.parse().unwrap(), path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    pub fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::new("POST", path).json(body)
    }

    pub fn json(self, body: &Value) -> Self {
        self.raw(body.to_string()).header("content-type", "application/json")
    }

    pub fn raw(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub fn key(self, key: &str) -> Self {
        self.header("authorization", format!("Bearer {key}"))
    }

    /// With a fresh `Idempotency-Key`.
    pub fn once(self) -> Self {
        let key = pv_kernel::Ids::uuid(&SystemIds, DateTime::UNIX_EPOCH).to_string();
        self.header("idempotency-key", key)
    }

    pub async fn send(self, house: &House) -> Reply {
        self.send_to(&house.app).await
    }

    pub async fn send_to(self, app: &Router) -> Reply {
        let mut request = Request::builder().method(self.method.clone()).uri(&self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value.as_slice());
        }
        let response = app.clone().oneshot(request.body(Body::from(self.body)).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let kind = parts.headers.get(header::CONTENT_TYPE).map_or("", |v| v.to_str().unwrap()).to_owned();
        let reply = Reply { status: parts.status.as_u16(), headers: parts.headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) };
        assert!(!reply.header("x-request-id").is_empty(), "every answer names its request");
        assert_eq!((reply.header("x-content-type-options"), reply.header("cache-control")), ("nosniff", "no-store"));
        if parts.status.is_client_error() || (parts.status.is_server_error() && parts.status != StatusCode::SERVICE_UNAVAILABLE) {
            assert_eq!(kind, "application/problem+json", "{} {}: {}", self.method, self.path, String::from_utf8_lossy(&bytes));
        }
        if kind == "application/problem+json" {
            shapes::is_a_problem(&reply);
        }
        shapes::answer_conforms(self.method.as_str(), &self.path, &reply);
        reply
    }
}

pub async fn house() -> House {
    house_with(|_| ()).await
}

/// A house whose door was changed before it was opened.
pub async fn house_with(change: impl FnOnce(&mut ApiState)) -> House {
    let database = TestDatabase::create(&Template::payvault()).await;
    let start = DateTime::parse_from_rfc3339("2026-11-20T08:00:00Z").unwrap().with_timezone(&Utc);
    let clock = Arc::new(HandClock(Mutex::new((start, Duration::ZERO))));
    let engine = Arc::new(Engine {
        db: database.db(),
        clock: clock.clone(),
        ids: Arc::new(SystemIds),
        rail: Arc::new(Outside),
        core: Arc::new(Outside),
        sms: Arc::new(Outside),
        keys: KeyRing::new([(1, zeroize::Zeroizing::new([7; 32]))]).unwrap(),
        id_key: IdKey::new([9; 32]),
        public_url: "https://vault.example.co.ke".into(),
        limits: EngineLimits::default(),
        only_partners: None,
    });
    partner::open_platform_accounts(&engine).await.unwrap();
    let platform = api_key::ensure_platform_key(&engine, Environment::Sandbox).await.unwrap().unwrap().expose_secret().to_owned();
    let (a, b) = (shop(&engine, "Umoja", "600111").await, shop(&engine, "Tumaini", "600222").await);
    let woken = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&woken);
    let mut state =
        ApiState::new(engine.clone(), Environment::Sandbox, Arc::new(move |steps: &[Step]| heard.lock().unwrap().extend_from_slice(steps)));
    state.encrypt = Arc::new(|certificate, password| Ok(format!("{certificate}{password}")));
    change(&mut state);
    House { engine, clock, app: router(state), platform, a, b, woken, _database: database }
}

async fn shop(engine: &Engine, name: &str, number: &str) -> Shop {
    let root = Actor::operator("root", Environment::Sandbox);
    let new = serde_json::from_value(json!({ "name": format!("{name} SACCO"), "short_name": name })).unwrap();
    let id = partner::create(engine, &root, new).await.unwrap().id;
    let new = NewShortcode {
        shortcode: number.into(),
        environment: Environment::Sandbox,
        base_url: "https://sandbox.safaricom.co.ke".into(),
        tariff_payer: TariffPayer::Rail,
        requests_per_second: 5,
        is_default: true,
    };
    let shortcode = shortcode::create(engine, &root, Some(id), new, HostRules::STRICT).await.unwrap().id.uuid();
    let new = NewCore::new(format!("https://mifos-{number}.example.co.ke"), "default", "payvault", SecretString::from("mifos-password".to_owned()));
    let core = core_link::create(engine, &root, Some(id), new, HostRules::STRICT).await.unwrap().id.uuid();
    Shop {
        id,
        admin: key_of(engine, Some(id), "partner_admin").await,
        maker: key_of(engine, Some(id), "maker").await,
        viewer: key_of(engine, Some(id), "viewer").await,
        shortcode,
        core,
    }
}

pub async fn key_of(engine: &Engine, partner: Option<PartnerId>, role: &str) -> String {
    key_for(engine, partner, role, Environment::Sandbox).await
}

pub async fn key_for(engine: &Engine, partner: Option<PartnerId>, role: &str, environment: Environment) -> String {
    let root = Actor::operator("root", environment);
    let new = serde_json::from_value(json!({ "label": role, "environment": environment, "role": role })).unwrap();
    api_key::create(engine, &root, partner, new).await.unwrap().key.expose_secret().to_owned()
}

impl House {
    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.engine.db.worker()).await.unwrap()
    }

    /// Disbursements, payouts, transfers, sightings, audit rows: what a refused request must not add to.
    pub async fn written(&self) -> i64 {
        self.count(
            "select (select count(*) from disbursements) + (select count(*) from payouts) + (select count(*) from ledger_transfers) + (select count(*) from loan_sightings)
                  + (select count(*) from audit_log) + (select count(*) from partners) + (select count(*) from api_keys) + (select count(*) from mpesa_shortcodes)
                  + (select count(*) from mifos_partners) + (select count(*) from stops) + (select count(*) from approval_requests) + (select count(*) from partner_sms_settings)",
        )
        .await
    }

    /// A payment of partner A.
    pub async fn payment(&self, reference: &str) -> String {
        let body = json!({ "reference": reference, "phone": "0712345678", "amount": "1500" });
        Call::post("/api/mpesa/b2c/pay", &body).key(&self.a.admin).send(self).await.expect(202).id()
    }

    pub async fn hold(&self, disbursement: &str, reason: &str) {
        sqlx::query("update disbursements set state = 'held', status = 'to_do', reason = $2, due_at = null where id = $1")
            .bind(disbursement.parse::<Uuid>().unwrap())
            .bind(reason)
            .execute(self.engine.db.worker())
            .await
            .unwrap();
    }
}

/// The document, once.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(pv_api::openapi()).unwrap());

/// The outside world: a core that answers well, and a rail and a gateway that nothing here may call.
pub struct Outside;

#[async_trait]
impl PayoutRail for Outside {
    fn name(&self) -> &'static str {
        "mpesa"
    }
    fn limits(&self) -> RailLimits {
        RailLimits { min: Money::from_minor(1_000), max: Money::from_minor(25_000_000), id_length: 40, token_life: Duration::from_secs(3_599) }
    }
    async fn submit(&self, _: &RailAccount, _: &PayoutOrder, _: Duration) -> SubmissionAnswer {
        unreachable!("nothing is paid here")
    }
    fn body_hash(&self, _: &RailAccount, _: &PayoutOrder) -> [u8; 32] {
        unreachable!("nothing is paid here")
    }
    async fn ask_status(&self, _: &RailAccount, _: &StatusQuestion) -> QueryAnswer {
        unreachable!("nothing is asked here")
    }
    async fn ask_balance(&self, _: &RailAccount, _: &str, _: &str) -> QueryAnswer {
        unreachable!("nothing is asked here")
    }
    fn read_result(&self, _: &[u8]) -> Result<ResultNotice, Unreadable> {
        unreachable!("nothing is heard here")
    }
    fn read_status(&self, _: &[u8]) -> Result<StatusNotice, Unreadable> {
        unreachable!("nothing is heard here")
    }
    fn read_balance(&self, _: &[u8]) -> Result<BalanceNotice, Unreadable> {
        unreachable!("nothing is heard here")
    }
    fn read_timeout(&self, _: &[u8]) -> Result<TimeoutNotice, Unreadable> {
        unreachable!("nothing is heard here")
    }
    fn classify(&self, _: &str) -> CodeClass {
        unreachable!("nothing is heard here")
    }
    fn redact(&self, _: &[u8]) -> Vec<u8> {
        unreachable!("nothing is heard here")
    }
}

fn product() -> CoreProduct {
    CoreProduct {
        product_id: "4".into(),
        name: "Business loan".into(),
        active: true,
        currency: "KES".into(),
        min: Some(Money::from_minor(100_000)),
        max: None,
        several_disbursements: false,
        date_must_match: false,
    }
}

#[async_trait]
impl Core for Outside {
    async fn detect(&self, _: &CoreLink) -> Result<CoreProfile, CoreError> {
        Ok(CoreProfile { line: "1.9+".into(), idempotency: true })
    }
    async fn test(&self, link: &CoreLink, _: DateTime<Utc>) -> ConnectionReport {
        let ok = link.tenant == "default";
        let checks = vec![
            ConnectionCheck { name: "reachable".into(), ok: true, detail: link.base_url.clone() },
            ConnectionCheck { name: "tenant".into(), ok, detail: link.tenant.clone() },
        ];
        let profile = ok.then(|| CoreProfile { line: "1.9+".into(), idempotency: true });
        ConnectionReport {
            checks,
            profile,
            products: vec![product()],
            payment_types: vec![CorePaymentType { id: "1".into(), name: "M-Pesa".into(), cash: false }],
        }
    }
    async fn loan(&self, _: &CoreLink, _: &str, _: bool) -> Result<CoreLoan, CoreError> {
        Err(CoreError::NotFound)
    }
    async fn client(&self, _: &CoreLink, _: &str) -> Result<CoreClient, CoreError> {
        Err(CoreError::NotFound)
    }
    async fn product(&self, _: &CoreLink, _: &str) -> Result<CoreProduct, CoreError> {
        Ok(product())
    }
    async fn products(&self, link: &CoreLink) -> Result<Vec<CoreProduct>, CoreError> {
        if link.tenant == "default" { Ok(vec![product()]) } else { Err(CoreError::Down("no such tenant".into())) }
    }
    async fn payment_types(&self, _: &CoreLink) -> Result<Vec<CorePaymentType>, CoreError> {
        Ok(Vec::new())
    }
    async fn approved_loans(&self, _: &CoreLink) -> Result<Vec<CoreLoan>, CoreError> {
        let amount = Money::from_minor(1_000_000);
        Ok(vec![CoreLoan {
            loan_id: "4711".into(),
            account_no: "000004711".into(),
            status: LoanStatus::Approved,
            client_id: Some("12".into()),
            client_name: Some("Jane Wanjiku".into()),
            product_id: "4".into(),
            product_name: "Business loan".into(),
            currency: "KES".into(),
            principal: amount,
            net: amount,
            approved_on: NaiveDate::from_ymd_opt(2026, 11, 20),
            approved_by: None,
            expected_on: None,
            not_simple: None,
            disbursements: Vec::new(),
        }])
    }
    async fn business_date(&self, _: &CoreLink) -> Result<Option<NaiveDate>, CoreError> {
        Ok(None)
    }
    async fn disburse(&self, _: &CoreLink, _: &BookingOrder) -> BookingAnswer {
        unreachable!("nothing is booked here")
    }
}

#[async_trait]
impl SmsGateway for Outside {
    fn name(&self) -> &'static str {
        "damza"
    }
    async fn send(&self, _: &SmsAccount, _: &OutboundSms) -> Result<SendReceipt, SendError> {
        unreachable!("nothing is texted here")
    }
    fn read_report(&self, _: &[u8]) -> Result<Vec<DeliveryReport>, Unreadable> {
        unreachable!("nothing is heard here")
    }
    fn report_is_genuine(&self, _: &SmsAccount, _: Option<&str>, _: &[u8]) -> bool {
        unreachable!("nothing is heard here")
    }
}
