//! Answers of the query API, as a tree.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Deeper than any answer of AWS's.
const MAX_DEPTH: usize = 64;

/// An element: its local name, its text, its children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// The name without a namespace prefix.
    pub name: String,
    /// The text directly inside, trimmed.
    pub text: String,
    /// The elements directly inside.
    pub children: Vec<Element>,
}

impl Element {
    /// Reads a document; gives its root.
    ///
    /// # Errors
    /// What is wrong with the text, as one sentence.
    pub fn parse(text: &str) -> Result<Element, String> {
        let mut reader = Reader::from_str(text);
        // The bottom stands for the document.
        let mut open = vec![Element::default()];
        loop {
            match reader.read_event().map_err(|e| e.to_string())? {
                Event::Start(start) => {
                    if open.len() > MAX_DEPTH {
                        return Err(format!("elements stand deeper than {MAX_DEPTH}"));
                    }
                    let name = start.local_name().as_ref().to_owned();
                    open.push(Element {
                        name,
                        ..Element::default()
                    });
                }
                Event::Empty(start) => {
                    let name = start.local_name().as_ref().to_owned();
                    add(
                        &mut open,
                        Element {
                            name,
                            ..Element::default()
                        },
                    );
                }
                Event::Text(text) => {
                    append(&mut open, &text);
                }
                Event::CData(data) => append(&mut open, &data),
                Event::GeneralRef(reference) => {
                    let resolved = match reference.resolve_char_ref().map_err(|e| e.to_string())? {
                        Some(character) => character.to_string(),
                        None => {
                            let name: &str = &reference;
                            quick_xml::escape::resolve_predefined_entity(name)
                                .ok_or_else(|| format!("the entity &{name}; is not known"))?
                                .to_owned()
                        }
                    };
                    append(&mut open, &resolved);
                }
                Event::End(_) => {
                    let Some(mut closed) = open.pop() else {
                        return Err("an element ends that never began".into());
                    };
                    closed.text = closed.text.trim().to_owned();
                    add(&mut open, closed);
                }
                Event::Eof => break,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
        match (
            open.len(),
            open.pop()
                .and_then(|document| document.children.into_iter().next()),
        ) {
            (1, Some(root)) => Ok(root),
            _ => Err("it is not one whole XML document".into()),
        }
    }

    /// The first child of a name.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The first element of a name, at any depth.
    pub fn find(&self, name: &str) -> Option<&Element> {
        self.child(name)
            .or_else(|| self.children.iter().find_map(|child| child.find(name)))
    }

    /// The members of a list: `<Stacks><member>…</member></Stacks>`.
    pub fn members(&self, list: &str) -> impl Iterator<Item = &Element> {
        self.child(list)
            .into_iter()
            .flat_map(|list| &list.children)
            .filter(|child| child.name == "member")
    }

    /// The text of a child; empty if there is none.
    pub fn text_of(&self, name: &str) -> String {
        self.child(name)
            .map(|child| child.text.clone())
            .unwrap_or_default()
    }
}

fn add(open: &mut [Element], child: Element) {
    if let Some(parent) = open.last_mut() {
        parent.children.push(child);
    }
}

fn append(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_with_its_entities() {
        let text = "<?xml version=\"1.0\"?>\n<R xmlns=\"u\"><L><member><K>a &lt;&amp;&#65;&gt;</K><E/></member>\n<member/></L></R>";
        let root = Element::parse(text).unwrap();
        let members: Vec<_> = root.members("L").collect();
        assert_eq!(members.len(), 2);
        assert_eq!(members[0].text_of("K"), "a <&A>");
        assert_eq!(root.find("K").unwrap().text, "a <&A>");
    }

    #[test]
    fn what_is_not_xml_is_refused() {
        for text in ["", "no", "<a>", "<a></b>", "</a>", "<a>&bomb;</a>"] {
            assert!(Element::parse(text).is_err(), "{text}");
        }
        assert!(Element::parse(&"<a>".repeat(1000)).is_err());
    }
}
