//! How a call travels: as offsets from the constructor of this copy of the crate.

use super::child::entry;
use crate::codec::call::Call;
use crate::error::{Error, ErrorKind, PieceLabel};
use crate::sys::image::image;

/// The form in which a call travels; `None` if it does not lie in the code of the image that holds this
/// crate.
pub(crate) fn word(call: &Call) -> Option<u64> {
    if image().has_code(call.address()) { call.to_word(entry::address()) } else { None }
}

/// The error of a piece whose call cannot travel.
pub(crate) fn refused(label: PieceLabel) -> Error {
    let message =
        "never began: its function lies in another object than the crate, and only that one's are the same in a worker";
    Error::new(ErrorKind::Unsupported, message).with_piece(label, 0)
}
