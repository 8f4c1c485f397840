//! Which callback addresses Safaricom takes (M-Pesa contract 8.4).

use http::Uri;

/// Words that may stand nowhere in a URL, in any case.
const BANNED: [&str; 8] = ["mpesa", "m-pesa", "safaricom", "exe", "exec", "cmd", "sql", "query"];
/// Written variants of the brand.
const VARIANTS: [&str; 3] = ["m_pesa", "m.pesa", "m%2dpesa"];
/// Tunnels and request bins, refused in production.
const TUNNELS: [&str; 8] = ["ngrok", "webhook.site", "requestbin", "pipedream", "localtunnel", "loca.lt", "serveo.net", "trycloudflare"];

/// Why a URL was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlRefused {
    /// Not an absolute HTTP or HTTPS URL.
    Malformed,
    /// Contains this word.
    Banned(&'static str),
    /// Production takes HTTPS only.
    NotHttps,
    /// Production takes no tunnels.
    Tunnel,
}

/// Checks a callback URL as the gateway does.
pub fn check_url(url: &str, production: bool) -> Result<(), UrlRefused> {
    let uri: Uri = url.parse().map_err(|_| UrlRefused::Malformed)?;
    let scheme = uri.scheme_str().ok_or(UrlRefused::Malformed)?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or(UrlRefused::Malformed)?;
    if !matches!(scheme, "http" | "https") {
        return Err(UrlRefused::Malformed);
    }
    let lower = url.to_ascii_lowercase();
    let decoded = percent_decoded(&lower);
    for word in BANNED.iter().chain(&VARIANTS) {
        if lower.contains(word) || decoded.contains(word) {
            return Err(UrlRefused::Banned(word));
        }
    }
    if production && scheme != "https" {
        return Err(UrlRefused::NotHttps);
    }
    if production && TUNNELS.iter().any(|tunnel| host.to_ascii_lowercase().contains(tunnel)) {
        return Err(UrlRefused::Tunnel);
    }
    Ok(())
}

/// Undoes `%xx`, so that a banned word cannot hide behind it.
fn percent_decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let (Some(byte), Some(tail)) = (byte.filter(u8::is_ascii), after.get(2..)) {
            out.push(char::from(byte).to_ascii_lowercase());
            rest = tail;
        } else {
            out.push('%');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banned_word_is_found_anywhere_in_any_case_and_behind_percent_signs() {
        for url in [
            "https://mpesa.example.co.ke/x",
            "https://hooks.example.co.ke/api/MPesa/callback",
            "https://hooks.example.co.ke/m-pesa",
            "https://hooks.example.co.ke/9fSqL2c/result",
            "https://hooks.example.co.ke/status?query=1",
            "https://hooks.example.co.ke/%4dpesa",
            "https://hooks.example.co.ke/acmd",
            "https://hooks.example.co.ke/zexez",
            "https://safaricom.example.co.ke/",
        ] {
            assert!(matches!(check_url(url, false), Err(UrlRefused::Banned(_))), "{url}");
        }
        assert_eq!(check_url("https://hooks.example.co.ke/h/9f2c00aa/b2c/result", true), Ok(()));
    }

    #[test]
    fn the_sandbox_takes_plain_http_and_production_does_not() {
        assert_eq!(check_url("http://127.0.0.1:8080/h/9f/b2c/result", false), Ok(()));
        assert_eq!(check_url("http://127.0.0.1:8080/h/9f/b2c/result", true), Err(UrlRefused::NotHttps));
        assert_eq!(check_url("https://abc.ngrok.io/h", true), Err(UrlRefused::Tunnel));
        for bad in ["", "/h/9f", "ftp://host/x", "hooks.example.co.ke/x", "http://", "http:// x"] {
            assert_eq!(check_url(bad, false), Err(UrlRefused::Malformed), "{bad}");
        }
    }
}
