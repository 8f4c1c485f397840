//! Cutting secrets out of bodies before they are stored or logged (rule D1; M-Pesa contract 2.6: a timeout notice may echo
//! our whole request).
//!
//! It works on the bytes, not on a parsed tree, so that it also works on bodies that are broken, nested without end, or
//! no JSON at all. When in doubt it cuts too much; a hash of the whole is kept elsewhere.

/// What stands where something was cut.
pub const CUT: &str = "[cut]";

/// Names whose values are cut, in lower case without separators; a longer name that contains one is cut too.
const SECRET_NAMES: [&str; 8] =
    ["securitycredential", "authorization", "password", "accesstoken", "consumersecret", "secret", "passkey", "credential"];
/// What a string value must not contain anywhere, in lower case: JSON inside a string, a header.
const SECRET_WORDS: [&str; 3] = ["securitycredential", "access_token", "authorization:"];
/// The gateway repeats the whole token behind this (M-Pesa contract 1, 401.002.01).
const TOKEN_PHRASE: &str = "invalid access token - ";

/// The body without secrets. A body without any comes back as it was, byte for byte.
pub fn redact(body: &[u8]) -> Vec<u8> {
    let first = body.iter().find(|b| !b.is_ascii_whitespace() && !matches!(b, 0xef | 0xbb | 0xbf));
    if !matches!(first, None | Some(b'{' | b'[' | b'"')) {
        return plain_text(body);
    }
    let mut scan = Scan { body, out: Vec::with_capacity(body.len()), at: 0, values_too: false, named_in_a_pair: false, behind_a_name: false };
    scan.run();
    if scan.named_in_a_pair {
        // `{"Key": "SecurityCredential", "Value": "…"}`: the order of the two is free, so every Value goes.
        let mut again = Scan { body, out: Vec::with_capacity(body.len()), at: 0, values_too: true, named_in_a_pair: false, behind_a_name: false };
        again.run();
        return again.out;
    }
    scan.out
}

/// [`redact`] for a body as text, with values cut that are known to be secret.
pub(crate) fn redact_body(body: &str, known: &[&str]) -> String {
    cut_known(String::from_utf8_lossy(&redact(body.as_bytes())).into_owned(), known)
}

/// The same for one sentence of an answer (an `errorMessage`), which is no JSON by itself.
pub(crate) fn redact_sentence(text: &str, known: &[&str]) -> String {
    let lower = text.to_ascii_lowercase();
    let tail = [TOKEN_PHRASE, "bearer ", "basic "].iter().filter_map(|phrase| lower.find(phrase).map(|start| start + phrase.len())).min();
    let kept = match tail.and_then(|end| text.get(..end)) {
        Some(kept) => format!("{kept}{CUT}"),
        None => text.to_owned(),
    };
    cut_known(kept, known)
}

fn cut_known(text: String, known: &[&str]) -> String {
    // A very short value would cut ordinary words, and is no secret anybody issues.
    known.iter().filter(|secret| secret.len() >= 4).fold(text, |text, secret| text.replace(secret, CUT))
}

fn plain_text(body: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(body);
    let joined = joined(&text);
    let lower = text.to_ascii_lowercase();
    if SECRET_NAMES.iter().any(|n| joined.contains(n)) || SECRET_WORDS.iter().any(|w| lower.contains(w)) {
        return b"[cut: a text that is no JSON and names a secret]".to_vec();
    }
    body.to_vec()
}

fn joined(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-') && !c.is_whitespace()).map(|c| c.to_ascii_lowercase()).collect()
}

struct Scan<'a> {
    body: &'a [u8],
    out: Vec<u8>,
    at: usize,
    values_too: bool,
    named_in_a_pair: bool,
    /// The latest key was `Key` or `Name`.
    behind_a_name: bool,
}

impl Scan<'_> {
    fn run(&mut self) {
        while let Some(&byte) = self.body.get(self.at) {
            if byte == b'"' {
                self.string();
            } else {
                self.out.push(byte);
                self.at += 1;
            }
        }
    }

    /// One string token at `at`: a key with its value, or a value.
    fn string(&mut self) {
        let end = string_end(self.body, self.at);
        let token = self.body.get(self.at..end).unwrap_or_default();
        let text = decoded(token);
        let colon = skip_spaces(self.body, end);
        if self.body.get(colon) == Some(&b':') {
            self.out.extend_from_slice(self.body.get(self.at..=colon).unwrap_or_default());
            let value = skip_spaces(self.body, colon + 1);
            self.out.extend_from_slice(self.body.get(colon + 1..value).unwrap_or_default());
            self.at = value;
            let name = joined(&text);
            self.behind_a_name = matches!(name.as_str(), "key" | "name");
            if SECRET_NAMES.iter().any(|n| name.contains(n)) || (self.values_too && name == "value") {
                self.cut_to(value_end(self.body, value));
            }
            return;
        }
        let lower = text.to_ascii_lowercase();
        if self.behind_a_name && SECRET_NAMES.contains(&joined(&text).as_str()) {
            self.named_in_a_pair = true;
        } else if SECRET_WORDS.iter().any(|w| lower.contains(w)) || is_a_header(&lower) {
            self.cut_to(end);
            return;
        }
        if let Some(start) = lower.find(TOKEN_PHRASE) {
            let kept = text.get(..start + TOKEN_PHRASE.len()).unwrap_or_default();
            self.out.extend_from_slice(serde_json::json!(format!("{kept}{CUT}")).to_string().as_bytes());
            self.at = end;
        } else {
            self.out.extend_from_slice(token);
            self.at = end;
        }
    }

    fn cut_to(&mut self, end: usize) {
        self.out.push(b'"');
        self.out.extend_from_slice(CUT.as_bytes());
        self.out.push(b'"');
        self.at = end;
    }
}

/// `Bearer …` or `Basic …` with something behind it that is no word. A shop called "Basic Needs" keeps its name: a party
/// that is cut could not be compared with ours any more.
fn is_a_header(lower: &str) -> bool {
    let rest = ["bearer ", "basic "].iter().find_map(|scheme| lower.trim_start().strip_prefix(scheme));
    rest.is_some_and(|r| r.len() >= 16 && !r.contains(char::is_whitespace))
}

/// The index behind the closing quote of the string that opens at `start`, or the end of the body.
fn string_end(body: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = body.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    body.len()
}

fn skip_spaces(body: &[u8], mut at: usize) -> usize {
    while body.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// The index behind the value that starts at `start`: a string, an object or array with all in it, or a bare word.
fn value_end(body: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => {
                at = string_end(body, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    body.len()
}

/// The text of a string token, escapes resolved where they can be.
fn decoded(token: &[u8]) -> String {
    serde_json::from_slice(token).unwrap_or_else(|_| String::from_utf8_lossy(token).trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(text: &str) -> String {
        String::from_utf8(redact(text.as_bytes())).unwrap()
    }

    #[test]
    fn nothing_to_cut_leaves_every_byte() {
        for text in [
            "",
            "{}",
            " { \"a\" : [1, 2.50, \"x\\\"y\"] } ",
            "<html>busy</html>",
            "{\"ResultDesc\":\"The initiator password expired\"}",
            "{\"Value\":\"254700000001 - BASIC NEEDS LTD\",\"BillRefNumber\":\"PASSWORD\",\"Remarks\":\"basic education\"}",
            "{\"Key\":\"ResultDesc\",\"Value\":\"secret\"}",
        ] {
            assert_eq!(cut(text), text);
        }
        assert_eq!(redact(b"{\"a\":\"\xff\"}"), b"{\"a\":\"\xff\"}");
    }

    #[test]
    fn no_secret_is_left_wherever_it_stands() {
        for text in [
            r#"{"SecurityCredential":"hush-hush"}"#,
            r#"{ "securityCredential" : "hush-hush" , "Amount":10}"#,
            r#"{"Result":{"x":[{"SecurityCredential":"hush-hush"}]}}"#,
            r#"{"SecurityCredential":{"deep":["hush-hush"]},"b":1}"#,
            r#"{"Security\u0043redential":"hush-hush"}"#,
            r#"{"SecurityCredential":"hush\"-hush-hush"}"#,
            r#"{"SecurityCredential":"hush-hush"#,
            r#"{"Security Credential":"hush-hush"}"#,
            r#"{"Authorization":"Bearer hush-hush"}"#,
            r#"["Bearer hush-hush-hush-hush"]"#,
            r#"{"headers":["Authorization: Bearer hush-hush"]}"#,
            r#"{"access_token":"hush-hush","expires_in":"3599"}"#,
            r#"{"Password":"hush-hush"}"#,
            r#"{"InitiatorPassword":"hush-hush"}"#,
            r#"{"echo":"{\"SecurityCredential\":\"hush-hush\"}"}"#,
            r#"[{"Key":"SecurityCredential","Value":"hush-hush"}]"#,
            r#"[{"Value":"hush-hush","Key":"SecurityCredential"}]"#,
            r#"{"errorMessage":"Error Occurred - Invalid Access Token - hush-hush"}"#,
            "SecurityCredential=hush-hush&Amount=10",
            "Authorization: Basic hush-hush",
        ] {
            assert!(!cut(text).contains("hush-hush"), "{text} became {}", cut(text));
            assert!(cut(text).contains("[cut"), "{text}");
        }
    }

    #[test]
    fn what_is_not_secret_stays_beside_the_cut() {
        assert_eq!(
            cut(r#"{"InitiatorName":"vaultapi","SecurityCredential":"abc","Amount":1500}"#),
            r#"{"InitiatorName":"vaultapi","SecurityCredential":"[cut]","Amount":1500}"#
        );
        assert_eq!(
            cut(r#"{"errorCode":"401.002.01","errorMessage":"Error Occurred - Invalid Access Token - abc"}"#),
            r#"{"errorCode":"401.002.01","errorMessage":"Error Occurred - Invalid Access Token - [cut]"}"#
        );
    }

    #[test]
    fn known_values_are_cut_from_any_text() {
        assert_eq!(redact_body("token Qz7example here", &["Qz7example", ""]), "token [cut] here");
        assert_eq!(redact_sentence("Error Occurred - Invalid Access Token - abc", &[]), "Error Occurred - Invalid Access Token - [cut]");
        assert_eq!(redact_sentence("Bad Request - Invalid Amount", &["hush-hush"]), "Bad Request - Invalid Amount");
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned_without_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = redact(&body);
        }

        #[test]
        fn json_stays_json_and_loses_its_secret(before in "[a-zA-Z0-9{}\\[\\]:,\" \\\\]{0,20}", secret in "[A-Za-z0-9+/]{12,40}", depth in 0usize..200) {
            let inner = serde_json::json!({ "before": before, "SecurityCredential": format!("s3cr3t{secret}"), "after": 1 }).to_string();
            let body = format!("{}{inner}{}", "{\"x\":[".repeat(depth), "]}".repeat(depth));
            let out = String::from_utf8(redact(body.as_bytes())).unwrap();
            prop_assert!(!out.contains("s3cr3t"));
            prop_assert!(out.contains("\"after\":1"));
            prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&out).is_ok());
        }
    }
}
