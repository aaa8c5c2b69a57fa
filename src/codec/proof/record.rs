//! The observer of a proof: what a value has written.
//!
//! A record has two parts: a *digest* of all that was written, by which two values are compared; and the *products* (structs,
//! tuples, and variants with fields) in their order, which a reader is compared with.
//!
//! The digest does not depend on the order of a list's elements: a `HashMap` that was read back has another order.
//!
//! A record of a large value can *reduce* it: of each list it keeps the first element and those that *tell something new*,
//! by a shape that has not been seen often enough, and plain lists lose all elements. The bytes are then those of a
//! smaller value.

use crate::codec::binary;
use crate::codec::proof::traced::Observer;
use crate::codec::proof::words::mix;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

/// What is recorded of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A digest and the products.
    Whole,
    /// The same of a smaller value, and its bytes.
    Reduced,
    /// The digest that the value has in a format for people.
    Text,
}

/// How many values of a shape, which differ, a reduced value keeps.
const VALUES: usize = 3;

pub(super) struct Record {
    mode: Mode,
    /// What was written and is still needed.
    buffer: RefCell<Vec<u8>>,
    /// How many bytes were written before those.
    forgotten: Cell<usize>,
    /// The digest of the value that was written last.
    digest: Cell<u64>,
    /// The shapes, each with the digests of its first values that differ, [`VALUES`] at most.
    shapes: RefCell<HashMap<u64, Vec<u64>>>,
    /// How many such values there are in all.
    news: Cell<usize>,
    products: RefCell<Products>,
}

/// The products of a value in the order in which they begin.
#[derive(Debug, Default)]
pub(super) struct Products {
    /// Where the fields of each begin, and its entry among the kinds.
    pub(super) all: Vec<(usize, usize)>,
    pub(super) kinds: Vec<Product>,
    /// The entry of each shape.
    by_shape: HashMap<u64, usize>,
}

/// A struct, a tuple, or a variant with fields, as it was written.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) owner: &'static str,
    pub(super) fields: usize,
    /// The names of the fields; none for a tuple.
    pub(super) names: Vec<&'static str>,
    /// The names of the fields that were left out because of their value.
    pub(super) left_out: Vec<&'static str>,
}

pub(super) struct OpenProduct {
    /// Its place among all.
    place: usize,
    product: Product,
    digest: u64,
}

pub(super) struct OpenList {
    /// Where its length ends.
    begin: usize,
    length: usize,
    kept: usize,
    dropped: usize,
    digest: u64,
    /// What the value had before the element that is being written: bytes, products, news.
    before: (usize, usize, usize),
    key: u64,
}

impl Record {
    pub(super) fn new(mode: Mode) -> Self {
        Record {
            mode,
            buffer: RefCell::default(),
            forgotten: Cell::new(0),
            digest: Cell::new(0),
            shapes: RefCell::default(),
            news: Cell::new(0),
            products: RefCell::default(),
        }
    }

    pub(super) fn buffer(&self) -> &RefCell<Vec<u8>> {
        &self.buffer
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest.get()
    }

    /// The products, and the bytes of a reduced value.
    pub(super) fn into_parts(self) -> (Products, Vec<u8>) {
        (self.products.into_inner(), self.buffer.into_inner())
    }

    fn position(&self) -> usize {
        self.forgotten.get() + self.buffer.borrow().len()
    }

    /// Takes the bytes from there on into the digest.
    fn digest_bytes(&self, begin: usize) -> u64 {
        let mut buffer = self.buffer.borrow_mut();
        let mut hasher = DefaultHasher::new();
        hasher.write(&buffer[begin - self.forgotten.get()..]);
        if self.mode != Mode::Reduced {
            self.forgotten.set(self.forgotten.get() + buffer.len());
            buffer.clear();
        }
        hasher.finish()
    }

    /// A value with this digest and shape has been written.
    fn note(&self, digest: u64, shape: u64) {
        let digest = mix(digest, shape);
        self.digest.set(digest);
        let mut shapes = self.shapes.borrow_mut();
        let values = shapes.entry(shape).or_default();
        if values.len() < VALUES && !values.contains(&digest) {
            values.push(digest);
            self.news.set(self.news.get() + 1);
        }
    }

    /// Replaces the length of a list that has lost elements. The new one may take fewer bytes, and all behind it moves.
    fn shorten(&self, list: &OpenList) {
        let mut shorter = [0; 16];
        let left = list.length.saturating_sub(list.dropped) as u64;
        let Some(size) = binary::write_short(&left, &mut shorter) else { return };
        let Some(start) = list.begin.checked_sub(binary::size_of(&(list.length as u64))) else { return };
        self.buffer.borrow_mut().splice(start..list.begin, shorter[..size].iter().copied());
        let moved = list.begin - start - size;
        let products = &mut self.products.borrow_mut().all;
        products.iter_mut().rev().map(|(begin, _)| begin).take_while(|begin| **begin >= list.begin).for_each(|begin| {
            *begin -= moved;
        });
    }

    fn sizes(&self) -> (usize, usize, usize) {
        (self.position(), self.products.borrow().all.len(), self.news.get())
    }
}

impl Observer for Record {
    type Product = OpenProduct;
    type List = OpenList;

    fn skips_plain(&self, name: &'static str) -> bool {
        // In text a plain value may be another one, such as a float. A tuple is a product, which a reader will ask for.
        self.mode != Mode::Text && !name.contains(',')
    }

    fn empties_plain(&self) -> bool {
        self.mode == Mode::Reduced
    }

    fn is_human_readable(&self) -> bool {
        self.mode == Mode::Text
    }

    fn needs_lengths(&self) -> bool {
        self.mode != Mode::Text
    }

    fn begin(&self) -> usize {
        self.position()
    }

    fn leaf(&self, begin: usize, shape: u64) {
        self.note(self.digest_bytes(begin), shape);
    }

    fn plain(&self, begin: usize) {
        self.digest.set(self.digest_bytes(begin));
    }

    fn around(&self, shape: u64) {
        self.note(self.digest.get(), shape);
    }

    fn product(&self, owner: &'static str) -> OpenProduct {
        let begin = self.position();
        let products = &mut self.products.borrow_mut().all;
        products.push((begin, 0));
        let product = Product { owner, fields: 0, names: Vec::new(), left_out: Vec::new() };
        OpenProduct { place: products.len() - 1, product, digest: 0 }
    }

    fn field(&self, open: &mut OpenProduct, name: Option<&'static str>) {
        open.product.fields += 1;
        open.product.names.extend(name);
    }

    fn field_written(&self, open: &mut OpenProduct) {
        open.digest = mix(open.digest, self.digest.get());
    }

    fn field_left_out(&self, open: &mut OpenProduct, name: &'static str) {
        open.product.left_out.push(name);
    }

    fn product_written(&self, open: OpenProduct, shape: u64) {
        let Products { all, kinds, by_shape } = &mut *self.products.borrow_mut();
        let kind = *by_shape.entry(shape).or_insert_with(|| {
            kinds.push(open.product);
            kinds.len() - 1
        });
        all[open.place].1 = kind;
        self.note(open.digest, shape);
    }

    fn list(&self, length: usize) -> OpenList {
        let begin = self.position();
        OpenList { begin, length, kept: 0, dropped: 0, digest: 0, before: (0, 0, 0), key: 0 }
    }

    fn element(&self, list: &mut OpenList) {
        list.before = self.sizes();
        list.key = 0;
    }

    fn key_written(&self, list: &mut OpenList) {
        list.key = self.digest.get();
    }

    fn element_written(&self, list: &mut OpenList) {
        let (bytes, products, news) = list.before;
        if self.mode == Mode::Reduced && list.kept > 0 && self.news.get() == news {
            self.buffer.borrow_mut().truncate(bytes);
            self.products.borrow_mut().all.truncate(products);
            list.dropped += 1;
            return;
        }
        list.kept += 1;
        // The sum is the same in every order.
        list.digest = list.digest.wrapping_add(mix(mix(list.key, self.digest.get()), 1));
    }

    fn list_written(&self, list: OpenList, shape: u64) {
        if list.dropped > 0 {
            self.shorten(&list);
        }
        self.note(list.digest, shape);
    }
}
