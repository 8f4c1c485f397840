//! A client of the simulated M-Pesa that speaks bare HTTP, and a clock that jumps from event to event.

use std::sync::LazyLock;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use pv_sandbox::daraja::{DarajaOptions, DarajaSim, encrypt_credential};
use pv_sandbox::phones::Phones;
use pv_sandbox::wire::{Delivery, Reply, Request, Simulator};
use serde_json::{Value, json};

pub const PHONE: &str = "254700000001";
pub const SHORTCODE: &str = "600111";
pub const B2C: &str = "/mpesa/b2c/v3/paymentrequest";
pub const STATUS: &str = "/mpesa/transactionstatus/v1/query";
pub const BALANCE: &str = "/mpesa/accountbalance/v1/query";
pub const RESULT_URL: &str = "https://hooks.example.co.ke/h/9f2c/b2c/result";
pub const TIMEOUT_URL: &str = "https://hooks.example.co.ke/h/9f2c/b2c/timeout";

/// One ciphertext for all tests: sealing costs more than everything else here.
pub static CREDENTIAL: LazyLock<String> = LazyLock::new(|| encrypt_credential("Sandbox#2026").unwrap());

pub struct World {
    pub sim: DarajaSim,
    pub phones: Phones,
    pub now: DateTime<Utc>,
    pub token: String,
    pub bodies: Vec<Vec<u8>>,
}

pub struct Answer {
    pub status: u16,
    pub text: String,
    pub json: Value,
}

impl World {
    pub fn new(seed: u64, options: DarajaOptions) -> Self {
        let phones = Phones::new();
        phones.register(PHONE, "TEST BORROWER");
        let sim = DarajaSim::new(phones.clone(), seed, options);
        let now = "2026-01-03T11:05:00Z".parse().unwrap();
        let mut world = Self { sim, phones, now, token: String::new(), bodies: Vec::new() };
        world.sign_in();
        world
    }

    /// Without loose typing, for tests that are not about it.
    pub fn plain() -> Self {
        Self::new(1, DarajaOptions { loose_typing_per_mille: 0, ..DarajaOptions::default() })
    }

    pub fn sign_in(&mut self) {
        let pair = BASE64_STANDARD.encode("sandbox-consumer-key:sandbox-consumer-secret");
        let answer = self.oauth(Some(&format!("Basic {pair}")), "grant_type=client_credentials").unwrap();
        answer.json["access_token"].as_str().unwrap_or_default().clone_into(&mut self.token);
    }

    pub fn oauth(&mut self, authorization: Option<&str>, query: &str) -> Option<Answer> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = format!("https://sandbox.example/oauth/v1/generate?{query}").parse().unwrap();
        if let Some(value) = authorization {
            request.headers_mut().insert("authorization", value.parse().unwrap());
        }
        let reply = self.sim.handle(self.now, &request);
        self.read(reply)
    }

    pub fn read(&mut self, reply: Reply) -> Option<Answer> {
        let response = reply.response?;
        self.bodies.push(response.body().to_vec());
        let text = String::from_utf8(response.body().to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Some(Answer { status: response.status().as_u16(), text, json })
    }

    pub fn request(&self, path: &str, body: &Value) -> Request {
        let mut request = Request::new(Bytes::from(body.to_string()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = path.parse().unwrap();
        request.headers_mut().insert("content-type", "application/json".parse().unwrap());
        request.headers_mut().insert("authorization", format!("Bearer {}", self.token).parse().unwrap());
        request
    }

    pub fn reply(&mut self, path: &str, body: &Value) -> Reply {
        let request = self.request(path, body);
        self.sim.handle(self.now, &request)
    }

    /// `None`: the connection closed.
    pub fn post(&mut self, path: &str, body: &Value) -> Option<Answer> {
        let reply = self.reply(path, body);
        self.read(reply)
    }

    pub fn pay(&mut self, id: &str, msisdn: &str, shillings: i64) -> Option<Answer> {
        self.post(B2C, &order(id, msisdn, shillings))
    }

    pub fn ask(&mut self, original: &str) -> Option<Answer> {
        self.post(STATUS, &status_query(original, ""))
    }

    /// Runs until nothing is due any more; answers every call with 200.
    pub fn settle(&mut self) -> Vec<Delivery> {
        let mut calls = Vec::new();
        while let Some(at) = self.sim.next_due() {
            self.now = self.now.max(at);
            for delivery in self.sim.take_due(self.now) {
                self.bodies.push(delivery.request.body().to_vec());
                self.sim.delivered(self.now, &delivery, Some(200));
                calls.push(delivery);
            }
        }
        calls
    }

    pub fn wait(&mut self, seconds: i64) {
        self.now += TimeDelta::seconds(seconds);
    }

    /// Pays and gives the only result.
    pub fn pay_and_settle(&mut self, id: &str, msisdn: &str, shillings: i64) -> Value {
        let answer = self.pay(id, msisdn, shillings).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
        let calls = self.settle();
        assert_eq!(calls.len(), 1);
        body(&calls[0])["Result"].clone()
    }

    /// Asks for the status and gives the only result.
    pub fn ask_and_settle(&mut self, original: &str) -> Value {
        let answer = self.ask(original).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
        let calls = self.settle();
        assert_eq!(calls.len(), 1);
        body(&calls[0])["Result"].clone()
    }
}

pub fn order(id: &str, msisdn: &str, shillings: i64) -> Value {
    json!({
        "OriginatorConversationID": id, "InitiatorName": "vaultapi", "SecurityCredential": CREDENTIAL.as_str(),
        "CommandID": "BusinessPayment", "Amount": shillings, "PartyA": 600_111, "PartyB": msisdn,
        "Remarks": "Loan 88121", "QueueTimeOutURL": TIMEOUT_URL, "ResultURL": RESULT_URL, "Occassion": "disbursement",
    })
}

pub fn status_query(original: &str, receipt: &str) -> Value {
    json!({
        "Initiator": "vaultapi", "SecurityCredential": CREDENTIAL.as_str(), "CommandID": "TransactionStatusQuery",
        "TransactionID": receipt, "OriginalConversationID": original, "PartyA": SHORTCODE, "IdentifierType": "4",
        "ResultURL": "https://hooks.example.co.ke/h/9f2c/status/result",
        "QueueTimeOutURL": "https://hooks.example.co.ke/h/9f2c/status/timeout", "Remarks": "status", "Occasion": "",
    })
}

pub fn balance_query() -> Value {
    json!({
        "Initiator": "vaultapi", "SecurityCredential": CREDENTIAL.as_str(), "CommandID": "AccountBalance",
        "PartyA": SHORTCODE, "IdentifierType": "4", "Remarks": "balance",
        "QueueTimeOutURL": "https://hooks.example.co.ke/h/9f2c/balance/timeout",
        "ResultURL": "https://hooks.example.co.ke/h/9f2c/balance/result",
    })
}

pub fn body(delivery: &Delivery) -> Value {
    serde_json::from_slice(delivery.request.body()).unwrap()
}

/// A result parameter by key, spaces in keys ignored.
pub fn parameter(result: &Value, key: &str) -> Option<Value> {
    let found = &result["ResultParameters"]["ResultParameter"];
    let list = found.as_array().cloned().unwrap_or_else(|| vec![found.clone()]);
    let mut same = list.iter().filter(|pair| pair["Key"].as_str().unwrap_or_default().replace(' ', "") == key);
    same.next().map(|pair| pair["Value"].clone())
}
