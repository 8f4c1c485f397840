//! A host with one client, one product and one payment type, and a client of its wire.

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use pv_sandbox::mifos::{ClientSpec, LoanSpec, MifosOptions, MifosSim, ProductSpec, Profile, UserOptions};
use pv_sandbox::wire::{Delivery, Simulator};
use serde_json::{Value, json};

/// Both release lines.
pub const BOTH: [Profile; 2] = [Profile::V1_8, Profile::V1_14];

/// 20 November 2026, eight in the morning in Nairobi.
pub fn morning() -> DateTime<Utc> {
    "2026-11-20T05:00:00Z".parse().unwrap_or_default()
}

/// A day of November 2026.
pub fn november(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, day).unwrap_or_default()
}

/// What came back over the wire.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// 0: the connection closed without an answer.
    pub status: u16,
    pub text: String,
    pub body: Value,
    pub from_cache: bool,
    pub challenge: Option<String>,
    pub delay: Duration,
}

impl Seen {
    /// The code that a client branches on.
    pub fn code(&self) -> String {
        let inner = self.body.pointer("/errors/0/userMessageGlobalisationCode");
        inner.or(self.body.get("userMessageGlobalisationCode")).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Status and code together.
    pub fn verdict(&self) -> (u16, String) {
        (self.status, self.code())
    }
}

pub struct World {
    pub sim: MifosSim,
    pub now: DateTime<Utc>,
    pub client: u64,
    pub product: u64,
    pub mpesa: u64,
    pub login: (String, String),
    pub tenant: Option<String>,
}

impl World {
    pub fn new(profile: Profile) -> Self {
        Self::with(MifosOptions { profile, users: vec![UserOptions::new("pv", "s3cret", &["ALL_FUNCTIONS"])], ..MifosOptions::default() })
    }

    pub fn with(options: MifosOptions) -> Self {
        let login = options.users.first().map(|user| (user.name.clone(), user.password.clone().unwrap_or_default())).unwrap_or_default();
        let tenant = Some(options.tenant.clone());
        let mut sim = MifosSim::new(options);
        let bank = sim.bank_mut();
        let client =
            bank.add_client(ClientSpec { external_id: Some("M-118".to_owned()), ..ClientSpec::new("Achieng", "Otieno", "0712000111", november(1)) });
        let product = bank.add_product(ProductSpec { external_id: Some("bias-01".to_owned()), ..ProductSpec::simple("Biashara Loan") });
        let mpesa = bank.add_payment_type("M-Pesa", false);
        Self { sim, now: morning(), client, product, mpesa, login, tenant }
    }

    /// KES 15,000 with KES 450 of fees, submitted on the 17th.
    pub fn spec(&self) -> LoanSpec {
        LoanSpec {
            fees_at_disbursement: 45_000,
            expected_disbursement: november(20),
            ..LoanSpec::simple(self.client, self.product, 1_500_000, november(17))
        }
    }

    pub fn submitted(&mut self) -> u64 {
        let spec = self.spec();
        self.sim.bank_mut().add_loan(spec).unwrap_or_default()
    }

    pub fn approved(&mut self) -> u64 {
        let id = self.submitted();
        let now = self.now;
        assert_eq!(self.sim.bank_mut().approve(id, now), Ok(()));
        id
    }

    pub fn active(&mut self) -> u64 {
        let id = self.approved();
        let now = self.now;
        assert!(self.sim.bank_mut().disburse_by_hand(id, "BYHAND", now).is_ok());
        id
    }

    pub fn status_of(&self, loan: u64) -> i64 {
        self.sim.bank().loan(loan).map_or(0, |loan| loan.status.id())
    }

    pub fn call(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Seen {
        let base =
            if path.starts_with("/v2") { "https://mifos.example/fineract-provider/api" } else { "https://mifos.example/fineract-provider/api/v1" };
        let mut request = http::Request::builder().method(method).uri(format!("{base}{path}"));
        if let Some(tenant) = &self.tenant {
            request = request.header("Fineract-Platform-TenantId", tenant);
        }
        if !self.login.0.is_empty() {
            let token = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", self.login.0, self.login.1));
            request = request.header("authorization", format!("Basic {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let Ok(request) = request.body(Bytes::from(body.to_owned())) else { unreachable!("a test builds sound requests") };
        let reply = self.sim.handle(self.now, &request);
        let Some(response) = reply.response else {
            return Seen { status: 0, text: String::new(), body: Value::Null, from_cache: false, challenge: None, delay: reply.delay };
        };
        let text = String::from_utf8_lossy(response.body()).into_owned();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Seen {
            status: response.status().as_u16(),
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            from_cache: header("x-served-from-cache").as_deref() == Some("true"),
            challenge: header("www-authenticate"),
            delay: reply.delay,
            text,
        }
    }

    pub fn get(&mut self, path: &str) -> Seen {
        self.call("GET", path, &[], "")
    }

    pub fn post(&mut self, path: &str, body: &Value) -> Seen {
        self.call("POST", path, &[("content-type", "application/json")], &body.to_string())
    }

    pub fn post_keyed(&mut self, path: &str, key: &str, body: &Value) -> Seen {
        self.call("POST", path, &[("content-type", "application/json"), ("Idempotency-Key", key)], &body.to_string())
    }

    /// The disburse body of the contract's example (3.6).
    pub fn disburse_body(&self, external_id: &str) -> Value {
        json!({ "actualDisbursementDate": "2026-11-20", "transactionAmount": 15000, "paymentTypeId": self.mpesa, "receiptNumber": "TKJ7H5X2QP",
            "accountNumber": "254712000111", "externalId": external_id, "note": "M-Pesa B2C via Payment Vault",
            "dateFormat": "yyyy-MM-dd", "locale": "en" })
    }

    pub fn disburse(&mut self, loan: u64, external_id: &str) -> Seen {
        let body = self.disburse_body(external_id);
        self.post(&format!("/loans/{loan}?command=disburse"), &body)
    }

    /// The repayment body of the contract's example (4.2).
    pub fn repay_body(&self, shillings: i64, external_id: &str) -> Value {
        json!({ "transactionDate": "2026-11-20", "transactionAmount": shillings, "paymentTypeId": self.mpesa, "receiptNumber": "TLK3B8Y1ZZ",
            "accountNumber": "254712000111", "externalId": external_id, "note": "paybill 123456", "dateFormat": "yyyy-MM-dd", "locale": "en" })
    }

    pub fn repay(&mut self, loan: u64, shillings: i64, external_id: &str) -> Seen {
        let body = self.repay_body(shillings, external_id);
        self.post(&format!("/loans/{loan}/transactions?command=repayment"), &body)
    }

    /// Registers an active hook for these events.
    pub fn hook(&mut self, events: &[(&str, &str)]) -> Seen {
        let events: Vec<Value> = events.iter().map(|(entity, action)| json!({ "entityName": entity, "actionName": action })).collect();
        self.post(
            "/hooks",
            &json!({ "name": "Web", "displayName": "Payment Vault", "isActive": true,
                "config": { "Payload URL": "https://pv.example.co.ke/h/p7/3f9c1a/", "Content Type": "json" }, "events": events }),
        )
    }

    /// Everything that leaves within a minute.
    pub fn deliveries(&mut self) -> Vec<Delivery> {
        self.sim.take_due(self.now + Duration::from_mins(1))
    }

    /// Only the posts among them, with their bodies.
    pub fn posts(&mut self) -> Vec<(Delivery, Value)> {
        let posts = self.deliveries().into_iter().filter(|delivery| delivery.request.method() == "POST");
        posts
            .map(|delivery| {
                let body = serde_json::from_slice(delivery.request.body()).unwrap_or(Value::Null);
                (delivery, body)
            })
            .collect()
    }
}
