//! YAML templates: YAML 1.1 scalars as CloudFormation reads them, and the short form of its functions.
//!
//! - Aliases and merge keys are refused, as CloudFormation does; nothing in a text can so be expanded.
//! - A plain scalar is a boolean if YAML 1.1 says so (`yes`, `Off`, `true`), null if it is empty, `~` or
//!   `null`, a number if it is a decimal number in its plainest form, and text otherwise: dates (the
//!   format version `2010-09-09`), `0123`, `0x1F`, `1_000`, `22:22` keep their text. YAML 1.1 would turn
//!   the last four into other numbers (octal, base 60); nobody who writes an account id or a port
//!   mapping means that, and a number that is wanted is parsed from its text in base ten.
//! - A key is always the text that was written: `on:` is the key `on`.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use crate::error::TemplateError;
use crate::value::{Map, Value, limit};

/// Functions that have a short form with this name and `Fn::` in front of the long one.
const SHORT: &[&str] = &[
    "And",
    "Base64",
    "Cidr",
    "Contains",
    "EachMemberEquals",
    "EachMemberIn",
    "Equals",
    "FindInMap",
    "GetAZs",
    "If",
    "ImportValue",
    "Join",
    "Not",
    "Or",
    "RefAll",
    "Select",
    "Split",
    "Sub",
    "Transform",
    "ValueOf",
    "ValueOfAll",
];

/// Reads a YAML text of one document.
pub(crate) fn parse(text: &str) -> Result<Value, TemplateError> {
    let mut parser = Parser::new_from_str(text);
    let mut stack: Vec<Open> = Vec::new();
    let mut document: Option<Value> = None;
    let mut documents = 0_usize;
    let mut nodes = 0_usize;
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|e| error(e.marker(), e.info()))?;
        let at = span.start;
        let finished = match event {
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => None,
            Event::StreamEnd => break,
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(error(&at, "more than one document"));
                }
                None
            }
            Event::Alias(_) => {
                return Err(TemplateError::format(
                    "YAML aliases are not allowed in CloudFormation templates",
                ));
            }
            Event::Scalar(text, style, _, tag) => {
                nodes += 1;
                if let Some(open) = stack.last_mut().filter(|open| open.wants_key()) {
                    open.key(text.into_owned(), tag.is_some(), &at)?;
                    None
                } else {
                    let tag = tag.as_deref().map(|t| name(t, &at)).transpose()?.flatten();
                    Some(call(tag, scalar(&text, style, tag), &at)?)
                }
            }
            Event::SequenceStart(_, tag) | Event::MappingStart(_, tag)
                if stack.last().is_some_and(Open::wants_key) =>
            {
                drop(tag);
                return Err(error(&at, "a key must be a scalar"));
            }
            Event::SequenceStart(_, tag) => {
                nodes += 1;
                let tag = tag.as_deref().map(|t| name(t, &at)).transpose()?.flatten();
                stack.push(Open {
                    tag,
                    at,
                    kind: Kind::List(Vec::new()),
                });
                None
            }
            Event::MappingStart(_, tag) => {
                nodes += 1;
                let tag = tag.as_deref().map(|t| name(t, &at)).transpose()?.flatten();
                stack.push(Open {
                    tag,
                    at,
                    kind: Kind::Map(Map::new(), None),
                });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop() {
                Some(open) => {
                    let value = match open.kind {
                        Kind::List(list) => Value::List(list),
                        Kind::Map(map, _) => Value::Map(map),
                    };
                    Some(call(open.tag, value, &open.at)?)
                }
                None => return Err(error(&at, "an end without a beginning")),
            },
        };
        if stack.len() > limit::DEPTH {
            return Err(error(&at, &format!("nested deeper than {} levels", limit::DEPTH)));
        }
        if nodes > limit::NODES {
            return Err(error(&at, &format!("more than {} values", limit::NODES)));
        }
        if let Some(value) = finished {
            match stack.last_mut().map(|open| &mut open.kind) {
                None => document = Some(value),
                Some(Kind::List(list)) => list.push(value),
                Some(Kind::Map(map, key)) => {
                    if let Some(key) = key.take() {
                        map.insert(key, value);
                    }
                }
            }
        }
    }
    Ok(document.unwrap_or(Value::Null))
}

/// A list or map whose end has not come yet.
struct Open {
    tag: Option<Function>,
    at: Marker,
    kind: Kind,
}

enum Kind {
    List(Vec<Value>),
    Map(Map, Option<String>),
}

impl Open {
    fn wants_key(&self) -> bool {
        matches!(self.kind, Kind::Map(_, None))
    }

    fn key(&mut self, text: String, tagged: bool, at: &Marker) -> Result<(), TemplateError> {
        if tagged {
            return Err(error(at, "a key must not have a tag"));
        }
        if text == "<<" {
            return Err(error(
                at,
                "merge keys (<<) are not allowed in CloudFormation templates",
            ));
        }
        if let Kind::Map(map, key) = &mut self.kind {
            if map.contains_key(&text) {
                return Err(error(at, &format!("duplicate key {text:?}")));
            }
            *key = Some(text);
        }
        Ok(())
    }
}

/// What a tag means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Function {
    /// `!!str`: text, whatever it looks like.
    Text,
    /// The long name of a function.
    Named(&'static str),
    GetAtt,
}

fn name(tag: &Tag, at: &Marker) -> Result<Option<Function>, TemplateError> {
    let suffix = tag.suffix.as_str();
    if tag.is_yaml_core_schema() {
        return match suffix {
            "str" => Ok(Some(Function::Text)),
            "int" | "float" | "bool" | "seq" | "map" | "null" => Ok(None),
            _ => Err(error(
                at,
                &format!("the tag !!{suffix} is not allowed in CloudFormation templates"),
            )),
        };
    }
    if tag.handle != "!" {
        return Err(error(at, &format!("unknown tag {tag}")));
    }
    let long = match suffix {
        // `! text`, the non-specific tag: text.
        "" => return Ok(Some(Function::Text)),
        "Ref" => "Ref",
        "Condition" => "Condition",
        "GetAtt" => return Ok(Some(Function::GetAtt)),
        _ => match SHORT.iter().find(|short| **short == suffix) {
            Some(short) => long_name(short),
            None => return Err(error(at, &format!("unknown function !{suffix}"))),
        },
    };
    Ok(Some(Function::Named(long)))
}

/// `Join` → `Fn::Join`, without an allocation a tag.
fn long_name(short: &str) -> &'static str {
    match short {
        "And" => "Fn::And",
        "Base64" => "Fn::Base64",
        "Cidr" => "Fn::Cidr",
        "Contains" => "Fn::Contains",
        "EachMemberEquals" => "Fn::EachMemberEquals",
        "EachMemberIn" => "Fn::EachMemberIn",
        "Equals" => "Fn::Equals",
        "FindInMap" => "Fn::FindInMap",
        "GetAZs" => "Fn::GetAZs",
        "If" => "Fn::If",
        "ImportValue" => "Fn::ImportValue",
        "Join" => "Fn::Join",
        "Not" => "Fn::Not",
        "Or" => "Fn::Or",
        "RefAll" => "Fn::RefAll",
        "Select" => "Fn::Select",
        "Split" => "Fn::Split",
        "Sub" => "Fn::Sub",
        "Transform" => "Fn::Transform",
        "ValueOf" => "Fn::ValueOf",
        _ => "Fn::ValueOfAll",
    }
}

/// The long form of a short call.
fn call(tag: Option<Function>, value: Value, at: &Marker) -> Result<Value, TemplateError> {
    let (long, argument) = match tag {
        None | Some(Function::Text) => return Ok(value),
        Some(Function::Named(long)) => (long, value),
        Some(Function::GetAtt) => {
            let argument = match value {
                // Only the first dot separates: an attribute may have dots of its own.
                Value::String(text) => match text.split_once('.') {
                    Some((id, attribute)) => Value::List(vec![id.into(), attribute.into()]),
                    None => {
                        return Err(error(
                            at,
                            "!GetAtt needs a resource and an attribute: !GetAtt Resource.Attribute",
                        ));
                    }
                },
                list @ Value::List(_) => list,
                _ => {
                    return Err(error(
                        at,
                        "!GetAtt needs a resource and an attribute: !GetAtt Resource.Attribute",
                    ));
                }
            };
            ("Fn::GetAtt", argument)
        }
    };
    Ok(Value::Map(Map::from([(long.to_owned(), argument)])))
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<Function>) -> Value {
    if style != ScalarStyle::Plain || tag == Some(Function::Text) {
        return text.into();
    }
    // An empty argument of a function is text: `!GetAZs` alone is `Fn::GetAZs: ""`.
    if tag.is_some() && text.is_empty() {
        return text.into();
    }
    // `!Ref 10`, `!Sub on`, `!GetAZs no`: a tagged scalar is the text that was written.
    if tag.is_some() {
        return text.into();
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Value::Bool(false),
        _ if is_decimal(text) => Value::Number(text.to_owned()),
        _ => text.into(),
    }
}

/// `0`, `-5`, `10`, `1.50`: no leading zero, no underscore, no exponent.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    all_digits(whole) && all_digits(fraction) && (whole == "0" || !whole.starts_with('0'))
}

fn error(at: &Marker, what: &str) -> TemplateError {
    TemplateError::Syntax {
        format: "YAML",
        line: at.line(),
        column: at.col() + 1,
        what: what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> serde_json::Value {
        parse(text).unwrap().to_json()
    }

    #[test]
    fn short_forms_nest() {
        assert_eq!(
            read(
                "A: !Join ['-', [!Ref X, !GetAtt V.Cidr.Block, !Sub '${Y}']]\nB: !Select\n  - 0\n  - !GetAZs\n"
            ),
            json!({
                "A": {"Fn::Join": ["-", [{"Ref": "X"}, {"Fn::GetAtt": ["V", "Cidr.Block"]}, {"Fn::Sub": "${Y}"}]]},
                "B": {"Fn::Select": [0, {"Fn::GetAZs": ""}]},
            })
        );
        assert_eq!(
            read(
                "Fn::Base64: !Sub\n  - |\n    #!/bin/sh\n    echo ${A}\n  - A: !If [C, 1, !Ref 'AWS::NoValue']\n"
            ),
            json!({"Fn::Base64": {"Fn::Sub": ["#!/bin/sh\necho ${A}\n", {"A": {"Fn::If": ["C", 1, {"Ref": "AWS::NoValue"}]}}]}})
        );
    }

    #[test]
    fn scalars_are_read_as_written() {
        assert_eq!(
            read(
                "[2010-09-09, 0123, 012345678901, 1.10, 22:22, 1_000, 0x1F, yes, off, ~, '5', 5, -1, !!str 5, 1e3]"
            ),
            json!([
                "2010-09-09",
                "0123",
                "012345678901",
                1.10,
                "22:22",
                "1_000",
                "0x1F",
                true,
                false,
                null,
                "5",
                5,
                -1,
                "5",
                "1e3"
            ])
        );
        assert_eq!(parse("1.10").unwrap().text().unwrap(), "1.10");
        assert_eq!(read("on: 1\n012345: 2"), json!({"on": 1, "012345": 2}));
    }

    #[test]
    fn what_cloudformation_refuses_is_refused() {
        for (text, wanted) in [
            ("a: &x 1\nb: *x", "aliases are not allowed"),
            ("<<: {a: 1}", "merge keys"),
            ("a: 1\na: 2", "(line 2, column 1): duplicate key \"a\""),
            ("a: !Foo 1", "unknown function !Foo"),
            ("a: !!binary aGk=", "!!binary"),
            ("a: 1\n---\nb: 2", "more than one document"),
            ("a: [1", "YAML not well-formed"),
            ("? [a]\n: 1", "a key must be a scalar"),
            ("a: !GetAtt X", "!GetAtt needs"),
        ] {
            let e = parse(text).unwrap_err().to_string();
            assert!(e.contains(wanted), "{text}: {e}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let e = parse(&"[".repeat(200)).unwrap_err().to_string();
        assert!(e.contains("nested deeper than 100 levels"), "{e}");
        // The scanner, which reads ahead, has a bound of its own.
        assert!(parse(&"[".repeat(10_000)).is_err());
        let blocks: String = (0..200)
            .map(|level| format!("{}a:\n", " ".repeat(level)))
            .collect();
        let e = parse(&blocks).unwrap_err().to_string();
        assert!(e.contains("nested deeper than 100 levels"), "{e}");
    }
}
