//! A tolerant JSON scanner over bytes: which bytes are a whole object, what its members are, what a
//! string says. It reads what Python's `json.dumps` can write and serde_json refuses: `NaN` and
//! `Infinity`, lone surrogate escapes, numbers of any size, any depth of nesting, and strings that
//! are not UTF-8. Nothing here recurses, and all of it takes linear time. Except for [`object_at`],
//! the functions expect text that `object_at` found to be whole; for other text the result is
//! meaningless, but nothing panics.

use std::io::{self, Write};
use std::iter;

use memchr::{memchr, memchr2};
use serde_json::Value;
use serde_json::ser::Formatter;

/// Marks an array on the scanner's stack; an object is represented by its start. A hostile row may be all
/// brackets: four bytes a level keep the stack small.
const ARRAY: u32 = u32::MAX;

const WORDS: [&[u8]; 6] = [
    b"true",
    b"false",
    b"null",
    b"NaN",
    b"Infinity",
    b"-Infinity",
];

/// Writes JSON with a line for each element of a list, so that a person can read it.
pub struct ByLine;

impl Formatter for ByLine {
    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"\n" } else { b",\n" })
    }
}

#[derive(Clone, Copy)]
enum Expect {
    Object,
    Key,
    KeyOrEnd,
    Colon,
    Value,
    ValueOrEnd,
    CommaOrEnd,
}

/// Finds the end of the object whose `{` is at `start`: the index after its `}`.
///
/// If the text breaks off or is not JSON, the error holds the starts of all objects that were still open
/// there, the one at `start` first. None of them is whole, so there is no need to try them.
pub fn object_at(bytes: &[u8], start: usize) -> Result<usize, Vec<u32>> {
    let mut open = Vec::new();
    let (mut at, mut expect) = (start, Expect::Object);
    while let Some((end, next)) = step(bytes, at, expect, &mut open) {
        if open.is_empty() {
            return Ok(end);
        }
        (at, expect) = (skip_white(bytes, end), next);
    }
    open.retain(|&object| object != ARRAY);
    Err(open)
}

/// Returns the text without the white space around it, if it is one whole object.
pub fn whole_object(text: &[u8]) -> Option<&[u8]> {
    let text = text.trim_ascii();
    let is_whole = object_at(text, 0).is_ok_and(|end| end == text.len());
    is_whole.then_some(text)
}

/// Reads one token. Returns the index after it and what may follow, or `None` if the text is not
/// JSON.
fn step(bytes: &[u8], at: usize, expect: Expect, open: &mut Vec<u32>) -> Option<(usize, Expect)> {
    use Expect::{Colon, CommaOrEnd, Key, KeyOrEnd, Object, Value, ValueOrEnd};
    let in_array = open.last() == Some(&ARRAY);
    match (expect, *bytes.get(at)?) {
        (Object | Value | ValueOrEnd, b'{') => {
            open.push(u32::try_from(at).ok()?);
            Some((at + 1, KeyOrEnd))
        }
        (Value | ValueOrEnd, b'[') => {
            open.push(ARRAY);
            Some((at + 1, ValueOrEnd))
        }
        (KeyOrEnd | CommaOrEnd, b'}') if !in_array => close(at, open),
        (ValueOrEnd | CommaOrEnd, b']') if in_array => close(at, open),
        (CommaOrEnd, b',') => Some((at + 1, if in_array { Value } else { Key })),
        (Key | KeyOrEnd, b'"') => Some((string_end(bytes, at)?, Colon)),
        (Colon, b':') => Some((at + 1, Value)),
        (Value | ValueOrEnd, _) => Some((scalar_end(bytes, at)?, CommaOrEnd)),
        _ => None,
    }
}

fn close(at: usize, open: &mut Vec<u32>) -> Option<(usize, Expect)> {
    open.pop();
    Some((at + 1, Expect::CommaOrEnd))
}

/// Returns the object's own members in their order, equal keys included. Keys and values are raw
/// text. Anything but an object has no members.
fn members(object: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let start = object.starts_with(b"{").then_some(1);
    let mut at = start.unwrap_or(object.len());
    iter::from_fn(move || {
        let key = skip_white(object, at);
        let key_end = string_end(object, key)?;
        let colon = skip_white(object, key_end);
        let value = skip_white(object, colon + 1);
        let end = value_end(object, value)?;
        at = skip_white(object, end) + 1;
        Some((&object[key..key_end], &object[value..end]))
    })
}

/// Returns the raw values of the named members; if a name occurs more than once, the last value, as in
/// Python.
pub fn last_of<'a, const N: usize>(object: &'a [u8], names: [&str; N]) -> [Option<&'a [u8]>; N] {
    let mut found = [None; N];
    for (key, value) in members(object) {
        let escaped = memchr(b'\\', key).and_then(|_| string(key));
        let plain = &key[1..key.len() - 1];
        let said = escaped.as_deref().map_or(plain, str::as_bytes);
        if let Some(wanted) = names.iter().position(|name| name.as_bytes() == said) {
            found[wanted] = Some(value);
        }
    }
    found
}

/// Decodes the string that `raw` begins with; `None` if it begins with something else. Lone surrogate escapes
/// and invalid UTF-8 become U+FFFD.
pub fn string(raw: &[u8]) -> Option<String> {
    let end = string_end(raw, 0)?;
    let mut text = Vec::new();
    let mut at = 1;
    while let Some(plain) = memchr(b'\\', &raw[at..end]) {
        text.extend_from_slice(&raw[at..at + plain]);
        at += plain;
        at += match raw[at + 1] {
            b'u' => decode_units(&raw[at..end], &mut text),
            letter => {
                text.push(unescape(letter));
                2
            }
        };
    }
    text.extend_from_slice(&raw[at..end - 1]);
    Some(match String::from_utf8(text) {
        Ok(text) => text,
        Err(bad) => String::from_utf8_lossy(bad.as_bytes()).into_owned(),
    })
}

/// Decodes a run of `\uXXXX` escapes together, since two of them may be one character. Returns the
/// run's length.
fn decode_units(raw: &[u8], text: &mut Vec<u8>) -> usize {
    let escapes = raw.chunks_exact(6);
    let escapes = escapes.take_while(|escape| escape.starts_with(b"\\u"));
    let units = escapes.map_while(|escape| hex(&escape[2..]));
    let mut length = 0;
    for decoded in char::decode_utf16(units) {
        let character = decoded.unwrap_or(char::REPLACEMENT_CHARACTER);
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        length += 6 * character.len_utf16();
    }
    length
}

fn hex(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |unit, &digit| {
        let value = char::from(digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(value).ok()?)
    })
}

fn unescape(letter: u8) -> u8 {
    match letter {
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        itself => itself,
    }
}

/// Returns the value's JSON text without white space: strings decoded and encoded again, `NaN` and
/// `Infinity` as `null`, numbers as written.
pub fn compact(raw: &[u8]) -> String {
    rewrite(raw, usize::MAX, |_| true, |_, _| false, |text| text)
}

/// Parses a JSON text. An object may also contain what this module reads and serde_json refuses; a number too
/// large for a float then becomes `null`. `None` if the text is not one value, or is nested more than 127
/// levels deep.
pub fn parse(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok().or_else(|| {
        let is_finite = |number: &str| number.parse().is_ok_and(f64::is_finite);
        let object = whole_object(text)?;
        let text = rewrite(object, usize::MAX, is_finite, |_, _| false, |text| text);
        serde_json::from_str(&text).ok()
    })
}

/// Returns the text as [`compact`] does, but stops soon after `most` bytes. A number that `keeps` refuses
/// becomes `null`. Strings and keys pass through `mask`, and `hides` says, by key and value, which values are
/// replaced by `"[masked]"`.
pub fn rewrite(
    raw: &[u8],
    most: usize,
    keeps: impl Fn(&str) -> bool,
    hides: impl Fn(&str, &[u8]) -> bool,
    mask: impl Fn(String) -> String,
) -> String {
    let mut text = String::with_capacity(raw.len().min(most));
    let mut at = 0;
    while let Some(&byte) = raw.get(at).filter(|_| text.len() <= most) {
        let end = match byte {
            b'"' | b'N' | b'I' | b'-' | b'0'..=b'9' => scalar_end(raw, at).unwrap_or(raw.len()),
            _ => at + 1,
        };
        let token = &raw[at..end];
        at = end;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'"' => {
                let said = string(token).unwrap_or_default();
                let value = skip_white(raw, end);
                let value = (raw.get(value) == Some(&b':')).then(|| skip_white(raw, value + 1));
                let hidden = value.filter(|value| hides(&said, &raw[*value..]));
                text += &Value::String(mask(said)).to_string();
                if let Some(value) = hidden {
                    text += ":\"[masked]\"";
                    at = value_end(raw, value).unwrap_or(raw.len());
                }
            }
            b'N' | b'I' => text += "null",
            b'-' | b'0'..=b'9' => {
                let number = String::from_utf8_lossy(token);
                let is_kept = number != "-Infinity" && keeps(&number);
                text += if is_kept { &number } else { "null" };
            }
            _ => text += &String::from_utf8_lossy(token),
        }
    }
    text
}

fn skip_white(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default().iter();
    let white = rest.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    at + white.count()
}

/// Returns the end of a value in an object that is known to be whole: counting its brackets is enough.
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0_usize);
    loop {
        let mut end = at + 1;
        match bytes.get(at)? {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b':' | b',' | b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => end = scalar_end(bytes, at)?,
        }
        at = end;
        if depth == 0 {
            return Some(at);
        }
    }
}

fn scalar_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes[at] == b'"' {
        return string_end(bytes, at);
    }
    let word = WORDS.iter().find(|word| bytes[at..].starts_with(word));
    word.map(|word| at + word.len())
        .or_else(|| number_end(bytes, at))
}

fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    loop {
        let rest = bytes.get(at..)?;
        let plain = memchr2(b'"', b'\\', rest)?;
        if rest[..plain].iter().any(|byte| *byte < b' ') {
            return None;
        }
        at += plain;
        match bytes[at] {
            b'"' => return Some(at + 1),
            _ => at += escape_length(&bytes[at..])?,
        }
    }
}

fn escape_length(escape: &[u8]) -> Option<usize> {
    match escape.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => hex(escape.get(2..6)?).map(|_| 6),
        _ => None,
    }
}

fn number_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + usize::from(bytes.get(start) == Some(&b'-'));
    at = match bytes.get(at)? {
        b'0' => at + 1,
        _ => digits_end(bytes, at)?,
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits_end(bytes, at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let signed = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        at = digits_end(bytes, at + 1 + usize::from(signed))?;
    }
    Some(at)
}

/// Returns the index after a run of digits; `None` if there is none.
fn digits_end(bytes: &[u8], at: usize) -> Option<usize> {
    let digits = bytes.get(at..)?.iter();
    let count = digits.take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0).then_some(at + count)
}

/// Returns whether a field can be left out, since a missing field has this value.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn is_object(text: &[u8]) -> bool {
        object_at(text, 0).is_ok_and(|end| end == text.len())
    }

    #[test]
    fn an_object_that_python_writes_is_whole() {
        for text in [
            r#"{"a":NaN,"b":Infinity,"c":-Infinity}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":1e999999,"b":123456789012345678901234567890}"#,
            "{ \"a\" :\t[ 1 , { } ] , \"b\" : { \"c\" : [ ] } }",
        ] {
            assert!(is_object(text.as_bytes()), "{text}");
        }
        assert!(is_object(b"{\"a\":\"\xff\"}"));
    }

    #[test]
    fn an_object_that_is_not_json_is_refused() {
        for text in [
            "",
            "[]",
            "1",
            "x{}",
            "{",
            "{a:1}",
            "{'a':1}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":01}",
            "{\"a\":+1}",
            "{\"a\":.5}",
            "{\"a\":1.}",
            "{\"a\":1e}",
            "{\"a\":-}",
            "{\"a\":nan}",
            "{\"a\":-NaN}",
            "{\"a\":truex}",
            "{\"a\":[1,]}",
            "{\"a\":[1}",
            "{\"a\":(1]}",
            "{\"a\":1]",
            "{\"a\":\"\t\"}",
            "{\"a\":\"\0\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12g4\"}",
            "{\"a\":\"\\u+123\"}",
            "{\"a\":\"",
        ] {
            assert!(!is_object(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn an_object_ends_at_its_own_brace() {
        assert_eq!(object_at(br#"  {"a":{"b":"}"}}{}"#, 2), Ok(17));
    }

    #[test]
    fn a_broken_object_names_the_objects_that_are_open() {
        assert_eq!(
            object_at(br#"{"a":{},"b":[{"c":{"d"#, 0),
            Err(vec![0, 13, 18])
        );
        assert_eq!(object_at(b"1", 0), Err(vec![]));
        assert_eq!(object_at(b"", 0), Err(vec![]));
    }

    #[test]
    fn any_depth_is_read() {
        let deep = 1_000_000;
        let text = [r#"{"a":["#.repeat(deep), "]}".repeat(deep)].concat();
        assert!(is_object(text.as_bytes()));
        assert_eq!(compact(text.as_bytes()), text);
        assert_eq!(members(text.as_bytes()).count(), 1);
    }

    #[test]
    fn the_members_are_the_objects_own_in_order() {
        let text = br#" { "a" : 1 , "\u0062":{"x":[1,"}"],"y":{}} ,"a":[ "," ],"c":"d", "e":true}"#;
        let found: Vec<_> = members(&text[1..])
            .map(|(key, value)| (string(key).unwrap(), String::from_utf8_lossy(value)))
            .collect();
        let expected = [
            ("a", "1"),
            ("b", r#"{"x":[1,"}"],"y":{}}"#),
            ("a", r#"[ "," ]"#),
            ("c", r#""d""#),
            ("e", "true"),
        ];
        assert_eq!(
            found,
            expected.map(|(key, value)| (key.to_owned(), value.into()))
        );
        let values = [&br#"[ "," ]"#[..], br#"{"x":[1,"}"],"y":{}}"#, b"true"].map(Some);
        assert_eq!(last_of(&text[1..], ["a", "b", "e"]), values);
        assert_eq!(last_of(&text[1..], ["x", "\\u0062"]), [None; 2]);
    }

    #[test]
    fn only_an_object_has_members() {
        for text in ["{}", "{ }", "[1]", "\"a\"", "\"a\":1", "null", "1", ""] {
            assert_eq!(members(text.as_bytes()).count(), 0, "{text}");
        }
    }

    #[test]
    fn strings_are_decoded() {
        let decoded = |raw: &[u8]| string(raw).unwrap();
        assert_eq!(
            decoded(br#""\"\\\/\b\f\n\r\t\u0041 \u00e9""#),
            "\"\\/\u{8}\u{c}\n\r\tA é"
        );
        assert_eq!(decoded(br#""\ud83d\ude00""#), "😀");
        assert_eq!(decoded(br#""a\ud83db""#), "a\u{fffd}b");
        assert_eq!(
            decoded(br#""\ud83d\ud83d\ude00\ude00""#),
            "\u{fffd}😀\u{fffd}"
        );
        assert_eq!(decoded(br#""\ud83d\n""#), "\u{fffd}\n");
        assert_eq!(decoded(b"\"a\xffb\xc3\""), "a\u{fffd}b\u{fffd}");
        assert_eq!(string(b"1"), None);
        assert_eq!(string(b""), None);
    }

    #[test]
    fn compact_keeps_numbers_and_makes_the_rest_plain_json() {
        let raw = b" { \"a\\u0062\" : [ 1.50e+3 , -0, NaN ,Infinity, -Infinity ] , \"c d\":\"\\ud800 \xff\\n\", \"e\": null,\"f\":true }";
        assert_eq!(
            compact(raw),
            "{\"ab\":[1.50e+3,-0,null,null,null],\"c d\":\"\u{fffd} \u{fffd}\\n\",\"e\":null,\"f\":true}"
        );
    }

    #[test]
    fn an_object_that_python_writes_is_parsed() {
        for (text, value) in [
            (
                &br#"{"a":NaN,"b":[-Infinity,1e999,1.5]}"#[..],
                json!({"a": null, "b": [null, null, 1.5]}),
            ),
            (br#" {"a":"\ud800"} "#, json!({"a": "\u{fffd}"})),
            (b"{\"a\":\"\xff\"}", json!({"a": "\u{fffd}"})),
            (b"[1]", json!([1])),
        ] {
            assert_eq!(parse(text), Some(value));
        }
        for text in ["", "{", "{}{", "[NaN]", "{'a':1}"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    fn json() -> impl Strategy<Value = String> {
        let number = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?";
        let text = prop_oneof![
            any::<String>().prop_map(|text| Value::String(text).to_string()),
            "\"(\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}|[{}\\[\\]:,])*\""
        ];
        let word = prop_oneof![Just("true"), Just("false"), Just("null")].prop_map(str::to_owned);
        let scalar = prop_oneof![number.prop_map(String::from), text.clone(), word];
        let white = "[ \t\r]{0,2}";
        scalar.prop_recursive(4, 32, 4, move |inner| {
            let member = (text.clone(), white, inner.clone(), white)
                .prop_map(|(key, a, value, b)| format!("{key}{a}:{value}{b}"));
            prop_oneof![
                (proptest::collection::vec(inner, 0..4), white)
                    .prop_map(|(values, a)| format!("[{a}{}]", values.join(","))),
                (proptest::collection::vec(member, 0..4), white)
                    .prop_map(|(members, a)| format!("{{{a}{}}}", members.join(","))),
            ]
        })
    }

    fn serde_reads_an_object(text: &[u8]) -> bool {
        text.first() == Some(&b'{') && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
    }

    proptest! {
        #[test]
        fn serde_json_agrees_on_what_an_object_is(
            value in json(), cut in any::<prop::sample::Index>(), other in prop::sample::select(&b"{}[]\",:\\ue0-1.+tn \n\x00x"[..]), how in 0..4,
        ) {
            let mut text = format!("{{\"k\":{value}}}").into_bytes();
            prop_assert!(is_object(&text));
            let at = cut.index(text.len());
            match how {
                0 => text.truncate(at),
                1 => text[at] = other,
                2 => text.insert(at, other),
                _ => { text.remove(at); }
            }
            if std::str::from_utf8(&text).is_ok() {
                prop_assert_eq!(is_object(&text), serde_reads_an_object(&text), "{}", String::from_utf8_lossy(&text));
            }
        }

        #[test]
        fn compact_text_means_what_serde_json_reads(value in json()) {
            let read = serde_json::from_str::<Value>(&value);
            prop_assume!(read.is_ok()); // serde_json has no numbers over f64's range and no lone surrogates
            prop_assert_eq!(serde_json::from_str::<Value>(&compact(value.as_bytes())).unwrap(), read.unwrap());
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(prop::sample::select(&b"{}[]\",:\\ud80-1.NIt \x00\xff"[..]), 0..40)) {
            for start in 0..bytes.len() {
                let _ = object_at(&bytes, start);
            }
            let _ = (members(&bytes).count(), string(&bytes), compact(&bytes), parse(&bytes));
        }
    }
}
