//! Words for `/bin/sh`, and for people to copy.

/// Appends a word so that a shell reads it as it is, whatever is in it. A word of harmless characters stays bare.
pub fn append(word: &[u8], line: &mut Vec<u8>) {
    match is_harmless(word) {
        true => line.extend_from_slice(word),
        false => append_quoted(word, line),
    }
}

/// True if a shell reads the word as it is, without quotes.
pub fn is_harmless(word: &[u8]) -> bool {
    let is_harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(byte) || *byte >= 0x80;
    // `A=b` would be an assignment; `--name=value` is none.
    let may_assign = word.contains(&b'=') && !word.starts_with(b"-");
    !word.is_empty() && word.iter().all(is_harmless) && !may_assign
}

/// Appends a word in quotes.
pub fn append_quoted(word: &[u8], line: &mut Vec<u8>) {
    line.push(b'\'');
    for &byte in word {
        match byte {
            // A quote ends the quotes, stands alone, and opens them again.
            b'\'' => line.extend_from_slice(br"'\''"),
            _ => line.push(byte),
        }
    }
    line.push(b'\'');
}

/// The words as one line of shell.
pub fn line<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut line = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            line.push(b' ');
        }
        append(word.as_ref(), &mut line);
    }
    line
}

#[cfg(test)]
mod tests;
