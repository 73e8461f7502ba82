//! How the state is laid out as text: indented where a person looks for something, and a line for
//! each entry of what can grow long, so that a state of ten thousand pairs is read and written as
//! fast as its size allows.

use std::io::{self, Write};

use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

/// What lies deeper than this stands on one line.
const INDENTED_LEVELS: usize = 4;

/// serde_json's formatter for the state.
#[derive(Default)]
pub struct Layout {
    pretty: PrettyFormatter<'static>,
    level: usize,
}

impl Layout {
    fn is_indented(&self) -> bool {
        self.level <= INDENTED_LEVELS
    }
}

/// Hands a call on to the formatter of this level.
macro_rules! by_level {
    ($($name:ident($($argument:ident: $kind:ty),*);)*) => {
        $(fn $name<W: ?Sized + Write>(&mut self, out: &mut W, $($argument: $kind),*) -> io::Result<()> {
            match self.is_indented() {
                true => self.pretty.$name(out, $($argument),*),
                false => CompactFormatter.$name(out, $($argument),*),
            }
        })*
    };
}

macro_rules! begin_and_end {
    ($($begin:ident, $end:ident;)*) => {
        $(fn $begin<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
            self.level += 1;
            match self.is_indented() {
                true => self.pretty.$begin(out),
                false => CompactFormatter.$begin(out),
            }
        }

        fn $end<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
            let is_indented = self.is_indented();
            self.level -= 1;
            match is_indented {
                true => self.pretty.$end(out),
                false => CompactFormatter.$end(out),
            }
        })*
    };
}

impl Formatter for Layout {
    begin_and_end! {
        begin_array, end_array;
        begin_object, end_object;
    }

    by_level! {
        begin_array_value(first: bool);
        end_array_value();
        begin_object_key(first: bool);
        begin_object_value();
        end_object_value();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde::Serialize;
    use serde_json::{Serializer, json};

    use super::*;

    #[test]
    fn what_lies_deep_stands_on_one_line() {
        let value =
            json!({"logs": {"a": {"stamps": [{"p": 1, "q": {"r": []}}, {"p": 2}], "t": {}}}});
        let mut out = Vec::new();
        let mut serializer = Serializer::with_formatter(&mut out, Layout::default());
        value.serialize(&mut serializer).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("\n        {\"p\":1,\"q\":{\"r\":[]}},\n        {\"p\":2}\n"),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }
}
