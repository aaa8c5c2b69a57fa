//! What comes back is the value that was sent, or an error; never another value.
//!
//! In the default format a value travels without the names of its fields. serde's attributes can make the two halves of a
//! type differ: a field that one half leaves out, a variant that one half does not count. A reader then took the bytes of
//! one field for those of another. `Order { tags: [], customer: 0, items: [2, 10, 20] }` came back as customer 3 with the items
//! 10 and 20, `Cached { cache: 5, value: 9 }` as value 5, and `Level::Low` as `Level::High`, all without an error.
//! JSON had a fault of its own kind: `Some(None)`, `Some(())` and `Some(f64::INFINITY)` came back as `None`.
//!
//! A program of its own: with all ways to send all these types it has three times the size of any other, and nobody else's pools start in it.

#![cfg(target_os = "linux")]

mod support;

use multicore::{Error, ErrorKind, Format, Pool, Task, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::ops::Bound;
use std::time::{Duration, SystemTime};
use support::{busy_pool, pool, watchdog};

/// What can be done with a value in every backend: the same, by a pool and inline.
struct Places {
    pool: Pool,
    busy: Pool,
}

impl Places {
    fn new() -> Self {
        Places { pool: pool(1), busy: busy_pool() }
    }

    fn tasks<R: Value>(&self, format: Format) -> [Task<R>; 2] {
        // With a name, an error need not look for that of a function, which takes long in a program with debug symbols.
        [&self.pool, &self.busy].map(|pool| pool.task_or_inline::<R>().format(format).name("piece"))
    }

    /// The outcomes of all ways to send a value, or to get it.
    fn outcomes<T: Value>(&self, format: Format, make: fn(()) -> T) -> Vec<Result<T, Error>> {
        fn first<T>(value: T, _: u8) -> T {
            value
        }
        fn same<T>(value: T) -> T {
            value
        }
        let mut outcomes = Vec::new();
        for task in self.tasks::<T>(format) {
            task.call(make, ());
            task.call(same, make(()));
            task.run(first, make(()), 1);
            task.run_all(first, [(make(()), 1), (make(()), 2)]);
            outcomes.extend(task.get_each());
        }
        outcomes
    }

    /// As [`outcomes`](Self::outcomes), with the value as an argument alone.
    fn arguments<T: Value>(&self, make: fn(()) -> T) -> Vec<Result<(), Error>> {
        let mut outcomes = Vec::new();
        for task in self.tasks::<()>(Format::Bincode) {
            task.call(drop, make(()));
            task.run(|_, _: ()| (), make(()), ());
            task.run_all(|_: (), _| (), [((), make(()))]);
            outcomes.extend(task.get_each());
        }
        outcomes
    }
}

/// The value comes back, in all ways.
#[track_caller]
fn check_comes_back<T: Value + PartialEq + Debug>(places: &Places, format: Format, make: fn(()) -> T) {
    // Twice: once with a proof, once without.
    for outcome in (0..2).flat_map(|_| places.outcomes(format, make)) {
        let value = outcome.unwrap_or_else(|error| panic!("{format:?}, {:?}: {error}", make(())));
        assert_eq!(value, make(()), "{format:?}");
    }
}

/// The value comes back, or an error does that names the type and says what to do.
#[track_caller]
fn check_is_never_another<T: Value + PartialEq + Debug>(places: &Places, make: fn(()) -> T) -> Vec<Error> {
    let mut errors: Vec<Error> = Vec::new();
    for outcome in (0..2).flat_map(|_| places.outcomes(Format::Bincode, make)) {
        match outcome {
            Ok(value) => assert_eq!(value, make(()), "another value"),
            Err(error) => errors.push(error),
        }
    }
    for error in &errors {
        let text = error.to_string();
        assert!(matches!(error.kind(), ErrorKind::Encode | ErrorKind::Decode), "{:?}: {text}", error.kind());
        assert!(text.contains("Format::Json"), "it says what to do: {text}");
    }
    errors
}

/// No value of the type can be read from this format: each is an error where it is decoded, with all these words.
#[track_caller]
fn check_is_not_decoded<T: Value + PartialEq + Debug>(places: &Places, make: fn(()) -> T, words: &[&str]) {
    let errors = check_is_never_another(places, make);
    assert!(!errors.is_empty());
    for error in &errors {
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {text}");
    }
}

/// The value is refused wherever it is sent from, with an error that has all these words.
#[track_caller]
fn check_refused<T: Value + PartialEq + Debug>(places: &Places, make: fn(()) -> T, words: &[&str]) {
    let errors = check_is_never_another(places, make);
    assert_eq!(errors.len(), 20, "refused in all ways");
    let hooked = Pool::builder().on_worker_start_with(drop, make(())).build().unwrap_err();
    let arguments = places.arguments(make).into_iter().map(Result::unwrap_err);
    for error in errors.into_iter().chain(arguments).chain([hooked]) {
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Encode, "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "not all of {words:?} in: {text}");
    }
}

type Text = String;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Number(u64),
    Pair(i8, Text),
    Named { width: u16, height: Option<Box<Shape>> },
    Many(Vec<Shape>),
    Inner(Kind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum Kind {
    Small,
    Large = 7,
}

fn shapes(_: ()) -> Vec<Shape> {
    let inner = Shape::Named { width: 3, height: None };
    vec![
        Shape::Nothing,
        Shape::Number(5),
        Shape::Pair(-1, "pair".into()),
        Shape::Named { width: 1, height: Some(Box::new(inner)) },
        Shape::Many(vec![Shape::Many(vec![]), Shape::Inner(Kind::Large)]),
        Shape::Inner(Kind::Small),
    ]
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Generic<T, U> {
    one: T,
    other: Vec<U>,
    both: (T, U),
    none: PhantomData<U>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Meters(u32);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tuple(u8, Text, Meters, [Kind; 2]);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Empty {}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Transparent {
    inner: Shape,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename = "other", deny_unknown_fields)]
struct Renamed {
    first_name: Text,
    #[serde(rename = "last")]
    last_name: Text,
    #[serde(alias = "years", alias = "a")]
    age: u8,
    #[serde(alias = "z", default)]
    b: u8,
    #[serde(default = "seven")]
    seven: Option<u8>,
}

fn seven() -> Option<u8> {
    Some(7)
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "kebab-case")]
enum RenamedVariants {
    #[serde(alias = "old", rename = "new")]
    First,
    SecondOne {
        #[serde(alias = "b")]
        a_field: u8,
        other_field: Text,
    },
    #[serde(bound = "")]
    Third(Text),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
struct Percent(u8);

impl TryFrom<u8> for Percent {
    type Error = Text;

    fn try_from(value: u8) -> Result<Self, Text> {
        if value <= 100 { Ok(Percent(value)) } else { Err(format!("{value} is more than 100")) }
    }
}

impl From<Percent> for u8 {
    fn from(percent: Percent) -> u8 {
        percent.0
    }
}

/// A number as text, in both halves.
mod as_text {
    use super::*;

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        Text::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Stands for a type of another crate.
#[derive(Debug, Clone, PartialEq)]
struct Remote {
    secs: i64,
    nanos: i32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Remote")]
struct RemoteDef {
    secs: i64,
    nanos: i32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct With {
    #[serde(with = "as_text")]
    number: u64,
    #[serde(with = "RemoteDef")]
    remote: Remote,
    #[serde(skip)]
    cache: u8,
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    never_read_and_none: Option<u8>,
    percent: Percent,
}

fn with(_: ()) -> With {
    With { number: 5, remote: Remote { secs: -1, nanos: 2 }, cache: 0, never_read_and_none: None, percent: Percent(3) }
}

/// Two numbers, written as a tuple and read as a sequence of two by a visitor of its own.
#[derive(Debug, Clone, PartialEq)]
struct ByHand(u32, u32);

impl Serialize for ByHand {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0, self.1).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ByHand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <(u32, u32)>::deserialize(deserializer).map(|(one, other)| ByHand(one, other))
    }
}

/// A `Some` that is read as its tag and its value, in each binary format: no reader of products would do that.
#[derive(Debug, Clone, PartialEq)]
struct TagAndValue(u64);

impl Serialize for TagAndValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_some(&self.0)
    }
}

impl<'de> Deserialize<'de> for TagAndValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <(bool, u64)>::deserialize(deserializer).map(|(_, number)| TagAndValue(number))
    }
}

/// Each row is a value that comes back from the default format and, unless it says so, from JSON.
macro_rules! rows {
    ($places:expr, $formats:expr; $($value:expr),* $(,)?) => {
        $(for format in $formats {
            check_comes_back($places, format, |()| $value);
        })*
    };
}

const BOTH: [Format; 2] = [Format::Bincode, Format::Json];

#[test]
fn types_of_the_standard_library_are_never_refused() {
    let _watch = watchdog();
    let places = &Places::new();
    rows!(places, BOTH;
        (), true, 'x', -5_i8, 7_u128, i128::MIN, 0.1_f32, f64::MIN_POSITIVE, 5_usize,
        Text::from("text"), vec![1_u8, 2], vec![0.5_f64], vec![Text::new()], vec![(1_u64, 2_u64)],
        (1_u8, 2_u64, Text::from("three"), 'c', [1_u16; 3]), ((1, (2, (3, ()))), [[1_u8; 2]; 3]),
        Some(5), None::<Text>, Some(Some(5)), Some(vec![Some(Kind::Small), None]),
        Ok::<u8, Text>(1), Err::<(), Text>("no".into()), Box::new(5_u8), Box::<str>::from("boxed"),
        vec![1_u8].into_boxed_slice(), std::borrow::Cow::<'static, str>::Owned("cow".into()),
        HashMap::from([(1_u64, Kind::Small), (2, Kind::Large), (3, Kind::Small), (4, Kind::Large), (5, Kind::Small)]),
        HashSet::from([Shape::Nothing, Shape::Number(1), Shape::Number(2), Shape::Number(3), Shape::Number(4)]),
        HashMap::from([(Text::from("a"), HashSet::from([1, 2, 3])), ("b".into(), HashSet::from([4, 5, 6]))]),
        BTreeMap::from([(1, Some(())), (2, None)].map(|(key, value)| (key, value.is_some()))),
        BTreeSet::from([Kind::Small, Kind::Large]), VecDeque::from([1, 2]), LinkedList::from([1_i64, 2]),
        Duration::new(5, 6), SystemTime::UNIX_EPOCH + Duration::new(1, 999_999_999),
        std::net::IpAddr::from([127, 0, 0, 1]), std::net::Ipv6Addr::LOCALHOST,
        std::net::SocketAddr::from(([1, 2, 3, 4], 5)), std::path::PathBuf::from("/a/b"), std::ffi::OsString::from("os"),
        std::num::Wrapping(5_u8), std::num::NonZeroU32::new(5).unwrap(), std::cmp::Reverse(5_u8),
        1..5_u64, 1..=5_i8, ..5_u8, 5_u8.., Bound::Included(1_u8), Bound::<u8>::Unbounded,
        std::cell::Cell::new(5), std::cell::RefCell::new(vec![Kind::Small]), PhantomData::<Shape>,
        std::ffi::CString::new("c").unwrap(),
    );
    // Keys that are no text are for the default format alone.
    rows!(places, [Format::Bincode];
        HashMap::from([((1, 2), vec![3]), ((3, 4), vec![])]), BTreeMap::from([(Some(Kind::Large), Shape::Nothing)]),
        Some(()), Some(None::<Shape>), Some(f64::INFINITY), vec![(); 9],
    );
    // Types that cannot be compared.
    let heap = |()| BinaryHeap::from([3, 1, 2, 9, 7]);
    for format in BOTH {
        for outcome in places.outcomes(format, heap) {
            assert_eq!(outcome.unwrap().into_sorted_vec(), heap(()).into_sorted_vec());
        }
    }
    let nan = |()| Some((f32::from_bits(0x7fc0_1234), f64::from_bits(0xfff8_0000_0000_4321), Kind::Small));
    for outcome in places.outcomes(Format::Bincode, nan) {
        let (single, double, _) = outcome.unwrap().unwrap();
        assert_eq!((single.to_bits(), double.to_bits()), (0x7fc0_1234, 0xfff8_0000_0000_4321), "a NaN keeps its bits");
    }
}

#[test]
fn types_whose_halves_mirror_each_other_are_never_refused() {
    let _watch = watchdog();
    let places = &Places::new();
    rows!(places, BOTH;
        shapes(()), Shape::Nothing, Some(shapes(())), [Kind::Small; 32], (Kind::Large, shapes(())),
        Unit, Meters(1), vec![Meters(1), Meters(2)], Tuple(1, "two".into(), Meters(3), [Kind::Small, Kind::Large]), Empty {},
        Generic { one: Meters(1), other: vec![Kind::Small], both: (Meters(2), Kind::Large), none: PhantomData },
        Generic { one: 1_u8, other: vec![Text::new()], both: (1, "x".into()), none: PhantomData },
        Transparent { inner: Shape::Number(1) },
        Renamed { first_name: "a".into(), last_name: "b".into(), age: 3, b: 4, seven: None },
        vec![RenamedVariants::First, RenamedVariants::Third("x".into()),
            RenamedVariants::SecondOne { a_field: 1, other_field: "y".into() }],
        Percent(100), ByHand(1, 2), HashMap::from([(Meters(1).0, Percent(2))]),
        BTreeMap::from([(Text::from("key"), shapes(()))]), multicore::Failure::from(std::fmt::Error).to_string(),
    );
    rows!(places, [Format::Bincode]; with(()), vec![with(()); 3], TagAndValue(1), vec![TagAndValue(2), TagAndValue(3)]);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(dead_code, reason = "nobody can make the value that serde skips")]
enum Level {
    #[serde(skip)]
    Old,
    Low,
    High,
    Top,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(dead_code, reason = "as above")]
enum ReadLess {
    #[serde(skip_deserializing)]
    Old,
    Low,
    High,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(dead_code, reason = "as above")]
enum OneOther {
    #[serde(skip)]
    Old,
    Low,
    #[serde(other)]
    Rest,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Cached {
    #[serde(skip_deserializing)]
    cache: u32,
    value: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<u64>,
    customer: u64,
    items: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Secret {
    name: Text,
    #[serde(skip_serializing, default)]
    password: Text,
}

/// One field is not read, another one not written: as many bytes, and in this value the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Compensated {
    a: u32,
    #[serde(skip_deserializing)]
    b: u32,
    #[serde(skip_serializing)]
    c: u32,
}

/// The alias hides that `b` is not read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Hidden {
    #[serde(alias = "b")]
    a: u32,
    #[serde(skip_deserializing)]
    b: u32,
    #[serde(skip_serializing, default)]
    c: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum InVariant {
    Point {
        #[serde(default, skip_serializing_if = "is_zero")]
        x: u8,
        y: u8,
        z: u8,
    },
    Pair(u8, #[serde(skip_deserializing)] u8),
}

fn is_zero(value: &u8) -> bool {
    *value == 0
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct TupleNotRead(u8, #[serde(skip_deserializing)] u8, u8);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct TupleNotWritten(u8, #[serde(skip_serializing)] u8, u8);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unlike {
    #[serde(rename(serialize = "b", deserialize = "c"))]
    a: u8,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Flat {
    one: u8,
    #[serde(flatten)]
    rest: BTreeMap<Text, u8>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(Text),
    Named { a: u8 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    One { a: u8 },
    Two { b: u8 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value")]
enum Adjacent {
    One(u8),
    Two { b: u8 },
    Three,
}

/// Halves that convert unlike each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OneWay {
    #[serde(serialize_with = "as_text::serialize")]
    number: u64,
    next: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Halved {
    #[serde(deserialize_with = "half")]
    number: u64,
}

fn half<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    u64::deserialize(deserializer).map(|number| number / 2)
}

/// Hand-written halves in unlike orders.
#[derive(Debug, Clone, PartialEq)]
struct Crossed(u8, u8);

impl Serialize for Crossed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.1, self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Crossed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <(u8, u8)>::deserialize(deserializer).map(|(one, other)| Crossed(one, other))
    }
}

/// Written as three, read as two.
#[derive(Debug, Clone, PartialEq)]
struct Shortened(u8);

impl Serialize for Shortened {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0, 0_u8, 0_u8).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Shortened {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <(u8, u8)>::deserialize(deserializer).map(|(one, _)| Shortened(one))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Outer {
    orders: Vec<Order>,
    level: Option<Level>,
}

fn secret(_: ()) -> Secret {
    Secret { name: "name".into(), password: Text::new() }
}

fn order(tags: &[u64]) -> Order {
    Order { tags: tags.to_vec(), customer: 0, items: vec![2, 10, 20] }
}

#[test]
fn types_whose_halves_differ_are_refused_with_the_reason() {
    let _watch = watchdog();
    let places = &Places::new();
    check_refused(places, |()| Level::Low, &["mirror::Level", "another value"]);
    check_refused(places, |()| Level::Top, &["mirror::Level", "cannot be read back"]);
    check_refused(places, |()| ReadLess::Low, &["mirror::ReadLess"]);
    check_refused(places, |()| OneOther::Low, &["mirror::OneOther", "another value"]);
    check_refused(places, |()| Cached { cache: 5, value: 9 }, &["mirror::Cached", "`cache`", "skip_deserializing"]);
    check_refused(places, |()| order(&[]), &["mirror::Order", "`tags`", "skip_serializing_if"]);
    check_refused(places, |()| vec![order(&[1]), order(&[])], &["mirror::Order", "`tags`"]);
    check_refused(places, |()| (1_u8, Some(order(&[]))), &["mirror::Order", "`tags`"]);
    check_refused(places, secret, &["mirror::Secret", "`password`"]);
    check_refused(places, |()| vec![secret(()), secret(())], &["mirror::Secret", "`password`"]);
    check_refused(places, |()| Compensated { a: 1, b: 0, c: 3 }, &["mirror::Compensated", "`b`"]);
    check_refused(places, |()| InVariant::Point { x: 0, y: 1, z: 2 }, &["mirror::InVariant", "`x`"]);
    check_refused(places, |()| InVariant::Pair(1, 2), &["mirror::InVariant", "2 of its fields are written, and 1"]);
    check_refused(places, |()| TupleNotRead(1, 2, 3), &["mirror::TupleNotRead"]);
    check_refused(places, |()| TupleNotWritten(1, 0, 3), &["mirror::TupleNotWritten"]);
    check_refused(places, |()| Unlike { a: 1 }, &["mirror::Unlike", "`b`", "rename"]);
    check_refused(places, |()| Flat { one: 1, rest: BTreeMap::new() }, &["mirror::Flat", "flatten"]);
    check_is_not_decoded(places, |()| Untagged::Number(5), &["mirror::Untagged", "untagged"]);
    check_is_not_decoded(places, |()| vec![Untagged::Named { a: 1 }], &["mirror::Untagged"]);
    check_is_not_decoded(places, |()| Some(Tagged::Two { b: 1 }), &["mirror::Tagged"]);
    check_refused(places, |()| OneWay { number: 5, next: 6 }, &["mirror::OneWay"]);
    check_refused(places, |()| Halved { number: 6 }, &["mirror::Halved", "another value"]);
    check_refused(places, |()| Crossed(1, 2), &["mirror::Crossed", "another value"]);
    check_refused(places, |()| Shortened(1), &["fields are written, and 2 are read"]);
    check_is_not_decoded(places, |()| serde_json::json!({ "a": [1, null] }), &["serde_json::value::Value"]);
    let outer = |()| Outer { orders: vec![order(&[1])], level: Some(Level::Low) };
    check_refused(places, outer, &["mirror::Outer"]);
}

#[test]
fn values_of_such_types_that_can_come_back_do() {
    let _watch = watchdog();
    let places = &Places::new();
    for format in BOTH {
        check_comes_back(places, format, |()| order(&[1]));
        check_comes_back(places, format, |()| vec![order(&[1]), order(&[1, 2])]);
        check_comes_back(places, format, |()| Outer { orders: vec![], level: None });
    }
    let named = [|()| Adjacent::One(1), |()| Adjacent::Two { b: 2 }, |()| Adjacent::Three];
    for make in named {
        check_is_never_another(places, make);
        check_comes_back(places, Format::Json, make);
    }
    check_is_never_another(places, |()| Hidden { a: 1, b: 0, c: 0 });
    check_is_never_another(places, |()| Hidden { a: 1, b: 2, c: 0 });
    // A proof of one variant, or of a value with all fields, proves nothing of the others.
    check_refused(places, |()| order(&[]), &["`tags`"]);
    check_refused(places, |()| vec![order(&[1]), order(&[])], &["`tags`"]);
}

/// The cure that an error names works: these come back in JSON.
#[test]
fn json_carries_what_the_default_format_refuses() {
    let _watch = watchdog();
    let places = &Places::new();
    rows!(places, [Format::Json];
        Level::Low, Level::Top, OneOther::Low, order(&[]), vec![order(&[1]), order(&[])],
        Secret { name: "name".into(), password: Text::new() }, InVariant::Point { x: 0, y: 1, z: 2 },
        Flat { one: 1, rest: BTreeMap::from([("two".into(), 2)]) }, Untagged::Number(5), vec![Untagged::Named { a: 1 }],
        Tagged::Two { b: 1 }, serde_json::json!({ "a": [1, null, { "b": 2.5 }] }), Cached { cache: 0, value: 9 },
    );
}

/// `Some(None)` and `Some(None)`: the idiom of types for partial updates, which tell "null" from "not there".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Update {
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    name: Option<Option<Text>>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Text>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Measured {
    value: Option<f64>,
    wrapped: Option<Wrapped>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Wrapped(Option<u8>);

/// A number for which JSON's null stands for NaN.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct NullIsNan {
    #[serde(deserialize_with = "null_is_nan")]
    value: f64,
}

fn null_is_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Option::deserialize(deserializer).map(|value| value.unwrap_or(f64::NAN))
}

/// The value is refused in JSON, wherever it is sent from.
#[track_caller]
fn check_refused_in_json<T: Value + Debug>(places: &Places, make: fn(()) -> T, words: &[&str]) {
    for outcome in places.outcomes(Format::Json, make) {
        let error = outcome.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Encode, "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "not all of {words:?} in: {text}");
    }
}

#[test]
fn what_json_cannot_tell_apart_is_refused() {
    let _watch = watchdog();
    let places = &Places::new();
    let null = ["null", "Format::Bincode"];
    check_refused_in_json(places, |()| Some(None::<u8>), &null);
    check_refused_in_json(places, |()| Some(()), &null);
    check_refused_in_json(places, |()| Some(Some(None::<u8>)), &null);
    check_refused_in_json(places, |()| vec![Some(Unit), None], &null);
    check_refused_in_json(places, |()| Some(serde_json::Value::Null), &null);
    check_refused_in_json(
        places,
        |()| Measured { value: None, wrapped: Some(Wrapped(None)) },
        &["mirror::Measured", "null"],
    );
    let number = ["NaN", "Format::Bincode"];
    check_refused_in_json(places, |()| Some(f64::INFINITY), &number);
    check_refused_in_json(places, |()| f32::NAN, &number);
    check_refused_in_json(places, |()| vec![0.0, f64::NEG_INFINITY], &number);
    check_refused_in_json(places, |()| BTreeMap::from([(1, Some(f32::INFINITY))]), &number);
    check_refused_in_json(places, |()| Measured { value: Some(f64::NAN), wrapped: None }, &number);
    check_refused_in_json(places, |()| NullIsNan { value: f64::INFINITY }, &number);
    // What a type knows to read back is not refused.
    rows!(places, [Format::Json];
        Update { name: Some(None) }, Update { name: None }, Update { name: Some(Some("new".into())) },
        Measured { value: Some(-0.0), wrapped: Some(Wrapped(Some(1))) }, Some(vec![None::<u8>]), Some([()]), vec![None::<()>],
        u128::MAX, i128::MIN, 16_777_217.0_f32, 0.1_f32 + 0.2, 5e-324, f64::MAX, '\0', vec![0_u8, 255],
    );
    let nan = |()| NullIsNan { value: -f64::NAN };
    for outcome in places.outcomes(Format::Json, nan) {
        assert!(outcome.unwrap().value.is_nan());
    }
    for outcome in places.outcomes(Format::Json, |()| -0.0_f64) {
        assert!(outcome.unwrap().is_sign_negative());
    }
}
