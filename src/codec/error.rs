//! Why a value could not be encoded or decoded, and what the panics of a value's own code say.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

/// How the errors end for which another format is the cure.
pub(crate) const USE_JSON: &str = ": use Format::Json";

/// Whose binary format this build has, for messages.
pub(crate) const BINARY: &str = if cfg!(feature = "bincode") { "bincode" } else { "postcard" };

/// The reason why a value could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    /// A type that needs the format to describe the value, such as an untagged enum.
    #[error("{BINARY} cannot decode `{type_name}`, which describes its own shape, as an untagged enum does{USE_JSON}")]
    SelfDescribing { type_name: &'static str },
    #[error("{missing} bytes are missing at the end")]
    CutOff { missing: usize },
    #[error("{left} bytes are left over at the end")]
    LeftOver { left: usize },
    /// What the type's own code says.
    #[error("{0}")]
    Custom(String),
    #[error("{0}")]
    Binary(String),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The value would come back as another one, or not at all.
    #[error("`{type_name}` would not come back as it is: {finding}: {cure}")]
    NotMirrored { type_name: &'static str, finding: String, cure: &'static str },
    /// What a piece shares has not come to its worker.
    #[error("{0}")]
    NotReceived(String),
    /// A handle of something shared is of another type than what it leads to.
    #[error("what is shared is of another type than its handle")]
    OtherTable,
    #[error("the value's serde code panicked: {0}")]
    Panicked(String),
    #[error("the bytes are not text: {0}")]
    NotText(#[from] std::string::FromUtf8Error),
    #[error("Format::Raw carries only a String or Vec<u8> as a result; use Format::Bincode or Format::Json")]
    NotBytes,
}

impl CodecError {
    /// For a value that travels in the binary format alone: names another cure than another format.
    pub(crate) fn with_cure(&self, other: &str) -> String {
        match self {
            CodecError::NotMirrored { type_name, finding, .. } => {
                format!("`{type_name}` would not come back as it is: {finding}: {other}")
            }
            _ if self.to_string().ends_with(USE_JSON) => format!("{}: {other}", self.reason()),
            _ => self.to_string(),
        }
    }

    /// What is wrong, without what to do about it, for a sentence that goes on with that.
    pub(crate) fn reason(&self) -> String {
        let text = self.to_string();
        text.strip_suffix(USE_JSON).unwrap_or(&text).to_string()
    }
}

/// The reason why a call gave no result, other than a panic. The text continues a sentence about the piece, but for `Failed`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("got arguments that could not be decoded: {0}")]
    Decode(CodecError),
    #[error("returned a result that could not be encoded: {0}")]
    Encode(CodecError),
    /// The function returned an error: its messages.
    #[error("{0}")]
    Failed(String),
    /// It was written while its piece ran.
    #[error("its result takes more than the {most} bytes that this pool allows: write less, or set max_result_bytes")]
    TooLong { most: u64 },
}

/// The text for a result that is longer than its pool allows.
pub(crate) fn too_large(bytes: usize, most: u64) -> String {
    format!("its result takes {bytes} bytes, and this pool allows {most}: return less, or set max_result_bytes")
}

/// The message in a panic's payload.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "a value that is no text",
    }
}

/// Drops a panic's payload, whose drop may panic too.
pub(crate) fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}

/// Runs a value's own code: if it panics, that is an error like any other.
#[inline]
pub(crate) fn guarded<T>(codec: impl FnOnce() -> Result<T, CodecError>) -> Result<T, CodecError> {
    panic::catch_unwind(AssertUnwindSafe(codec)).unwrap_or_else(|payload| Err(panicked(payload)))
}

#[cold]
fn panicked(payload: Box<dyn Any + Send>) -> CodecError {
    let text = panic_text(&*payload).to_string();
    drop_payload(payload);
    CodecError::Panicked(text)
}
