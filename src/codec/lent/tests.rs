use super::*;
use crate::codec::{self, Encoded, Format};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Row {
    name: String,
    numbers: Vec<f32>,
}

/// Its halves are no mirrors where a field is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Short {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    number: u8,
}

/// The bytes of the owned value, or the text of its error.
fn owned<A: Value + Clone>(format: Format, value: &A) -> Result<Vec<u8>, String> {
    let mut buffer = Vec::new();
    match codec::encode_argument(format, value.clone(), &mut buffer) {
        Ok(Encoded::InBuffer) => Ok(buffer),
        Ok(Encoded::Own(bytes)) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

#[track_caller]
fn check<A: Value + Clone, Q: Lend<A> + ?Sized>(value: &A) {
    for format in [Format::Bincode, Format::Raw, Format::Json] {
        let expected = owned(format, value);
        // More often than a shape is proven; what is in the buffer is no part of it.
        for _ in 0..5 {
            let mut buffer = b"before".to_vec();
            let found = codec::encode_lent::<A, Q>(format, Q::lend(value), &mut buffer);
            let found = found.map(|_| buffer).map_err(|error| error.to_string());
            assert_eq!(found, expected, "{format:?}");
        }
    }
}

#[test]
fn what_is_lent_writes_the_bytes_of_the_owned_value() {
    let row = || Row { name: "row".to_string(), numbers: vec![1.5, 2.0] };
    check::<String, str>(&"text".to_string());
    check::<String, String>(&"text".to_string());
    check::<String, str>(&String::new());
    check::<Vec<u8>, [u8]>(&vec![1, 2, 255]);
    check::<Vec<u8>, Vec<u8>>(&vec![1, 2, 255]);
    check::<Vec<i8>, [i8]>(&vec![1, 2, -1]);
    check::<Vec<u64>, [u64]>(&(0..10_000).collect());
    check::<Vec<String>, [String]>(&vec!["a".to_string(), "b".to_string()]);
    check::<Vec<Row>, [Row]>(&(0..1000).map(|_| row()).collect());
    check::<Vec<Vec<Row>>, [Vec<Row>]>(&vec![vec![row()], vec![]]);
    check::<Row, Row>(&row());
    check::<PathBuf, Path>(&PathBuf::from("/a/path"));
    check::<(u8, Option<String>), (u8, Option<String>)>(&(1, None));
}

#[test]
fn what_cannot_travel_is_refused_in_the_same_words() {
    let short = || Short { tags: Vec::new(), number: 7 };
    check::<Short, Short>(&short());
    check::<Vec<Short>, [Short]>(&vec![short(), short()]);
    check::<Vec<Option<Option<u8>>>, [Option<Option<u8>>]>(&vec![Some(None)]);
    check::<Vec<f64>, [f64]>(&vec![f64::INFINITY]);
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt;
        check::<PathBuf, Path>(&PathBuf::from(std::ffi::OsString::from_vec(vec![0xff])));
    }
}
