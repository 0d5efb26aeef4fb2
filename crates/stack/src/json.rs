//! JSON templates. Duplicate keys are refused, which the usual map of `serde_json` would swallow.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::error::TemplateError;
use crate::value::{Map, Value, limit};

/// Reads a JSON text. Nesting is bounded by [`limit::DEPTH`], nodes by [`limit::NODES`].
pub(crate) fn parse(text: &str) -> Result<Value, TemplateError> {
    let nodes = Cell::new(0);
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Node {
        nodes: &nodes,
        depth: 0,
    }
    .deserialize(&mut reader)
    .and_then(|value| reader.end().map(|()| value));
    value.map_err(|e| {
        let whole = e.to_string();
        let what = whole.split(" at line ").next().unwrap_or_default().to_owned();
        TemplateError::Syntax {
            format: "JSON",
            line: e.line(),
            column: e.column(),
            what,
        }
    })
}

#[derive(Clone, Copy)]
struct Node<'a> {
    nodes: &'a Cell<usize>,
    depth: usize,
}

impl Node<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth >= limit::DEPTH {
            return Err(E::custom(format_args!(
                "nested deeper than {} levels",
                limit::DEPTH
            )));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.nodes.set(self.nodes.get() + 1);
        if self.nodes.get() > limit::NODES {
            return Err(D::Error::custom(format_args!(
                "more than {} values",
                limit::NODES
            )));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.to_string()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.to_string()))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        let text = serde_json::Number::from_f64(v).map(|n| n.to_string());
        Ok(Value::Number(text.unwrap_or_else(|| v.to_string())))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate key {key:?}")));
            }
            let value = entries.next_value_seed(inner)?;
            map.insert(key, value);
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_key_is_refused_with_its_position() {
        let e = parse("{\"a\": 1,\n \"a\": 2}").unwrap_err();
        assert_eq!(
            e.to_string(),
            "Template format error: JSON not well-formed. (line 2, column 4): duplicate key \"a\""
        );
    }

    #[test]
    fn nesting_is_bounded() {
        let text = format!("{}{}", "[".repeat(101), "]".repeat(101));
        assert!(
            parse(&text)
                .unwrap_err()
                .to_string()
                .contains("nested deeper than 100 levels")
        );
        let text = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(parse(&text).is_ok());
        assert!(parse(&"[".repeat(500_000)).is_err());
    }

    #[test]
    fn something_after_the_document_is_refused() {
        assert!(parse("{} {}").is_err());
    }
}
