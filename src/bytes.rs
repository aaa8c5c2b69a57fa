//! A few bytes, on the spot where they are few.

/// Encoded arguments or results. Up to [`INLINE_BYTES`] need no allocation.
#[derive(Debug, Clone)]
pub(crate) enum Bytes {
    Inline { length: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Vec<u8>),
}

/// What fits without an allocation.
pub(crate) const INLINE_BYTES: usize = 30;

impl Bytes {
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        if bytes.len() > INLINE_BYTES {
            return Bytes::Heap(bytes.to_vec());
        }
        let mut inline = [0; INLINE_BYTES];
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
