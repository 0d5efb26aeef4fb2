//! `docs/cloudformation.md` says of every type and property what follows from it; it is made from the declarations.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use atoll_stack::resource::types;
use atoll_stack::schema::{Effect, Kind, Property};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cloudformation.md");

fn property(out: &mut String, prefix: &str, property: &Property) {
    let name = format!("{prefix}{}", property.name);
    let required = if property.required { ", required" } else { "" };
    let effect = match property.effect {
        Effect::InForce => "in force".to_owned(),
        Effect::NotInEffect => "not in effect: accepted, with a warning".to_owned(),
        Effect::Only(values) => format!("only `{}`", values.join("`, `")),
        Effect::Refused(why) => format!("refused: {why}"),
    };
    writeln!(out, "| `{name}` | {effect}{required} |").unwrap();
    if let (Kind::Object(fields) | Kind::Objects(fields), Effect::InForce) = (property.kind, property.effect)
    {
        for field in fields {
            self::property(out, &format!("{name}."), field);
        }
    }
}

fn documentation() -> String {
    let mut out = String::from(
        "# CloudFormation resource types\n\n\
         What each type's properties do here, and what `Fn::GetAtt` returns. Made from the declarations in\n\
         `crates/stack/src/resource/` (`UPDATE_DOCS=1 cargo test -p atoll-stack --test documentation`). Any other type is\n\
         refused by name before anything is made.\n",
    );
    for kind in types() {
        let any = kind.properties.iter().any(|p| p.name == "*");
        let family = if kind.name.ends_with("::") { "*" } else { "" };
        writeln!(out, "\n## {}{family}", kind.name).unwrap();
        if kind.placeholder {
            writeln!(
                out,
                "\nA placeholder: it gets an id and is not in effect; its events say so."
            )
            .unwrap();
        }
        if any {
            writeln!(out, "\nAny property, any attribute.").unwrap();
            continue;
        }
        if !kind.properties.is_empty() {
            out.push_str("\n| property | effect |\n|---|---|\n");
            for declared in kind.properties {
                property(&mut out, "", declared);
            }
        }
        if !kind.attributes.is_empty() {
            writeln!(out, "\n`Fn::GetAtt`: {}.", kind.attributes.join(", ")).unwrap();
        }
    }
    out
}

#[test]
fn the_documentation_says_what_is_declared() {
    let wanted = documentation();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PATH, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/cloudformation.md is not what the types declare; make it anew with UPDATE_DOCS=1"
    );
}
