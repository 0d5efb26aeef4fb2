//! `atoll up`: a client of CreateStack.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use crate::api::ApiError;
use crate::connection::Connection;
use crate::stack::Stack;
use crate::{Outcome, arguments, events, output, stack, table};

/// CloudFormation's bound on a template in the request is 51,200 bytes; real ones from S3 have up to a
/// megabyte, and there is no S3 here.
const MAX_TEMPLATE: u64 = 1024 * 1024;

pub fn run(endpoint: Option<String>, arguments: arguments::Up) -> Outcome {
    let arguments::Up {
        template,
        stack: name,
        parameters,
        region,
        json,
    } = arguments;
    let text = read(&template)?;
    let name = match name {
        Some(name) => name,
        None => name_of(&template).ok_or("the file's name makes no stack name; give one with --stack")?,
    };
    let connection = Connection::new(endpoint)?;
    connection.ensure_running()?;
    let api = connection.api(region.map(|region| region.to_string()))?;
    let mut seen = BTreeSet::new();
    let id = match stack::create(&api, &name, &text, &parameters) {
        Ok(id) => id,
        // An `up` that was interrupted goes on where it was.
        Err(ApiError::Refused { code, message }) if code == "AlreadyExistsException" => {
            match stack::find(&api, &name)? {
                Some(stack) if stack.status == "CREATE_IN_PROGRESS" => {
                    output::note(format!("stack {name} is being created already"));
                    stack.id
                }
                _ => return Err(format!("{message}; delete it first: atoll down {name}").into()),
            }
        }
        Err(error) => return Err(error.into()),
    };
    let Some(made) = events::follow(&api, &id, &mut seen)? else {
        return Err(format!("stack {name} was deleted meanwhile").into());
    };
    if made.status != "CREATE_COMPLETE" {
        let mut why = stack::failures(&stack::events(&api, &id)?);
        if why.is_empty() && !made.reason.is_empty() {
            why.push(made.reason);
        }
        let why: String = why.iter().map(|why| format!("\n  {why}")).collect();
        return Err(format!("stack {name} is {}{why}", made.status).into());
    }
    output::note(format!("stack {name} is {} in {}", made.status, api.region()));
    if json {
        output::line(serde_json::to_string_pretty(&shape(&made, api.region()))?)?;
    } else if !made.outputs.is_empty() {
        let rows = made
            .outputs
            .into_iter()
            .map(|(key, value, what)| vec![key, value, what]);
        output::line(table::of(&["Output", "Value", "Description"], rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shape(made: &Stack, region: &str) -> serde_json::Value {
    let outputs = made.outputs.iter().map(|(key, value, description)| {
        serde_json::json!({ "key": key, "value": value, "description": description })
    });
    serde_json::json!({
        "name": made.name,
        "id": made.id,
        "region": region,
        "status": made.status,
        "outputs": outputs.collect::<Vec<_>>(),
    })
}

fn read(path: &Path) -> Result<String, String> {
    let wrong = |why: std::io::Error| format!("cannot read the template {}: {why}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(wrong)?;
    file.take(MAX_TEMPLATE + 1)
        .read_to_string(&mut text)
        .map_err(wrong)?;
    if text.len() as u64 > MAX_TEMPLATE {
        return Err(format!(
            "the template {} is over {MAX_TEMPLATE} bytes",
            path.display()
        ));
    }
    Ok(text)
}

/// A stack's name from a file's: letters, digits and hyphens, a letter first.
fn name_of(path: &Path) -> Option<String> {
    // Until there is no extension: `net.template.yaml` is `net`.
    let stem = path
        .file_name()?
        .to_str()?
        .split('.')
        .find(|part| !part.is_empty())?;
    let name: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let name = name.trim_matches('-').to_owned();
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        .then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_named_after_its_file() {
        let name = |path: &str| name_of(Path::new(path));
        assert_eq!(name("examples/two-tier.yaml").as_deref(), Some("two-tier"));
        assert_eq!(name("My_Stack.template.json").as_deref(), Some("My-Stack"));
        assert_eq!(name("2.yaml"), None);
        assert_eq!(name(".."), None);
    }
}
