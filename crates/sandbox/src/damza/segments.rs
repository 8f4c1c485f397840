//! How many parts a text is billed as (SMS contract 4).

/// Characters of the GSM 03.38 default alphabet besides letters and digits of ASCII.
const DEFAULT: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà";
/// Characters that count two septets.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// The number of parts; an empty text has one.
pub fn segments(text: &str) -> u32 {
    match text.chars().map(septets).collect::<Option<Vec<usize>>>() {
        Some(widths) => parts(&widths, 160, 153),
        None => parts(&text.chars().map(char::len_utf16).collect::<Vec<_>>(), 70, 67),
    }
}

fn septets(character: char) -> Option<usize> {
    if character.is_ascii_alphanumeric() || DEFAULT.contains(character) {
        Some(1)
    } else if EXTENSION.contains(character) {
        Some(2)
    } else {
        None
    }
}

/// Fills parts greedily; no character may be cut in half.
fn parts(widths: &[usize], single: usize, part: usize) -> u32 {
    if widths.iter().sum::<usize>() <= single {
        return 1;
    }
    let mut count = 1;
    let mut filled = 0;
    for width in widths {
        if filled + width > part {
            count += 1;
            filled = 0;
        }
        filled += width;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::segments;

    #[test]
    fn the_contracts_table_is_reproduced() {
        let a = |count| "a".repeat(count);
        let table = [
            (a(160), 1),
            (a(161), 2),
            (a(306), 2),
            (a(307), 3),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            (format!("{}[{}", a(152), a(151)), 2),
            (format!("{}[{}", a(152), a(152)), 3),
            ("Don’t".to_owned(), 1),
            ("’".repeat(70), 1),
            ("’".repeat(71), 2),
            ("’".repeat(135), 3),
            ("😀".repeat(35), 1),
            ("😀".repeat(36), 2),
            (String::new(), 1),
        ];
        for (text, expected) in table {
            assert_eq!(segments(&text), expected, "{} characters", text.chars().count());
        }
    }
}
