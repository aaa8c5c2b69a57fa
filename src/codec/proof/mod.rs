//! The proof that a value comes back as it was sent, made by the one who sends it.
//!
//! The binary format carries no names, kinds or counts of fields. If the two halves of a type do not mirror each other, as
//! with `skip_serializing_if`, `skip_deserializing` or a skipped variant, a reader takes the bytes of one field for those
//! of another. Nothing on the wire could show that. But the sender has both halves, so it tries them:
//!
//! 1. Encoding tells the shape of each struct, tuple, variant and so on (`traced.rs`), as words. If all these are known
//!    for this root type (`known.rs`), that is all.
//! 2. Else the value is recorded (`record.rs`), read back on the spot and compared (`reader.rs`): the reader asks for the
//!    fields that were written, in their order, by names that it knows and as many; all bytes are taken; and the value
//!    that was read writes the same again, but for the order of lists. A shape is known after three such proofs.
//!
//! | a value of a type …                                    | is proven                                              |
//! |--------------------------------------------------------|--------------------------------------------------------|
//! | that is plain (`plain.rs`)                             | never                                                  |
//! | whose halves are derived, or ask for the same products | three times for each shape                             |
//! | whose reader asks for other products (hand-written)    | each time                                              |
//! | with more than [`LARGE`] bytes                         | by a smaller value of its shapes; if the type refuses that one, by itself |
//!
//! For derived halves one proof would do: names, order and number of the fields do not depend on what these contain.
//!
//! What is *not* proven: that halves which convert values (`with`, `from`, hand-written ones) convert every value back.
//! They are tried with the first values only.
//!
//! Invariant: a shape becomes known only by proofs, and a proof changes nothing on the wire. It runs the type's own code,
//! also its drop, whose panic is an error like any other.

mod known;
mod plain;
mod reader;
mod record;
mod traced;
mod words;

use self::reader::{Finding, Guide, Guided};
use self::record::{Mode, Products, Record};
use self::traced::{Observer, Part};
use crate::codec::binary;
use crate::codec::error::{CodecError, guarded};
use crate::codec::lent::Lend;
use crate::codec::value::Value;
use serde::Serialize;
use std::any::type_name;
use std::cell::RefCell;
use std::marker::PhantomData;

/// A value with more bytes is reduced first. Up to there a proof takes some 0.1 ms.
const LARGE: usize = 16 * 1024;

/// How serde's own messages begin where a reader expects something else than was written (`serde::de::Error`).
const MISMATCHES: [&str; 7] = [
    "invalid type: ",
    "invalid value: ",
    "invalid length ",
    "unknown variant ",
    "unknown field ",
    "missing field ",
    "duplicate field ",
];

/// What to do instead.
const CURE: &str = "use Format::Json, or let both halves of its serde code name the same fields";

/// True for types that need no proof.
#[inline(always)]
pub(super) fn is_plain<T>() -> bool {
    plain::is_plain::<T>()
}

/// Writes a value behind what is in the buffer, and proves it if that is needed. If it fails, a part may be there.
#[inline]
pub(super) fn append<T: Value>(value: &T, buffer: &mut Vec<u8>) -> Result<(), CodecError> {
    append_lent::<T, T>(value, buffer)
}

/// The same for a value of type `T` that is lent as `Q`.
#[inline]
pub(super) fn append_lent<T: Value, Q: Lend<T> + ?Sized>(value: &Q, buffer: &mut Vec<u8>) -> Result<(), CodecError> {
    if is_plain::<T>() {
        return binary::append(value, buffer);
    }
    let start = buffer.len();
    let lookup = Lookup { root: words::root::<T>(), missing: RefCell::new(Vec::new()) };
    binary::append(&Part::root(value, &lookup), buffer)?;
    let missing = lookup.missing.into_inner();
    if missing.is_empty() { Ok(()) } else { prove::<T, Q>(value, &buffer[start..], &missing) }
}

/// A digest of what a value writes in a format for people. Values that JSON cannot tell apart have different ones.
pub(super) fn text_digest<T: Serialize + ?Sized + 'static>(value: &T) -> Result<u64, CodecError> {
    Ok(record_of(value, Mode::Text)?.digest())
}

/// The observer of the usual encoding: are all shapes known?
struct Lookup {
    root: u64,
    /// Those that are not, in order.
    missing: RefCell<Vec<u64>>,
}

impl Lookup {
    #[inline(always)]
    fn look_up(&self, shape: u64) {
        let shape = words::below(self.root, shape);
        if !known::is_known(shape) {
            self.miss(shape);
        }
    }

    #[cold]
    #[inline(never)]
    fn miss(&self, shape: u64) {
        let mut missing = self.missing.borrow_mut();
        if let Err(place) = missing.binary_search(&shape) {
            missing.insert(place, shape);
        }
    }
}

impl Observer for Lookup {
    type Product = ();
    type List = ();

    #[inline(always)]
    fn skips_plain(&self, _: &'static str) -> bool {
        true
    }

    #[inline(always)]
    fn empties_plain(&self) -> bool {
        false
    }

    #[inline(always)]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline(always)]
    fn needs_lengths(&self) -> bool {
        true
    }

    #[inline(always)]
    fn begin(&self) -> usize {
        0
    }

    #[inline(always)]
    fn leaf(&self, _: usize, shape: u64) {
        self.look_up(shape);
    }

    #[inline(always)]
    fn plain(&self, _: usize) {}

    #[inline(always)]
    fn around(&self, shape: u64) {
        self.look_up(shape);
    }

    #[inline(always)]
    fn product(&self, _: &'static str) {}

    #[inline(always)]
    fn field(&self, (): &mut (), _: Option<&'static str>) {}

    #[inline(always)]
    fn field_written(&self, (): &mut ()) {}

    #[inline(always)]
    fn field_left_out(&self, (): &mut (), _: &'static str) {}

    #[inline(always)]
    fn product_written(&self, (): (), shape: u64) {
        self.look_up(shape);
    }

    #[inline(always)]
    fn list(&self, _: usize) {}

    #[inline(always)]
    fn element(&self, (): &mut ()) {}

    #[inline(always)]
    fn key_written(&self, (): &mut ()) {}

    #[inline(always)]
    fn element_written(&self, (): &mut ()) {}

    #[inline(always)]
    fn list_written(&self, (): (), shape: u64) {
        self.look_up(shape);
    }
}

/// What a proof holds for.
#[derive(Debug, PartialEq, Eq)]
enum Proof {
    OfShapes,
    OfValue,
}

/// What came of reading a value back, if it was no other value.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Same,
    /// Its type does not read it at all.
    Refused,
}

#[cold]
#[inline(never)]
fn prove<T: Value, Q: Lend<T> + ?Sized>(value: &Q, bytes: &[u8], missing: &[u64]) -> Result<(), CodecError> {
    let reduced = if bytes.len() > LARGE { guarded(|| try_halves::<T, Q>(value, None)).ok() } else { None };
    let proof = match reduced {
        Some(Proof::OfShapes) => Proof::OfShapes,
        _ => guarded(|| try_halves::<T, Q>(value, Some(bytes)))?,
    };
    if proof == Proof::OfShapes {
        missing.iter().for_each(|&shape| known::add_proof(shape));
    }
    Ok(())
}

/// Reads a value back and compares it with what was written: with its bytes, or reduced.
fn try_halves<T: Value, Q: Lend<T> + ?Sized>(value: &Q, bytes: Option<&[u8]>) -> Result<Proof, CodecError> {
    let mode = if bytes.is_some() { Mode::Whole } else { Mode::Reduced };
    let record = record_of(value, mode)?;
    let digest = record.digest();
    let (products, reduced) = record.into_parts();
    let bytes = bytes.unwrap_or(&reduced);
    let guide = Guide::new(&products, false);
    if read_back::<T, Q>(bytes, digest, &guide)? == Outcome::Refused {
        return Ok(Proof::OfValue);
    }
    if !guide.is_in_step() || (guide.has_aliases() && !holds_by_name::<T, Q>(bytes, digest, &products)?) {
        return Ok(Proof::OfValue);
    }
    Ok(Proof::OfShapes)
}

/// Two values that are compared are recorded by the same machine code, whose words are the same.
#[inline(never)]
fn record_of<T: Serialize + ?Sized + 'static>(value: &T, mode: Mode) -> Result<Record, CodecError> {
    let record = Record::new(mode);
    binary::append_shared(&Part::root(value, &record), record.buffer())?;
    Ok(record)
}

/// Reads a value from the bytes, and compares what it writes with the digest.
fn read_back<T: Value, Q: Lend<T> + ?Sized>(
    bytes: &[u8],
    digest: u64,
    guide: &Guide<'_>,
) -> Result<Outcome, CodecError> {
    let read: Result<T, CodecError> = binary::read(Guided::new(PhantomData, guide), bytes);
    let is_its_own = match &read {
        Err(CodecError::SelfDescribing { .. }) => true,
        Err(CodecError::Custom(text)) => !MISMATCHES.iter().any(|start| text.starts_with(start)),
        _ => false,
    };
    if is_its_own && guide.finding().is_none_or(|finding| finding.text.is_empty()) {
        // The type itself refuses what it wrote. So will it where the value is decoded, and that error is the right one.
        return Ok(Outcome::Refused);
    }
    let value = read.map_err(|error| {
        let Finding { type_name, text } =
            guide.finding().unwrap_or(Finding { type_name: type_name::<T>(), text: String::new() });
        match (text.as_str(), &error) {
            ("", _) => not_mirrored(type_name, format!("it cannot be read back: {}", error.reason())),
            (_, CodecError::Custom(error)) if error == reader::REFUSED => not_mirrored(type_name, text),
            _ => not_mirrored(type_name, format!("{text}: {}", error.reason())),
        }
    })?;
    if record_of(Q::lend(&value), Mode::Whole)?.digest() != digest {
        return Err(not_mirrored(type_name::<T>(), "it is read back as another value".to_string()));
    }
    Ok(Outcome::Same)
}

/// True if the reader takes the same value from the fields by their names.
fn holds_by_name<T: Value, Q: Lend<T> + ?Sized>(
    bytes: &[u8],
    digest: u64,
    products: &Products,
) -> Result<bool, CodecError> {
    let guide = Guide::new(products, true);
    let Ok(value) = binary::read::<_>(Guided::new(PhantomData::<T>, &guide), bytes) else { return Ok(false) };
    Ok(guide.is_in_step() && record_of(Q::lend(&value), Mode::Whole)?.digest() == digest)
}

fn not_mirrored(type_name: &'static str, finding: String) -> CodecError {
    CodecError::NotMirrored { type_name, finding, cure: CURE }
}

#[cfg(test)]
mod tests;
