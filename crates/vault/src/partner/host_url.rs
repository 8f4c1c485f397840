//! Which URLs a partner may write as an address of the outside world. The network addresses behind a name are judged again when
//! the name is resolved (the transport does it); here is what can be seen in the text.

use std::net::IpAddr;

use pv_kernel::problem::Problem;

/// What the operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostRules {
    /// Loopback and private addresses, and names that stand for them: for a core in the same network, and the sandbox.
    pub allow_private: bool,
    /// `http://` to public hosts too. To private ones it is allowed with `allow_private`.
    pub allow_plain_http: bool,
}

impl HostRules {
    /// Public hosts by HTTPS only: the default.
    pub const STRICT: Self = Self { allow_private: false, allow_plain_http: false };
    /// Everything that is a URL: the sandbox and tests.
    pub const OPEN: Self = Self { allow_private: true, allow_plain_http: true };
}

/// The URL without a slash at its end, or why it is refused. `pointer` names the member; `most` is the longest text.
pub fn checked_url(pointer: &str, text: &str, most: usize, rules: HostRules) -> Result<String, Box<Problem>> {
    let refuse = |why: &'static str| Err(Box::new(Problem::invalid(pointer, why)));
    let text = text.trim().trim_end_matches('/');
    if text.len() > most {
        return Err(Box::new(Problem::invalid(pointer, format!("The URL is longer than {most} characters."))));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '\\' | '#' | '?' | '"' | '<' | '>')) || !text.is_ascii() {
        return refuse("The URL has characters that do not belong there: no spaces, no query, no fragment.");
    }
    let Ok(uri) = text.parse::<http::Uri>() else {
        return refuse("Not a URL: write for example https://mifos.example.co.ke.");
    };
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => {
            return refuse("The URL begins with https:// (or http://, where the operator allows it).");
        }
    };
    let Some(authority) = uri.authority() else {
        return refuse("The URL has no host.");
    };
    if authority.as_str().contains('@') {
        return refuse("The URL carries credentials; put them into their own members.");
    }
    let host = authority.host();
    let port_is_usable = authority.as_str() == host || uri.port_u16().is_some_and(|port| port > 0);
    if host.is_empty() || !port_is_usable {
        return refuse("The URL has no host, or no usable port.");
    }
    let private = match standing(host) {
        Standing::Public => false,
        Standing::Private => true,
        Standing::Odd => {
            return refuse("The host is neither a name nor an address in its usual form.");
        }
    };
    if private && !rules.allow_private {
        return refuse("The host is not on the public internet, and the operator has not allowed such hosts.");
    }
    if !secure && !private && !rules.allow_plain_http {
        return refuse("Passwords would go over the network in clear: use https://.");
    }
    check_path(pointer, uri.path())?;
    Ok(text.to_owned())
}

/// An API path: begins with a slash, has none at its end, and goes nowhere else.
pub fn checked_path(pointer: &str, text: &str, most: usize) -> Result<String, Box<Problem>> {
    let inner = text.trim().trim_matches('/');
    let path = if inner.is_empty() { String::new() } else { format!("/{inner}") };
    let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.' | b'~'));
    if path.len() > most || !plain {
        return Err(Box::new(Problem::invalid(pointer, format!("A path of letters, digits, - _ . ~ and /, at most {most} characters."))));
    }
    check_path(pointer, &path)?;
    Ok(path)
}

fn check_path(pointer: &str, path: &str) -> Result<(), Box<Problem>> {
    let lower = path.to_ascii_lowercase();
    let escaped = ["%2e", "%2f", "%5c", "%00"].iter().any(|code| lower.contains(code));
    if escaped || path.contains("//") || path.split('/').any(|part| part == ".." || part == ".") {
        return Err(Box::new(Problem::invalid(pointer, "The path leads somewhere else: no .., no // and no escaped dots or slashes.")));
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Public,
    Private,
    /// An address in a form that programs read differently (`127.1`, `0x7f000001`, `2130706433`), or no name at all.
    Odd,
}

fn standing(host: &str) -> Standing {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return if is_private(address.to_canonical()) { Standing::Private } else { Standing::Public };
    }
    if host.starts_with('[') {
        return Standing::Odd;
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let labels: Vec<&str> = name.split('.').collect();
    let good_label = |label: &&str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = labels.last().copied().unwrap_or_default();
    let number = last.bytes().all(|b| b.is_ascii_digit()) || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if name.len() > 253 || !labels.iter().all(good_label) || number {
        return Standing::Odd;
    }
    let inner = ["localhost", "local", "internal", "lan", "home", "corp", "intranet", "localdomain"];
    // A name of one label can only be found by somebody's own name server.
    if labels.len() == 1 || inner.contains(&last) { Standing::Private } else { Standing::Public }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [one, two, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
                || v4.is_documentation()
                || one == 0
                || one >= 240
                || (one == 100 && (64..128).contains(&two))
                || (one == 198 && (two == 18 || two == 19))
        }
        // Only 2000::/3 is global; of it 6to4 carries an IPv4 address and 2001:db8::/32 is for documents.
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            (first & 0xe000) != 0x2000 || first == 0x2002 || (first == 0x2001 && (second == 0xdb8 || second < 0x200))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_https_host_is_taken_without_its_last_slash() {
        for (text, kept) in [
            ("https://mifos.example.co.ke/", "https://mifos.example.co.ke"),
            (" https://mifos.example.co.ke:8443/fineract-provider ", "https://mifos.example.co.ke:8443/fineract-provider"),
            ("https://41.90.1.1", "https://41.90.1.1"),
        ] {
            assert_eq!(checked_url("/u", text, 500, HostRules::STRICT), Ok(kept.to_owned()));
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused_whatever_is_allowed() {
        for text in [
            "",
            "mifos.example.co.ke",
            "ftp://mifos.example.co.ke",
            "file:///etc/passwd",
            "https://",
            "https://user:pw@mifos.example.co.ke",
            "https://mifos.example.co.ke@evil.example",
            "https://mifos.example.co.ke/../../x",
            "https://mifos.example.co.ke/a/%2e%2e/b",
            "https://mifos.example.co.ke//x",
            "https://mifos.example.co.ke/?a=b",
            "https://mifos.example.co.ke/#x",
            "https://mifos.example.co.ke\\x",
            "https://mifos example.co.ke",
            "https://127.1",
            "https://0x7f000001",
            "https://2130706433",
            "https://017700000001",
            "https://mifos.example.co.ke:0",
            "https://mifos.example.co.ke:99999",
            "https://mifös.example.co.ke",
        ] {
            assert!(checked_url("/u", text, 500, HostRules::OPEN).is_err(), "{text}");
        }
        assert!(checked_url("/u", &format!("https://x.example/{}", "a".repeat(500)), 500, HostRules::OPEN).is_err());
    }

    #[test]
    fn inner_hosts_need_the_operators_word() {
        for text in [
            "https://localhost",
            "https://127.0.0.1",
            "https://10.0.0.5:8443",
            "https://192.168.1.2",
            "https://169.254.169.254",
            "https://[::1]",
            "https://[::ffff:10.0.0.1]",
            "https://[fd00::1]",
            "https://mifos",
            "https://mifos.internal",
            "https://mifos.localhost.",
        ] {
            assert!(checked_url("/u", text, 500, HostRules::STRICT).is_err(), "{text}");
            assert!(checked_url("/u", text, 500, HostRules { allow_private: true, allow_plain_http: false }).is_ok(), "{text}");
        }
    }

    #[test]
    fn clear_http_is_for_inner_hosts() {
        let inside = HostRules { allow_private: true, allow_plain_http: false };
        assert!(checked_url("/u", "http://127.0.0.1:8080", 500, inside).is_ok());
        assert!(checked_url("/u", "http://mifos.example.co.ke", 500, inside).is_err());
        assert!(checked_url("/u", "http://mifos.example.co.ke", 500, HostRules::OPEN).is_ok());
    }

    #[test]
    fn an_endpoint_is_a_plain_path() {
        assert_eq!(checked_path("/p", "fineract-provider/api/v1/", 500), Ok("/fineract-provider/api/v1".into()));
        assert_eq!(checked_path("/p", "/", 500), Ok(String::new()));
        for bad in ["/a/../b", "//evil.example", "/a?b", "/a b", "/a%2e%2e"] {
            // Leading slashes are trimmed, so a network path becomes a plain one.
            let path = checked_path("/p", bad, 500);
            assert!(path.is_err() || path == Ok("/evil.example".into()), "{bad}");
        }
    }
}
