//! Encoded values: stored inline if they are short, else on the heap.
//!
//! Invariant: an inline value has at most `INLINE` bytes, so its length fits in a `u8`.

/// Up to `INLINE` bytes without an allocation, or any number of bytes with one.
#[derive(Debug, Clone)]
pub(crate) enum Bytes<const INLINE: usize> {
    Inline { length: u8, bytes: [u8; INLINE] },
    Heap(Vec<u8>),
}

/// Encoded arguments of a piece that waits. Two numbers fit inline.
pub(crate) type Arguments = Bytes<ARGUMENT_INLINE_BYTES>;

/// The number of bytes of arguments that are stored inline.
pub(crate) const ARGUMENT_INLINE_BYTES: usize = 30;

/// An encoded result. A task keeps one for each piece, so it is no larger than a vector.
pub(crate) type Reply = Bytes<REPLY_INLINE_BYTES>;

/// The number of bytes that fit in a `Vec` beside its capacity, whose unused values distinguish the two variants, and the
/// inline length.
pub(crate) const REPLY_INLINE_BYTES: usize = 15;

const _: () = assert!(size_of::<Reply>() == size_of::<Vec<u8>>());

/// Encoded arguments that a caller hands over. Short ones are borrowed: they are copied into a ring directly, without a
/// buffer of their own.
pub(crate) enum Handed<'a> {
    Lent(&'a [u8]),
    Own(Vec<u8>),
}

impl Handed<'_> {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Handed::Lent(bytes) => bytes,
            Handed::Own(bytes) => bytes,
        }
    }

    /// The same bytes, owned.
    pub(crate) fn into_arguments(self) -> Arguments {
        match self {
            Handed::Lent(bytes) => Arguments::copy_of(bytes),
            Handed::Own(bytes) => Arguments::Heap(bytes),
        }
    }
}

impl<const INLINE: usize> Bytes<INLINE> {
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        if bytes.len() > INLINE {
            return Bytes::Heap(bytes.to_vec());
        }
        let mut inline = [0; INLINE];
        inline[..bytes.len()].copy_from_slice(bytes);
        Bytes::Inline { length: bytes.len() as u8, bytes: inline }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Bytes::Heap(bytes) => bytes,
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Bytes::Inline { length, .. } => usize::from(*length),
            Bytes::Heap(bytes) => bytes.len(),
        }
    }

    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Bytes::Inline { length, bytes } => bytes[..usize::from(length)].to_vec(),
            Bytes::Heap(bytes) => bytes,
        }
    }
}
