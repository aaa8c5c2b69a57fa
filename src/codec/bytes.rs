//! A few bytes, on the spot where they are few.

/// Up to `INLINE` bytes, which need no allocation, or more.
#[derive(Debug, Clone)]
pub(crate) enum Bytes<const INLINE: usize> {
    Inline { length: u8, bytes: [u8; INLINE] },
    Heap(Vec<u8>),
}

/// Encoded arguments that wait: two numbers fit on the spot.
pub(crate) type Arguments = Bytes<30>;

/// An encoded result: no larger than a vector. A task keeps one for each piece.
pub(crate) type Reply = Bytes<REPLY_INLINE_BYTES>;

/// As much as fits beside the word that tells the two kinds apart.
pub(crate) const REPLY_INLINE_BYTES: usize = 15;

const _: () = assert!(size_of::<Reply>() == size_of::<Vec<u8>>());

/// Encoded arguments that are handed over: lent where they are few, so that they need no home
/// before they are in a ring.
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

    /// To keep.
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
