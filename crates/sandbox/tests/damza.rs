//! Whole stories against the simulated Damza gateway (SMS contract 2 and 7).
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use pv_sandbox::damza::{DamzaAccount, DamzaFaults, DamzaOptions, DamzaSim};
use pv_sandbox::phones::Phones;
use pv_sandbox::wire::{Delivery, Reply, Request, Simulator};
use serde_json::{Value, json};

const REPORTS: &str = "https://hooks.example.co.ke/h/9f2c/sms/damza/77aa";

struct World {
    sim: DamzaSim,
    phones: Phones,
    now: DateTime<Utc>,
    key: &'static str,
}

impl World {
    fn new() -> Self {
        let phones = Phones::new();
        let mut sim = DamzaSim::new(phones.clone(), 1, DamzaOptions::default());
        assert!(sim.set_report_url("abcsacco", REPORTS));
        Self { sim, phones, now: "2025-01-15T06:30:59Z".parse().unwrap(), key: "sim-damza-key" }
    }

    fn call(&mut self, method: http::Method, path: &str, body: &str) -> Reply {
        let mut request = Request::new(Bytes::from(body.to_owned()));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {}", self.key).parse().unwrap());
        self.sim.handle(self.now, &request)
    }

    fn get(&mut self, path: &str) -> (u16, Value) {
        shown(self.call(http::Method::GET, path, "")).unwrap()
    }

    fn send(&mut self, message: &Value) -> Option<(u16, Value)> {
        shown(self.call(http::Method::POST, "/v1/sms/send", &message.to_string()))
    }

    /// Runs until nothing is due; every report is answered with the given status.
    fn settle(&mut self, status: Option<u16>) -> Vec<Delivery> {
        let mut reports = Vec::new();
        while let Some(at) = self.sim.next_due() {
            self.now = self.now.max(at);
            for delivery in self.sim.take_due(self.now) {
                self.sim.delivered(self.now, &delivery, status);
                reports.push(delivery);
            }
        }
        reports
    }

    /// The statuses reported for a recipient with these last digits, with whole seconds after the send.
    fn reported(&mut self, digits: &str) -> Vec<(String, i64)> {
        let sent = self.now;
        self.send(&text(digits, "Hello", digits));
        let calls = self.settle(Some(200));
        calls.iter().map(|call| (body(call)["status"].as_str().unwrap().to_owned(), (call.at - sent).num_seconds())).collect()
    }
}

fn shown(reply: Reply) -> Option<(u16, Value)> {
    let response = reply.response?;
    Some((response.status().as_u16(), serde_json::from_slice(response.body()).unwrap()))
}

fn text(digits: &str, message: &str, reference: &str) -> Value {
    json!({
        "username": "abcsacco", "password": "sim-password", "sender_id": "ABC Bank",
        "recipient": format!("254700000{digits}"), "message": message, "reference": reference,
    })
}

fn body(delivery: &Delivery) -> Value {
    serde_json::from_slice(delivery.request.body()).unwrap()
}

#[test]
fn a_text_is_accepted_billed_delivered_and_reported_with_a_signature() {
    let mut world = World::new();
    let (status, answer) = world.send(&text("201", &"a".repeat(161), "ref-1")).unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        answer,
        json!({ "status": "accepted", "message_id": "DMZ-SIM-000001", "reference": "ref-1",
        "segments": 2, "cost": "1.60", "currency": "KES" })
    );
    assert_eq!(world.get("/v1/account/balance"), (200, json!({ "balance": "9998.40", "currency": "KES" })));
    assert!(world.phones.inbox("254700000201").is_empty());

    let reports = world.settle(Some(200));
    let last = body(&reports[1]);
    assert_eq!(reports[1].request.uri(), REPORTS);
    assert_eq!(
        last,
        json!({ "message_id": "DMZ-SIM-000001", "reference": "ref-1", "recipient": "254700000201",
        "status": "DELIVERED", "error_code": null, "error_message": null, "updated_at": "2025-01-15T09:31:02+03:00" })
    );
    let signature = hex::decode(reports[1].request.headers()["x-damza-signature"].to_str().unwrap()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"sim-damza-key");
    hmac::verify(&key, reports[1].request.body(), &signature).unwrap();

    let inbox = world.phones.inbox("254700000201");
    assert_eq!((inbox.len(), inbox[0].sender.as_str()), (1, "ABC Bank"));
    let (_, seen) = world.get("/v1/sms/DMZ-SIM-000001");
    assert_eq!((seen["status"].as_str(), seen["updated_at"].as_str()), (Some("DELIVERED"), Some("2025-01-15T09:31:02+03:00")));
    assert_eq!(world.get("/v1/sms/DMZ-SIM-000009").0, 404);
    assert_eq!(world.sim.sent().count(), 1);
}

#[test]
fn the_same_reference_sends_once_within_a_day() {
    let mut world = World::new();
    let first = world.send(&text("201", "Hello", "ref-1")).unwrap();
    assert_eq!(world.send(&text("201", "Hello", "ref-1")).unwrap(), first);
    let (status, other) = world.send(&text("201", "Other", "ref-1")).unwrap();
    assert_eq!((status, other["error"]["code"].as_str()), (409, Some("DUPLICATE_REFERENCE")));
    assert_eq!(world.settle(Some(200)).len(), 2);
    assert_eq!(world.phones.inbox("254700000201").len(), 1);
    world.now += TimeDelta::hours(25);
    assert_ne!(world.send(&text("201", "Hello", "ref-1")).unwrap(), first);
}

#[test]
fn each_refusal_has_its_status_and_code_and_sends_nothing() {
    let mut world = World::new();
    world.sim.add_account(DamzaAccount { balance_cents: 79, ..DamzaAccount::new("poor", "p", "poor-key") });
    let with = |field: &str, value: &str| {
        let mut message = text("201", "Hello", "r");
        message[field] = json!(value);
        message
    };
    let cases = [
        (with("username", "stranger"), 401, "INVALID_CREDENTIALS"),
        (with("password", "wrong"), 401, "INVALID_CREDENTIALS"),
        (with("username", "nobalance"), 402, "INSUFFICIENT_BALANCE"),
        (with("sender_id", "NOTREG"), 403, "INVALID_SENDER"),
        (with("message", " "), 400, "EMPTY_MESSAGE"),
        (with("message", &"a".repeat(1531)), 400, "MESSAGE_TOO_LONG"),
        (with("recipient", "0700000201"), 400, "INVALID_RECIPIENT"),
        (text("202", "Hello", "r"), 400, "INVALID_RECIPIENT"),
        (text("203", "Hello", "r"), 422, "BLACKLISTED"),
        (text("209", "Hello", "r"), 503, "GATEWAY_ERROR"),
        (text("210", "Hello", "r"), 500, "GATEWAY_ERROR"),
    ];
    for (message, status, code) in cases {
        let (got, answer) = world.send(&message).unwrap();
        assert_eq!((got, answer["error"]["code"].as_str()), (status, Some(code)), "{message}");
        assert_eq!(answer["status"], "rejected");
        assert_eq!(answer["reference"], "r");
    }
    world.key = "unknown";
    assert_eq!(world.send(&text("201", "Hello", "r")).unwrap().0, 401);
    assert_eq!(world.get("/v1/account/balance").0, 401);
    world.key = "poor-key";
    let mut message = text("201", "Hello", "r");
    (message["username"], message["password"]) = (json!("poor"), json!("p"));
    assert_eq!(world.send(&message).unwrap().0, 402);
    assert_eq!(shown(world.call(http::Method::POST, "/v1/sms/send", "{")).unwrap().0, 400);
    assert_eq!(world.sim.sent().count(), 0);
    assert!(world.settle(Some(200)).is_empty());
}

#[test]
fn the_last_three_digits_choose_the_reports() {
    let named = |list: &[(&str, i64)]| list.iter().map(|(status, at)| ((*status).to_owned(), *at)).collect::<Vec<_>>();
    let table: [(&str, &[(&str, i64)]); 7] = [
        ("201", &[("SENT", 1), ("DELIVERED", 3)]),
        ("999", &[("SENT", 1), ("DELIVERED", 3)]),
        ("204", &[("SENT", 1), ("FAILED", 3)]),
        ("205", &[("SENT", 1), ("BUFFERED", 2), ("DELIVERED", 20)]),
        ("206", &[("SENT", 1), ("EXPIRED", 5)]),
        ("207", &[]),
        ("208", &[("SENT", 1), ("DELIVERED", 3), ("DELIVERED", 3), ("FAILED", 8)]),
    ];
    for (digits, expected) in table {
        assert_eq!(World::new().reported(digits), named(expected), "{digits}");
    }
    let mut world = World::new();
    world.reported("204");
    assert!(world.phones.inbox("254700000204").is_empty());
    world.reported("208");
    assert_eq!(world.phones.inbox("254700000208").len(), 1, "a report sent twice is one text");
    assert_eq!(world.get("/v1/sms/DMZ-SIM-000002").1["status"], "DELIVERED");
}

#[test]
fn number_211_loses_the_answer_and_212_reports_before_it() {
    let mut world = World::new();
    assert!(world.send(&text("211", "Hello", "ref-1")).is_none());
    assert_eq!(world.settle(Some(200)).len(), 2);
    assert_eq!(world.phones.inbox("254700000211").len(), 1);
    assert_eq!(world.send(&text("211", "Hello", "ref-1")).unwrap().1["message_id"], "DMZ-SIM-000001");

    let sent = world.now;
    let reply = world.call(http::Method::POST, "/v1/sms/send", &text("212", "Hello", "ref-2").to_string());
    let reports = world.settle(Some(200));
    assert_eq!(body(reports.last().unwrap())["status"], "DELIVERED");
    assert!(reports.last().unwrap().at - sent < TimeDelta::from_std(reply.delay).unwrap());
}

#[test]
fn a_report_that_is_not_answered_2xx_is_repeated_after_5_30_and_120_seconds() {
    for status in [Some(500), Some(404), None] {
        let mut world = World::new();
        let sent = world.now;
        world.send(&text("201", "Hello", "ref-1")).unwrap();
        let reports = world.settle(status);
        let delivered: Vec<i64> =
            reports.iter().filter(|report| body(report)["status"] == "DELIVERED").map(|report| (report.at - sent).num_seconds()).collect();
        assert_eq!(delivered, [3, 8, 38, 158]);
        let mut ids: Vec<u64> = reports.iter().map(|report| report.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 8, "each has an id of its own");
    }
}

#[test]
fn the_dials_turn() {
    let dial = |faults: DamzaFaults| {
        let mut world = World::new();
        *world.sim.faults_mut() = faults;
        let answer = world.send(&text("201", "Hello", "ref-1"));
        let reports = world.settle(Some(200)).len();
        (answer.map(|(status, _)| status), reports, world.phones.inbox("254700000201").len())
    };
    let none = DamzaFaults::default;
    assert_eq!(dial(DamzaFaults { down: 1000, ..none() }), (Some(503), 0, 0));
    assert_eq!(dial(DamzaFaults { dropped: 1000, ..none() }), (None, 0, 0));
    assert_eq!(dial(DamzaFaults { rate_limited: 1000, ..none() }), (Some(429), 0, 0));
    assert_eq!(dial(DamzaFaults { answer_lost: 1000, ..none() }), (None, 2, 1));
    assert_eq!(dial(DamzaFaults { report_lost: 1000, ..none() }), (Some(200), 0, 1));
    assert_eq!(dial(DamzaFaults { report_twice: 1000, ..none() }), (Some(200), 3, 1));
    assert_eq!(dial(DamzaFaults { undelivered: 1000, ..none() }), (Some(200), 2, 0));

    let mut world = World::new();
    world.sim.faults_mut().rate_limited = 1000;
    let message = text("201", "Hello", "ref-1").to_string();
    let reply = world.call(http::Method::POST, "/v1/sms/send", &message);
    assert_eq!(reply.response.unwrap().headers()["retry-after"], "2");

    let mut world = World::new();
    *world.sim.faults_mut() = DamzaFaults { slow: 1000, slow_up_to: Duration::from_mins(1), ..none() };
    let replies: Vec<Duration> = (0..20)
        .map(|index| {
            let message = text("201", "Hello", &format!("ref-{index}")).to_string();
            world.call(http::Method::POST, "/v1/sms/send", &message).delay
        })
        .collect();
    assert!(replies.iter().any(|delay| *delay > Duration::from_secs(1)));
    assert!(replies.iter().all(|delay| *delay <= Duration::from_mins(1)));
}

#[test]
fn the_same_seed_and_calls_give_the_same_bytes() {
    let run = |seed: u64| {
        let phones = Phones::new();
        let mut sim = DamzaSim::new(phones.clone(), seed, DamzaOptions::default());
        sim.set_report_url("abcsacco", REPORTS);
        *sim.faults_mut() = DamzaFaults { down: 200, answer_lost: 200, undelivered: 300, report_twice: 300, ..DamzaFaults::default() };
        let mut world = World { sim, phones, now: DateTime::UNIX_EPOCH, key: "sim-damza-key" };
        let mut wire = Vec::new();
        for index in 0..60 {
            let answer = world.send(&text("201", "Hello", &format!("ref-{index}")));
            wire.push(format!("{answer:?}"));
            wire.extend(world.settle(Some(200)).iter().map(|report| format!("{} {}", report.at, body(report))));
        }
        (wire, world.phones.snapshot())
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).0, run(6).0);
}
