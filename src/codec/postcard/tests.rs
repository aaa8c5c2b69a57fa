//! The bytes, compared with what postcard itself writes and reads, and the errors.

use super::*;
use std::marker::PhantomData;

fn bytes_of<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    append(value, &mut bytes).unwrap();
    bytes
}

/// What this file puts together is what postcard itself writes and reads.
#[test]
fn bytes_are_those_of_postcard() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Unit,
        One(Option<char>),
        Pair(i64, u128),
        Fields { text: String, list: Vec<(f32, f64, bool)> },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct All {
        kinds: Vec<Kind>,
        map: std::collections::BTreeMap<u16, i8>,
        newtype: std::num::Wrapping<i32>,
        unit: (),
        array: [u8; 3],
        wide: i128,
    }

    let fields = Kind::Fields { text: "zwölf".into(), list: vec![(0.5, f64::MIN, true)] };
    let all = All {
        kinds: vec![Kind::Unit, Kind::One(None), Kind::One(Some('ß')), Kind::Pair(-300, u128::MAX), fields],
        map: [(1, -1), (300, 7)].into(),
        newtype: std::num::Wrapping(i32::MIN),
        unit: (),
        array: [1, 2, 3],
        wide: i128::MIN,
    };
    let mut theirs = [0; 256];
    let theirs = postcard::to_slice(&all, &mut theirs).unwrap();
    assert_eq!(bytes_of(&all), theirs);
    assert_eq!(read(PhantomData::<All>, theirs).unwrap(), all);
    assert_eq!(postcard::from_bytes::<All>(&bytes_of(&all)).unwrap(), all);
}

#[test]
fn errors_tell_what_is_wrong() {
    fn check<'de, T: Deserialize<'de>>(bytes: &'de [u8], text: &str) {
        let error = read(PhantomData::<T>, bytes).err().expect("it is refused").to_string();
        assert!(error.contains(text), "{error}");
    }
    check::<f64>(&[1, 2, 3], "5 bytes are missing at the end");
    check::<u64>(&[0x80], "1 bytes are missing at the end");
    check::<&str>(&[5, b'a'], "4 bytes are missing at the end");
    check::<u8>(&[1, 2, 3], "2 bytes are left over");
    check::<char>(&[2, b'a', b'b'], "postcard says DeserializeBadChar");
    check::<char>(&[0], "postcard says DeserializeBadChar");
    check::<&str>(&[1, 0xff], "postcard says DeserializeBadUtf8");
    check::<Option<u8>>(&[2, 0], "postcard says DeserializeBadOption");
    check::<u16>(&[0xff, 0xff, 0xff], "postcard says DeserializeBadVarint");
    check::<std::num::NonZeroU8>(&[0], "invalid value: integer `0`, expected a nonzero u8");
    check::<Result<u8, u8>>(&[7, 0], "invalid value: integer `7`, expected `Ok` or `Err`");
}
