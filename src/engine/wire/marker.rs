//! The marker: the environment variable that tells a started image to be a fork server.
//!
//! `VERSION/ENTRY/NONCE/SOCKET/PARENT`: the crate's version, the offset of its entry in the image,
//! a random number, the socket's descriptor and the parent's process id. A marker is valid only if all
//! parts match. Another copy of the crate in the same program has another version or entry and ignores
//! it. A forged or stale marker names no socket that this parent made and that holds this nonce. Every
//! version keeps this form, so that each recognises a stale marker of another.
//!
//! Invariant: reading a marker neither allocates nor takes a lock, since it happens before `main`. The parent
//! writes the variable for the fork server alone; the fork server reads and removes it.

use crate::sys::launch::MARKER;
use std::ffi::{CStr, CString};

/// The variable's name.
pub(crate) const NAME: &CStr = MARKER;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The parts of a marker, without its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) entry: u64,
    pub(crate) nonce: u64,
    pub(crate) socket: i32,
    pub(crate) parent: u32,
}

impl Marker {
    /// The variable as it stands in an environment: `NAME=value`.
    pub(crate) fn to_variable(self) -> CString {
        let name = NAME.to_str().expect("the name is ASCII");
        let Marker { entry, nonce, socket, parent } = self;
        let text = format!("{name}={VERSION}/{entry}/{nonce}/{socket}/{parent}");
        CString::new(text).expect("no part has a NUL")
    }

    /// Reads a value; `None` if it is no marker of any version. True if it is a marker of this version.
    pub(crate) fn parse(value: &[u8]) -> Option<(Marker, bool)> {
        let mut fields = value.split(|&byte| byte == b'/');
        let version = fields.next()?;
        let mut number = || fields.next().and_then(decimal);
        let marker = Marker {
            entry: number()?,
            nonce: number()?,
            socket: i32::try_from(number()?).ok()?,
            parent: u32::try_from(number()?).ok()?,
        };
        fields.next().is_none().then_some((marker, version == VERSION.as_bytes()))
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_reads_back() {
        let marker = Marker { entry: 0x1234, nonce: u64::MAX, socket: 7, parent: 4127 };
        let variable = marker.to_variable();
        let value = variable.to_str().unwrap().split_once('=').unwrap().1;
        assert_eq!(Marker::parse(value.as_bytes()), Some((marker, true)));
        let other = Marker { entry: 1, nonce: 2, socket: 3, parent: 4 };
        assert_eq!(Marker::parse(b"0.0.0/1/2/3/4"), Some((other, false)));
    }

    #[test]
    fn what_is_no_marker_is_refused() {
        for rest in [
            "",
            "/",
            "/1/2/3",
            "/1/2/3/4/5",
            "/x/2/3/4",
            "/1/2/-3/4",
            "/1/2/3/-4",
            "/1/2/2147483648/4",
            "/1/2/3/4294967296",
            "/18446744073709551616/2/3/4",
            "/1//3/4",
            "/1/2/3/",
            "/+1/2/3/4",
            "/ 1/2/3/4",
        ] {
            assert_eq!(Marker::parse(format!("{VERSION}{rest}").as_bytes()), None, "{rest:?}");
        }
    }
}
