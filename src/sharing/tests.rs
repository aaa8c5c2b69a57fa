//! Handles and their tables in one process: also what miri runs, on memory of the heap.

use super::*;
use crate::Task;
use std::cell::Cell;
use std::collections::BTreeMap;

#[test]
fn a_handle_shows_what_its_table_has_and_outlives_all_others() {
    let items = Shared::from_slice(&[1u64, 2, 3]).unwrap();
    let triples = Shared::from_slice(&[[1u16, 2, 3], [4, 5, 6]]).unwrap();
    let built = Shared::<[f32]>::build(5, |items| items[4] = 2.5).unwrap();
    let text = Shared::from_str("größer").unwrap();
    let map = Shared::new(BTreeMap::from([(1, "one".to_string())])).unwrap();
    let second = items.clone();
    drop(items);
    assert_eq!((&*second, &*triples), (&[1, 2, 3][..], &[[1, 2, 3], [4, 5, 6]][..]));
    assert_eq!((&*built, &*text, &map[&1][..]), (&[0.0, 0.0, 0.0, 0.0, 2.5][..], "größer", "one"));
    assert_eq!(format!("{second:?} {text:?} {map:?}"), "[1, 2, 3] \"größer\" {1: \"one\"}");
    let (empty, nothing) = (Shared::<[u64]>::from_slice(&[]).unwrap(), Shared::from_slice(&[[0u8; 0]; 3]).unwrap());
    assert!(empty.is_empty() && nothing.len() == 3);
    std::thread::spawn(move || assert_eq!(second.iter().sum::<u64>(), 6)).join().unwrap();
}

#[test]
fn pieces_without_a_pool_have_the_same_value() {
    let map = Shared::new(BTreeMap::from([(1, "one".to_string())])).unwrap();
    let address = |map: Shared<BTreeMap<u32, String>>| &raw const map[&1] as usize;
    let (backend, key) = crate::backend::inline::open(None);
    let task = Task::<usize>::opened(backend, key);
    task.call(address, map.clone());
    task.call_all(address, [map.clone(), map.clone()]);
    assert_eq!(task.get().unwrap(), [address(map); 3]);
}

#[test]
fn a_handle_of_another_type_is_refused() {
    let (items, text) = (Shared::from_slice(&[7u32]).unwrap(), Shared::from_str("seven").unwrap());
    let value = Shared::new(7u32).unwrap();
    for table in [&items.table, &text.table, &value.table] {
        let of = |is: bool, of: bool| assert_eq!(is, of, "{table:?}");
        of(Shared::<[u32]>::of(Arc::clone(table)).is_ok(), Arc::ptr_eq(table, &items.table));
        of(Shared::<str>::of(Arc::clone(table)).is_ok(), Arc::ptr_eq(table, &text.table));
        of(Shared::<u32>::of(Arc::clone(table)).is_ok(), Arc::ptr_eq(table, &value.table));
        of(Shared::<[i32]>::of(Arc::clone(table)).is_ok(), false);
        of(Shared::<[u8]>::of(Arc::clone(table)).is_ok(), false);
        of(Shared::<i32>::of(Arc::clone(table)).is_ok(), false);
    }
}

/// A value whose encoding panics, or hands out a piece of its own in between.
struct Odd<'a>(&'a Cell<u32>, Shared<str>);

impl Serialize for Odd<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let task = Task::<usize>::new_or_inline();
        task.call(|(text, other): (Shared<str>, Shared<[u8]>)| text.len() + other.len(), {
            (self.1.clone(), Shared::from_slice(&[1, 2]).unwrap())
        });
        self.0.set(task.get().unwrap()[0] as u32);
        assert!(self.0.get() < 10, "too long");
        self.1.serialize(serializer)
    }
}

#[test]
fn the_scope_is_as_before_after_a_panic_and_around_another() {
    let count = Cell::new(0);
    let encode = |odd: &Odd<'_>| scope::noting(|| guarded(|| codec::encode_message(odd)));
    let text = Shared::from_str("text").unwrap();
    let (written, tables) = encode(&Odd(&count, text.clone()));
    assert!(written.is_ok() && count.get() == 6);
    let tables = tables.unwrap();
    assert!(tables.len() == 1 && Arc::ptr_eq(&tables[0], &text.table), "the piece within kept its own");
    let (written, tables) = encode(&Odd(&count, Shared::from_str("a longer text").unwrap()));
    assert!(written.is_err() && tables.is_none());
    assert!(serde_json::to_string(&text).is_err(), "no arguments are encoded any more");
}

#[cfg(feature = "journal")]
#[test]
fn a_journal_knows_what_is_shared_by_its_content() {
    use crate::codec::tables::table::content_of;
    let content = |text: &str, format: Format| {
        let pair = (Shared::from_str(text).unwrap(), "and more".to_string());
        let mut bytes = Vec::new();
        let (encoded, tables) = scope::noting(|| codec::encode_pair(format, &pair, &mut bytes));
        encoded.unwrap();
        assert!(content_of(&bytes, &[]) == bytes);
        content_of(&bytes, &tables.unwrap())
    };
    for format in [Format::Bincode, Format::Json] {
        assert_eq!(content("one", format), content("one", format), "another number, and the same content");
        assert_ne!(content("one", format), content("two", format));
        assert!(String::from_utf8_lossy(&content("one", format)).contains("and more"));
    }
}
