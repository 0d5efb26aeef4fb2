//! Calls of the EC2 and CloudFormation APIs, by `atoll api`, and their XML answers.

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::Failure;
use crate::world::World;

/// An element of an answer.
#[derive(Clone, Debug, Default)]
pub struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// Reads a document.
    pub fn parse(xml: &str) -> Result<Element, Failure> {
        let mut reader = Reader::from_str(xml);
        let mut open = vec![Element::default()];
        loop {
            match reader.read_event()? {
                Event::Start(start) => {
                    let name = start.local_name().as_ref().to_owned();
                    open.push(Element {
                        name,
                        ..Element::default()
                    });
                }
                Event::Empty(start) => {
                    let name = start.local_name().as_ref().to_owned();
                    if let Some(parent) = open.last_mut() {
                        parent.children.push(Element {
                            name,
                            ..Element::default()
                        });
                    }
                }
                Event::Text(text) => {
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text.xml10_content());
                    }
                }
                Event::GeneralRef(reference) => {
                    let character = match &*reference {
                        "lt" => Some('<'),
                        "gt" => Some('>'),
                        "amp" => Some('&'),
                        "quot" => Some('"'),
                        "apos" => Some('\''),
                        _ => reference.resolve_char_ref()?,
                    };
                    if let (Some(element), Some(character)) = (open.last_mut(), character) {
                        element.text.push(character);
                    }
                }
                Event::End(_) => {
                    let element = open.pop().unwrap_or_default();
                    match open.last_mut() {
                        Some(parent) => parent.children.push(element),
                        None => return Err("the answer closes an element that it never opened".into()),
                    }
                }
                Event::Eof => return open.pop().ok_or_else(|| "the answer is empty".into()),
                _ => {}
            }
        }
    }

    /// Every element of that name, at any depth, in order.
    pub fn all(&self, name: &str) -> Vec<&Element> {
        let mut found = Vec::new();
        for child in &self.children {
            if child.name == name {
                found.push(child);
            }
            found.extend(child.all(name));
        }
        found
    }

    /// The text of the first element of that name, at any depth.
    pub fn text(&self, name: &str) -> Option<String> {
        self.all(name).first().map(|e| e.text.trim().to_owned())
    }

    /// Likewise, and its absence is an error.
    pub fn need(&self, name: &str) -> Result<String, Failure> {
        self.text(name)
            .ok_or_else(|| format!("the answer has no {name}").into())
    }
}

impl World {
    fn call(&self, action: &str, parameters: &[(&str, &str)]) -> Result<std::process::Output, Failure> {
        let mut args = vec!["api".to_owned(), action.to_owned()];
        args.extend(parameters.iter().map(|(key, value)| format!("{key}={value}")));
        self.run(args)
    }

    /// Calls an operation; the answer, or what the API said against it.
    pub fn api(&self, action: &str, parameters: &[(&str, &str)]) -> Result<Element, Failure> {
        let output = self.call(action, parameters)?;
        if !output.status.success() {
            return Err(format!("{action}: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
        }
        Element::parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// Calls an operation that must be refused; what the API said.
    pub fn refused(&self, action: &str, parameters: &[(&str, &str)]) -> Result<String, Failure> {
        let output = self.call(action, parameters)?;
        if output.status.success() {
            return Err(format!("{action} was accepted").into());
        }
        Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
