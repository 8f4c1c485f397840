//! The two timestamp formats of M-Pesa, both in East Africa Time (M-Pesa contract 8.7).

use chrono::{DateTime, NaiveDateTime, Utc};
use pv_kernel::clock::nairobi;

/// Reads `yyyyMMddHHmmss` (from a string or a number) or `dd.MM.yyyy HH:mm:ss`. `None` for anything else.
pub fn read(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    let digits = text.len() == 14 && text.bytes().all(|b| b.is_ascii_digit());
    let format = if digits { "%Y%m%d%H%M%S" } else { "%d.%m.%Y %H:%M:%S" };
    if !digits && text.len() != 19 {
        return None;
    }
    let local = NaiveDateTime::parse_from_str(text, format).ok()?;
    local.and_local_timezone(nairobi()).single().map(|t| t.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_nairobi_time() {
        let expected: DateTime<Utc> = "2026-01-03T11:05:09Z".parse().unwrap();
        assert_eq!(read("20260103140509"), Some(expected));
        assert_eq!(read("03.01.2026 14:05:09"), Some(expected));
    }

    #[test]
    fn other_texts_are_no_moment() {
        for text in ["", "2026", "20261303140509", "20260103240509", "03/01/2026 14:05:09", "2026-01-03T14:05:09Z", "99999999999999", "٢٠٢٦٠١٠٣"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
