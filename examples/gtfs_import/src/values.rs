//! Texts of a feed as values of the database.

use crate::schema::Kind;

/// A value of a database.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'text> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'text str),
}

impl<'text> Value<'text> {
    /// A text, or NULL.
    pub fn text(text: Option<&'text str>) -> Value<'text> {
        text.map_or(Value::Null, Value::Text)
    }

    /// The number of a row or a line, or of some of them: a file has fewer than 2^63.
    pub fn number(number: u64) -> Value<'text> {
        Value::Integer(number as i64)
    }

    pub fn as_number(&self) -> Option<u64> {
        match self {
            Value::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    pub fn as_text(&self) -> Option<&'text str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The value of a text, which is trimmed; an empty one is NULL. An error tells what it is not.
pub fn value(kind: Kind, text: &str) -> Result<Value<'_>, &'static str> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    match kind {
        Kind::Text => Ok(Value::Text(text)),
        Kind::Integer => integer(text).map(Value::Integer).ok_or_else(|| match real(text) {
            Some(number) if number.fract() != 0.0 => "is no whole number",
            _ => "is no number",
        }),
        Kind::Real => real(text).map(Value::Real).ok_or("is no number"),
        Kind::Time => seconds(text.as_bytes()).map(Value::Integer).ok_or("is no time"),
        Kind::Date if is_date(text.as_bytes()) => Ok(Value::Text(text)),
        Kind::Date => Err("is no date"),
    }
}

fn integer(text: &str) -> Option<i64> {
    match text.as_bytes() {
        // Nearly all are one digit.
        [digit @ b'0'..=b'9'] => Some(i64::from(digit - b'0')),
        // Tables that went through a spreadsheet have `1.0`.
        _ => match text.split_once('.') {
            Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole.parse().ok(),
            _ => text.parse().ok(),
        },
    }
}

fn real(text: &str) -> Option<f64> {
    // `parse` also takes `inf` and `nan`.
    let is_decimal = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    text.parse().ok().filter(|number: &f64| is_decimal && number.is_finite())
}

/// The seconds of `H:MM:SS`, with as many hours as a service day has: night buses go on after 24.
fn seconds(text: &[u8]) -> Option<i64> {
    let (hours, [b':', minute_tens, minutes, b':', second_tens, seconds]) =
        text.split_at_checked(text.len().checked_sub(6)?)?
    else {
        return None;
    };
    if !(1..=3).contains(&hours.len()) || minute_tens.max(second_tens) > &b'5' {
        return None;
    }
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    let hours = hours.iter().try_fold(0, |hours, byte| Some(hours * 10 + digit(byte)?))?;
    let minutes = digit(minute_tens)? * 10 + digit(minutes)?;
    Some((hours * 60 + minutes) * 60 + digit(second_tens)? * 10 + digit(seconds)?)
}

/// `YYYYMMDD`.
fn is_date(text: &[u8]) -> bool {
    let number = |part: &[u8]| part.iter().fold(0, |number, byte| number * 10 + u32::from(byte - b'0'));
    text.len() == 8
        && text.iter().all(u8::is_ascii_digit)
        && (1..=12).contains(&number(&text[4..6]))
        && (1..=31).contains(&number(&text[6..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_values() {
        use Kind::*;
        for (kind, text, expected) in [
            (Text, "", Value::Null),
            (Text, "Zürich", Value::Text("Zürich")),
            (Integer, "7", Value::Integer(7)),
            (Integer, "1501", Value::Integer(1501)),
            (Integer, "-3", Value::Integer(-3)),
            (Integer, "1.0", Value::Integer(1)),
            (Integer, "-20.000", Value::Integer(-20)),
            (Integer, "", Value::Null),
            (Real, "48.25", Value::Real(48.25)),
            (Real, "-.5e1", Value::Real(-5.0)),
            (Time, "00:00:00", Value::Integer(0)),
            (Time, "8:05:09", Value::Integer(29_109)),
            (Time, "25:10:00", Value::Integer(90_600)),
            (Time, "58:00:01", Value::Integer(208_801)),
            (Time, "", Value::Null),
            (Date, "20261127", Value::Text("20261127")),
        ] {
            assert_eq!(value(kind, text), Ok(expected), "{kind:?} {text:?}");
        }
    }

    #[test]
    fn what_is_no_such_value_is_refused() {
        use Kind::*;
        for (kind, text, what) in [
            (Integer, "bus", "is no number"),
            (Integer, "1.5", "is no whole number"),
            (Integer, "1.", "is no number"),
            (Integer, ".0", "is no number"),
            (Integer, "1.0.0", "is no number"),
            (Integer, "99999999999999999999", "is no number"),
            (Real, "north", "is no number"),
            (Real, "nan", "is no number"),
            (Real, "infinity", "is no number"),
            (Real, "1e999", "is no number"),
            (Real, "48,25", "is no number"),
            (Time, "8:05", "is no time"),
            (Time, ":05:00", "is no time"),
            (Time, "08:60:00", "is no time"),
            (Time, "08:00:61", "is no time"),
            (Time, "-1:00:00", "is no time"),
            (Time, "08-00-00", "is no time"),
            (Time, "08:0a:00", "is no time"),
            (Time, "1000:00:00", "is no time"),
            (Date, "2026-11-27", "is no date"),
            (Date, "20261327", "is no date"),
            (Date, "20261100", "is no date"),
        ] {
            assert_eq!(value(kind, text), Err(what), "{kind:?} {text:?}");
        }
    }
}
