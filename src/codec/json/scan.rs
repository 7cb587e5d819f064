//! One pass over a body before it is decoded: what a JSON parser lets through and a bus may not.
//!
//! serde skips members that a type does not know without looking inside, takes the last of two
//! equal keys in a map, and goes twice as deep as we allow. So whether a body is sound would hang
//! on the type that reads it. This pass asks the same of every body, whatever reads it, in time
//! linear in its length (n log n in the keys of one object).
//!
//! It is no parser: it walks tokens and believes the grammar, which the decoder checks right
//! after. Of text that is not JSON it may report another flaw than the first.

use super::keys::Keys;

/// The longest number, in bytes. Every f64, and every integer of 128 bits, is far shorter.
pub(super) const MAX_NUMBER: usize = 1_024;

/// No decimal of this length without an exponent is beyond the range of f64.
const SURELY_FINITE: usize = 308;

/// Why a body is refused, and where, in bytes from its start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// More arrays and objects inside each other than allowed.
    TooDeep { at: usize },
    /// The key, as it reads, stands twice in one object.
    DuplicateKey { key: String },
    /// `\ud800` without its other half, or the other way round.
    LoneSurrogate { at: usize },
    /// More digits than [`MAX_NUMBER`].
    LongNumber { at: usize },
    /// Beyond the range of f64.
    HugeNumber { at: usize },
    /// Not JSON; the decoder says why.
    Syntax { at: usize },
}

/// Boxed: the pass is hot and its errors are not, and a pointer fits a register.
pub(super) type Step<T> = Result<T, Box<Flaw>>;

/// Looks for flaws in `text`, with `limit` arrays and objects inside each other allowed.
pub(super) fn scan(text: &str, limit: usize) -> Step<()> {
    let bytes = text.as_bytes();
    let mut keys = Keys::new(text);
    let mut room = limit;
    let mut at = 0;
    loop {
        // A value begins here.
        at = blanks(bytes, at);
        match peek(bytes, at) {
            b'"' => at = string(text, at + 1)?.0,
            b'-' | b'0'..=b'9' => at = number(text, at)?,
            open @ (b'{' | b'[') => {
                if room == 0 {
                    return Err(Box::new(Flaw::TooDeep { at }));
                }
                room -= 1;
                at = blanks(bytes, at + 1);
                if open == b'{' {
                    keys.open_object();
                    if peek(bytes, at) != b'}' {
                        at = key(&mut keys, text, at)?;
                        continue;
                    }
                } else {
                    keys.open_array();
                    if peek(bytes, at) != b']' {
                        continue;
                    }
                }
            }
            b't' | b'f' | b'n' => {
                while peek(bytes, at).is_ascii_lowercase() {
                    at += 1;
                }
            }
            _ => return syntax(at),
        }
        // A value has ended here, or an empty array or object is about to.
        loop {
            at = blanks(bytes, at);
            if room == limit {
                return if at == bytes.len() {
                    Ok(())
                } else {
                    syntax(at)
                };
            }
            let byte = peek(bytes, at);
            if byte == b',' {
                at += 1;
                if keys.in_object() {
                    at = key(&mut keys, text, blanks(bytes, at))?;
                }
                break;
            }
            if byte != if keys.in_object() { b'}' } else { b']' } {
                return syntax(at);
            }
            keys.close()?;
            room += 1;
            at += 1;
        }
    }
}

/// From the opening quote of a key to behind its colon.
#[inline(always)]
fn key(keys: &mut Keys<'_>, text: &str, at: usize) -> Step<usize> {
    let bytes = text.as_bytes();
    if peek(bytes, at) != b'"' {
        return syntax(at);
    }
    let (behind, escaped) = string(text, at + 1)?;
    if escaped {
        keys.add_escaped(at, behind)?;
    } else {
        keys.add(at + 1, behind - 1)?;
    }
    let colon = blanks(bytes, behind);
    if peek(bytes, colon) == b':' {
        Ok(colon + 1)
    } else {
        syntax(colon)
    }
}

/// From behind an opening quote to behind the closing one; whether there were escapes.
#[inline(always)]
fn string(text: &str, at: usize) -> Step<(usize, bool)> {
    let at = quote_or_escape(text.as_bytes(), at);
    if peek(text.as_bytes(), at) == b'"' {
        Ok((at + 1, false))
    } else {
        Ok((escapes(text, at)?, true))
    }
}

#[cold]
#[inline(never)]
fn escapes(text: &str, mut at: usize) -> Step<usize> {
    let bytes = text.as_bytes();
    loop {
        match (peek(bytes, at), peek(bytes, at + 1)) {
            (b'"', _) => return Ok(at + 1),
            (b'\\', b'u') => match unit(text, at) {
                0xd800..=0xdbff if matches!(unit(text, at + 6), 0xdc00..=0xdfff) => at += 12,
                0xd800..=0xdfff => return Err(Box::new(Flaw::LoneSurrogate { at })),
                _ => at += 6,
            },
            (b'\\', _) => at += 2,
            _ => return syntax(at.min(bytes.len())),
        }
        at = quote_or_escape(bytes, at);
    }
}

/// The UTF-16 unit that `\uXXXX` at `at` stands for; 0 for anything else.
fn unit(text: &str, at: usize) -> u32 {
    text.get(at..at + 6)
        .and_then(|escape| escape.strip_prefix("\\u"))
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or(0)
}

#[inline(always)]
fn number(text: &str, start: usize) -> Step<usize> {
    let mut at = start;
    let mut all = 0;
    loop {
        let class = NUMBER[usize::from(peek(text.as_bytes(), at))];
        if class == 0 {
            break;
        }
        all |= class;
        at += 1;
    }
    if all & EXPONENT != 0 || at - start > SURELY_FINITE {
        finite(text, start, at)?;
    }
    Ok(at)
}

#[cold]
#[inline(never)]
fn finite(text: &str, start: usize, end: usize) -> Step<()> {
    let number = &text[start..end];
    if number.len() > MAX_NUMBER {
        return Err(Box::new(Flaw::LongNumber { at: start }));
    }
    match number.parse::<f64>() {
        Ok(value) if !value.is_finite() => Err(Box::new(Flaw::HugeNumber { at: start })),
        _ => Ok(()),
    }
}

#[cold]
fn syntax<T>(at: usize) -> Step<T> {
    Err(Box::new(Flaw::Syntax { at }))
}

/// NUL, which is no part of JSON outside strings, stands for the end of the text too.
#[inline(always)]
fn peek(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

#[inline(always)]
fn blanks(bytes: &[u8], mut at: usize) -> usize {
    while matches!(peek(bytes, at), b' ' | b'\n' | b'\r' | b'\t') {
        at += 1;
    }
    at
}

const DIGIT: u8 = 1;
const EXPONENT: u8 = 2;

/// What a byte is in a number; 0 is no part of one.
static NUMBER: [u8; 256] = {
    let mut table = [0; 256];
    let mut digit = b'0';
    while digit <= b'9' {
        table[digit as usize] = DIGIT;
        digit += 1;
    }
    table[b'-' as usize] = DIGIT;
    table[b'+' as usize] = DIGIT;
    table[b'.' as usize] = DIGIT;
    table[b'e' as usize] = EXPONENT;
    table[b'E' as usize] = EXPONENT;
    table
};

const LOW: u64 = u64::MAX / 255;
const HIGH: u64 = LOW << 7;

/// Where the next `"` or `\` is, eight bytes at a time; the end of the text if there is none.
#[inline(always)]
fn quote_or_escape(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (LOW * b'"' as u64);
        let escape = word ^ (LOW * b'\\' as u64);
        // The classic test for a zero byte: its lowest hit is always a true one.
        let hit = (quote.wrapping_sub(LOW) & !quote | escape.wrapping_sub(LOW) & !escape) & HIGH;
        if hit != 0 {
            return at + hit.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < bytes.len() && bytes[at] != b'"' && bytes[at] != b'\\' {
        at += 1;
    }
    at
}
