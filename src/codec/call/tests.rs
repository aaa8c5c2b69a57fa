//! Calls: each entry with the function that it was made for, in this process and after a trip as a word.

use super::*;

fn sum(a: u32, b: u64) -> u64 {
    u64::from(a) + b
}

fn shout(text: String) -> String {
    text.to_uppercase()
}

/// Runs a call in this process on these arguments.
fn run(call: Call, format: Format, mut arguments: Vec<u8>) -> Result<Vec<u8>, Fault> {
    let mut result = Vec::new();
    match call.run(format, &mut arguments, &mut Place::of_buffer(&mut result))? {
        Encoded::InBuffer => Ok(result),
        Encoded::Own(bytes) => Ok(bytes),
    }
}

fn pair<A: Value, B: Value>(format: Format, a: A, b: B) -> Vec<u8> {
    let mut buffer = Vec::new();
    codec::encode_pair(format, &(a, b), &mut buffer).unwrap();
    buffer
}

#[test]
fn a_call_decodes_calls_and_encodes() {
    for format in [Format::Bincode, Format::Json] {
        let bytes = run(Call::of_pair(sum), format, pair(format, 3_u32, 1_u64 << 40)).unwrap();
        assert_eq!(codec::decode_result::<u64>(format, &bytes).unwrap(), (1 << 40) + 3);
    }
    for format in [Format::Bincode, Format::Raw] {
        assert_eq!(run(Call::of_argument(shout), format, b"so be it".to_vec()).unwrap(), b"SO BE IT");
    }
    let bytes = run(Call::of_argument(shout), Format::Json, b"\"so be it\"".to_vec()).unwrap();
    assert_eq!(bytes, b"\"SO BE IT\"");
}

#[test]
fn a_closure_without_captures_is_a_function() {
    let call = Call::of_pair(|a: String, times: usize| a.repeat(times));
    let bytes = run(call, Format::Raw, pair(Format::Raw, "ab".to_string(), 3_usize)).unwrap();
    assert_eq!(bytes, b"ababab");
    let call = Call::of_argument(|(): ()| ());
    assert_eq!(run(call, Format::Bincode, vec![]).unwrap(), b"");
}

#[test]
fn a_hook_is_called_for_what_it_does() {
    static CALLS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let call = Call::of_hook(|| {
        CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(run(call, Format::Bincode, vec![1, 2, 3]).unwrap(), b"");
    assert_eq!(CALLS.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn what_cannot_be_read_or_written_is_a_fault() {
    let error = run(Call::of_pair(sum), Format::Bincode, vec![1]).unwrap_err();
    assert!(matches!(error, Fault::Decode(_)) && error.to_string().contains("arguments"), "{error}");
    let error = run(Call::of_argument(shout), Format::Raw, vec![0xff]).unwrap_err();
    assert!(matches!(error, Fault::Decode(_)), "{error}");
    let error = run(Call::of_pair(sum), Format::Raw, pair(Format::Raw, 1_u32, 2_u64)).unwrap_err();
    assert!(matches!(error, Fault::Encode(_)) && error.to_string().contains("Format::Raw"), "{error}");
    let call = Call::of_argument(|(): ()| std::collections::BTreeMap::from([((1, 2), 3)]));
    let error = run(call, Format::Json, b"null".to_vec()).unwrap_err();
    assert!(matches!(error, Fault::Encode(_)), "{error}");
}

#[test]
fn an_error_of_the_function_is_a_fault_with_its_messages() {
    fn half(number: u32, least: u64) -> Result<u64, String> {
        let half = u64::from(number) / 2;
        if half < least { Err(format!("{half} is less than {least}")) } else { Ok(half) }
    }
    for format in [Format::Bincode, Format::Json] {
        let call = Call::of_fallible_pair(half);
        let bytes = run(call, format, pair(format, 8_u32, 4_u64)).unwrap();
        assert_eq!(codec::decode_result::<u64>(format, &bytes).unwrap(), 4);
        let error = run(call, format, pair(format, 8_u32, 5_u64)).unwrap_err();
        assert!(matches!(&error, Fault::Failed(text) if text == "4 is less than 5"), "{error}");
    }
    let call = Call::of_fallible_argument(|text: String| if text.is_empty() { Err("empty") } else { Ok(text) });
    assert_eq!(run(call, Format::Raw, b"full".to_vec()).unwrap(), b"full");
    let error = run(call, Format::Raw, vec![]).unwrap_err();
    assert!(matches!(&error, Fault::Failed(text) if text == "empty"), "{error}");
    let error = run(Call::of_fallible_pair(half), Format::Bincode, vec![1]).unwrap_err();
    assert!(matches!(error, Fault::Decode(_)), "{error}");
}

#[test]
fn a_call_is_the_same_after_its_journey() {
    let call = Call::of_pair(sum);
    for distance in [0, call.entry.wrapping_sub(call.function), 1000, 1 << 30, 0_usize.wrapping_sub(1 << 30)] {
        let base = call.entry.wrapping_sub(distance);
        let word = call.to_word(base).unwrap();
        // SAFETY: the word was made in this process, with the same base.
        let back = unsafe { Call::from_word(word, base) };
        assert_eq!(back, call);
        let bytes = run(back, Format::Bincode, pair(Format::Bincode, 1_u32, 2_u64)).unwrap();
        assert_eq!(codec::decode_result::<u64>(Format::Bincode, &bytes).unwrap(), 3);
    }
}

/// A call that nobody may make.
fn at(function: usize, entry: usize) -> Call {
    let mut call = Call::of_hook(|| ());
    (call.function, call.entry) = (function, entry);
    call
}

#[test]
fn an_address_too_far_away_does_not_travel() {
    let call = at(1 << 40, 1 << 40);
    for (base, travels) in [
        (1 << 40, true),
        ((1 << 40) + (1 << 31), true),
        ((1 << 40) + (1 << 31) + 1, false),
        ((1 << 40) - (1 << 31) + 1, true),
        ((1 << 40) - (1 << 31), false),
        (0, false),
        (usize::MAX, false),
    ] {
        assert_eq!(call.to_word(base).is_some(), travels, "{base:#x}");
        // Both addresses must be near.
        let split = at(base, 1 << 40);
        assert_eq!(split.to_word(base).is_some(), travels, "{base:#x}");
    }
}

#[test]
fn a_panic_is_told_in_its_words() {
    let text = |panics: fn()| {
        let payload = std::panic::catch_unwind(panics).unwrap_err();
        panic_text(&*payload).to_string()
    };
    assert_eq!(text(|| std::panic::resume_unwind(Box::new("static"))), "static");
    assert_eq!(text(|| std::panic::resume_unwind(Box::new("owned".to_string()))), "owned");
    assert_eq!(text(|| std::panic::resume_unwind(Box::new(5))), "a value that is no text");
}
