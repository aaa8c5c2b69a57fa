//! Text, whole numbers and decimals of a table, written as JSON values at the end of a [`Text`].

/// What text is appended to: a `String`, or the sink of a piece.
pub trait Text {
    fn push_str(&mut self, text: &str);

    #[inline]
    fn push(&mut self, character: char) {
        self.push_str(character.encode_utf8(&mut [0; 4]));
    }
}

impl Text for String {
    fn push_str(&mut self, text: &str) {
        String::push_str(self, text);
    }
}

impl Text for multicore::Sink {
    #[inline]
    fn push_str(&mut self, text: &str) {
        multicore::Sink::push_str(self, text);
    }
}

/// True if a text needs no escapes between quotation marks. The loop has no branch for a byte, so the compiler checks sixteen
/// bytes at a time: one call for a whole row costs less than one for each value.
pub fn is_plain(text: &[u8]) -> bool {
    !text.iter().fold(false, |found, byte| found | needs_escape(*byte))
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Writes a text in quotation marks, with escapes.
pub fn push_text(out: &mut impl Text, text: &str) {
    out.push('"');
    let mut written = 0;
    for (place, byte) in text.bytes().enumerate().filter(|(_, byte)| needs_escape(*byte)) {
        // A byte that needs an escape is ASCII, so both cuts lie between characters.
        out.push_str(&text[written..place]);
        written = place + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                out.push_str("\\u00");
                out.push(DIGITS[usize::from(byte >> 4)].into());
                out.push(DIGITS[usize::from(byte & 15)].into());
            }
        }
    }
    out.push_str(&text[written..]);
    out.push('"');
}

/// Writes a text, or `null` if it is empty.
pub fn push_text_or_null(out: &mut impl Text, text: &str) {
    if text.is_empty() { out.push_str("null") } else { push_text(out, text) }
}

/// Writes a non-negative whole number without leading zeroes, which JSON does not allow. If the text is no such number, returns
/// false and writes nothing.
#[must_use]
pub fn push_integer(out: &mut impl Text, text: &str) -> bool {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let zeros = text.bytes().take_while(|byte| *byte == b'0').count();
    out.push_str(&text[zeros.min(text.len() - 1)..]);
    true
}

/// Writes a non-negative decimal: unchanged if it is valid JSON, else (`.5`, `007`, `+1`) in JSON's form. If the text is no such
/// number, returns false and writes nothing.
#[must_use]
pub fn push_decimal(out: &mut impl Text, text: &str) -> bool {
    if is_common_decimal(text.as_bytes()) {
        out.push_str(text);
        return true;
    }
    match text.parse::<f64>() {
        // For a finite number `Display` writes no exponent, and nothing that JSON does not have.
        Ok(number) if number.is_finite() && number >= 0.0 => {
            out.push_str(&number.abs().to_string());
            true
        }
        _ => false,
    }
}

/// True for digits, or digits on both sides of a point, without a superfluous leading zero.
fn is_common_decimal(text: &[u8]) -> bool {
    let whole = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let fraction_is_well = match &text[whole..] {
        [] => true,
        [b'.', fraction @ ..] => !fraction.is_empty() && fraction.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    fraction_is_well && (whole == 1 || (whole > 1 && text[0] != b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back_from_a_json_reader_as_it_was() {
        let all: String = (0..=0x2ff).filter_map(char::from_u32).collect();
        for text in ["", "a", "\"", "a\"b\\c", "line\r\nend\t", "Zürich \u{2028} 🚋", "\u{0}\u{1f}\u{7f}", &all] {
            let mut json = String::new();
            push_text(&mut json, text);
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            assert_eq!(is_plain(text.as_bytes()), json.len() == text.len() + 2, "{text:?}");
        }
    }

    #[test]
    fn numbers_become_json_numbers_and_other_text_is_refused_unwritten() {
        type Push = fn(&mut String, &str) -> bool;
        let rows: [(Push, &str, Option<&str>); 29] = [
            (push_integer, "0", Some("0")),
            (push_integer, "7", Some("7")),
            (push_integer, "1234567890123456789012", Some("1234567890123456789012")),
            (push_integer, "007", Some("7")),
            (push_integer, "00", Some("0")),
            (push_integer, "", None),
            (push_integer, "-1", None),
            (push_integer, "+1", None),
            (push_integer, "1.0", None),
            (push_integer, " 1", None),
            (push_integer, "１", None),
            (push_decimal, "0", Some("0")),
            (push_decimal, "12", Some("12")),
            (push_decimal, "0.50", Some("0.50")),
            (push_decimal, "1234.5", Some("1234.5")),
            (push_decimal, ".5", Some("0.5")),
            (push_decimal, "5.", Some("5")),
            (push_decimal, "007.5", Some("7.5")),
            (push_decimal, "+1", Some("1")),
            (push_decimal, "-0", Some("0")),
            (push_decimal, "1e3", Some("1000")),
            (push_decimal, "", None),
            (push_decimal, ".", None),
            (push_decimal, "-1", None),
            (push_decimal, "1,5", None),
            (push_decimal, "inf", None),
            (push_decimal, "NaN", None),
            (push_decimal, "1e999", None),
            (push_decimal, "1.5 ", None),
        ];
        for (push, text, expected) in rows {
            let mut json = String::new();
            assert_eq!(push(&mut json, text), expected.is_some(), "{text:?}");
            assert_eq!(json, expected.unwrap_or(""), "{text:?}");
        }
    }
}
