//! A service model as far as it is needed: operations, and the shapes they reach.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// How parameters and answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Flat lists (`X.1`), capitalised names, no result wrapper.
    Ec2,
    /// `X.member.1`, result wrapped in `<XResult>`.
    Query,
}

/// A service.
pub struct Model {
    pub service_id: String,
    pub protocol: Protocol,
    pub operations: BTreeMap<String, Operation>,
    pub shapes: BTreeMap<String, Shape>,
}

/// One operation: the shapes of its request and its answer.
pub struct Operation {
    pub input: String,
    pub output: Option<String>,
}

/// A shape, enumerations being strings: handlers hold them against the model's own types.
pub enum Shape {
    String,
    Integer,
    Long,
    Double,
    Boolean,
    Timestamp,
    Blob,
    List {
        member: String,
        item: Option<String>,
    },
    Structure {
        members: Vec<Member>,
        required: BTreeSet<String>,
    },
}

/// A member of a structure.
pub struct Member {
    pub name: String,
    pub shape: String,
    pub location: Option<String>,
    pub query: Option<String>,
}

impl Model {
    /// Reads a reduced model.
    pub fn parse(text: &str) -> Result<Model, String> {
        let value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let protocol = match text_of(&value["metadata"], "protocol")?.as_str() {
            "ec2" => Protocol::Ec2,
            "query" => Protocol::Query,
            other => return Err(format!("protocol {other} is not known here")),
        };
        let mut operations = BTreeMap::new();
        for (name, operation) in object(&value["operations"])? {
            let input = text_of(operation, "input")?;
            let output = operation["output"].as_str().map(str::to_owned);
            operations.insert(name.clone(), Operation { input, output });
        }
        let mut shapes = BTreeMap::new();
        for (name, shape) in object(&value["shapes"])? {
            let parsed = shape_of(shape).map_err(|why| format!("shape {name}: {why}"))?;
            shapes.insert(name.clone(), parsed);
        }
        let service_id = text_of(&value["metadata"], "serviceId")?;
        Ok(Model {
            service_id,
            protocol,
            operations,
            shapes,
        })
    }

    /// The structures that `shape` is made of, itself included.
    pub fn structures_in(&self, shape: &str, seen: &mut BTreeSet<String>) {
        match self.shapes.get(shape) {
            Some(Shape::List { member, .. }) => self.structures_in(member, seen),
            Some(Shape::Structure { members, .. }) if seen.insert(shape.to_owned()) => {
                for member in members {
                    self.structures_in(&member.shape, seen);
                }
            }
            _ => {}
        }
    }
}

fn shape_of(shape: &Value) -> Result<Shape, String> {
    Ok(match text_of(shape, "type")?.as_str() {
        "string" => Shape::String,
        "integer" => Shape::Integer,
        "long" => Shape::Long,
        "double" | "float" => Shape::Double,
        "boolean" => Shape::Boolean,
        "timestamp" => Shape::Timestamp,
        "blob" => Shape::Blob,
        "list" => Shape::List {
            member: text_of(&shape["member"], "shape")?,
            item: shape["member"]["locationName"].as_str().map(str::to_owned),
        },
        "structure" => {
            let mut members = Vec::new();
            for (name, member) in object(&shape["members"])? {
                members.push(Member {
                    name: name.clone(),
                    shape: text_of(member, "shape")?,
                    location: member["locationName"].as_str().map(str::to_owned),
                    query: member["queryName"].as_str().map(str::to_owned),
                });
            }
            let required = shape["required"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let required = required
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            Shape::Structure { members, required }
        }
        other => return Err(format!("type {other} is not known here")),
    })
}

/// Keeps of a full model what `wanted` needs; one shape a line, so that a new release is a
/// readable diff.
pub fn reduce(full: &Value, wanted: &[String]) -> Result<String, String> {
    let mut operations = Map::new();
    let mut seen = BTreeSet::new();
    for name in wanted {
        let operation = &full["operations"][name];
        let input = text_of(&operation["input"], "shape")
            .map_err(|_| format!("the model has no operation {name}, or it takes no input"))?;
        let mut kept = json!({ "input": input });
        reach(full, &input, &mut seen)?;
        if let Some(output) = operation["output"]["shape"].as_str() {
            kept["output"] = output.into();
            reach(full, output, &mut seen)?;
        }
        operations.insert(name.clone(), kept);
    }
    let shapes = seen.iter().map(|name| {
        (
            name,
            keep(&full["shapes"][name], &["type", "members", "member", "required"]),
        )
    });
    let metadata = keep(&full["metadata"], &["apiVersion", "protocol", "serviceId"]);
    let mut text = format!("{{\n\"metadata\": {metadata},\n\"operations\": {{\n");
    text += &lines(operations.iter());
    text += "\n},\n\"shapes\": {\n";
    text += &lines(shapes);
    text += "\n}\n}\n";
    Ok(text)
}

fn lines<K: AsRef<str>, V: ToString>(entries: impl Iterator<Item = (K, V)>) -> String {
    let lines: Vec<String> = entries
        .map(|(k, v)| format!("\"{}\": {}", k.as_ref(), v.to_string()))
        .collect();
    lines.join(",\n")
}

fn reach(full: &Value, shape: &str, seen: &mut BTreeSet<String>) -> Result<(), String> {
    if !seen.insert(shape.to_owned()) {
        return Ok(());
    }
    let found = &full["shapes"][shape];
    let kind = text_of(found, "type").map_err(|_| format!("the model has no shape {shape}"))?;
    match kind.as_str() {
        "structure" => {
            for member in object(&found["members"])?.values() {
                reach(full, &text_of(member, "shape")?, seen)?;
            }
            Ok(())
        }
        "list" => reach(full, &text_of(&found["member"], "shape")?, seen),
        _ => Ok(()),
    }
}

/// `value` with the keys that matter, at every depth.
fn keep(value: &Value, keys: &[&str]) -> Value {
    let mut kept = Map::new();
    for &key in keys {
        match (key, &value[key]) {
            (_, Value::Null) => {}
            ("members", Value::Object(members)) => {
                let members = members
                    .iter()
                    .map(|(name, member)| (name.clone(), reference(member)));
                kept.insert(key.to_owned(), members.collect::<Map<_, _>>().into());
            }
            ("member", member) => {
                kept.insert(key.to_owned(), reference(member));
            }
            (_, other) => {
                kept.insert(key.to_owned(), other.clone());
            }
        }
    }
    kept.into()
}

fn reference(value: &Value) -> Value {
    keep(value, &["shape", "locationName", "queryName"])
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value
        .as_object()
        .ok_or_else(|| format!("expected an object, found {value}"))
}

fn text_of(value: &Value, key: &str) -> Result<String, String> {
    value[key]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("`{key}` is missing"))
}
