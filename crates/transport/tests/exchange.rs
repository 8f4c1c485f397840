//! The transport against servers that misbehave. Every server listens on a port of its own choice on loopback.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use pv_kernel::{
    Clock, SystemClock,
    transport::{Call, CallError, NotSent, Transport},
};
use pv_transport::{AddressPolicy, BreakerOptions, HttpTransport, LaneState, TransportOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What a server does with each connection.
#[derive(Clone)]
enum Manner {
    /// Reads one request, answers this, and goes on with the connection.
    Answer(Vec<u8>),
    /// Reads one request and closes.
    CloseAfterReading,
    /// Reads and never answers.
    Silence,
    /// Answers the first request of a connection and closes it while it idles in the client's pool.
    AnswerOnceThenClose(Vec<u8>),
    /// Sends a body without end.
    Endless,
}

struct Server {
    url: String,
    /// Complete requests, with their bodies.
    complete: Arc<AtomicUsize>,
    /// Every byte that came.
    bytes: Arc<Mutex<Vec<u8>>>,
    connections: Arc<AtomicUsize>,
    manner: Arc<Mutex<Manner>>,
}

impl Server {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            url: format!("http://{}/pay", listener.local_addr().unwrap()),
            complete: Arc::default(),
            bytes: Arc::default(),
            connections: Arc::default(),
            manner: Arc::new(Mutex::new(manner)),
        };
        let (complete, bytes, connections, manner) =
            (Arc::clone(&server.complete), Arc::clone(&server.bytes), Arc::clone(&server.connections), Arc::clone(&server.manner));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(converse(stream, Arc::clone(&manner), Arc::clone(&complete), Arc::clone(&bytes)));
            }
        });
        server
    }

    fn complete(&self) -> usize {
        self.complete.load(Ordering::SeqCst)
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }
}

/// Reads one request: head, then as many bytes as Content-Length says. False at the end of the connection.
async fn read_request(stream: &mut TcpStream, all: &Mutex<Vec<u8>>) -> bool {
    let mut request = Vec::new();
    let mut chunk = [0u8; 4096];
    loop {
        let Ok(n @ 1..) = stream.read(&mut chunk).await else {
            return false;
        };
        let part = chunk.get(..n).unwrap_or_default();
        request.extend_from_slice(part);
        all.lock().unwrap().extend_from_slice(part);
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(0, |n| n.trim().parse().unwrap());
        if body.len() >= length {
            return true;
        }
    }
}

async fn converse(mut stream: TcpStream, manner: Arc<Mutex<Manner>>, complete: Arc<AtomicUsize>, all: Arc<Mutex<Vec<u8>>>) {
    while read_request(&mut stream, &all).await {
        complete.fetch_add(1, Ordering::SeqCst);
        let manner = manner.lock().unwrap().clone();
        match manner {
            Manner::Answer(answer) => stream.write_all(&answer).await.unwrap(),
            Manner::AnswerOnceThenClose(answer) => {
                stream.write_all(&answer).await.unwrap();
                return;
            }
            Manner::CloseAfterReading => return,
            Manner::Silence => {}
            Manner::Endless => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                while stream.write_all(chunk.as_bytes()).await.is_ok() {}
                return;
            }
        }
    }
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn options() -> TransportOptions {
    TransportOptions { addresses: AddressPolicy::any(), ..TransportOptions::new(Arc::new(SystemClock::new())) }
}

fn transport() -> HttpTransport {
    HttpTransport::new(options()).unwrap()
}

fn call(url: &str) -> Call {
    Call {
        purpose: "test.pay",
        request: http::Request::post(url).header("content-type", "application/json").body(Bytes::from_static(b"{\"Amount\":10}")).unwrap(),
        timeout: Duration::from_secs(20),
        write_before: None,
        trust: None,
        lane: "test".to_owned(),
        rate: None,
    }
}

/// A money call whose deadline is far away.
fn money(url: &str) -> Call {
    Call { write_before: Some(Duration::from_hours(1)), ..call(url) }
}

/// A clock that jumps far ahead after it was read so many times.
struct Jumping {
    real: SystemClock,
    reads: AtomicU64,
    after: u64,
}

impl Clock for Jumping {
    fn now(&self) -> DateTime<Utc> {
        self.real.now()
    }
    fn monotonic(&self) -> Duration {
        let jumped = self.reads.fetch_add(1, Ordering::SeqCst) >= self.after;
        self.real.monotonic() + if jumped { Duration::from_secs(100_000) } else { Duration::ZERO }
    }
}

#[tokio::test]
async fn an_answer_comes_back_whole_whatever_its_status() {
    for (status, code) in [("200 OK", 200), ("404 Not Found", 404), ("500 Internal Server Error", 500)] {
        let server = Server::start(Manner::Answer(answer(status, "{\"a\":1}"))).await;
        let got = transport().call(money(&server.url)).await.unwrap();
        assert_eq!((got.status().as_u16(), got.body().as_ref()), (code, b"{\"a\":1}".as_ref()));
        assert!(server.seen().to_ascii_lowercase().contains("content-length: 13\r\n"), "the length is announced: {}", server.seen());
        assert!(server.seen().ends_with("{\"Amount\":10}"));
    }
}

#[tokio::test]
async fn a_refused_connection_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    for call in [call(&url), money(&url), Call { request: http::Request::get(&url).body(Bytes::new()).unwrap(), ..call(&url) }] {
        let error = transport().call(call).await.unwrap_err();
        assert!(matches!(error, CallError::NotSent(NotSent::NoConnection(_))), "{error:?}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_not_sent() {
    let error = transport().call(money("http://no-such-host.invalid/")).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent(NotSent::NoConnection(_))), "{error:?}");
}

#[tokio::test]
async fn a_failed_tls_handshake_is_not_sent() {
    // The server waits for the end of an HTTP head that never comes; the handshake ends with the time for connecting.
    let server = Server::start(Manner::CloseAfterReading).await;
    let quick = HttpTransport::new(TransportOptions { connect_timeout: Duration::from_millis(300), ..options() }).unwrap();
    let error = quick.call(money(&server.url.replace("http:", "https:"))).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent(NotSent::NoConnection(_))), "{error:?}");
    assert!(!server.seen().contains("Amount"));
}

#[tokio::test]
async fn a_server_that_reads_and_closes_gives_no_answer_and_sees_the_request_once() {
    let server = Server::start(Manner::CloseAfterReading).await;
    for call in [call(&server.url), money(&server.url)] {
        let error = transport().call(call).await.unwrap_err();
        assert!(matches!(error, CallError::NoAnswer(_)), "{error:?}");
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.complete(), 2, "two calls, two requests: nothing was repeated");
}

#[tokio::test]
async fn a_slow_server_gives_no_answer_after_the_timeout() {
    let server = Server::start(Manner::Silence).await;
    let error = transport().call(Call { timeout: Duration::from_millis(300), ..money(&server.url) }).await.unwrap_err();
    assert!(matches!(error, CallError::NoAnswer(_)), "{error:?}");
    assert_eq!(server.complete(), 1);
}

#[tokio::test]
async fn a_timeout_before_the_connection_stands_is_not_sent() {
    // A listener whose backlog nobody accepts still connects; an address that swallows packets does not. TLS to a silent
    // server is the portable form: the handshake never ends, so the body never leaves.
    let server = Server::start(Manner::Silence).await;
    let error = transport().call(Call { timeout: Duration::from_millis(300), ..money(&server.url.replace("http:", "https:")) }).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent(NotSent::NoConnection(_))), "{error:?}");
}

#[tokio::test]
async fn too_late_is_not_sent_and_no_complete_request_arrives() {
    let server = Server::start(Manner::Answer(answer("200 OK", "{}"))).await;
    let error = transport().call(Call { write_before: Some(Duration::ZERO), ..call(&server.url) }).await.unwrap_err();
    assert_eq!(error, CallError::NotSent(NotSent::TooLate));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((server.complete(), server.seen().as_str()), (0, ""), "not even a head");
}

#[tokio::test]
async fn a_deadline_that_passes_while_connecting_is_found_at_the_write() {
    // The transport reads the clock a few times before the write: whichever read is the one that jumps, either the whole
    // request leaves or nothing of it does.
    let mut outcomes = std::collections::BTreeSet::new();
    for after in 0..8 {
        let server = Server::start(Manner::Answer(answer("200 OK", "{}"))).await;
        let clock = Arc::new(Jumping { real: SystemClock::new(), reads: AtomicU64::new(0), after });
        let transport = HttpTransport::new(TransportOptions { addresses: AddressPolicy::any(), ..TransportOptions::new(clock) }).unwrap();
        let outcome = transport.call(money(&server.url)).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        match outcome {
            Ok(_) => assert_eq!(server.complete(), 1),
            Err(CallError::NotSent(_)) => assert_eq!(server.seen(), "", "{after}"),
            Err(other) => panic!("{other:?}"),
        }
        outcomes.insert(server.complete());
    }
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), [0, 1], "both ends are reached");
}

#[tokio::test]
async fn a_wait_for_the_rate_that_passes_the_deadline_is_too_late() {
    let clock = Arc::new(SystemClock::new());
    let transport =
        HttpTransport::new(TransportOptions { addresses: AddressPolicy::any(), ..TransportOptions::new(Arc::clone(&clock) as Arc<dyn Clock>) })
            .unwrap();
    let server = Server::start(Manner::Answer(answer("200 OK", "{}"))).await;
    transport.call(Call { rate: Some(2), ..money(&server.url) }).await.unwrap();
    let deadline = clock.monotonic() + Duration::from_millis(100);
    let error = transport.call(Call { rate: Some(2), write_before: Some(deadline), ..call(&server.url) }).await.unwrap_err();
    assert_eq!(error, CallError::NotSent(NotSent::TooLate));
    assert_eq!(server.complete(), 1);
}

#[tokio::test]
async fn a_cancelled_call_does_not_leave_later() {
    let server = Server::start(Manner::Silence).await;
    let transport = Arc::new(transport());
    let url = server.url.replace("http:", "https:");
    let task = tokio::spawn({
        let transport = Arc::clone(&transport);
        async move { transport.call(money(&url)).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!server.seen().contains("Amount"));
    assert_eq!(transport.lanes().first().map(|l| l.in_flight), Some(0), "its place is free again");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let other = Server::start(Manner::Answer(answer("200 OK", "{}"))).await;
    for status in ["302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let moved = format!("HTTP/1.1 {status}\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", other.url);
        let server = Server::start(Manner::Answer(moved.into_bytes())).await;
        let got = transport().call(money(&server.url)).await.unwrap();
        assert!(got.status().is_redirection());
    }
    assert_eq!(other.complete(), 0);
}

#[tokio::test]
async fn each_money_call_has_a_connection_of_its_own_also_where_the_server_would_keep_it() {
    let server = Server::start(Manner::Answer(answer("200 OK", "{}"))).await;
    let transport = transport();
    for _ in 0..3 {
        transport.call(money(&server.url)).await.unwrap();
    }
    assert_eq!((server.connections.load(Ordering::SeqCst), server.complete()), (3, 3));
}

#[tokio::test]
async fn money_calls_survive_a_server_that_closes_idle_connections() {
    let server = Server::start(Manner::AnswerOnceThenClose(answer("200 OK", "{}"))).await;
    let transport = transport();
    for _ in 0..5 {
        transport.call(money(&server.url)).await.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 5);
    assert_eq!(server.complete(), 5, "one request each");
}

#[tokio::test]
async fn other_calls_reuse_connections_and_are_sent_once_also_on_a_stale_one() {
    let server = Server::start(Manner::Answer(answer("200 OK", "{}"))).await;
    let transport = transport();
    for _ in 0..3 {
        transport.call(call(&server.url)).await.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    *server.manner.lock().unwrap() = Manner::CloseAfterReading;
    let error = transport.call(call(&server.url)).await.unwrap_err();
    assert!(matches!(error, CallError::NoAnswer(_)), "{error:?}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.complete(), 4, "the request on the dying connection was not repeated");
}

#[tokio::test]
async fn an_endless_answer_is_no_answer() {
    let server = Server::start(Manner::Endless).await;
    let transport = HttpTransport::new(TransportOptions { max_answer: 200_000, ..options() }).unwrap();
    let error = transport.call(money(&server.url)).await.unwrap_err();
    assert_eq!(error, CallError::NoAnswer("the answer is larger than 200000 bytes".to_owned()));
}

#[tokio::test]
async fn what_is_not_to_be_called_is_refused() {
    let server = Server::start(Manner::Answer(answer("200 OK", "{}"))).await;
    let closed = HttpTransport::new(TransportOptions { addresses: AddressPolicy::public_only(), ..options() }).unwrap();
    let port = server.url.trim_start_matches("http://127.0.0.1:").trim_end_matches("/pay").to_owned();
    for url in [
        server.url.clone(),
        format!("http://localhost:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://user:secret@127.0.0.1:{port}/"),
        "http://169.254.169.254/latest".to_owned(),
        "ftp://example.com/".to_owned(),
    ] {
        let error = closed.call(money(&url)).await.unwrap_err();
        assert!(matches!(error, CallError::NotSent(NotSent::Refused(_))), "{url}: {error:?}");
        assert!(!error.to_string().contains("secret"));
    }
    let bodyless = Call { request: http::Request::post(&server.url).body(Bytes::new()).unwrap(), ..money(&server.url) };
    assert!(matches!(transport().call(bodyless).await, Err(CallError::NotSent(NotSent::Refused(_)))));
    let bad_trust = Call { trust: Some("no certificate".to_owned()), ..money(&server.url) };
    assert!(matches!(transport().call(bad_trust).await, Err(CallError::NotSent(NotSent::Refused(_)))));
    assert_eq!(server.complete(), 0);
}

#[tokio::test]
async fn the_circuit_opens_on_failures_and_closes_after_a_success() {
    let server = Server::start(Manner::Answer(answer("503 Service Unavailable", ""))).await;
    let breaker = BreakerOptions { window: 4, minimum_calls: 4, failure_rate: 0.5, open_for: Duration::from_millis(300), probes: 1 };
    let transport = HttpTransport::new(TransportOptions { breaker, ..options() }).unwrap();
    for _ in 0..4 {
        assert_eq!(transport.call(money(&server.url)).await.unwrap().status(), 503);
    }
    assert_eq!(transport.call(money(&server.url)).await.unwrap_err(), CallError::NotSent(NotSent::CircuitOpen));
    assert_eq!(server.complete(), 4, "nothing leaves while it is open");
    let other = Call { lane: "another".to_owned(), ..money(&server.url) };
    assert!(transport.call(other).await.is_ok(), "another lane is not concerned");

    *server.manner.lock().unwrap() = Manner::Answer(answer("200 OK", "{}"));
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(transport.call(money(&server.url)).await.unwrap().status(), 200);
    assert_eq!(transport.call(money(&server.url)).await.unwrap().status(), 200);
    let health = transport.lanes().into_iter().find(|l| l.lane == "test").unwrap();
    assert_eq!((health.state, health.failures, health.failures_in_a_row, health.held_back), (LaneState::Closed, 4, 0, 1));
    assert!(health.last_success.is_some() && health.last_latency.is_some());
    assert_eq!(health.last_error.as_deref(), Some("HTTP 503"));
}

#[tokio::test]
async fn a_person_pauses_and_resumes_a_lane() {
    let server = Server::start(Manner::Answer(answer("200 OK", "{}"))).await;
    let transport = transport();
    transport.pause("test").unwrap();
    assert_eq!(transport.call(money(&server.url)).await.unwrap_err(), CallError::NotSent(NotSent::CircuitOpen));
    assert_eq!(transport.lanes().first().map(|l| l.state), Some(LaneState::Paused));
    transport.resume("test").await.unwrap();
    assert!(transport.call(money(&server.url)).await.is_ok());
}

#[tokio::test]
async fn the_rate_paces_the_calls_of_a_lane() {
    let server = Server::start(Manner::Answer(answer("200 OK", "{}"))).await;
    let transport = Arc::new(transport());
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    let calls = (0..6).map(|_| {
        let (transport, call) = (Arc::clone(&transport), Call { rate: Some(20), ..money(&server.url) });
        tokio::spawn(async move { transport.call(call).await })
    });
    for task in calls.collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    // Six calls at 20 a second: the last may go after 5 twentieths. A burst of two is allowed at 20 a second.
    let took = clock.monotonic().saturating_sub(begun);
    assert!(took >= Duration::from_millis(180), "{took:?}");
    assert_eq!(server.complete(), 6);
}

#[tokio::test]
async fn throttling_answers_lower_the_rate() {
    for (status, body) in [
        ("429 Too Many Requests", ""),
        (
            "500 Internal Server Error",
            r#"{"fault":{"faultstring":"Spike arrest violation.","detail":{"errorcode":"policies.ratelimit.SpikeArrestViolation"}}}"#,
        ),
        ("500 Internal Server Error", r#"{"errorCode":"500.003.03","errorMessage":"Error Occurred: Quota Violation"}"#),
    ] {
        let server = Server::start(Manner::Answer(answer(status, body))).await;
        let transport = transport();
        transport.call(Call { rate: Some(40), ..money(&server.url) }).await.unwrap();
        let health = transport.lanes().into_iter().next().unwrap();
        assert_eq!((health.rate_milli, health.rate_asked_milli), (Some(20_000), Some(40_000)), "{status}");
    }
}

#[tokio::test]
async fn a_full_lane_holds_the_next_call_back() {
    let server = Server::start(Manner::Silence).await;
    let transport = Arc::new(HttpTransport::new(TransportOptions { concurrency: 1, max_wait: Duration::from_millis(100), ..options() }).unwrap());
    let first = tokio::spawn({
        let (transport, call) = (Arc::clone(&transport), Call { timeout: Duration::from_millis(1500), ..money(&server.url) });
        async move { transport.call(call).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(transport.call(money(&server.url)).await.unwrap_err(), CallError::NotSent(NotSent::Limited));
    assert!(matches!(first.await.unwrap(), Err(CallError::NoAnswer(_))));
    assert_eq!(server.complete(), 1);
}
