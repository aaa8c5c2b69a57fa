//! What all handles of something shared (`Shared`) lead to: memory that nobody changes, and what it contains.
//!
//! | in …         | the memory is                         | the content of a value is               |
//! |--------------|---------------------------------------|-----------------------------------------|
//! | the parent   | made and sealed by it, its descriptor kept | the value itself                   |
//! | a worker     | received, mapped and its descriptor closed | decoded when a piece asks for it first |
//!
//! Invariant: the bytes are of the kind that the table says, from its making on: the parent made them so, and they are sealed before
//! anyone else knows them.

use crate::codec::error::{CodecError, drop_payload};
use crate::sys::process;
use crate::sys::sealed::Sealed;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::any::{Any, type_name};
use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};

/// The number of a table: the process that made it, by chance, and the count of its tables. It is never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct TableId(pub(crate) [u8; 16]);

impl TableId {
    fn new() -> TableId {
        static OF_PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // A worker, and a child of a fork, may have the parent's number. A table of theirs is not the parent's.
        let process = *OF_PROCESS ^ u64::from(std::process::id());
        TableId::from_words([process, count])
    }

    pub(crate) fn from_words(words: [u64; 2]) -> TableId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&words[0].to_le_bytes());
        bytes[8..].copy_from_slice(&words[1].to_le_bytes());
        TableId(bytes)
    }

    pub(crate) fn to_words(self) -> [u64; 2] {
        let number = u128::from_le_bytes(self.0);
        [number as u64, (number >> 64) as u64]
    }

    /// For formats that people read.
    pub(crate) fn to_text(self) -> String {
        format!("{:032x}", u128::from_le_bytes(self.0))
    }

    pub(crate) fn from_text(text: &str) -> Option<TableId> {
        u128::from_str_radix(text, 16).ok().map(|number| TableId(number.to_le_bytes()))
    }
}

impl fmt::Debug for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

/// What the bytes of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// A value, encoded.
    Value(Encoding),
    /// UTF-8.
    Text,
    /// Items of a plain type of this size.
    Items { item_bytes: u64 },
}

/// How a value is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Encoding {
    Binary,
    Json,
}

/// All that is to be known of a table beside its bytes; what travels to a worker with their descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableHead {
    pub(crate) id: TableId,
    kind: Kind,
    /// Bytes, or items.
    length: u64,
    /// A digest of the name of the type: the same in all processes of an image.
    type_digest: u64,
    pub(crate) bytes: u64,
}

/// Somebody who must hear when a table is gone.
pub(crate) trait Holder: fmt::Debug + Send + Sync {
    /// The last handle in this process was dropped. It neither waits nor takes the scheduler's lock.
    fn forget(&self, table: TableId);
}

pub(crate) struct Table {
    head: TableHead,
    memory: Sealed,
    content: OnceLock<Content>,
    /// The process that has it. A child that is forked from it while another thread asks for `holders` would wait for ever.
    owner: process::Number,
    /// The pools whose workers may have it.
    holders: Mutex<Vec<Weak<dyn Holder>>>,
    #[cfg(feature = "journal")]
    digest: OnceLock<[u8; 32]>,
}

/// The tables of a piece, each once.
pub(crate) type Tables = Arc<[Arc<Table>]>;

/// A value whose drop harms nobody: a table may end on any thread of the crate.
struct Content(Option<Box<dyn Any + Send + Sync>>);

impl Drop for Content {
    fn drop(&mut self) {
        let value = self.0.take();
        if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| drop(value))) {
            drop_payload(payload);
        }
    }
}

fn digest_of<T: ?Sized>() -> u64 {
    // Without keys of its own it is the same in each process.
    let mut hasher = DefaultHasher::new();
    type_name::<T>().hash(&mut hasher);
    hasher.finish()
}

impl Table {
    fn new(kind: Kind, length: usize, type_digest: u64, memory: Sealed, content: Option<Content>) -> Arc<Table> {
        let bytes = memory.len() as u64;
        let head = TableHead { id: TableId::new(), kind, length: length as u64, type_digest, bytes };
        Arc::new(Table::of(head, memory, content))
    }

    fn of(head: TableHead, memory: Sealed, content: Option<Content>) -> Table {
        Table {
            head,
            memory,
            content: content.map_or_else(OnceLock::new, OnceLock::from),
            owner: process::number(),
            holders: Mutex::default(),
            #[cfg(feature = "journal")]
            digest: OnceLock::new(),
        }
    }

    /// A table of a value that was encoded so.
    pub(crate) fn of_value<T: Send + Sync + 'static>(value: T, encoding: Encoding, memory: Sealed) -> Arc<Table> {
        let length = memory.len();
        let content = Content(Some(Box::new(value)));
        Table::new(Kind::Value(encoding), length, digest_of::<T>(), memory, Some(content))
    }

    pub(crate) fn of_text(memory: Sealed) -> Arc<Table> {
        let length = memory.len();
        Table::new(Kind::Text, length, digest_of::<str>(), memory, None)
    }

    /// A table of this many items of type `T`, whose bytes are those of the memory.
    pub(crate) fn of_items<T: 'static>(length: usize, memory: Sealed) -> Arc<Table> {
        assert_eq!(Some(memory.len()), length.checked_mul(size_of::<T>()), "the memory is that of the items");
        Table::new(Kind::Items { item_bytes: size_of::<T>() as u64 }, length, digest_of::<T>(), memory, None)
    }

    /// A table that another process of this image has made, with its memory.
    pub(crate) fn received(head: TableHead, memory: Sealed) -> Arc<Table> {
        Arc::new(Table::of(head, memory, None))
    }

    pub(crate) fn head(&self) -> &TableHead {
        &self.head
    }

    pub(crate) fn id(&self) -> TableId {
        self.head.id
    }

    pub(crate) fn memory(&self) -> &Sealed {
        &self.memory
    }

    /// The value, which `decode` makes of its bytes the first time.
    pub(crate) fn value<T: Send + Sync + 'static>(
        &self,
        decode: impl FnOnce(Encoding, &[u8]) -> Result<T, CodecError>,
    ) -> Result<&T, CodecError> {
        let Kind::Value(encoding) = self.head.kind else { return Err(CodecError::OtherTable) };
        if self.head.type_digest != digest_of::<T>() {
            return Err(CodecError::OtherTable);
        }
        let content = match self.content.get() {
            Some(content) => content,
            None => {
                let value = decode(encoding, self.memory.bytes())?;
                // Another thread may have been first.
                self.content.get_or_init(|| Content(Some(Box::new(value))))
            }
        };
        content.0.as_ref().and_then(|value| value.downcast_ref()).ok_or(CodecError::OtherTable)
    }

    /// The bytes of a text.
    pub(crate) fn text_bytes(&self) -> Result<&[u8], CodecError> {
        if self.head.kind == Kind::Text { Ok(self.memory.bytes()) } else { Err(CodecError::OtherTable) }
    }

    /// The number of items, if they are of type `T`.
    pub(crate) fn items_of<T: 'static>(&self) -> Result<usize, CodecError> {
        let is_it = self.head.kind == Kind::Items { item_bytes: size_of::<T>() as u64 }
            && self.head.type_digest == digest_of::<T>();
        let length = usize::try_from(self.head.length).ok().filter(|_| is_it).ok_or(CodecError::OtherTable)?;
        // What travels is checked where it is used: the items lie within the memory.
        let lies_within = length.checked_mul(size_of::<T>()) == Some(self.memory.len());
        if lies_within { Ok(length) } else { Err(CodecError::OtherTable) }
    }

    /// This pool's workers may get it: it is told when the table is gone.
    pub(crate) fn add_holder(&self, holder: &Arc<dyn Holder>) {
        if !process::is_current(self.owner) {
            return;
        }
        let mut holders = self.holders.lock();
        let is_known = |known: &Weak<dyn Holder>| std::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(holder));
        if !holders.iter().any(is_known) {
            holders.retain(|known| known.strong_count() > 0);
            holders.push(Arc::downgrade(holder));
        }
    }

    /// Of what it contains: the same in each run.
    #[cfg(feature = "journal")]
    fn digest(&self) -> [u8; 32] {
        *self.digest.get_or_init(|| *blake3::hash(self.memory.bytes()).as_bytes())
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for holder in self.holders.get_mut().drain(..) {
            if let Some(holder) = holder.upgrade() {
                holder.forget(self.head.id);
            }
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("head", &self.head).finish_non_exhaustive()
    }
}

/// Encoded arguments with the digests of what they share in place of the tables' numbers: the same in each run. A number is as good as
/// random, so nothing else in the arguments is taken for one.
#[cfg(feature = "journal")]
pub(crate) fn content_of(arguments: &[u8], tables: &[Arc<Table>]) -> Vec<u8> {
    // As binary formats write it, and as those do that people read.
    let of = |table: &Arc<Table>| {
        [table.id().0.to_vec(), table.id().to_text().into_bytes()].map(|text| (text, table.digest()))
    };
    let numbers: Vec<_> = tables.iter().flat_map(of).collect();
    let mut may_begin = [false; 256];
    for (number, _) in &numbers {
        may_begin[usize::from(number[0])] = true;
    }
    let mut content = Vec::with_capacity(arguments.len() + 16 * tables.len());
    let (mut from, mut at) = (0, 0);
    while let Some(byte) = arguments.get(at) {
        let found = || numbers.iter().find(|(number, _)| arguments[at..].starts_with(number));
        match may_begin[usize::from(*byte)].then(found).flatten() {
            Some((number, digest)) => {
                content.extend_from_slice(&arguments[from..at]);
                content.extend(digest);
                at += number.len();
                from = at;
            }
            None => at += 1,
        }
    }
    content.extend_from_slice(&arguments[from..]);
    content
}
