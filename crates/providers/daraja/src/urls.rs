//! What Safaricom forbids in the URLs that it is given (M-Pesa contract 8.4).

/// Words that no URL of ours may contain, in any case. Longer ones first, so that the word that is named is the whole one.
pub const BANNED: [&str; 8] = ["safaricom", "m-pesa", "mpesa", "query", "exec", "exe", "cmd", "sql"];

/// Why a URL cannot be given to Safaricom.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlProblem {
    /// It contains a forbidden word, in its host or its path.
    #[error("the public URL contains the word \"{0}\", which Safaricom forbids in URLs")]
    Banned(&'static str),
    /// It is no absolute http or https URL with a host.
    #[error("the public URL must start with https:// (or http:// against a sandbox) and name a host")]
    NotAbsolute,
    /// It has a query, a fragment, credentials, spaces or characters outside ASCII.
    #[error("the public URL must be plain: no '?', '#', '@', spaces or letters outside ASCII")]
    NotPlain,
}

/// Checks the public base URL (and path prefix) under which callbacks are received, or a whole callback URL. The secret
/// path token is hexadecimal and cannot spell a forbidden word.
pub fn check_public_url(url: &str) -> Result<(), UrlProblem> {
    let lower = url.to_ascii_lowercase();
    let rest = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://")).ok_or(UrlProblem::NotAbsolute)?;
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    if host.is_empty() {
        return Err(UrlProblem::NotAbsolute);
    }
    if !rest.bytes().all(|b| b.is_ascii_graphic()) || rest.contains(['?', '#', '@', '\\', '%']) {
        return Err(UrlProblem::NotPlain);
    }
    // "Or variants": the two names are also found with separators between their letters.
    let joined: String = rest.chars().filter(char::is_ascii_alphanumeric).collect();
    let found = BANNED.into_iter().find(|word| rest.contains(word)).or_else(|| ["safaricom", "mpesa"].into_iter().find(|word| joined.contains(word)));
    found.map_or(Ok(()), |word| Err(UrlProblem::Banned(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_word_is_named_wherever_it_stands() {
        for (url, word) in [
            ("https://hooks.example.co.ke/api/mpesa/callback", "mpesa"),
            ("https://M-Pesa.example.co.ke/", "m-pesa"),
            ("https://SAFARICOM.example/", "safaricom"),
            ("https://example.co.ke/executive", "exec"),
            ("https://example.co.ke/x.exe", "exe"),
            ("https://example.co.ke/cmd", "cmd"),
            ("https://mysql.example.co.ke/", "sql"),
            ("https://example.co.ke/status/Query", "query"),
            ("https://m.pesa.example.co.ke/", "mpesa"),
            ("https://m_p-e.sa.example.co.ke/", "mpesa"),
        ] {
            assert_eq!(check_public_url(url), Err(UrlProblem::Banned(word)), "{url}");
        }
    }

    #[test]
    fn plain_urls_pass() {
        for url in
            ["https://hooks.example.co.ke", "https://hooks.example.co.ke/h/0123456789abcdef/b2c/result", "http://127.0.0.1:8080/h/ff/status/timeout"]
        {
            assert_eq!(check_public_url(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_is_no_plain_absolute_url_is_refused() {
        for url in ["", "hooks.example.co.ke", "ftp://example.co.ke", "https://", "https:///x", "/h/x"] {
            assert_eq!(check_public_url(url), Err(UrlProblem::NotAbsolute), "{url}");
        }
        for url in [
            "https://example.co.ke/?a=b",
            "https://u:p@example.co.ke/",
            "https://example.co.ke/a b",
            "https://exämple.co.ke/",
            "https://example.co.ke/%6dpesa",
        ] {
            assert_eq!(check_public_url(url), Err(UrlProblem::NotPlain), "{url}");
        }
    }
}
