//! Whatever a template says, reading and planning it ends with a plan or an error.

#![allow(clippy::unwrap_used)]

mod common;

use common::plan;
use proptest::prelude::*;

/// Values made of functions, used rightly and wrongly.
fn value() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "A",
        "B",
        "P",
        "L",
        "AWS::Region",
        "AWS::NoValue",
        "C",
        "M",
        "Nobody",
        "",
        "A.B",
        "'${A}'",
        "'${'",
        "0",
        "-1",
        "true",
        "~",
        "10.0.0.0/8",
        "'::/0'",
    ]);
    let leaf = name.prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 4, |inner| {
        let function = prop::sample::select(vec![
            "!Ref ",
            "!GetAtt ",
            "!Sub ",
            "!Join ",
            "!Select ",
            "!Split ",
            "!GetAZs ",
            "!Cidr ",
            "!FindInMap ",
            "!If ",
            "!Equals ",
            "!And ",
            "!Or ",
            "!Not ",
            "!Base64 ",
            "!ImportValue ",
            "!Condition ",
            "!Contains ",
            "!RefAll ",
            "",
        ]);
        prop_oneof![
            (function.clone(), inner.clone())
                .prop_filter_map("one tag a node", |(f, v)| (!v.starts_with('!'))
                    .then(|| format!("{f}{v}"))),
            (function, prop::collection::vec(inner.clone(), 0..4))
                .prop_map(|(f, items)| format!("{f}[{}]", items.join(", "))),
            prop::collection::vec(inner, 0..3).prop_map(|items| {
                let entries: Vec<String> = items
                    .iter()
                    .enumerate()
                    .map(|(n, v)| format!("k{n}: {v}"))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_read_or_refused(text: String) {
        let _ = plan(&text, &[]);
    }

    #[test]
    fn yaml_like_text_is_read_or_refused(text in "[\\[\\]{}:,!&*|>'\"#%@`a-zA-Z0-9 \\n\\t~<$.-]{0,200}") {
        let _ = plan(&text, &[]);
        let _ = plan(&format!("Resources:\n{text}"), &[]);
    }

    #[test]
    fn any_expression_has_a_value_or_an_error(a in value(), b in value(), c in value(), o in value()) {
        let text = format!(
            "Parameters: {{P: {{Type: String, Default: x}}, L: {{Type: CommaDelimitedList, Default: 'a,b'}}}}\n\
             Mappings: {{M: {{P: {{A: x, B: [y]}}}}}}\nConditions: {{C: {c}}}\n\
             Resources:\n  A: {{Type: 'AWS::EC2::VPC', Properties: {{CidrBlock: {a}}}}}\n  \
             B: {{Type: 'AWS::IAM::Role', Properties: {{Anything: {b}}}}}\nOutputs: {{O: {{Value: {o}}}}}\n"
        );
        let _ = plan(&text, &[]);
    }

    #[test]
    fn a_cut_template_is_read_or_refused(cut in 0_usize..9000, with in "[ -~]{0,3}") {
        let text = include_str!("data/wordpress.yaml");
        let cut = cut.min(text.len());
        if let (Some(head), Some(tail)) = (text.get(..cut), text.get(cut..)) {
            let _ = plan(head, &[("DatabasePassword", "correcthorse")]);
            let _ = plan(&format!("{head}{with}{tail}"), &[("DatabasePassword", "correcthorse")]);
        }
    }
}
