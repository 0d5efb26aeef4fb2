//! Names of the model as Rust and the wire spell them.

/// `CidrBlockAssociationSet` → `cidr_block_association_set`, `NotificationARNs` →
/// `notification_arns`; Rust's keywords become raw identifiers.
pub fn snake(name: &str) -> String {
    // Words whose capitals are not at their beginning.
    let words = [
        ("ARNs", "Arns"),
        ("VCpu", "Vcpu"),
        ("MiB", "Mib"),
        ("MBps", "Mbps"),
    ];
    let name = words
        .iter()
        .fold(name.to_owned(), |name, (odd, even)| name.replace(odd, even));
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, &c) in letters.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|j| letters.get(j));
        let after = letters.get(i + 1);
        let starts_word = c.is_ascii_uppercase()
            && before.is_some_and(|b| !b.is_ascii_uppercase() || after.is_some_and(char::is_ascii_lowercase));
        if starts_word && !out.ends_with('_') {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    match out.as_str() {
        "return" | "type" | "default" | "ref" | "use" | "static" | "match" | "move" | "enum" => {
            format!("r#{out}")
        }
        _ => out,
    }
}

/// First letter in upper case: how the ec2 protocol spells a parameter.
pub fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_ascii_uppercase().to_string() + letters.as_str()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_spelt_as_rust_spells_them() {
        for (model, rust) in [
            ("CidrBlock", "cidr_block"),
            ("Ipv6CidrBlockAssociationSet", "ipv6_cidr_block_association_set"),
            ("NotificationARNs", "notification_arns"),
            ("TemplateURL", "template_url"),
            (
                "EnableResourceNameDnsAAAARecord",
                "enable_resource_name_dns_aaaa_record",
            ),
            ("DefaultVCpus", "default_vcpus"),
            ("SizeInMiB", "size_in_mib"),
            ("Return", "r#return"),
            ("Type", "r#type"),
        ] {
            assert_eq!(snake(model), rust);
        }
    }

    #[test]
    fn parameters_begin_with_a_capital() {
        assert_eq!(capitalised("dryRun"), "DryRun");
        assert_eq!(capitalised(""), "");
    }
}
