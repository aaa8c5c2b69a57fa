//! When values are read back, how many of them, and what happens if that fails.

use super::*;
use crate::codec::error::BINARY;
use serde::{Deserialize, Deserializer, Serializer};
use std::cell::Cell;

thread_local! {
    /// How often this thread has read a `Probe`.
    static READS: Cell<u64> = const { Cell::new(0) };
}

/// A number that counts how often it is read.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Probe(u64);

impl<'de> Deserialize<'de> for Probe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Inner(u64);
        READS.set(READS.get() + 1);
        Inner::deserialize(deserializer).map(|Inner(number)| Probe(number))
    }
}

/// Encodes a value and gives the number of probes that were read back meanwhile.
fn reads_of<T: Value + PartialEq>(value: &T) -> u64 {
    let before = READS.get();
    let mut buffer = b"what was there before".to_vec();
    let start = buffer.len();
    append(value, &mut buffer).unwrap();
    let reads = READS.get() - before;
    assert!(buffer.starts_with(b"what was there before"));
    let mut direct = Vec::new();
    binary::append(value, &mut direct).unwrap();
    assert!(buffer[start..] == direct, "a proof changes nothing on the wire");
    assert!(binary::read::<PhantomData<T>>(PhantomData, &direct).unwrap() == *value);
    reads
}

fn error_of<T: Value>(value: &T) -> String {
    append(value, &mut Vec::new()).unwrap_err().to_string()
}

#[test]
fn a_shape_is_proven_by_its_first_three_values() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        One { a: Probe, b: u8 },
        Other(Probe, u8),
    }

    let reads = |make: fn(u64) -> Kind| (0..20).map(|number| reads_of(&make(number))).collect::<Vec<_>>();
    let first_three = [vec![1; 3], vec![0; 17]].concat();
    if !cfg!(miri) {
        assert_eq!(reads(|number| Kind::One { a: Probe(number), b: 1 }), first_three);
        assert_eq!(reads(|number| Kind::Other(Probe(number), 1)), first_three, "another shape");
    }
    // What is plain is skipped, and what is in it is read all the same.
    let plain = |number| (Probe(number), Some((1_u64, 2_u64)), vec![(1_u8, 2_u8); 3], Some("text".to_string()));
    let reads: Vec<u64> = (0..20).map(|number| reads_of(&plain(number))).collect();
    if !cfg!(miri) {
        assert_eq!(reads, first_three);
    }
    // Below another root it is another value.
    assert_eq!(reads_of(&(1_u8, Kind::One { a: Probe(1), b: 1 })), 1);
}

#[test]
fn aliases_are_known_too_once_they_were_read_by_name() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Aliased {
        #[serde(alias = "older", alias = "oldest")]
        a: Probe,
        #[serde(alias = "last")]
        b: u8,
    }

    let reads: Vec<u64> = (0..5).map(|number| reads_of(&Aliased { a: Probe(number), b: 1 })).collect();
    if !cfg!(miri) {
        assert_eq!(reads, [2, 2, 2, 0, 0], "by position and by name");
    }
}

#[test]
fn of_a_large_value_a_few_elements_are_read_back() {
    let number = if cfg!(miri) { LARGE / 8 + 10 } else { 20_000 };
    let list = |modulo| (0..number as u64).map(|number| Probe(number % modulo)).collect::<Vec<Probe>>();
    assert_eq!(reads_of(&list(u64::MAX)), 3);
    assert_eq!(reads_of(&(7_u8, list(1))), 1, "a list of the same value is one proof");
    // Its other parts are proven whole or emptied.
    let value = (vec![1_u8; LARGE], "text".repeat(LARGE), Some(list(5)), vec![(Probe(9), vec![Probe(8)])]);
    assert!(reads_of(&value) <= 8);
    assert_eq!(reads_of(&std::collections::BTreeMap::from_iter((0..number).map(|key| (key, Probe(1))))), 1);
}

#[test]
fn a_large_value_that_cannot_be_smaller_is_read_back_whole() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(try_from = "Vec<Probe>", into = "Vec<Probe>")]
    struct AtLeast(Vec<Probe>);

    impl TryFrom<Vec<Probe>> for AtLeast {
        type Error = String;

        fn try_from(list: Vec<Probe>) -> Result<Self, String> {
            if list.len() * 8 > LARGE { Ok(AtLeast(list)) } else { Err(format!("{} are too few", list.len())) }
        }
    }

    impl From<AtLeast> for Vec<Probe> {
        fn from(list: AtLeast) -> Self {
            list.0
        }
    }

    let number = LARGE as u64 / 8 + 1;
    // Large numbers take 8 bytes or more in each binary format.
    let value = AtLeast((0..number).map(|number| Probe(u64::MAX - number)).collect());
    assert_eq!(reads_of(&value), 3 + number);
    if !cfg!(miri) {
        assert_eq!(reads_of(&value), 3 + number, "its shapes were proven once");
        assert_eq!(reads_of(&value), 3 + number);
        assert_eq!(reads_of(&value), 0);
    }
}

/// Written as a `Some`, read as a tuple of two.
#[derive(Debug, PartialEq)]
struct Tagged(bool, Probe);

impl Serialize for Tagged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0);
        serializer.serialize_some(&self.1)
    }
}

impl<'de> Deserialize<'de> for Tagged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <(bool, Probe)>::deserialize(deserializer).map(|(tag, probe)| Tagged(tag, probe))
    }
}

#[test]
fn a_reader_of_other_products_is_proven_with_each_value() {
    for number in 0..10 {
        assert_eq!(reads_of(&Tagged(true, Probe(number))), 1);
        assert_eq!(reads_of(&vec![Tagged(true, Probe(number)), Tagged(true, Probe(2))]), 2);
    }
}

/// Where numbers take more bytes the larger they are, a shorter list has a shorter length, and what follows it moves.
#[test]
fn parts_behind_a_list_that_was_reduced_are_found() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Row {
        number: Probe,
        next: (u8, u8),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Rows {
        lists: Vec<Vec<Row>>,
        map: std::collections::BTreeMap<u64, Row>,
        last: Row,
    }

    let row = |number| Row { number: Probe(number), next: (1, 2) };
    let rows = |number| Rows {
        lists: vec![vec![row(1); 300], (0..number).map(row).collect(), vec![row(2); LARGE]],
        map: (0..number).map(|number| (number, row(number))).collect(),
        last: row(3),
    };
    let few = if cfg!(miri) { 20 } else { 1000 };
    // What is written in step is known once it was proven three times; none of these reads all elements.
    let reads: Vec<u64> = (0..4).map(|more| reads_of(&rows(few + more))).collect();
    assert!(reads[..3].iter().all(|&reads| (1..20).contains(&reads)) && reads[3] == 0, "{reads:?}");
}

#[test]
fn a_half_that_converts_otherwise_is_found_by_the_first_value_that_shows_it() {
    #[derive(Debug, PartialEq)]
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

    let same: Vec<Crossed> = (0..2).map(|_| Crossed(1, 1)).collect();
    reads_of(&same);
    let error = error_of(&vec![Crossed(1, 1), Crossed(1, 2)]);
    assert!(error.contains("Crossed") && error.contains("another value"), "{error}");
}

#[test]
fn a_panic_while_a_value_is_read_back_is_an_error() {
    #[derive(Debug, Serialize)]
    struct Panics(u8);

    impl<'de> Deserialize<'de> for Panics {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            panic!("it never reads")
        }
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct PanicsInDrop {
        is_original: RefCell<bool>,
    }

    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            if !self.is_original.take() {
                panic!("it never drops");
            }
        }
    }

    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let errors = [error_of(&Panics(1)), {
        let value = PanicsInDrop { is_original: RefCell::new(false) };
        let error = error_of(&value);
        value.is_original.replace(true);
        error
    }];
    std::panic::set_hook(hook);
    assert!(errors[0].contains("it never reads"), "{errors:?}");
    assert!(errors[1].contains("it never drops"), "{errors:?}");
}

/// A proof needs more of the stack than encoding does, because it reads.
#[test]
fn the_deepest_value_that_can_be_read_is_proven_on_a_small_stack() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Level {
        numbers: [u64; 16],
        inner: Option<Box<Level>>,
        list: Vec<Level>,
    }

    let level = |inner| Level { numbers: [7; 16], inner, list: Vec::new() };
    let outcomes = (0..300).step_by(if cfg!(miri) { 150 } else { 1 }).map(|depth| {
        let value = (0..depth).fold(level(None), |inner, depth| match depth % 2 {
            0 => level(Some(Box::new(inner))),
            _ => Level { list: vec![inner], ..level(None) },
        });
        let mut bytes = Vec::new();
        binary::append(&value, &mut bytes).unwrap();
        try_halves(&value, Some(&bytes)).map(drop)
    });
    // This thread has 2 MiB, as all that the standard library makes.
    let outcomes: Vec<_> = outcomes.collect();
    let refused = outcomes.iter().position(Result::is_err).expect("there is a limit");
    assert!(outcomes[refused..].iter().all(Result::is_err));
    let error = outcomes[refused].as_ref().unwrap_err().to_string();
    assert!(error.contains("nests deeper"), "{error}");
    assert!(cfg!(miri) || refused > 80, "{refused} levels are few");
}

#[test]
fn an_error_names_the_innermost_type_and_the_field() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Outer {
        list: Vec<Option<Middle>>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Middle {
        #[serde(serialize_with = "write_zero")]
        flag: bool,
        #[serde(serialize_with = "write_seven")]
        letter: bool,
    }

    fn write_zero<S: Serializer>(_: &bool, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(0)
    }

    fn write_seven<S: Serializer>(_: &bool, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(7)
    }

    let error = error_of(&Outer { list: vec![None, Some(Middle { flag: false, letter: true })] });
    assert!(error.contains("::Middle`") && error.contains("`letter` cannot be read back"), "{error}");
}

/// Prints what encoding costs with and without shapes: `cargo test --release --lib cost_of_shapes -- --ignored --nocapture`.
#[test]
#[ignore = "it measures"]
fn cost_of_shapes() {
    #[derive(PartialEq, Serialize, Deserialize)]
    struct Twelve {
        a: u64,
        b: u32,
        c: f64,
        d: bool,
        e: u64,
        f: Option<u64>,
        g: u16,
        h: i64,
        i: f32,
        j: u64,
        k: (u64, u64),
        l: Probe,
    }

    #[derive(Clone, PartialEq, Serialize, Deserialize)]
    struct Two {
        a: u64,
        b: u32,
    }

    #[derive(Clone, PartialEq, Serialize, Deserialize)]
    struct User {
        id: u64,
        name: String,
        tags: Vec<String>,
        at: Two,
        last: Option<Two>,
    }

    fn median(mut run: impl FnMut()) -> f64 {
        let mut times: Vec<f64> = (0..15)
            .map(|_| {
                let start = std::time::Instant::now();
                run();
                start.elapsed().as_nanos() as f64
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[7]
    }

    fn print<T: Value>(what: &str, value: T, times: u32) {
        let mut buffer = Vec::new();
        for _ in 0..3 {
            buffer.clear();
            append(&value, &mut buffer).unwrap();
        }
        let mut each = |with_shapes: bool| {
            median(|| {
                for _ in 0..times {
                    buffer.clear();
                    let value = std::hint::black_box(&value);
                    if with_shapes { append(value, &mut buffer) } else { binary::append(value, &mut buffer) }.unwrap();
                    std::hint::black_box(&buffer);
                }
            }) / f64::from(times)
        };
        let before = READS.get();
        (0..3).for_each(|_| println!("{what}: {:.2} ns without, {:.2} ns with shapes", each(false), each(true)));
        assert_eq!(READS.get(), before, "it is known");
    }

    let two = Two { a: 1, b: 2 };
    let user =
        User { id: 1, name: "name".into(), tags: vec!["tag".into(); 3], at: two.clone(), last: Some(two.clone()) };
    print("two numbers", (1_u64, 2_u64), 100_000);
    print("a number and a text", (1_usize, "text".to_string()), 100_000);
    print("an optional pair", Some((1_u64, 2_u64)), 100_000);
    let twelve =
        Twelve { a: 1, b: 2, c: 3.0, d: true, e: 5, f: Some(6), g: 7, h: 8, i: 9.0, j: 10, k: (1, 1), l: Probe(12) };
    print("a struct of 12 fields", twelve, 100_000);
    print("1,000 structs of 2 fields", vec![two; 1000], 1000);
    print("1,000 users", vec![user; 1000], 100);
    print(
        "1,000 entries of a map",
        (0..1000_u64).map(|key| (key, Some(key))).collect::<std::collections::BTreeMap<_, _>>(),
        1000,
    );
}

/// An error that came while another finding was known brought its cure along, beside that of the whole.
#[test]
fn an_error_names_what_to_do_once() {
    #[derive(PartialEq, Serialize, Deserialize)]
    struct Flat {
        one: u8,
        #[serde(flatten)]
        rest: std::collections::BTreeMap<String, u8>,
    }

    #[derive(Default, PartialEq, Serialize, Deserialize)]
    struct Order {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tags: Vec<String>,
    }

    #[derive(PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u64),
    }

    #[derive(PartialEq, Serialize, Deserialize)]
    struct Lenient {
        #[serde(deserialize_with = "or_default")]
        order: Order,
        number: Untagged,
    }

    fn or_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Order, D::Error> {
        Ok(Order::deserialize(deserializer).unwrap_or_default())
    }

    let module = "multicore::codec::proof::tests::an_error_names_what_to_do_once";
    let flat = Flat { one: 1, rest: [("two".to_string(), 2)].into() };
    let told = format!(
        "`{module}::Flat` is written as a list or map that does not tell its length before, as with #[serde(flatten)]: use \
         Format::Json"
    );
    assert_eq!(error_of(&flat), told);
    let lenient = Lenient { order: Order::default(), number: Untagged::Number(1) };
    let told = format!(
        "`{module}::Order` would not come back as it is: its field `tags` is read and not written (skip_serializing): \
         {BINARY} cannot decode `{module}::Lenient`, which describes its own shape, as an untagged enum does: use \
         Format::Json, or let both halves of its serde code name the same fields"
    );
    assert_eq!(error_of(&lenient), told);
}
