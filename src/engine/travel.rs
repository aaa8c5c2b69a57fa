//! How a call travels: as offsets from the constructor of this copy of the crate.

use super::child::entry;
use crate::codec::call::Call;
use crate::error::{Error, ErrorKind, PieceLabel};
use crate::sys::image::image;

/// The form in which a call travels; `None` if it does not lie in the executable's own code.
pub(crate) fn word(call: &Call) -> Option<u64> {
    if image().has_code(call.address()) { call.to_word(entry::address()) } else { None }
}

/// The error of a piece whose call cannot travel.
pub(crate) fn refused(label: PieceLabel) -> Error {
    let message =
        "never began: its function lies in a shared library, and only the executable's own are the same in a worker";
    Error::new(ErrorKind::Unsupported, message).with_piece(label, 0)
}
