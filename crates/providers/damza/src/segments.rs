//! How many parts a text is billed as (SMS contract 4), and the cleaning that keeps a text in the small alphabet.
//!
//! The count is an estimate: a gateway may strip or transliterate on its own, and what it reports is what was billed.

/// The alphabet a text needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// GSM 03.38: units are septets, 160 in one part, 153 per part of several.
    Gsm7,
    /// UCS-2: units are UTF-16 code units, 70 in one part, 67 per part of several.
    Ucs2,
}

impl Encoding {
    /// Units that fit when the whole text is one part.
    const fn alone(self) -> usize {
        match self {
            Self::Gsm7 => 160,
            Self::Ucs2 => 70,
        }
    }

    /// Units that fit into each part of several: the concatenation header takes the rest.
    const fn per_part(self) -> usize {
        match self {
            Self::Gsm7 => 153,
            Self::Ucs2 => 67,
        }
    }
}

/// The size of a text as an SMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Alphabet.
    pub encoding: Encoding,
    /// Septets or UTF-16 units.
    pub units: usize,
    /// Parts billed; 0 for an empty text.
    pub parts: usize,
}

/// The default alphabet besides letters and digits of ASCII, which are all in it. One septet each.
const GSM7: &str = "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ!\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà \n\r";
/// The extension table. Two septets each, never cut in half.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// Septets of a character in GSM 03.38; `None` when it is not in it.
fn septets(c: char) -> Option<usize> {
    if c.is_ascii_alphanumeric() || GSM7.contains(c) {
        Some(1)
    } else if EXTENSION.contains(c) {
        Some(2)
    } else {
        None
    }
}

/// Counts a text as it stands; clean it first with [`clean`].
pub fn count(text: &str) -> Size {
    let encoding = if text.chars().all(|c| septets(c).is_some()) { Encoding::Gsm7 } else { Encoding::Ucs2 };
    let cost = |c: char| match encoding {
        Encoding::Gsm7 => septets(c).unwrap_or(2),
        Encoding::Ucs2 => c.len_utf16(),
    };
    let units: usize = text.chars().map(cost).sum();
    let parts = if units == 0 {
        0
    } else if units <= encoding.alone() {
        1
    } else {
        split(text.chars().map(cost), encoding.per_part())
    };
    Size { encoding, units, parts }
}

/// Parts when a character of two units may not stand across a border.
fn split(costs: impl Iterator<Item = usize>, room: usize) -> usize {
    let (parts, _) = costs.fold((1, 0), |(parts, used), cost| if used + cost > room { (parts + 1, cost) } else { (parts, used + cost) });
    parts
}

/// Replaces what only looks harmless (SMS contract 4): curly quotes become straight, dashes `-`, the ellipsis three points,
/// hard and odd spaces and tabs a space, a backtick an apostrophe; invisible marks go. Letters of names stay as they are.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}' | '\u{2032}' | '`' | '\u{b4}' => {
                out.push('\'');
            }
            '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{201f}' | '\u{2033}' | '\u{ab}' | '\u{bb}' => out.push('"'),
            '\u{2010}'..='\u{2015}' | '\u{2212}' => out.push('-'),
            '\u{2026}' => out.push_str("..."),
            '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\t' => {
                out.push(' ');
            }
            '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> (Encoding, usize, usize) {
        let Size { encoding, units, parts } = count(text);
        (encoding, units, parts)
    }

    #[test]
    fn the_table_of_the_contract_is_counted_as_written() {
        use Encoding::{Gsm7, Ucs2};
        let a = |n: usize| "a".repeat(n);
        for (text, expected) in [
            (a(160), (Gsm7, 160, 1)),
            (a(161), (Gsm7, 161, 2)),
            (a(306), (Gsm7, 306, 2)),
            (a(307), (Gsm7, 307, 3)),
            ("€".repeat(80), (Gsm7, 160, 1)),
            ("€".repeat(81), (Gsm7, 162, 2)),
            (format!("{}[{}", a(152), a(151)), (Gsm7, 305, 2)),
            (format!("{}[{}", a(152), a(152)), (Gsm7, 306, 3)),
            ("Don’t".to_owned(), (Ucs2, 5, 1)),
            ("’".repeat(70), (Ucs2, 70, 1)),
            ("’".repeat(71), (Ucs2, 71, 2)),
            ("’".repeat(135), (Ucs2, 135, 3)),
            ("😀".repeat(35), (Ucs2, 70, 1)),
            ("😀".repeat(36), (Ucs2, 72, 2)),
        ] {
            assert_eq!(size(&text), expected, "{text}");
        }
    }

    #[test]
    fn a_pair_of_utf16_units_is_not_cut() {
        // 66 units, then an emoji that does not fit into the 67th place.
        let text = format!("{}😀{}", "’".repeat(66), "’".repeat(66));
        assert_eq!(size(&text), (Encoding::Ucs2, 134, 3));
    }

    #[test]
    fn the_whole_default_alphabet_and_its_extension_are_gsm_7() {
        let default =
            "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
        assert_eq!(default.chars().count(), 127, "128 places, one of which is the escape");
        assert_eq!(size(default), (Encoding::Gsm7, 127, 1));
        assert_eq!(size("\u{c}^{}\\[~]|€"), (Encoding::Gsm7, 20, 1));
        assert_eq!(size(""), (Encoding::Gsm7, 0, 0));
    }

    #[test]
    fn what_looks_harmless_is_not_in_the_alphabet() {
        for text in ["`", "\t", "ç", "’", "‘", "“", "”", "–", "—", "…", "\u{a0}", "И", "ê"] {
            assert_eq!(count(text).encoding, Encoding::Ucs2, "{text:?}");
        }
    }

    #[test]
    fn cleaning_brings_typed_texts_back_into_one_part() {
        assert_eq!(clean("Don’t “pay”—wait…\u{a0}ok"), "Don't \"pay\"-wait... ok");
        assert_eq!(clean("Nyeri–Nakuru `x`\tç"), "Nyeri-Nakuru 'x' ç");
        assert_eq!(clean("\u{feff}a\u{200b}b"), "ab");
        assert_eq!(clean("José Wanjirũ"), "José Wanjirũ", "names keep their letters");
        assert_eq!(count(&clean(&"’".repeat(150))).parts, 1);
    }

    proptest::proptest! {
        #[test]
        fn parts_hold_the_text_and_waste_little(text in "\\PC{0,500}") {
            let Size { encoding, units, parts } = count(&text);
            let room = if parts == 1 { encoding.alone() } else { encoding.per_part() };
            proptest::prop_assert!(units <= parts * room);
            // At most one unit per part is lost to a character that may not be cut.
            proptest::prop_assert!(parts <= 1 || units > (parts - 1) * (encoding.per_part() - 1));
        }

        #[test]
        fn cleaning_twice_is_cleaning_once(text in "\\PC{0,200}") {
            let once = clean(&text);
            proptest::prop_assert_eq!(clean(&once), once);
        }
    }
}
