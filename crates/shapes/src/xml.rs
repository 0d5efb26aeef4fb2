//! Writing answers.

use std::fmt::{Display, Write};

use crate::{Blob, Timestamp};

/// A document being written. Everything that is not a name given by the code is escaped.
#[derive(Debug, Default)]
pub struct Xml {
    out: String,
}

/// Something that stands between the tags of an element.
pub trait Encode {
    /// Appends the content, without the element around it.
    fn encode(&self, xml: &mut Xml);
}

impl Xml {
    /// A document with its declaration.
    pub fn document() -> Xml {
        Xml {
            out: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned(),
        }
    }

    /// The text so far.
    pub fn finish(self) -> String {
        self.out
    }

    /// `<name>`
    pub fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    /// `<name xmlns="namespace">`
    pub fn open_with_namespace(&mut self, name: &str, namespace: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push_str(" xmlns=\"");
        self.text(namespace);
        self.out.push_str("\">");
    }

    /// `</name>`
    pub fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// `<name>content</name>`, or `<name/>` if there is no content.
    pub fn element<T: Encode + ?Sized>(&mut self, name: &str, content: &T) {
        self.open(name);
        let start = self.out.len();
        content.encode(self);
        if self.out.len() == start {
            self.out.pop();
            self.out.push_str("/>");
        } else {
            self.close(name);
        }
    }

    /// `<name>content</name>`, or nothing if there is no content.
    pub fn element_unless_empty<T: Encode + ?Sized>(&mut self, name: &str, content: &T) {
        let before = self.out.len();
        self.open(name);
        let start = self.out.len();
        content.encode(self);
        if self.out.len() == start {
            self.out.truncate(before);
        } else {
            self.close(name);
        }
    }

    /// The element if there is something to say.
    pub fn optional<T: Encode>(&mut self, name: &str, content: &Option<T>) {
        if let Some(content) = content {
            self.element(name, content);
        }
    }

    /// `<name><item>…</item>…</name>`; `<name/>` if there are none.
    pub fn list<T: Encode>(&mut self, name: &str, item: &str, contents: &[T]) {
        if contents.is_empty() {
            self.out.push('<');
            self.out.push_str(name);
            self.out.push_str("/>");
            return;
        }
        self.open(name);
        for content in contents {
            self.element(item, content);
        }
        self.close(name);
    }

    /// [`Xml::list`], or nothing if there are none.
    pub fn list_unless_empty<T: Encode>(&mut self, name: &str, item: &str, contents: &[T]) {
        if !contents.is_empty() {
            self.list(name, item, contents);
        }
    }

    /// Escaped text. A carriage return is written as a reference, else a parser would read it as
    /// a line feed; what XML 1.0 cannot hold at all becomes U+FFFD.
    pub fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\r' => self.out.push_str("&#13;"),
                '\t' | '\n' => self.out.push(c),
                '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => self.out.push(char::REPLACEMENT_CHARACTER),
                _ => self.out.push(c),
            }
        }
    }

    fn plain(&mut self, value: impl Display) {
        // Writing to a `String` cannot fail.
        _ = write!(self.out, "{value}");
    }
}

impl Encode for str {
    fn encode(&self, xml: &mut Xml) {
        xml.text(self);
    }
}

impl Encode for String {
    fn encode(&self, xml: &mut Xml) {
        xml.text(self);
    }
}

impl Encode for Blob {
    fn encode(&self, xml: &mut Xml) {
        xml.text(&crate::base64::encode(&self.0));
    }
}

macro_rules! plain {
    ($($kind:ty)*) => {$(
        impl Encode for $kind {
            fn encode(&self, xml: &mut Xml) {
                xml.plain(self);
            }
        }
    )*};
}
plain!(bool i32 i64 f64 Timestamp);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_element() {
        let mut xml = Xml::default();
        xml.element("value", "</value><x a=\"1\">&\r\n\u{0}\u{ffff}");
        assert_eq!(
            xml.finish(),
            "<value>&lt;/value&gt;&lt;x a=&quot;1&quot;&gt;&amp;&#13;\n\u{fffd}\u{fffd}</value>"
        );
    }

    #[test]
    fn empty_lists_are_written_unless_told_otherwise() {
        let mut xml = Xml::default();
        xml.list::<String>("tagSet", "item", &[]);
        xml.list_unless_empty::<String>("groupSet", "item", &[]);
        xml.list("set", "item", &[1, 2]);
        xml.optional("x", &Some(false));
        xml.optional::<bool>("y", &None);
        xml.element("z", "");
        assert_eq!(
            xml.finish(),
            "<tagSet/><set><item>1</item><item>2</item></set><x>false</x><z/>"
        );
    }
}
