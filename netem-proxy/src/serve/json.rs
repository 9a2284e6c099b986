//! Reads request bodies the way Toxiproxy's server does.
//!
//! Clients were written against Go's `encoding/json`: keys match whatever their case, `null` leaves a field as it was,
//! unknown keys and anything after the first value are ignored, and some clients show the decoder's own sentence to
//! their users. A strict decoder would refuse what those clients send, so the body is parsed here by hand, with the same
//! tolerance and the same texts (<https://pkg.go.dev/encoding/json#Unmarshal>).
//!
//! Our own `/v1` API reads its bodies with serde instead, and refuses what it does not know.

use std::iter::Peekable;
use std::str::CharIndices;

/// The first JSON value of a body. Keys keep their order, and may repeat: the last one counts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As written: an integer must not pass through a float.
    Number(String),
    Text(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

/// Why a body is not what was asked for, in the decoder's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    /// Nothing but blanks.
    #[error("EOF")]
    Empty,
    #[error("unexpected EOF")]
    CutOff,
    #[error("invalid character {found} {place}")]
    Syntax { found: String, place: String },
    #[error("exceeded max depth")]
    TooDeep,
    #[error("json: cannot unmarshal {found} into Go {place} of type {wanted}")]
    Type { found: String, place: String, wanted: &'static str },
}

impl Value {
    /// Parses the first value of `body`; bytes that are no UTF-8 become U+FFFD.
    pub(super) fn parse(body: &[u8]) -> Result<Self, DecodeError> {
        let text = String::from_utf8_lossy(body);
        let mut parser = Parser { text: &text, rest: text.char_indices().peekable() };
        if parser.skip_blanks().is_none() {
            return Err(DecodeError::Empty);
        }
        parser.value(0)
    }

    /// The members, or an error that names `of`, the type the body should have been.
    pub(super) fn members(&self, of: &'static str) -> Result<&[(String, Value)], DecodeError> {
        match self {
            Value::Object(members) => Ok(members),
            Value::Null => Ok(&[]),
            other => Err(other.mismatch("value".to_owned(), of)),
        }
    }

    pub(super) fn elements(&self, of: &'static str) -> Result<&[Value], DecodeError> {
        match self {
            Value::Array(elements) => Ok(elements),
            Value::Null => Ok(&[]),
            other => Err(other.mismatch("value".to_owned(), of)),
        }
    }

    /// The kind, as the decoder calls it.
    fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::Text(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        }
    }

    fn mismatch(&self, place: String, wanted: &'static str) -> DecodeError {
        DecodeError::Type { found: self.kind().to_owned(), place, wanted }
    }
}

/// One field of an object: where a value is to go, and what it is called there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    /// The type it belongs to, for messages.
    of: &'a str,
    /// Its path from there, for messages: `enabled`, `attributes.latency`.
    path: &'a str,
}

impl<'a> Field<'a> {
    pub(super) fn new(of: &'a str, path: &'a str) -> Self {
        Self { of, path }
    }

    pub(super) fn text(self, value: &Value, place: &mut String) -> Result<(), DecodeError> {
        match value {
            Value::Null => {}
            Value::Text(text) => place.clone_from(text),
            other => return Err(self.mismatch(other, "string")),
        }
        Ok(())
    }

    pub(super) fn boolean(self, value: &Value, place: &mut bool) -> Result<(), DecodeError> {
        match value {
            Value::Null => {}
            Value::Bool(is) => *place = *is,
            other => return Err(self.mismatch(other, "bool")),
        }
        Ok(())
    }

    /// A whole number: `1.0` and `1e3` are none, as in Go.
    pub(super) fn integer(self, value: &Value, place: &mut i64) -> Result<(), DecodeError> {
        match value {
            Value::Null => {}
            Value::Number(text) => *place = text.parse().map_err(|_| self.bad_number(text, "int64"))?,
            other => return Err(self.mismatch(other, "int64")),
        }
        Ok(())
    }

    pub(super) fn float(self, value: &Value, place: &mut f32) -> Result<(), DecodeError> {
        match value {
            Value::Null => {}
            Value::Number(text) => {
                let number = text.parse().ok().filter(|number: &f32| number.is_finite());
                *place = number.ok_or_else(|| self.bad_number(text, "float32"))?;
            }
            other => return Err(self.mismatch(other, "float32")),
        }
        Ok(())
    }

    pub(super) fn mismatch(self, value: &Value, wanted: &'static str) -> DecodeError {
        value.mismatch(self.place(), wanted)
    }

    fn bad_number(self, text: &str, wanted: &'static str) -> DecodeError {
        DecodeError::Type { found: format!("number {text}"), place: self.place(), wanted }
    }

    fn place(self) -> String {
        format!("struct field {}.{}", self.of, self.path)
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: Peekable<CharIndices<'a>>,
}

impl Parser<'_> {
    /// The next character that is no blank, left where it is.
    fn skip_blanks(&mut self) -> Option<char> {
        while self.rest.next_if(|(_, c)| matches!(c, ' ' | '\t' | '\r' | '\n')).is_some() {}
        self.rest.peek().map(|(_, c)| *c)
    }

    fn value(&mut self, depth: usize) -> Result<Value, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        match self.skip_blanks().ok_or(DecodeError::CutOff)? {
            '{' => self.object(depth),
            '[' => self.array(depth),
            '"' => self.string().map(Value::Text),
            't' => self.literal("true", Value::Bool(true)),
            'f' => self.literal("false", Value::Bool(false)),
            'n' => self.literal("null", Value::Null),
            '-' | '0'..='9' => self.number(),
            found => Err(syntax(found, "looking for beginning of value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, DecodeError> {
        self.rest.next();
        let mut members = Vec::new();
        if self.skip_blanks() == Some('}') {
            self.rest.next();
            return Ok(Value::Object(members));
        }
        loop {
            match self.skip_blanks().ok_or(DecodeError::CutOff)? {
                '"' => {}
                found => return Err(syntax(found, "looking for beginning of object key string")),
            }
            let key = self.string()?;
            self.punctuation(&[':'], "after object key")?;
            members.push((key, self.value(depth + 1)?));
            if self.punctuation(&[',', '}'], "after object key:value pair")? == '}' {
                return Ok(Value::Object(members));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, DecodeError> {
        self.rest.next();
        let mut elements = Vec::new();
        if self.skip_blanks() == Some(']') {
            self.rest.next();
            return Ok(Value::Array(elements));
        }
        loop {
            elements.push(self.value(depth + 1)?);
            if self.punctuation(&[',', ']'], "after array element")? == ']' {
                return Ok(Value::Array(elements));
            }
        }
    }

    fn punctuation(&mut self, allowed: &[char], place: &str) -> Result<char, DecodeError> {
        let found = self.skip_blanks().ok_or(DecodeError::CutOff)?;
        if !allowed.contains(&found) {
            return Err(syntax(found, place));
        }
        self.rest.next();
        Ok(found)
    }

    fn literal(&mut self, word: &str, value: Value) -> Result<Value, DecodeError> {
        for wanted in word.chars() {
            let (_, found) = self.rest.next().ok_or(DecodeError::CutOff)?;
            if found != wanted {
                return Err(syntax(found, &format!("in literal {word} (expecting {})", quoted(wanted))));
            }
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Value, DecodeError> {
        let start = self.rest.peek().map_or(self.text.len(), |(at, _)| *at);
        self.rest.next_if(|(_, c)| *c == '-');
        // A number begins with a single 0 or with another digit: "01" is a 0 and something after it.
        if self.rest.next_if(|(_, c)| *c == '0').is_none() {
            self.digits()?;
        }
        if self.rest.next_if(|(_, c)| *c == '.').is_some() {
            self.digits()?;
        }
        if self.rest.next_if(|(_, c)| matches!(c, 'e' | 'E')).is_some() {
            self.rest.next_if(|(_, c)| matches!(c, '+' | '-'));
            self.digits()?;
        }
        let end = self.rest.peek().map_or(self.text.len(), |(at, _)| *at);
        Ok(Value::Number(self.text[start..end].to_owned()))
    }

    /// At least one.
    fn digits(&mut self) -> Result<(), DecodeError> {
        match self.rest.next() {
            Some((_, c)) if c.is_ascii_digit() => {}
            Some((_, found)) => return Err(syntax(found, "in numeric literal")),
            None => return Err(DecodeError::CutOff),
        }
        while self.rest.next_if(|(_, c)| c.is_ascii_digit()).is_some() {}
        Ok(())
    }

    fn string(&mut self) -> Result<String, DecodeError> {
        self.rest.next();
        let mut text = String::new();
        loop {
            match self.rest.next().ok_or(DecodeError::CutOff)?.1 {
                '"' => return Ok(text),
                '\\' => text.push(self.escape()?),
                found if found < ' ' => return Err(syntax(found, "in string literal")),
                plain => text.push(plain),
            }
        }
    }

    fn escape(&mut self) -> Result<char, DecodeError> {
        match self.rest.next().ok_or(DecodeError::CutOff)?.1 {
            plain @ ('"' | '\\' | '/') => Ok(plain),
            'b' => Ok('\u{8}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'u' => self.unicode(),
            found => Err(syntax(found, "in string escape code")),
        }
    }

    /// `\uXXXX`, or two of them that make one character. Half a pair is U+FFFD.
    fn unicode(&mut self) -> Result<char, DecodeError> {
        let first = self.hexadecimal()?;
        if !(0xD800..0xDC00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let mut ahead = self.rest.clone();
        if ahead.next().map(|(_, c)| c) != Some('\\') || ahead.next().map(|(_, c)| c) != Some('u') {
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        let behind = std::mem::replace(&mut self.rest, ahead);
        let second = self.hexadecimal()?;
        if !(0xDC00..0xE000).contains(&second) {
            self.rest = behind;
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        let both = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        Ok(char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hexadecimal(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0;
        for _ in 0..4 {
            let (_, found) = self.rest.next().ok_or(DecodeError::CutOff)?;
            let digit = found.to_digit(16);
            value = value * 16 + digit.ok_or_else(|| syntax(found, "in \\u hexadecimal character escape"))?;
        }
        Ok(value)
    }
}

fn syntax(found: char, place: &str) -> DecodeError {
    DecodeError::Syntax { found: quoted(found), place: place.to_owned() }
}

/// A character as Go quotes it in a message.
fn quoted(c: char) -> String {
    match c {
        '\'' => r"'\''".to_owned(),
        '"' => "'\"'".to_owned(),
        '\n' => r"'\n'".to_owned(),
        '\r' => r"'\r'".to_owned(),
        '\t' => r"'\t'".to_owned(),
        c if c < ' ' => format!("'\\x{:02x}'", u32::from(c)),
        c => format!("'{c}'"),
    }
}

/// Arrays and objects within each other. A toxic needs three; each level is a stack frame here.
const MAX_DEPTH: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(body: &str) -> String {
        Value::parse(body.as_bytes()).expect_err("no value").to_string()
    }

    #[test]
    fn only_the_first_value_is_read() {
        assert_eq!(
            Value::parse(b" [1] {oh").expect("a value"),
            Value::Array(vec![Value::Number("1".into())])
        );
    }

    #[test]
    fn a_wrong_body_is_told_in_the_words_clients_know() {
        for (body, text) in [
            ("", "EOF"),
            (" \n", "EOF"),
            ("{", "unexpected EOF"),
            ("{\"name\"", "unexpected EOF"),
            ("name", "invalid character 'a' in literal null (expecting 'u')"),
            ("\u{7}", r"invalid character '\x07' looking for beginning of value"),
            ("{name:1}", "invalid character 'n' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1;", "invalid character ';' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("[-x]", "invalid character 'x' in numeric literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("\"\\u00g0\"", "invalid character 'g' in \\u hexadecimal character escape"),
            ("\"a\nb\"", r"invalid character '\n' in string literal"),
        ] {
            assert_eq!(error(body), text, "{body:?}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_kind_names_its_field() {
        let latency = Field::new("LatencyToxic", "attributes.latency");
        let mut place = 7;
        for (value, text) in [
            (
                "1.5",
                "json: cannot unmarshal number 1.5 into Go struct field LatencyToxic.attributes.latency of type int64",
            ),
            (
                "\"1\"",
                "json: cannot unmarshal string into Go struct field LatencyToxic.attributes.latency of type int64",
            ),
            (
                "99999999999999999999",
                "json: cannot unmarshal number 99999999999999999999 into Go struct field LatencyToxic.attributes.latency of type int64",
            ),
        ] {
            let value = Value::parse(value.as_bytes()).expect("a value");
            assert_eq!(latency.integer(&value, &mut place).expect_err("no integer").to_string(), text);
        }
        latency.integer(&Value::Null, &mut place).expect("null leaves it");
        assert_eq!(place, 7);
        assert_eq!(
            Value::parse(b"[]")
                .expect("a value")
                .members("toxiproxy.Proxy")
                .expect_err("an array")
                .to_string(),
            "json: cannot unmarshal array into Go value of type toxiproxy.Proxy"
        );
    }

    #[test]
    fn nesting_is_bounded() {
        assert_eq!(error(&"[".repeat(100_000)), "exceeded max depth");
    }

    #[test]
    fn escapes_and_pairs_of_them() {
        let parsed = Value::parse(br#""\u0041\ud83d\ude00\ud83dx\n""#).expect("a string");
        assert_eq!(parsed, Value::Text("A\u{1F600}\u{FFFD}x\n".to_owned()));
    }

    fn as_serde(value: &Value) -> serde_json::Value {
        match value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(is) => (*is).into(),
            Value::Number(text) => serde_json::from_str(text).expect("a number"),
            Value::Text(text) => text.clone().into(),
            Value::Array(elements) => elements.iter().map(as_serde).collect(),
            Value::Object(members) => {
                members.iter().map(|(key, value)| (key.clone(), as_serde(value))).collect()
            }
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".*".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::btree_map(".*", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_another_encoder_writes_is_read_back(value in any_json()) {
            let text = serde_json::to_string(&value).expect("no maps with odd keys");
            prop_assert_eq!(as_serde(&Value::parse(text.as_bytes()).expect("valid")), value);
        }

        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Value::parse(&body);
        }
    }
}
