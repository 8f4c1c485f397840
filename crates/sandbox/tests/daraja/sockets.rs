//! The simulator behind a real port: keep-alive, dropped connections, callbacks, shutdown.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use pv_sandbox::daraja::{DarajaOptions, DarajaSim, Fault};
use pv_sandbox::phones::Phones;
use pv_sandbox::serve::{Now, Sandbox, Stand};
use pv_sandbox::wire::{Delivery, Reply, Request, Response, Simulator};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::world::{B2C, PHONE, order};

/// A host that remembers what it was sent.
#[derive(Default)]
struct Listener {
    heard: Vec<Value>,
}

impl Simulator for Listener {
    fn handle(&mut self, _now: DateTime<Utc>, request: &Request) -> Reply {
        self.heard.push(serde_json::from_slice(request.body()).unwrap_or(Value::Null));
        Reply::now(Response::new(Bytes::from_static(b"{\"ResultCode\":0}")))
    }

    fn next_due(&self) -> Option<DateTime<Utc>> {
        None
    }

    fn take_due(&mut self, _now: DateTime<Utc>) -> Vec<Delivery> {
        Vec::new()
    }

    fn delivered(&mut self, _now: DateTime<Utc>, _delivery: &Delivery, _status: Option<u16>) {}
}

struct Running {
    sandbox: Sandbox,
    sim: Arc<Mutex<DarajaSim>>,
    listener: Arc<Mutex<Listener>>,
    client: reqwest::Client,
    token: String,
}

impl Running {
    async fn start() -> Self {
        let options = DarajaOptions {
            processing_delay: Duration::from_millis(20),
            callback_delay: Duration::from_millis(20),
            loose_typing_per_mille: 0,
            ..DarajaOptions::default()
        };
        let sim = Arc::new(Mutex::new(DarajaSim::new(Phones::new(), 1, options)));
        let listener = Arc::new(Mutex::new(Listener::default()));
        let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let stands = vec![Stand::new("daraja", sim.clone(), free), Stand::new("hooks", listener.clone(), free)];
        // A clock that starts at a fixed moment and runs with the machine's monotonic one.
        let (epoch, started): (DateTime<Utc>, _) = ("2026-01-03T11:05:00Z".parse().unwrap(), Instant::now());
        let now: Now = Arc::new(move || epoch + started.elapsed());
        let sandbox = Sandbox::start(stands, now).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut running = Self { sandbox, sim, listener, client, token: String::new() };
        let pair = BASE64_STANDARD.encode("sandbox-consumer-key:sandbox-consumer-secret");
        let url = format!("{}/oauth/v1/generate?grant_type=client_credentials", running.url("daraja"));
        let answer = running.client.get(url).header("authorization", format!("Basic {pair}")).send().await.unwrap();
        let json: Value = answer.json().await.unwrap();
        json["access_token"].as_str().unwrap().clone_into(&mut running.token);
        running
    }

    fn url(&self, name: &str) -> String {
        self.sandbox.base_url(name).unwrap()
    }

    fn order(&self, id: &str) -> Value {
        let mut body = order(id, PHONE, 100);
        body["ResultURL"] = Value::String(format!("{}/h/9f2c/b2c/result", self.url("hooks")));
        body["QueueTimeOutURL"] = Value::String(format!("{}/h/9f2c/b2c/timeout", self.url("hooks")));
        body
    }

    async fn pay(&self, id: &str) -> reqwest::Result<reqwest::Response> {
        let request = self.client.post(format!("{}{B2C}", self.url("daraja"))).bearer_auth(&self.token);
        request.json(&self.order(id)).send().await
    }

    async fn heard(&self, count: usize) -> Vec<Value> {
        for _ in 0..500 {
            let heard = self.listener.lock().unwrap().heard.clone();
            if heard.len() >= count {
                return heard;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the callback did not come")
    }
}

#[tokio::test]
async fn a_payment_goes_through_real_sockets_and_its_callback_comes_back() {
    let running = Running::start().await;
    assert_eq!(running.pay("pv-1").await.unwrap().status(), 200);
    let heard = running.heard(1).await;
    assert_eq!(heard[0]["Result"]["OriginatorConversationID"], "pv-1");
    assert_eq!(heard[0]["Result"]["ResultCode"], 0);
    for _ in 0..200 {
        if !running.sim.lock().unwrap().callbacks().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(running.sim.lock().unwrap().callbacks()[0].status, Some(200));
    running.sandbox.stop().await;
}

#[tokio::test]
async fn a_dropped_connection_has_no_answer_and_the_payment_happens() {
    let running = Running::start().await;
    running.sim.lock().unwrap().script("pv-1", vec![Fault::DroppedAfter]);
    assert!(running.pay("pv-1").await.is_err());
    assert_eq!(running.heard(1).await[0]["Result"]["ResultCode"], 0);
    let repeat: Value = running.pay("pv-1").await.unwrap().json().await.unwrap();
    assert_eq!(repeat["errorCode"], "500.002.1001");
}

#[tokio::test]
async fn an_answer_waits_as_long_as_the_simulator_says() {
    let running = Running::start().await;
    running.sim.lock().unwrap().script("pv-1", vec![Fault::Slow(Duration::from_millis(300))]);
    let started = Instant::now();
    assert_eq!(running.pay("pv-1").await.unwrap().status(), 200);
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_stopped_sandbox_listens_no_more() {
    let running = Running::start().await;
    let address = running.sandbox.address("daraja").unwrap();
    let idle = tokio::net::TcpStream::connect(address).await.unwrap();
    let started = Instant::now();
    running.sandbox.stop().await;
    assert!(started.elapsed() < Duration::from_secs(5), "an idle connection does not hold it up");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn a_taken_address_is_told() {
    let running = Running::start().await;
    let address = running.sandbox.address("daraja").unwrap();
    let now: Now = Arc::new(|| DateTime::UNIX_EPOCH);
    let stand = Stand::new("second", running.listener.clone(), address);
    let error = Sandbox::start(vec![stand], now).await.unwrap_err();
    assert!(error.to_string().contains("second"), "{error}");
}

#[tokio::test]
async fn an_oversized_body_is_refused() {
    let running = Running::start().await;
    let request = running.client.post(format!("{}/x", running.url("hooks"))).body(vec![b' '; 2 * 1024 * 1024]);
    // The refusal may overtake the body; then the client sees a broken pipe.
    if let Ok(answer) = request.send().await {
        assert_eq!(answer.status(), 413);
    }
    assert!(running.listener.lock().unwrap().heard.is_empty());
}

/// Eight connections with pipelined requests; an unoptimised build on a shared machine must still pass a tenth of the
/// rate that a release build is built for (the rate is printed).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keep_alive_connections_sustain_many_requests() {
    let running = Running::start().await;
    let address = running.sandbox.address("daraja").unwrap();
    let each = 400;
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for connection in 0..8 {
        let (token, body) = (running.token.clone(), running.order("ID"));
        tasks.spawn(async move {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let mut buffer = vec![0; 4096];
            for index in 0..each {
                let mut body = body.clone();
                body["OriginatorConversationID"] = Value::String(format!("pv-{connection}-{index}"));
                let body = body.to_string();
                let head = format!(
                    "POST {B2C} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
                     content-length: {}\r\n\r\n",
                    body.len()
                );
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                let read = stream.read(&mut buffer).await.unwrap();
                assert!(buffer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..read]));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let rate = f64::from(8 * each) / started.elapsed().as_secs_f64();
    println!("{rate:.0} requests a second, callbacks included");
    assert!(rate > 300.0, "{rate:.0} requests a second");
    assert_eq!(running.sim.lock().unwrap().payments().count(), 3200);
}
