//! Values encoded and decoded in every format, and bytes that no encoder writes.

use super::*;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Debug;
use std::time::{Duration, Instant};

const FORMATS: [Format; 3] = [Format::Bincode, Format::Json, Format::Raw];

/// The bytes of an encoded value.
fn bytes_of(encoded: Result<Encoded, CodecError>, buffer: Vec<u8>) -> Vec<u8> {
    bytes_in(encoded.unwrap(), buffer)
}

fn bytes_in(encoded: Encoded, buffer: Vec<u8>) -> Vec<u8> {
    match encoded {
        Encoded::InBuffer => buffer,
        Encoded::Own(bytes) => bytes,
    }
}

/// A buffer that is lent still holds earlier bytes.
fn used_buffer() -> Vec<u8> {
    b"what was there before".to_vec()
}

fn argument_there_and_back<T: Value>(format: Format, value: T) -> Result<T, CodecError> {
    let mut buffer = used_buffer();
    let encoded = encode_argument(format, value, &mut buffer)?;
    decode_argument(format, &mut bytes_in(encoded, buffer))
}

fn result_there_and_back<T: Value>(format: Format, value: T) -> Result<T, CodecError> {
    let mut buffer = used_buffer();
    let encoded = encode_result(format, value, &mut buffer);
    let bytes = bytes_of(encoded, buffer);
    let owned = decode_result_owned(format, bytes.clone());
    assert_eq!(decode_result::<T>(format, &bytes).is_ok(), owned.is_ok());
    owned
}

fn check_in<T: Value + Clone + PartialEq + Debug>(format: Format, value: &T) {
    assert_eq!(argument_there_and_back(format, value.clone()).unwrap(), *value, "{format:?}");
    let pair = (value.clone(), 7_u8);
    let mut buffer = used_buffer();
    let encoded = encode_pair(format, &pair, &mut buffer);
    assert_eq!(decode_pair::<T, u8>(format, &bytes_of(encoded, buffer)).unwrap(), pair, "{format:?}");
    if format != Format::Raw || is_bytes::<T>() {
        assert_eq!(result_there_and_back(format, value.clone()).unwrap(), *value, "{format:?}");
    }
}

/// The value survives in every format, as argument, in a pair, as result and as message.
fn check<T: Value + Clone + PartialEq + Debug>(value: T) {
    for format in FORMATS {
        check_in(format, &value);
    }
    assert_eq!(decode_message::<T>(&encode_message(&value).unwrap()).unwrap(), value);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Nested {
    name: String,
    inner: Option<Box<Nested>>,
    point: Point,
    newtype: Meters,
    unit: Unit,
    list: Vec<Shape>,
    #[serde(default)]
    renamed_or_not: (i8, Option<char>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Point(f64, f32);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Meters(u16);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Circle(f64),
    Line(Point, Point),
    Polygon { points: Vec<Point>, label: Cow<'static, str> },
    Group(Vec<Shape>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

/// Bytes in serde's sense, as `serde_bytes` writes them.
#[derive(Clone, Debug, PartialEq)]
struct Blob(Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> serde::de::Visitor<'de> for Bytes {
            type Value = Blob;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }

            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

fn shapes() -> Vec<Shape> {
    vec![
        Shape::Nothing,
        Shape::Circle(1.5),
        Shape::Line(Point(0.0, -1.0), Point(f64::MIN, f32::MAX)),
        Shape::Polygon { points: vec![Point(1.0, 2.0)], label: Cow::Owned("ü".to_string()) },
        Shape::Group(vec![Shape::Nothing, Shape::Group(vec![])]),
    ]
}

fn nested() -> Nested {
    let inner = Nested {
        name: String::new(),
        inner: None,
        point: Point(-0.5, 3.0),
        newtype: Meters(0),
        unit: Unit,
        list: vec![],
        renamed_or_not: (-1, None),
    };
    Nested {
        name: "outer".to_string(),
        inner: Some(Box::new(inner)),
        point: Point(1e300, 1e30),
        newtype: Meters(u16::MAX),
        unit: Unit,
        list: shapes(),
        renamed_or_not: (i8::MIN, Some('\u{10ffff}')),
    }
}

#[test]
fn numbers_survive() {
    check(true);
    check((i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN, isize::MIN));
    check((u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX, usize::MAX));
    check((f32::MIN_POSITIVE, f64::MAX, f64::EPSILON, -0.0_f64));
    check(['a', '\0', 'ß', '\u{10ffff}']);
    check(std::num::NonZeroU32::MAX);
    check(Duration::new(5, 999_999_999));
}

#[test]
fn text_and_bytes_survive() {
    for text in ["", "a", "zwölf", "\0\n\"\\\u{7f}\u{10ffff}", &"long ".repeat(if cfg!(miri) { 20 } else { 10_000 })] {
        check(text.to_string());
        check(Some(text.to_string()));
        check(Cow::<'static, str>::Owned(text.to_string()));
        check(Box::<str>::from(text));
        check(std::path::PathBuf::from(text));
    }
    for bytes in [vec![], vec![0], vec![255; 9], (0..=255).collect::<Vec<u8>>()] {
        check(bytes.clone());
        check(vec![bytes.clone(), bytes.clone()]);
        check(VecDeque::from(bytes.clone()));
        check_in(Format::Bincode, &Blob(bytes));
    }
}

#[test]
fn shapes_survive() {
    check(());
    check(Unit);
    check(Meters(3));
    check(nested());
    check(Box::new(nested()));
    for shape in shapes() {
        check(shape);
    }
    check(Some(Some(3)));
    check(None::<u8>);
    check(Ok::<u8, String>(3));
    check(Err::<u8, String>("no".to_string()));
    check((1, (2_u8, "three".to_string()), [4_i64; 4], ()));
    check(vec![vec![1_u32], vec![], vec![2, 3]]);
    check(vec![(); 1000]);
    check(Vec::<()>::new());
}

#[test]
fn maps_survive() {
    check(HashMap::from([("one".to_string(), 1), ("two".to_string(), 2)]));
    check(HashMap::from([(1_u64, shapes())]));
    check(BTreeMap::from([('a', None), ('b', Some(nested()))]));
    check(BTreeSet::from([3_i16, -3]));
    check_in(Format::Bincode, &BTreeMap::from([((1, 2), vec![3])]));
    check_in(Format::Bincode, &HashMap::from([(Some(1_u8), ())]));
}

#[test]
fn what_a_format_cannot_carry_is_an_error() {
    let mut buffer = used_buffer();
    // Raw takes only text and bytes as a result, and the error says what to use instead.
    let error = encode_result(Format::Raw, 5_u32, &mut buffer).err().unwrap().to_string();
    assert!(error.contains("String or Vec<u8>") && error.contains("Bincode"), "{error}");
    assert!(encode_result(Format::Raw, Some("text".to_string()), &mut buffer).is_err());
    // JSON has only text as keys, and neither infinity nor NaN.
    assert!(encode_argument(Format::Json, HashMap::from([((1, 2), 3)]), &mut buffer).is_err());
    assert!(argument_there_and_back(Format::Json, f64::NAN).is_err());
    // Bincode cannot decode values that describe their own shape.
    for format in [Format::Bincode, Format::Raw] {
        for value in [Untagged::Number(5), Untagged::Text("five".to_string())] {
            assert!(argument_there_and_back(format, value).is_err());
        }
        assert!(argument_there_and_back(format, serde_json::json!({ "a": [1, null] })).is_err());
    }
    let error = argument_there_and_back(Format::Bincode, Untagged::Number(5)).unwrap_err().to_string();
    assert!(error.contains("Json"), "it says what to use instead: {error}");
    check_in(Format::Json, &Untagged::Number(5));
    check_in(Format::Json, &Untagged::Text("five".to_string()));
    check_in(Format::Json, &serde_json::json!({ "a": [1, null, { "b": 2.5 }] }));
}

#[test]
fn text_and_bytes_travel_as_they_are_where_the_table_says_so() {
    let text = "zwölf".to_string();
    for (format, as_it_is) in [(Format::Bincode, true), (Format::Raw, true), (Format::Json, false)] {
        let mut buffer = used_buffer();
        let encoded = encode_argument(format, text.clone(), &mut buffer);
        assert_eq!(bytes_of(encoded, buffer) == text.as_bytes(), as_it_is, "{format:?}");
        let mut buffer = used_buffer();
        let encoded = encode_result(format, text.clone().into_bytes(), &mut buffer);
        assert_eq!(bytes_of(encoded, buffer) == text.as_bytes(), as_it_is, "{format:?}");
    }
    // Moved, not copied.
    let bytes = vec![1; 100];
    let place = bytes.as_ptr();
    let mut moved = bytes_of(encode_argument(Format::Raw, bytes, &mut Vec::new()), Vec::new());
    assert_eq!(moved.as_ptr(), place);
    let back: Vec<u8> = decode_argument(Format::Raw, &mut moved).unwrap();
    assert_eq!(back.as_ptr(), place);
    let result: Vec<u8> = decode_result_owned(Format::Raw, back).unwrap();
    assert_eq!(result.as_ptr(), place);
    // Bytes that are not text.
    for format in [Format::Bincode, Format::Raw] {
        assert!(decode_argument::<String>(format, &mut vec![0xff]).is_err());
        assert!(decode_result::<String>(format, &[0xc3]).is_err());
    }
}

#[test]
fn a_pair_of_two_numbers_is_two_words() {
    let mut buffer = used_buffer();
    let encoded = encode_pair(Format::Bincode, &(1_u64, 2_u64), &mut buffer);
    let words = [1_u64.to_le_bytes(), 2_u64.to_le_bytes()].concat();
    assert_eq!(bytes_of(encoded, buffer), if IS_POSTCARD { vec![1, 2] } else { words });
}

#[test]
fn a_format_reads_as_it_was_written() {
    for format in FORMATS {
        assert_eq!(Format::from_bits(format.to_bits()), Some(format));
        assert!(format.to_bits() < 4, "two bits of a header");
    }
    assert_eq!(Format::from_bits(3), None);
}

#[test]
fn bytes_left_over_are_an_error() {
    for format in [Format::Bincode, Format::Json] {
        let mut buffer = Vec::new();
        let encoded = encode_pair(format, &(nested(), 1_u8), &mut buffer);
        let mut bytes = bytes_of(encoded, buffer);
        assert_eq!(decode_pair::<Nested, u8>(format, &bytes).unwrap(), (nested(), 1));
        bytes.push(b'1');
        assert!(decode_pair::<Nested, u8>(format, &bytes).is_err());
        assert!(decode_result::<(Nested, u8)>(format, &bytes).is_err());
        assert!(decode_result_owned::<(Nested, u8)>(format, bytes.clone()).is_err());
        assert!(decode_argument::<(Nested, u8)>(format, &mut bytes).is_err());
    }
    let error = decode_message::<u8>(&[1, 2, 3]).unwrap_err().to_string();
    assert!(error.contains("2 bytes are left over"), "{error}");
    assert!(decode_result::<()>(Format::Bincode, &[0]).is_err());
}

#[test]
fn bytes_cut_short_are_an_error() {
    for format in [Format::Bincode, Format::Json] {
        let mut buffer = Vec::new();
        let encoded = encode_result(format, nested(), &mut buffer);
        let bytes = bytes_of(encoded, buffer);
        assert_eq!(decode_result::<Nested>(format, &bytes).unwrap(), nested());
        for length in 0..bytes.len() {
            if cfg!(miri) && length % 32 != 0 {
                continue;
            }
            assert!(decode_result::<Nested>(format, &bytes[..length]).is_err(), "{length} bytes");
        }
    }
}

/// The bytes of a length, or of the number of a variant.
fn bytes_of_number<T: Serialize>(number: T) -> Vec<u8> {
    encode_message(&number).unwrap()
}

/// A large length followed by a few bytes: it is refused at once, without an allocation of that size.
fn check_bomb<T: Value + Debug>(claimed: u64, before: &[u8]) {
    let mut bytes = [before, &bytes_of_number(claimed), b"abc"].concat();
    if bytes.len().is_multiple_of(8) {
        // A list of numbers travels as its bytes, and would be one.
        bytes.push(b'd');
    }
    let start = Instant::now();
    assert!(decode_result::<T>(Format::Bincode, &bytes).is_err(), "{}", std::any::type_name::<T>());
    assert!(decode_message::<T>(&bytes).is_err());
    assert!(decode_pair::<T, T>(Format::Raw, &bytes).is_err());
    assert!(start.elapsed() < Duration::from_secs(10), "{}", std::any::type_name::<T>());
}

#[test]
fn a_length_that_lies_costs_nothing() {
    let lies = [1 << 60, 1 << 25, 1 << 32, 1 << 40, u64::MAX >> 1, u64::MAX - 1, u64::MAX];
    for claimed in lies.into_iter().take(if cfg!(miri) { 1 } else { lies.len() }) {
        check_bomb::<Vec<u64>>(claimed, &[]);
        check_bomb::<Vec<()>>(claimed, &[]);
        check_bomb::<Vec<Unit>>(claimed, &[]);
        check_bomb::<Vec<Vec<u8>>>(claimed, &[]);
        check_bomb::<Vec<String>>(claimed, &bytes_of_number(1_u64));
        check_bomb::<Option<String>>(claimed, &[1]);
        check_bomb::<(u8, String)>(claimed, &[0]);
        check_bomb::<Box<str>>(claimed, &[]);
        check_bomb::<Cow<'static, str>>(claimed, &[]);
        check_bomb::<Blob>(claimed, &[]);
        check_bomb::<std::path::PathBuf>(claimed, &[]);
        check_bomb::<HashMap<u64, u64>>(claimed, &[]);
        check_bomb::<HashMap<(), ()>>(claimed, &[]);
        check_bomb::<BTreeMap<String, String>>(claimed, &[]);
        check_bomb::<VecDeque<char>>(claimed, &[]);
        check_bomb::<Shape>(claimed, &bytes_of_number(3_u32));
        check_bomb::<Shape>(claimed, &bytes_of_number(4_u32));
        check_bomb::<Nested>(claimed, &[]);
    }
}

#[test]
fn elements_of_no_size_are_believed_up_to_a_limit() {
    let most: u64 = if cfg!(miri) { 1 << 8 } else { 1 << 20 };
    assert_eq!(decode_result::<Vec<()>>(Format::Bincode, &bytes_of_number(most)).unwrap().len() as u64, most);
    assert!(decode_result::<Vec<()>>(Format::Bincode, &bytes_of_number((1_u64 << 20) + 9)).is_err());
    if cfg!(miri) {
        return;
    }
    // The limit holds for the whole value, not for each of its lists.
    let lists = [2_u64, 1 << 19, (1 << 19) + 32].map(bytes_of_number).concat();
    assert!(decode_result::<Vec<Vec<()>>>(Format::Bincode, &lists).is_err());
}

#[test]
fn a_value_that_nests_without_end_is_refused_before_the_stack_is() {
    // A million groups of one group each. A group takes the number of its variant and its length.
    let level = [bytes_of_number(4_u32), bytes_of_number(1_u64)].concat();
    let bytes = level.repeat(if cfg!(miri) { 2_000 } else { 1_000_000 });
    assert!(decode_result::<Shape>(Format::Bincode, &bytes).is_err());
    assert!(decode_result::<Shape>(Format::Json, "{\"Group\":[".repeat(100_000).as_bytes()).is_err());
    // Nesting as in real data is accepted.
    let deep = (0..50).fold(Shape::Nothing, |inner, _| Shape::Group(vec![inner]));
    check(deep);
}

fn any_shape() -> impl Strategy<Value = Shape> {
    let point = || (any::<i32>(), any::<i16>()).prop_map(|(x, y)| Point(x.into(), y.into()));
    let flat = prop_oneof![
        Just(Shape::Nothing),
        any::<i32>().prop_map(|radius| Shape::Circle(radius.into())),
        (point(), point()).prop_map(|(from, to)| Shape::Line(from, to)),
        (prop::collection::vec(point(), 0..4), any::<String>())
            .prop_map(|(points, label)| Shape::Polygon { points, label: label.into() }),
    ];
    flat.prop_recursive(4, 16, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Shape::Group))
}

fn random_cases(count: u32) -> ProptestConfig {
    let cases = if cfg!(miri) { count / 512 } else { count };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(random_cases(1024))]

    #[test]
    fn random_bytes_are_a_value_or_an_error(bytes in prop::collection::vec(prop_oneof![0..5_u8, any::<u8>()], 0..200)) {
        for format in FORMATS {
            let _ = decode_result::<Nested>(format, &bytes);
            let _ = decode_result::<Vec<Shape>>(format, &bytes);
            let _ = decode_result::<String>(format, &bytes);
            let _ = decode_result::<HashMap<String, Option<(char, bool)>>>(format, &bytes);
            let _ = decode_result::<Untagged>(format, &bytes);
            let _ = decode_result::<Blob>(format, &bytes);
            let _ = decode_result::<(i128, f64, std::num::NonZeroU8)>(format, &bytes);
            let _ = decode_pair::<Vec<()>, Duration>(format, &bytes[..bytes.len().min(12)]);
        }
    }

    #[test]
    fn one_wrong_byte_is_a_value_or_an_error(place in 0..2000_usize, byte in any::<u8>()) {
        for format in [Format::Bincode, Format::Json] {
            let mut buffer = Vec::new();
            let encoded = encode_result(format, nested(), &mut buffer);
            let mut bytes = bytes_of(encoded, buffer);
            let place = place % bytes.len();
            bytes[place] = byte;
            let _ = decode_result::<Nested>(format, &bytes);
        }
    }

    #[test]
    fn every_shape_survives(shapes in prop::collection::vec(any_shape(), 0..4)) {
        check(shapes);
    }

    #[test]
    fn every_number_survives(number in any::<f64>(), other in any::<f32>(), whole in any::<(i128, u64)>()) {
        check((number, other, whole));
    }
}

#[test]
fn a_short_pair_of_plain_types_needs_no_buffer_of_its_own() {
    fn check<A: Value + Clone, B: Value + Clone>(format: Format, start: A, end: B, is_short: bool) {
        let (mut whole, mut short) = (Vec::new(), [7; SHORT_PAIR_BYTES]);
        let pair = (start, end);
        let length = encode_short_pair(format, &pair, &mut short);
        assert_eq!(length.is_some(), is_short, "{}", std::any::type_name::<(A, B)>());
        encode_pair(format, &pair, &mut whole).unwrap();
        if let Some(length) = length {
            assert_eq!(short[..length], whole, "the same bytes");
        }
    }
    check(Format::Bincode, 1_u64, 2_u64, true);
    check(Format::Raw, (), 2_u8, true);
    let most = SHORT_PAIR_BYTES - bytes_of_number(SHORT_PAIR_BYTES).len() - 1;
    check(Format::Bincode, "x".repeat(most), 1_u8, true);
    check(Format::Bincode, "x".repeat(most + 1), 1_u8, false);
    check(Format::Bincode, vec![1_u64; 100], 1_u8, false);
    check(Format::Json, 1_u64, 2_u64, false);
    // A type of the user's may do anything when it is encoded.
    check(Format::Bincode, std::time::Duration::ZERO, 2_u8, false);
}
