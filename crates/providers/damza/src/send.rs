//! Handing one text over (SMS contract 2.2). Sent at most once per call: whether it is sent again, here or by another
//! gateway, follows from the class of the error and is decided by the caller.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use pv_kernel::{
    sms::{OutboundSms, SendError, SendReceipt, SmsAccount},
    transport::{Call, CallError},
};
use secrecy::ExposeSecret as _;

use crate::{
    Damza,
    wire::{LONGEST_SENDER, Refusal, SEND_PATH, Send, SendAnswer, class, cost_e4, text},
};

/// How long to wait for the gateway: a text that must arrive within 30 seconds leaves room for the second gateway.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Damza {
    pub(crate) async fn send_one(&self, account: &SmsAccount, message: &OutboundSms) -> Result<SendReceipt, SendError> {
        let request = request(account, message)?;
        let host = request.uri().host().unwrap_or_default().to_owned();
        let call =
            Call { purpose: "damza.send", request, timeout: TIMEOUT, write_before: None, trust: None, lane: format!("sms:{host}"), rate: None };
        match self.transport.call(call).await {
            Ok(response) => read(&response, &message.reference),
            Err(error @ CallError::NotSent(_)) => Err(SendError::Provider(error.to_string())),
            Err(error @ CallError::NoAnswer(_)) => Err(SendError::Unknown(error.to_string())),
            Err(CallError::Crashed) => Err(SendError::Crashed),
        }
    }
}

fn request(account: &SmsAccount, message: &OutboundSms) -> Result<Request<Bytes>, SendError> {
    let base = account.base_url.trim().trim_end_matches('/');
    if base.is_empty() {
        return Err(SendError::Provider("Damza is not configured: it has no base URL".to_owned()));
    }
    if message.text.trim().is_empty() {
        return Err(SendError::Permanent("the text is empty".to_owned()));
    }
    let sender = account.sender_id.trim();
    if sender.is_empty() || sender.chars().count() > LONGEST_SENDER {
        return Err(SendError::Provider(format!("the sender id must have 1 to {LONGEST_SENDER} characters")));
    }
    let body = Send {
        username: &account.username,
        password: account.password.expose_secret(),
        sender_id: sender,
        recipient: message.to.to_string(),
        message: &message.text,
        reference: &message.reference,
    };
    let body = serde_json::to_vec(&body).map_err(|e| SendError::Permanent(format!("the text cannot be written: {e}")))?;
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", account.api_key.expose_secret()))
        .map_err(|_| SendError::Provider("the API key makes no header".to_owned()))?;
    bearer.set_sensitive(true);
    Request::post(format!("{base}{SEND_PATH}"))
        .header(header::AUTHORIZATION, bearer)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(Bytes::from(body))
        .map_err(|e| SendError::Provider(format!("the base URL cannot be used: {e}")))
}

/// Reads the answer to a send. `reference` is ours.
fn read(response: &Response<Bytes>, reference: &str) -> Result<SendReceipt, SendError> {
    let http = response.status().as_u16();
    // A list would be taken for the members in their order; only an object is an answer.
    let object = Some(response.body()).filter(|body| body.trim_ascii_start().starts_with(b"{"));
    let answer: Option<SendAnswer<'_>> = object.and_then(|body| serde_json::from_slice(body).ok());
    if response.status().is_success() {
        let Some(answer) = answer else {
            return Err(SendError::Unknown(format!("HTTP {http} with an answer that cannot be read")));
        };
        return taken(http, &answer, reference);
    }
    let refusal = answer.as_ref().and_then(|a| a.error).and_then(|e| serde_json::from_str::<Refusal<'_>>(e.get()).ok());
    let code = refusal.as_ref().and_then(|r| text(r.code));
    let said = refusal.as_ref().and_then(|r| text(r.message)).unwrap_or_else(|| "no reason given".to_owned());
    let shown = code.as_deref().unwrap_or("no code");
    Err(class(http, code.as_deref())(format!("HTTP {http} {shown}: {said}")))
}

/// A 2xx is an acceptance only when it says so and gives an id; a refusal inside it is a refusal.
fn taken(http: u16, answer: &SendAnswer<'_>, reference: &str) -> Result<SendReceipt, SendError> {
    if let Some(error) = answer.error.filter(|e| e.get() != "null") {
        let refusal: Option<Refusal<'_>> = serde_json::from_str(error.get()).ok();
        let code = refusal.as_ref().and_then(|r| text(r.code));
        // No status of its own to judge by: only a code that is known says that nothing was sent.
        return Err(class(200, code.as_deref())(format!("HTTP {http} {}", code.as_deref().unwrap_or("with an error"))));
    }
    if text(answer.reference).is_some_and(|echoed| echoed != reference) {
        return Err(SendError::Unknown(format!("HTTP {http} about another message")));
    }
    let accepted = text(answer.status).is_some_and(|status| status.eq_ignore_ascii_case("accepted"));
    match text(answer.message_id) {
        Some(message_id) if accepted => Ok(SendReceipt {
            message_id,
            segments: text(answer.segments).and_then(|n| n.parse().ok()),
            cost_e4: text(answer.currency).is_none_or(|c| c == "KES").then(|| text(answer.cost)).flatten().as_deref().and_then(cost_e4),
        }),
        _ => Err(SendError::Unknown(format!("HTTP {http} that does not say whether the text was accepted"))),
    }
}

#[cfg(test)]
mod tests {
    use pv_kernel::{sms::SmsGateway as _, transport::NotSent};

    use super::*;
    use crate::testing::{Gateway, account, message, run};

    const ACCEPTED: &str = r#"{ "status": "accepted", "message_id": "DMZ-SIM-000001", "reference": "0b1c1b62-1111-4222-8333-444455556666", "segments": 1, "cost": "0.80", "currency": "KES" }"#;

    fn send(status: u16, body: &str) -> Result<SendReceipt, SendError> {
        run(Gateway::answering(status, body).damza().send(&account(), &message()))
    }

    fn refusal(code: &str) -> String {
        format!(
            r#"{{ "status": "rejected", "error": {{ "code": "{code}", "message": "Sender id is not active for this account" }}, "reference": "0b1c1b62-1111-4222-8333-444455556666" }}"#
        )
    }

    #[test]
    fn a_text_goes_out_as_the_contract_says_and_its_receipt_is_read() {
        let gateway = Gateway::answering(200, ACCEPTED);
        let receipt = run(gateway.damza().send(&account(), &message())).unwrap();
        assert_eq!(receipt, SendReceipt { message_id: "DMZ-SIM-000001".into(), segments: Some(1), cost_e4: Some(8_000) });
        let sent = gateway.sent();
        let request = &sent[0].request;
        assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("POST", "https://damza.example/api/v1/sms/send"));
        assert_eq!(request.headers()["Authorization"], "Bearer sim-key");
        assert!(request.headers()["Authorization"].is_sensitive());
        let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({ "username": "abcsacco", "password": "sim-password", "sender_id": "ABC Bank", "recipient": "254700000201",
                "message": "Your wallet was credited with KES 1,500.00. Ref PV25011500001.", "reference": "0b1c1b62-1111-4222-8333-444455556666" })
        );
        assert_eq!((sent[0].lane.as_str(), sent[0].purpose), ("sms:damza.example", "damza.send"));
    }

    #[test]
    fn every_code_of_the_table_has_its_class() {
        let permanent =
            [(400, "INVALID_RECIPIENT"), (400, "EMPTY_MESSAGE"), (400, "MESSAGE_TOO_LONG"), (409, "DUPLICATE_REFERENCE"), (422, "BLACKLISTED")];
        let provider = [
            (401, "INVALID_CREDENTIALS"),
            (402, "INSUFFICIENT_BALANCE"),
            (403, "INVALID_SENDER"),
            (429, "RATE_LIMITED"),
            (500, "GATEWAY_ERROR"),
            (502, "GATEWAY_ERROR"),
            (503, "GATEWAY_ERROR"),
        ];
        for (status, code) in permanent {
            assert!(matches!(send(status, &refusal(code)), Err(SendError::Permanent(why)) if why.contains(code)), "{status} {code}");
        }
        for (status, code) in provider {
            assert!(matches!(send(status, &refusal(code)), Err(SendError::Provider(why)) if why.contains(code)), "{status} {code}");
        }
    }

    #[test]
    fn refusals_without_a_known_code_are_placed_by_their_status() {
        for status in [401, 402, 403, 404, 400, 429, 500, 502, 503] {
            assert!(matches!(send(status, "<html>"), Err(SendError::Provider(_))), "{status}");
        }
        for status in [408, 504, 302, 520] {
            assert!(matches!(send(status, "<html>"), Err(SendError::Unknown(_))), "{status}");
        }
        assert!(matches!(send(422, &refusal("OPTED_OUT")), Err(SendError::Permanent(_))));
    }

    #[test]
    fn a_200_that_does_not_say_accepted_is_unknown_and_never_a_receipt() {
        for body in [
            "",
            "<html>ok</html>",
            "{}",
            "[]",
            "null",
            &ACCEPTED[..60],
            r#"["accepted","DMZ-1"]"#,
            r#"{"status":"accepted"}"#,
            r#"{"status":"accepted","message_id":null}"#,
            r#"{"message_id":"DMZ-1"}"#,
            r#"{"status":"queued?","message_id":"DMZ-1"}"#,
            r#"{"status":"accepted","message_id":"DMZ-1","reference":"another"}"#,
            r#"{"status":"accepted","message_id":"DMZ-1","error":{"code":"SOMETHING"}}"#,
        ] {
            assert!(matches!(send(200, body), Err(SendError::Unknown(_))), "{body}");
        }
        assert!(matches!(send(200, &refusal("BLACKLISTED")), Err(SendError::Permanent(_))));
        assert!(matches!(send(200, &refusal("INVALID_SENDER")), Err(SendError::Provider(_))));
    }

    #[test]
    fn extras_of_a_receipt_may_be_missing_or_odd() {
        let receipt = send(200, r#"{"status":"ACCEPTED","message_id":17,"segments":"2","cost":0.8,"currency":"USD","error":null}"#).unwrap();
        assert_eq!(receipt, SendReceipt { message_id: "17".into(), segments: Some(2), cost_e4: None });
        let receipt = send(202, r#"{"status":"accepted","message_id":"a","segments":-1,"cost":0.8}"#).unwrap();
        assert_eq!(receipt, SendReceipt { message_id: "a".into(), segments: None, cost_e4: Some(8_000) });
    }

    #[test]
    fn silence_is_unknown_and_an_unsent_request_is_the_gateways_fault() {
        for (error, expected) in [
            (CallError::NoAnswer("timeout".into()), "unknown"),
            (CallError::NotSent(NotSent::NoConnection("refused".into())), "provider"),
            (CallError::NotSent(NotSent::CircuitOpen), "provider"),
            (CallError::Crashed, "crashed"),
        ] {
            let got = match run(Gateway::failing(error).damza().send(&account(), &message())) {
                Err(SendError::Unknown(_)) => "unknown",
                Err(SendError::Provider(_)) => "provider",
                Err(SendError::Crashed) => "crashed",
                other => panic!("{other:?}"),
            };
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn what_cannot_be_sent_never_reaches_the_wire() {
        let gateway = Gateway::answering(200, ACCEPTED);
        let to = |account: SmsAccount, message: OutboundSms| run(gateway.damza().send(&account, &message));
        assert!(matches!(to(SmsAccount { base_url: String::new(), ..account() }, message()), Err(SendError::Provider(_))));
        assert!(matches!(to(SmsAccount { base_url: "not a url".into(), ..account() }, message()), Err(SendError::Provider(_))));
        assert!(matches!(to(SmsAccount { sender_id: "TWELVE CHARS".into(), ..account() }, message()), Err(SendError::Provider(_))));
        assert!(matches!(to(SmsAccount { api_key: "a\nb".to_owned().into(), ..account() }, message()), Err(SendError::Provider(_))));
        assert!(matches!(to(account(), OutboundSms { text: " \n".into(), ..message() }), Err(SendError::Permanent(_))));
        assert!(gateway.sent().is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic_and_only_acceptance_is_a_receipt(body: Vec<u8>, text in "\\PC{0,80}", status in 200u16..600) {
            for body in [body, text.into_bytes()] {
                let response = Response::builder().status(status).body(Bytes::from(body)).unwrap();
                proptest::prop_assert!(read(&response, "r").is_err());
            }
        }
    }
}
